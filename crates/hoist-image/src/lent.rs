//! Base images of this machine, and named layouts, for a BuildKit that does not know them.
//!
//! Each gets a name there that says its digest, so that no name of the user's own moves, and BuildKit gets a Dockerfile in which that name
//! stands in place of ours. A Docker Engine has them loaded, which works with every version; a BuildKit at an address reads them from here.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hoist_oci::Image;

use crate::dockerfile::instruction::Kind;
use crate::dockerfile::lines::SourceText;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::images;
use crate::inputs::Inputs;
use crate::layouts;
use crate::request::BuildRequest;
use crate::stages::{LAYOUT, Origin, origin_of};
use crate::workspace::Workspace;

/// What BuildKit is lent.
#[derive(Default)]
pub(crate) struct Lent {
    /// Images by the names that they get there.
    pub images: BTreeMap<String, Image>,
    /// Places of the Dockerfile, and what is to stand there.
    edits: Vec<(Range<usize>, String)>,
}

/// Finds the images of this machine that needed stages use.
pub(crate) fn lend(workspace: &Workspace, request: &BuildRequest, inputs: &Inputs) -> Result<Lent> {
    let mut lent = Lent::default();
    let file = &inputs.file;
    for (index, plan) in inputs.plans.stages.iter().enumerate() {
        if !plan.needed {
            continue;
        }
        if let Origin::Image(name) = &plan.origin
            && let Some(there) = lent.image(workspace, request, name)?
        {
            lent.edits.push((plan.origin_word.range.clone(), there));
        }
        for instruction in &file.stages[index].instructions {
            let froms: Vec<_> = match &instruction.kind {
                Kind::Copy(copy) => copy.from.iter().collect(),
                Kind::Run(run) => run
                    .mounts
                    .iter()
                    .filter_map(|mount| mount.from.as_ref())
                    .collect(),
                _ => continue,
            };
            for from in froms {
                if let Origin::Image(name) = origin_of(file, request, from, index)?
                    && let Some(there) = lent.image(workspace, request, &name)?
                {
                    // The place is that of the whole flag.
                    let written = file.source.written(from.range.clone());
                    let edited =
                        written.replace(&format!("from={}", from.text), &format!("from={there}"));
                    lent.edits.push((from.range.clone(), edited));
                }
            }
        }
    }
    lent.edits.sort_by_key(|(range, _)| range.start);
    lent.edits.dedup();
    Ok(lent)
}

impl Lent {
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The name that an image of this machine gets there; `None` if it is none of this machine.
    fn image(
        &mut self,
        workspace: &Workspace,
        request: &BuildRequest,
        name: &str,
    ) -> Result<Option<String>> {
        let descriptor = match name.strip_prefix(LAYOUT) {
            Some(key) => layouts::load(workspace, request, key)?,
            None => match images::resolve(workspace, name)? {
                Some(descriptor) => descriptor,
                None => return Ok(None),
            },
        };
        let image = workspace
            .store
            .image(&descriptor, &request.platform)
            .map_err(|error| {
                BuildError::from_source(
                    BuildErrorKind::Image,
                    format!("read the local image {name}"),
                    error,
                )
            })?;
        let there = format!("hoist.local/base:{}", &image.config_digest.hex()[..16]);
        self.images.insert(there.clone(), image);
        Ok(Some(there))
    }

    /// Writes the Dockerfile that BuildKit gets, with its ignore file.
    pub(crate) fn write(
        &self,
        source: &SourceText,
        original: &Path,
        folder: &Path,
    ) -> Result<PathBuf> {
        let mut text = source.text().to_owned();
        for (range, new) in self.edits.iter().rev() {
            text.replace_range(range.clone(), new);
        }
        let path = folder.join("Dockerfile");
        let failed = |error| BuildError::io(format!("write {}", path.display()), error);
        fs::write(&path, text).map_err(failed)?;
        let ignore = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        };
        if ignore(original).exists() {
            fs::copy(ignore(original), ignore(&path)).map_err(failed)?;
        }
        Ok(path)
    }
}
