//! `COPY` and `ADD` as steps: what is copied, from where, and under which key.

use std::path::Path;

use hoist_oci::Digest;

use crate::chmod::Chmod;
use crate::config;
use crate::context::Context;
use crate::copy::{self, Options};
use crate::dockerfile::instruction::{Copy, CopySource, Instruction};
use crate::dockerfile::lines::Spanned;
use crate::embedded::{Build, Place, StageState};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::Ignore;
use crate::layer;
use crate::pattern::Pattern;
use crate::remote::{self, Fetched, Fetcher, GitAddress};
use crate::select::{self, Selected};
use crate::stages::{Origin, origin_of};
use crate::steps::{key, remember, scope};
use crate::stored::layers_of;
use crate::tree::{self, Tree};
use crate::users;

/// How many names an error lists.
const LISTED: usize = 8;

/// Where files come from: a folder of this machine, or layers that are unpacked only if they must be read.
enum Source<'a> {
    Folder(&'a Context),
    /// With what they are the layers of, in words.
    Layers(Vec<crate::stored::Layer>, String),
}

/// What an address came to.
enum Remote {
    File(Fetched),
    Git(GitAddress, String),
}

impl Build<'_> {
    pub(crate) fn copy_step(
        &self,
        state: &mut StageState,
        instruction: &Instruction,
        copy: &Copy,
        place: Place<'_>,
    ) -> Result<()> {
        let refused = |word: &Spanned, message: String| {
            BuildError::new(BuildErrorKind::Dockerfile, message)
                .at(place.source.location(word.range.clone()))
        };
        let scope = scope(state, place);
        let mut sources = Vec::new();
        let mut inline = Vec::new();
        let mut addresses = Vec::new();
        for source in &copy.sources {
            match source {
                CopySource::Path(word) => {
                    let text = scope.expand(word)?;
                    match remote::Remote::of(&text).filter(|_| copy.add) {
                        Some(address) => addresses.push((address, word)),
                        None => sources.push((text, word)),
                    }
                }
                CopySource::Heredoc(heredoc) => {
                    let word = Spanned {
                        text: String::new(),
                        range: heredoc.range.clone(),
                    };
                    let content = if heredoc.expand {
                        scope.body(&heredoc.content(), &word)?
                    } else {
                        heredoc.content()
                    };
                    inline.push(Selected::Inline {
                        name: heredoc.name.clone(),
                        content,
                    });
                }
            }
        }
        let written = scope.expand(&copy.dest)?;
        let dest = config::destination(&state.config.config.working_dir, &written);
        let several = sources.len() + inline.len() + addresses.len() > 1;
        let checksum = copy
            .checksum
            .as_ref()
            .map(|word| scope.expand_text(&word.text, word))
            .transpose()?;
        let remotes = self.remotes(&addresses, copy, checksum.as_deref(), place)?;
        let chown = copy
            .chown
            .as_ref()
            .map(|word| scope.expand_text(&word.text, word))
            .transpose()?;
        let chmod_text = copy
            .chmod
            .as_ref()
            .map(|word| scope.expand_text(&word.text, word))
            .transpose()?;
        let chmod = match (&chmod_text, &copy.chmod) {
            (Some(text), Some(word)) => Some(Chmod::parse(text).ok_or_else(|| {
                refused(word, format!("'{text}' is no mode"))
                    .with_hint("write an octal number such as 755, or u=rwX,go=rX")
            })?),
            _ => None,
        };
        let patterns = copy
            .exclude
            .iter()
            .map(|word| scope.expand_text(&word.text, word))
            .collect::<Result<Vec<_>>>()?;
        let exclude = Ignore::patterns(patterns.iter().map(String::as_str))?;
        let source = match &copy.from {
            None => Source::Folder(self.context),
            Some(from) => match origin_of(self.file, self.request, from, place.stage)? {
                Origin::Scratch => Source::Layers(Vec::new(), "scratch, which is empty".into()),
                Origin::Stage(stage) => Source::Layers(
                    self.finished(stage)?.layers.clone(),
                    format!("the stage {}", from.text),
                ),
                Origin::Folder(name) => Source::Folder(&self.folders[&name]),
                Origin::Image(name) => {
                    let platform = self.plans.stages[place.stage].platform.clone();
                    let image = self
                        .image(&name, &platform)
                        .map_err(|error| error.at(place.source.location(from.range.clone())))?;
                    Source::Layers(layers_of(&image)?, format!("the image {name}"))
                }
            },
        };
        let texts: Vec<&str> = sources.iter().map(|(text, _)| text.as_str()).collect();
        let unpack = copy.unpack.unwrap_or(copy.add);
        let unpack_fetched = copy.unpack == Some(true);
        let content = self.content_of(&source, &sources, &inline, &exclude, copy.parents, place)?;

        let keyword = if copy.add { "ADD" } else { "COPY" };
        let mut key = key("copy", &state.layers);
        key.field(content.as_bytes()).field(dest.as_bytes());
        for remote in &remotes {
            match remote {
                Remote::File(file) => key.list([
                    file.digest.hex(),
                    file.name.clone(),
                    file.changed.to_string(),
                ]),
                Remote::Git(address, commit) => key
                    .list([
                        commit.as_str(),
                        address.folder.as_deref().unwrap_or_default(),
                    ])
                    .field(&[
                        u8::from(keeps_git_dir(copy, address)),
                        u8::from(address.submodules != Some(false)),
                    ]),
            };
        }
        for option in [chown.as_deref(), chmod_text.as_deref()] {
            key.list(option);
        }
        key.field(&[
            u8::from(copy.parents),
            u8::from(unpack),
            u8::from(unpack_fetched),
        ])
        .list(&patterns)
        .field(self.epoch_field().as_bytes());
        // Names matter only where they are kept, but a digest of contents alone could not tell two files apart.
        let created_by = format!(
            "{keyword} {} {written}",
            match (texts.is_empty(), addresses.is_empty()) {
                (true, true) => "<<heredoc".into(),
                (true, false) => addresses
                    .iter()
                    .map(|(_, word)| word.text.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
                _ => texts.join(" "),
            }
        );
        self.layer_step(
            state,
            &key.key(),
            instruction,
            place,
            created_by,
            |build, state| {
                let owner =
                    match &chown {
                        None => None,
                        Some(text) => {
                            let word = copy.chown.as_ref().expect("the text came from the flag");
                            let rootfs = if text.chars().all(|c| c.is_ascii_digit() || c == ':') {
                                crate::tree::Rootfs::default()
                            } else {
                                build.rootfs(&state.layers)?
                            };
                            Some(users::owner(&rootfs, text).map_err(|error| {
                                error.at(place.source.location(word.range.clone()))
                            })?)
                        }
                    };
                let options = Options {
                    dest: dest.clone(),
                    owner,
                    chmod: chmod.clone(),
                    parents: copy.parents,
                    exclude: exclude.clone(),
                    unpack,
                    unpack_fetched,
                    epoch: build.epoch,
                };
                let tree: Box<dyn Tree + '_> = match &source {
                    Source::Folder(context) => Box::new(*context),
                    Source::Layers(layers, _) => Box::new(build.rootfs(layers)?),
                };
                let mut selected = select_all(
                    &*tree,
                    &sources,
                    copy.parents,
                    &|text, error| build.explained(&source, &*tree, text, error),
                    place,
                )?;
                selected.extend(inline);
                let mut checkouts = Vec::new();
                for (remote, (_, word)) in remotes.iter().zip(&addresses) {
                    match remote {
                        Remote::File(file) => {
                            if file.name.is_empty() && dest.ends_with('/') {
                                return Err(refused(
                                    word,
                                    format!("the address {} names no file", word.text),
                                )
                                .with_hint(
                                    "give the destination a name, without a slash at its end",
                                ));
                            }
                            selected.push(Selected::of_file(file));
                        }
                        Remote::Git(address, commit) => checkouts.push(
                            build
                                .fetcher()
                                .checkout(address, commit, keeps_git_dir(copy, address))
                                .map_err(|error| {
                                    error.at(place.source.location(word.range.clone()))
                                })?,
                        ),
                    }
                }
                let listing = build.listing(state)?;
                // BuildKit would write the next file over it, which nobody means. A folder that comes first makes one of the destination.
                let begins_with_file = selected.first().is_some_and(|first| !first.is_folder());
                if several && begins_with_file && !copy::is_folder(&*listing, &dest)? {
                    return Err(refused(
                        &copy.dest,
                        format!("{written} is no folder, and there are several sources"),
                    )
                    .with_hint(format!("write {written}/ to make it a folder")));
                }
                let mut groups = vec![(&*tree, selected)];
                for checkout in &checkouts {
                    groups.push((checkout as &dyn Tree, select::select(checkout, "/")?));
                }
                let plan = copy::plan(
                    &groups,
                    &*listing,
                    &options,
                    &build.workspace.cache("spool"),
                )?;
                if plan.entries.is_empty() {
                    return Ok(None);
                }
                let stored = layer::store_layer(
                    &build.workspace.store,
                    build.form(place.stage),
                    &plan.entries,
                )?;
                remember(state, plan.entries);
                Ok(Some(stored))
            },
        )
    }

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher {
            workspace: self.workspace,
            report: self.report,
            runtime: &self.runtime,
        }
    }

    /// Finds out what addresses mean now: files are fetched, of repositories only the commit is asked for.
    fn remotes(
        &self,
        addresses: &[(remote::Remote, &Spanned)],
        copy: &Copy,
        checksum: Option<&str>,
        place: Place<'_>,
    ) -> Result<Vec<Remote>> {
        let refused = |message: String| {
            let range = copy
                .checksum
                .as_ref()
                .map_or(0..0, |word| word.range.clone());
            BuildError::new(BuildErrorKind::Dockerfile, message).at(place.source.location(range))
        };
        if checksum.is_some() && addresses.is_empty() {
            return Err(refused(
                "--checksum is for an address, and the source is a file of the context".into(),
            ));
        }
        let fetcher = self.fetcher();
        let mut remotes = Vec::new();
        for (address, word) in addresses {
            let at = |error: BuildError| error.at(place.source.location(word.range.clone()));
            remotes.push(match address {
                remote::Remote::Http(url) => {
                    let wanted = checksum
                        .map(|text| {
                            text.parse::<Digest>().map_err(|error| {
                                refused(format!("'{text}' is no checksum"))
                                    .caused_by(error)
                                    .with_hint("write --checksum=sha256: and 64 hexadecimal digits")
                            })
                        })
                        .transpose()?;
                    Remote::File(fetcher.file(url, wanted.as_ref()).map_err(at)?)
                }
                remote::Remote::Git(address) => {
                    let commit = fetcher.commit(address, checksum).map_err(at)?;
                    Remote::Git(address.clone(), commit)
                }
            });
        }
        Ok(remotes)
    }

    /// The digest of what a copy reads. For stages and images it is kept, so that nothing is unpacked when nothing changed.
    fn content_of(
        &self,
        source: &Source<'_>,
        sources: &[(String, &Spanned)],
        inline: &[Selected],
        exclude: &Ignore,
        parents: bool,
        place: Place<'_>,
    ) -> Result<Digest> {
        let mut total = crate::cache::KeyBuilder::new("selection");
        total.field(select::digest(self.context, inline, exclude)?.as_bytes());
        match source {
            Source::Folder(context) => {
                let explained = |text: &str, error| self.explained(source, context, text, error);
                let selected = select_all(*context, sources, parents, &explained, place)?;
                if selected.is_empty() && inline.is_empty() && !sources.is_empty() {
                    let texts: Vec<_> = sources.iter().map(|(text, _)| text.as_str()).collect();
                    let location = sources
                        .first()
                        .map(|(_, word)| place.source.location(word.range.clone()));
                    self.report.warn(
                        format!("nothing in the context matches {}", texts.join(" ")),
                        location,
                    );
                }
                total.field(select::digest(*context, &selected, exclude)?.as_bytes());
            }
            Source::Layers(layers, _) => {
                let mut memo = crate::cache::KeyBuilder::new("files of layers");
                memo.field(Self::content_key(layers).as_bytes())
                    .list(sources.iter().map(|(text, _)| text))
                    .field(&[u8::from(parents)]);
                memo.field(exclude.text().as_bytes());
                let memo = memo.key();
                let known = self
                    .selections
                    .get::<Digest>(&memo)
                    .or_else(|| self.remote.selection(&memo));
                let digest = match known {
                    Some(digest) => digest,
                    None => {
                        let tree = self.rootfs(layers)?;
                        let digest = select::digest(
                            &tree,
                            &select_all(
                                &tree,
                                sources,
                                parents,
                                &|text, error| self.explained(source, &tree, text, error),
                                place,
                            )?,
                            exclude,
                        )?;
                        self.selections.put(&memo, &digest)?;
                        digest
                    }
                };
                self.remote.note_selection(&memo, &digest);
                total.field(digest.as_bytes());
            }
        }
        Ok(total.key())
    }

    /// Explains why a file is not there.
    fn explained(
        &self,
        source: &Source<'_>,
        tree: &dyn Tree,
        text: &str,
        error: BuildError,
    ) -> BuildError {
        match source {
            Source::Folder(_) => self.explain_missing(text, error),
            Source::Layers(_, whose) => missing_in(tree, text, whose),
        }
    }

    /// Explains why a file of the context is not there.
    fn explain_missing(&self, source: &str, error: BuildError) -> BuildError {
        let path = tree::relative(source);
        let shown = path.display().to_string();
        if let Some((file, line, rule)) = self.context.ignore.hides(&shown)
            && std::fs::symlink_metadata(self.context.root.join(&path)).is_ok()
        {
            let file = file.map_or_else(
                || ".dockerignore".into(),
                |file| config::shown(file).display().to_string(),
            );
            return BuildError::new(
                BuildErrorKind::Context,
                format!("{source} is hidden from the build by {file}:{line} ({rule})"),
            )
            .with_hint(format!(
                "take the rule away, or add the exception !{shown} below it"
            ));
        }
        if source.split('/').any(|part| part == "..") {
            return error.with_hint(format!(
                "the context is {}, and nothing above it can be copied",
                self.context.root.display()
            ));
        }
        if let Ok(target) = std::fs::read_link(self.context.root.join(&path)) {
            return error.with_hint(format!(
                "it is a link to {}, which is not in the context",
                target.display()
            ));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let names = self.context.list(folder).unwrap_or_default();
        let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
        let wanted = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match crate::error::did_you_mean(wanted, names) {
            Some(near) => error.with_hint(format!("did you mean {}?", folder.join(near).display())),
            None => error.with_hint(format!(
                "the path is relative to the context {}",
                self.context.root.display()
            )),
        }
    }
}

