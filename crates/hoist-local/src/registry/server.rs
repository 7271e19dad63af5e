//! The distribution API on `/v2/`
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>), with ECR's manners: a repository must have
//! been created, and every request is signed in with `AWS` and a token.

use std::io::{Seek as _, SeekFrom};

use axum::body::Body;
use hoist_oci::Digest;
use hoist_oci::spec::Index;
use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE,
};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::answers::{
    DIGEST, built, byte_range, created, empty, json_answer, linked, not_signed_in, spec_error,
    upload_answer,
};
use super::catalogue::Registry;
use super::place::Place;
use super::refusal::Refusal;
use super::token::SignedIn;
use super::unread::ReadOn;
use super::uploads::Taken;
use crate::clock;

/// The most bytes that ECR takes as a manifest (service quotas: 4 MiB).
const MANIFEST_LIMIT: usize = 4 << 20;

/// One request of someone who is signed in.
struct Asked<'a> {
    registry: &'a Registry,
    region: String,
    parts: &'a Parts,
    query: Vec<(String, String)>,
}

/// Answers one request to `/v2/`.
pub async fn serve(registry: &Registry, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = ReadOn::wrap(body);
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let query: Vec<(String, String)> = query.into_owned().collect();
    let header = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let signed_in = match (header, query.iter().find(|(key, _)| key == "token")) {
        // A download URL of the ECR API carries its token, and is good for nothing but reading blobs.
        (None, Some((_, token)))
            if parts.method == Method::GET && parts.uri.path().contains("/blobs/sha256:") =>
        {
            registry.holds(token, clock::now())
        }
        _ => registry.signed_in(header, clock::now()),
    };
    let region = match signed_in {
        SignedIn::To(region) => region,
        SignedIn::Expired => {
            let message = "Your authorization token has expired. Reauthenticate and try again.";
            return spec_error(403, "DENIED", message, &Value::Null);
        }
        SignedIn::No => return not_signed_in(registry),
    };
    let asked = Asked {
        registry,
        region,
        query,
        parts: &parts,
    };
    match asked.answer(body).await {
        Ok(response) => response,
        Err(refusal) => {
            let (code, status) = refusal.distribution();
            if status >= 500 {
                tracing::error!(
                    error = &refusal as &dyn std::error::Error,
                    "the registry failed"
                );
            }
            let detail = match &refusal {
                Refusal::LayersMissing { missing, .. } | Refusal::ImagesMissing { missing, .. } => {
                    json!(missing)
                }
                _ => Value::Null,
            };
            spec_error(status, code, &refusal.to_string(), &detail)
        }
    }
}

