#!/bin/sh
# Turns each page of text into HTML: its first line is the title.
set -eu
for page in "$@"; do
  title=$(head -n 1 "$page")
  {
    printf '<!doctype html>\n<title>%s</title>\n<h1>%s</h1>\n' "$title" "$title"
    tail -n +2 "$page" | sed '/^$/d; s|.*|<p>&</p>|'
  } > "${page%.txt}.html"
done
