//! What is copied: `COPY` and `ADD` with their flags, sources and destination.

use super::instruction::{Copy, CopySource};
use super::lines::{self, Spanned};
use super::parser::Parser;
use super::usage::usage;
use crate::error::Result;
use crate::remote::Remote;

impl Parser<'_> {
    pub(super) fn copy(&self, add: bool) -> Result<Copy> {
        let keyword = if add { "ADD" } else { "COPY" };
        let mut flags = self.flags();
        let from = if add { None } else { flags.value("from")? };
        let chown = flags.value("chown")?;
        let chmod = flags.value("chmod")?;
        // Every copy makes a layer of its own here, so `--link` changes nothing but what it may be used with.
        flags.boolean("link")?;
        let parents = !add && flags.boolean("parents")?.unwrap_or(false);
        let mut exclude = Vec::new();
        while let Some(pattern) = flags.value("exclude")? {
            exclude.push(pattern);
        }
        let unpack = if add { flags.boolean("unpack")? } else { None };
        let checksum = if add { flags.value("checksum")? } else { None };
        let keep_git_dir = if add {
            flags.boolean("keep-git-dir")?
        } else {
            None
        };
        flags.done(if add {
            &[
                "chown",
                "chmod",
                "link",
                "exclude",
                "unpack",
                "checksum",
                "keep-git-dir",
            ]
        } else {
            &["from", "chown", "chmod", "link", "parents", "exclude"]
        })?;
        let mut words = match lines::json_array(&self.raw.args.text) {
            Some(words) => words
                .into_iter()
                .map(|text| Spanned {
                    text,
                    range: self.whole().range,
                })
                .collect(),
            None => lines::plain_words(&self.raw.args),
        };
        let dest = match words.pop() {
            Some(dest) if !words.is_empty() => dest,
            other => {
                let range = other.map_or_else(|| self.raw.keyword_range.clone(), |word| word.range);
                return Err(self
                    .error(range, format!("{keyword} needs a source and a destination"))
                    .with_hint(usage(keyword)));
            }
        };
        let mut heredocs = self.raw.heredocs.iter();
        let mut sources = Vec::new();
        for word in words {
            match lines::heredoc_name(&word.text)
                .filter(|_| !self.raw.heredocs.is_empty())
                .and_then(|_| heredocs.next())
            {
                Some(heredoc) => sources.push(CopySource::Heredoc(heredoc.clone())),
                None => sources.push(CopySource::Path(word)),
            }
        }
        self.check_remote(add, &sources, checksum.as_ref(), keep_git_dir)?;
        Ok(Copy {
            add,
            sources,
            dest,
            from,
            chown,
            chmod,
            parents,
            exclude,
            unpack,
            checksum,
            keep_git_dir,
        })
    }

    /// Whether `--checksum` and `--keep-git-dir` stand beside an address, as far as that can be known before variables are replaced.
    fn check_remote(
        &self,
        add: bool,
        sources: &[CopySource],
        checksum: Option<&Spanned>,
        keep_git_dir: Option<bool>,
    ) -> Result<()> {
        let paths = sources.iter().filter_map(|source| match source {
            CopySource::Path(word) => Some(word),
            CopySource::Heredoc(_) => None,
        });
        let mut addresses = 0;
        for word in paths.clone() {
            let remote = Remote::of(&word.text);
            addresses += usize::from(remote.is_some());
            if let Some(Remote::Http(_)) = remote
                && !add
            {
                return Err(self
                    .error(word.range.clone(), "COPY cannot fetch an address")
                    .with_hint(format!("write ADD {} instead", word.text)));
            }
        }
        let open = paths.clone().any(|word| word.text.contains('$'));
        if let Some(sum) = checksum {
            if sources.len() > 1 {
                return Err(self.error(
                    sum.range.clone(),
                    "--checksum is for one source, and there are several",
                ));
            }
            if addresses == 0 && !open {
                return Err(self
                    .error(
                        sum.range.clone(),
                        "--checksum is for an address, and the source is a file of the context",
                    )
                    .with_hint("files of the context are known by their content anyway"));
            }
        }
        if keep_git_dir == Some(true) && addresses == 0 && !open {
            return Err(self.error(
                self.raw.flags[0].range.clone(),
                "--keep-git-dir is for a git repository, and no source is one",
            ));
        }
        Ok(())
    }
}