impl Asked<'_> {
    async fn answer(&self, body: Body) -> Result<Response<Body>, Refusal> {
        let path = self.parts.uri.path();
        let reading = matches!(self.parts.method, Method::GET | Method::HEAD);
        match (
            &self.parts.method,
            Place::of(path).ok_or(Refusal::Unsupported)?,
        ) {
            (_, Place::Base) if reading => Ok(json_answer(&json!({}))),
            (_, Place::Catalog) if reading => self.catalog(),
            (_, Place::Tags(name)) if reading => self.tags(name),
            (_, Place::Referrers(name, digest)) if reading => self.referrers(name, digest),
            (_, Place::Manifest(name, reference)) if reading => {
                self.manifest(name, reference).await
            }
            (&Method::PUT, Place::Manifest(name, reference)) => {
                self.put_manifest(name, reference, body).await
            }
            (&Method::DELETE, Place::Manifest(name, reference)) => {
                self.delete_manifest(name, reference)
            }
            (_, Place::Blob(name, digest)) if reading => self.blob(name, digest).await,
            (&Method::DELETE, Place::Blob(name, digest)) => self.delete_blob(name, digest),
            (&Method::POST, Place::Uploads(name)) => self.begin(name, body).await,
            (_, Place::Upload(name, id)) if reading => {
                let size = self.registry.take_upload(&self.region, name, id)?.size();
                Ok(upload_answer(204, name, id, size))
            }
            (&Method::PATCH, Place::Upload(name, id)) => self.append(name, id, body).await,
            (&Method::PUT, Place::Upload(name, id)) => self.finish(name, id, body).await,
            (&Method::DELETE, Place::Upload(name, id)) => {
                self.registry.take_upload(&self.region, name, id)?.cancel();
                Ok(empty(204))
            }
            _ => Err(Refusal::Unsupported),
        }
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    fn catalog(&self) -> Result<Response<Body>, Refusal> {
        let names = self
            .registry
            .repositories(&self.region)?
            .into_iter()
            .map(|repository| repository.name);
        let (page, link) = self.page(names.collect());
        Ok(linked(json_answer(&json!({"repositories": page})), link))
    }

    fn tags(&self, name: &str) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let tags = self
            .registry
            .tags(&self.region, name)?
            .into_iter()
            .map(|(tag, _)| tag);
        let (page, link) = self.page(tags.collect());
        Ok(linked(
            json_answer(&json!({"name": name, "tags": page})),
            link,
        ))
    }

    /// The part of a list that `n` and `last` ask for, and where the next part is.
    fn page(&self, mut all: Vec<String>) -> (Vec<String>, Option<String>) {
        all.sort();
        if let Some(last) = self.query("last") {
            all.retain(|name| name.as_str() > last);
        }
        let limit = self
            .query("n")
            .and_then(|n| n.parse::<usize>().ok())
            .unwrap_or(1000)
            .min(1000);
        if all.len() <= limit {
            return (all, None);
        }
        all.truncate(limit);
        let link = all.last().map(|last| {
            let last: String = form_urlencoded::byte_serialize(last.as_bytes()).collect();
            format!(
                "<{}?n={limit}&last={last}>; rel=\"next\"",
                self.parts.uri.path()
            )
        });
        (all, link)
    }

    fn referrers(&self, name: &str, digest: &str) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let subject = parse_digest(name, digest)?;
        let wanted = self.query("artifactType");
        let mut index = Index::new(Vec::new());
        for image in self.registry.images(&self.region, name)? {
            let kind_fits = wanted.is_none() || wanted == image.artifact_type.as_deref();
            if image.subject == Some(subject) && kind_fits {
                let mut descriptor = image.descriptor();
                let manifest: Value = self.registry.store().read_json(&image.digest)?;
                descriptor.annotations =
                    serde_json::from_value(manifest["annotations"].clone()).unwrap_or_default();
                if let Some(kind) = &image.artifact_type {
                    descriptor
                        .extra
                        .insert("artifactType".to_owned(), kind.clone().into());
                }
                index.manifests.push(descriptor);
            }
        }
        let body = serde_json::to_string(&index).unwrap_or_default();
        let answer = Response::builder().header(CONTENT_TYPE, hoist_oci::spec::media_type::INDEX);
        let answer = if wanted.is_some() {
            answer.header("oci-filters-applied", "artifactType")
        } else {
            answer
        };
        Ok(built(answer, Body::from(body)))
    }

    async fn manifest(&self, name: &str, reference: &str) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let digest = reference.parse::<Digest>().ok();
        let tag = if digest.is_none() {
            Some(reference)
        } else {
            None
        };
        let image = self
            .registry
            .find(&self.region, name, digest.as_ref(), tag)?;
        let answer = Response::builder()
            .header(CONTENT_TYPE, &image.media_type)
            .header(CONTENT_LENGTH, image.manifest_size)
            .header(DIGEST, image.digest.to_string());
        if self.parts.method == Method::HEAD {
            return Ok(built(answer, Body::empty()));
        }
        let store = self.registry.store().clone();
        let content = blocking(move || store.read(&image.digest)).await?;
        Ok(built(answer, Body::from(content)))
    }

    async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let content = match Limited::new(body, MANIFEST_LIMIT).collect().await {
            Ok(content) => content.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Refusal::BadManifest(format!(
                    "it has more than {MANIFEST_LIMIT} bytes"
                )));
            }
            Err(_) => return Err(Refusal::Interrupted),
        };
        let kind = self
            .header(CONTENT_TYPE)
            .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned());
        let (tag, expected) = if reference.contains(':') {
            (None, Some(reference))
        } else {
            (Some(reference), None)
        };
        let outcome = {
            let (registry, region, name) =
                (self.registry.clone(), self.region.clone(), name.to_owned());
            let (tag, expected) = (tag.map(str::to_owned), expected.map(str::to_owned));
            blocking(move || {
                registry.put_manifest(
                    &region,
                    &name,
                    &content,
                    kind.as_deref(),
                    tag.as_deref(),
                    expected.as_deref(),
                )
            })
            .await?
        };
        let digest = outcome.image.digest;
        let answer = Response::builder()
            .status(201)
            .header(LOCATION, format!("/v2/{name}/manifests/{digest}"))
            .header(DIGEST, digest.to_string());
        let answer = match outcome.image.subject {
            Some(subject) => answer.header("oci-subject", subject.to_string()),
            None => answer,
        };
        Ok(built(answer, Body::empty()))
    }

    fn delete_manifest(&self, name: &str, reference: &str) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let digest = reference.parse::<Digest>().ok();
        let tag = if digest.is_none() {
            Some(reference)
        } else {
            None
        };
        self.registry
            .delete_image(&self.region, name, digest.as_ref(), tag)?;
        Ok(empty(202))
    }

    async fn blob(&self, name: &str, digest: &str) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let digest = parse_digest(name, digest)?;
        let Some(blob) = self.registry.blob(&self.region, name, &digest)? else {
            return Err(Refusal::NoBlob {
                repository: name.to_owned(),
                digest: digest.to_string(),
            });
        };
        let answer = Response::builder()
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(ACCEPT_RANGES, "bytes")
            .header(DIGEST, digest.to_string());
        if self.parts.method == Method::HEAD {
            return Ok(built(
                answer.header(CONTENT_LENGTH, blob.size),
                Body::empty(),
            ));
        }
        let range = match self.header(RANGE).map(|range| byte_range(range, blob.size)) {
            Some(Ok(range)) => Some(range),
            Some(Err(())) => {
                let answer = Response::builder()
                    .status(416)
                    .header(CONTENT_RANGE, format!("bytes */{}", blob.size));
                return Ok(built(answer, Body::empty()));
            }
            None => None,
        };
        let (start, end) = range.unwrap_or((0, blob.size));
        let store = self.registry.store().clone();
        let file = blocking(move || {
            let mut file = store.open_blob(&digest)?;
            file.seek(SeekFrom::Start(start))
                .map_err(|source| hoist_oci::StoreError::Io {
                    doing: "read",
                    path: store.blob_path(&digest),
                    source,
                })?;
            Ok::<_, hoist_oci::StoreError>(file)
        })
        .await?;
        let content = ReaderStream::with_capacity(
            tokio::fs::File::from_std(file).take(end - start),
            256 * 1024,
        );
        let answer = answer.header(CONTENT_LENGTH, end - start);
        let answer = match range {
            Some(_) => answer.status(206).header(
                CONTENT_RANGE,
                format!("bytes {start}-{}/{}", end - 1, blob.size),
            ),
            None => answer,
        };
        Ok(built(answer, Body::from_stream(content)))
    }

    fn delete_blob(&self, name: &str, digest: &str) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        let digest = parse_digest(name, digest)?;
        // What an image refers to stays.
        let images = self.registry.images(&self.region, name)?;
        if images.iter().any(|image| image.refers_to.contains(&digest)) {
            return Err(Refusal::Unsupported);
        }
        if !self.registry.unlink(&self.region, name, &digest)? {
            return Err(Refusal::NoBlob {
                repository: name.to_owned(),
                digest: digest.to_string(),
            });
        }
        Ok(empty(202))
    }

    async fn begin(&self, name: &str, body: Body) -> Result<Response<Body>, Refusal> {
        self.registry.repository(&self.region, name)?;
        if let (Some(digest), Some(from)) = (self.query("mount"), self.query("from")) {
            let digest = parse_digest(name, digest)?;
            if self.registry.mount(&self.region, name, from, &digest)? {
                return Ok(created(name, &digest));
            }
        }
        let id = self.registry.begin_upload(&self.region, name)?;
        match self.query("digest") {
            // All in one request.
            Some(_) => self.finish(name, &id, body).await,
            None => Ok(upload_answer(202, name, &id, 0)),
        }
    }

    async fn append(&self, name: &str, id: &str, body: Body) -> Result<Response<Body>, Refusal> {
        let mut upload = self.registry.take_upload(&self.region, name, id)?;
        let received = match self.check_start(name, id, &upload) {
            Ok(()) => receive(&mut upload, body).await,
            Err(refusal) => Err(refusal),
        };
        let size = upload.size();
        match received {
            Ok(()) => Ok(upload_answer(202, name, id, size)),
            Err(Refusal::BadPart { .. }) => Ok(upload_answer(416, name, id, size)),
            Err(refusal) => Err(refusal),
        }
    }

    async fn finish(&self, name: &str, id: &str, body: Body) -> Result<Response<Body>, Refusal> {
        let mut upload = self.registry.take_upload(&self.region, name, id)?;
        let received = match self.check_start(name, id, &upload) {
            Ok(()) => receive(&mut upload, body).await,
            Err(refusal) => Err(refusal),
        };
        let Some(digest) = self.query("digest") else {
            return Err(Refusal::WrongDigest {
                expected: String::new(),
                actual: Digest::of(b""),
            });
        };
        received?;
        let (registry, digest) = (self.registry.clone(), digest.to_owned());
        let digest = blocking(move || registry.finish_upload(upload, &digest)).await?;
        Ok(created(name, &digest))
    }

    /// A part that says where it begins must begin where the upload ends.
    fn check_start(&self, name: &str, id: &str, upload: &Taken) -> Result<(), Refusal> {
        let Some(range) = self.header(CONTENT_RANGE) else {
            return Ok(());
        };
        let begins = range
            .trim_start_matches("bytes ")
            .split('-')
            .next()
            .and_then(|start| start.trim().parse().ok());
        match begins {
            Some(begins) if begins == upload.size() => Ok(()),
            begins => Err(Refusal::BadPart {
                repository: name.to_owned(),
                id: id.to_owned(),
                expected: upload.size(),
                begins: begins.unwrap_or(0),
            }),
        }
    }
}

/// Writes a body to an upload as it comes.
async fn receive(upload: &mut Taken, mut body: Body) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(|_| Refusal::Interrupted)?.into_data() {
            upload.append(&piece)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static, E: Into<Refusal> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::Interrupted)?.map_err(Into::into)
}

fn parse_digest(repository: &str, text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|_| Refusal::NoBlob {
        repository: repository.to_owned(),
        digest: text.to_owned(),
    })
}

#[cfg(test)]
mod tests;
