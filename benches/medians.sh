# Sourced by benches that time programs in turn. A time goes to a line of the file `$work/NAME`, and `report` tells the medians.

seconds() { # command...: how long it takes
  local began=$EPOCHREALTIME
  "$@" > "$work/out" 2>&1 || { tail -n 20 "$work/out" >&2; exit 1; }
  awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", to - from }'
}
median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
report() { # title name...: the medians, and how many times as fast the first is
  local title=$1 first name line
  shift
  first=$(median "$work/$1")
  line="$title:"
  for name in "$@"; do
    line+=" $name $(median "$work/$name") s ($(awk -v a="$(median "$work/$name")" -v b="$first" 'BEGIN { printf "%.1f", a / b }')x)"
    rm "$work/$name"
  done
  echo "$line"
}
