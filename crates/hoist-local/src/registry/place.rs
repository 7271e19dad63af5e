//! What the paths of the distribution API mean.

/// What a path below `/v2/` means.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    Base,
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Referrers(&'a str, &'a str),
}

impl<'a> Place<'a> {
    /// Reads a path; `None` for what is no path of this API.
    pub fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        if matches!(rest, "" | "/") {
            return Some(Self::Base);
        }
        let rest = rest.strip_prefix('/')?;
        if rest == "_catalog" {
            return Some(Self::Catalog);
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags(name));
        }
        // A repository may be called `blobs/uploads`: the last match counts.
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Some(Self::Uploads(name));
        }
        let (before, last) = rest.rsplit_once('/')?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Some(Self::Upload(name, last));
        }
        if let Some(name) = before.strip_suffix("/manifests") {
            return Some(Self::Manifest(name, last));
        }
        if let Some(name) = before.strip_suffix("/blobs") {
            return Some(Self::Blob(name, last));
        }
        before
            .strip_suffix("/referrers")
            .map(|name| Self::Referrers(name, last))
    }
}
