//! Images for several platforms: one build each, and an index of them.

use hoist_oci::spec::{Descriptor, Index, Platform, media_type};
use hoist_oci::{Compression, Digest, ImageRef};

use crate::cache::KeyBuilder;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::remote_cache;
use crate::request::{BuildRequest, BuiltImage};
use crate::workspace::Workspace;

/// What a request asks for, platform by platform.
pub(crate) fn requests(request: &BuildRequest) -> Vec<BuildRequest> {
    let mut wanted = vec![request.platform.clone()];
    for platform in &request.more_platforms {
        if !wanted.contains(platform) {
            wanted.push(platform.clone());
        }
    }
    let one = |platform| BuildRequest {
        platform,
        more_platforms: Vec::new(),
        // Lazy loading knows no other form.
        compression: match request.soci {
            true => Compression::Gzip,
            false => request.compression,
        },
        ..request.clone()
    };
    wanted.into_iter().map(one).collect()
}

/// The digest of what several builds are made from; of one, it is that one's.
pub(crate) fn digest(inputs: &[Digest]) -> Digest {
    match inputs {
        [one] => *one,
        all => {
            let mut hasher = KeyBuilder::new("platforms");
            hasher.list(all.iter().map(Digest::hex));
            hasher.key()
        }
    }
}

/// One image of several builds.
pub(crate) fn joined(workspace: &Workspace, mut all: Vec<BuiltImage>) -> Result<BuiltImage> {
    if all.len() == 1 {
        return Ok(all.remove(0));
    }
    let failed =
        |error| BuildError::from_source(BuildErrorKind::Io, "store the index of the image", error);
    let index = Index::new(all.iter().map(|built| built.manifest.clone()).collect());
    let json = serde_json::to_vec(&index)
        .map_err(|error| BuildError::io("write the index of the image", error.into()))?;
    workspace.store.put(&json).map_err(failed)?;
    let mut caches: Vec<(ImageRef, Descriptor)> = Vec::new();
    for (place, cache) in all.iter().flat_map(|built| &built.caches) {
        match caches.iter_mut().find(|(known, _)| known == place) {
            Some((_, known)) => *known = remote_cache::joined(workspace, known, cache)?,
            None => caches.push((place.clone(), cache.clone())),
        }
    }
    let inputs: Vec<Digest> = all.iter().map(|built| built.inputs).collect();
    let mut bases: Vec<(String, Digest)> =
        all.iter().flat_map(|built| built.bases.clone()).collect();
    bases.sort();
    bases.dedup();
    let (steps_run, steps_cached) = all.iter().fold((0, 0), |(run, cached), built| {
        (run + built.steps_run, cached + built.steps_cached)
    });
    // What runs here is what can be tested here.
    let host = all
        .iter()
        .position(|built| built.platform.serves(&Platform::host()));
    let shown = all.swap_remove(host.unwrap_or(0));
    Ok(BuiltImage {
        manifest: Descriptor::of(media_type::INDEX, &json),
        inputs: digest(&inputs),
        bases,
        caches,
        steps_run,
        steps_cached,
        ..shown
    })
}