/// Whether the copy of a repository keeps its `.git`.
fn keeps_git_dir(copy: &Copy, address: &GitAddress) -> bool {
    copy.keep_git_dir.or(address.keep_git_dir).unwrap_or(false)
}

/// Says what there is instead of a file that a stage or an image lacks.
fn missing_in(tree: &dyn Tree, text: &str, whose: &str) -> BuildError {
    let error = BuildError::new(
        BuildErrorKind::Context,
        format!("{text} does not exist in {whose}"),
    );
    let path = tree::relative(text);
    // The nearest folder above it that is there.
    let there = path.ancestors().skip(1).find_map(|folder| {
        let names = tree.list(folder).ok().filter(|names| !names.is_empty())?;
        Some((folder, names))
    });
    let Some((folder, names)) = there else {
        return error;
    };
    let wanted = path
        .strip_prefix(folder)
        .ok()
        .and_then(|rest| rest.iter().next());
    let wanted = wanted.and_then(|name| name.to_str()).unwrap_or_default();
    let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
    if let Some(near) = crate::error::did_you_mean(wanted, names.iter().copied()) {
        return error.with_hint(format!("did you mean /{}?", folder.join(near).display()));
    }
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown: Vec<&str> = names.into_iter().take(LISTED).collect();
    error.with_hint(format!(
        "/{} there has {}{more}",
        folder.display(),
        shown.join(", ")
    ))
}

fn select_all(
    tree: &dyn Tree,
    sources: &[(String, &Spanned)],
    parents: bool,
    explained: &dyn Fn(&str, BuildError) -> BuildError,
    place: Place<'_>,
) -> Result<Vec<Selected>> {
    let mut all = Vec::new();
    for (text, word) in sources {
        let found = select::select_with(tree, text, parents).map_err(|error| {
            let missing = error.kind() == BuildErrorKind::Context && Pattern::is_literal(text);
            let error = match missing {
                true => explained(text, error),
                false => error,
            };
            error.at(place.source.location(word.range.clone()))
        })?;
        all.extend(found);
    }
    Ok(all)
}
