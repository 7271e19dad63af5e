//! Objects that come in parts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ETAG, HeaderValue};
use http::{Response, StatusCode};
use quick_xml::events::Event;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::answer::{Refusal, element, empty, xml};
use super::objects::{Object, Objects};
use crate::clock::{self, Millis};
use crate::ctx::Ctx;
use crate::ids;
use crate::settings::write_whole;

/// The smallest part but for the last (S3 user guide, "Amazon S3 multipart upload limits").
const LEAST: u64 = 5 << 20;
/// The last number of a part.
const MOST: u32 = 10_000;

/// An object whose parts come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub bucket: String,
    pub key: String,
    content_type: String,
    headers: Vec<(String, String)>,
    begun: Millis,
    parts: BTreeMap<u32, Part>,
}

/// A part that is there; its bytes lie in a file that is named after its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    digest: String,
    size: u64,
    modified: Millis,
}

impl Part {
    fn tag(&self) -> &str {
        &self.digest[..32]
    }
}

impl Objects {
    /// Where the parts of an upload lie.
    fn parts(&self, id: &str) -> PathBuf {
        self.folder.join("parts").join(id)
    }
}

fn invalid(code: &str, text: &str) -> Refusal {
    Refusal::new(400, code, text)
}

/// The upload of that id, which must be one of that object.
pub fn find(ctx: &Ctx, bucket: &str, key: &str, id: &str) -> Result<Upload, Refusal> {
    ctx.objects.bucket(bucket)?;
    let found = ctx.objects.uploads.get("", id)?;
    found
        .filter(|it| it.bucket == bucket && it.key == key)
        .ok_or_else(|| {
            Refusal::new(
                404,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
            )
        })
}

pub fn begin(
    ctx: &Ctx,
    bucket: &str,
    key: &str,
    content_type: &str,
    headers: Vec<(String, String)>,
) -> Result<Response<Body>, Refusal> {
    ctx.objects.bucket(bucket)?;
    let id = ids::hex(64);
    let upload = Upload {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        content_type: content_type.to_owned(),
        headers,
        begun: clock::now(),
        parts: BTreeMap::new(),
    };
    std::fs::create_dir_all(ctx.objects.parts(&id))?;
    ctx.objects.uploads.put("", &id, &upload)?;
    let inner = [
        element("Bucket", bucket),
        element("Key", key),
        element("UploadId", &id),
    ];
    Ok(xml(
        StatusCode::OK,
        "InitiateMultipartUploadResult",
        &inner.concat(),
    ))
}

pub fn put(
    ctx: &Ctx,
    id: &str,
    upload: Upload,
    number: &str,
    body: &Bytes,
) -> Result<Response<Body>, Refusal> {
    // Parts come at the same time, and each is noted in the one record.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let number: u32 = number
        .parse()
        .ok()
        .filter(|it| (1..=MOST).contains(it))
        .ok_or_else(|| {
            let text = "Part number must be an integer between 1 and 10000, inclusive";
            invalid("InvalidArgument", text)
        })?;
    let part = Part {
        digest: hex::encode(Sha256::digest(body)),
        size: body.len() as u64,
        modified: clock::now(),
    };
    write_whole(&ctx.objects.parts(id).join(number.to_string()), body)?;
    let mut response = empty(StatusCode::OK);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", part.tag())) {
        response.headers_mut().insert(ETAG, tag);
    }
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut newest = find(ctx, &upload.bucket, &upload.key, id)?;
    newest.parts.insert(number, part);
    ctx.objects.uploads.put("", id, &newest)?;
    Ok(response)
}

pub fn complete(
    ctx: &Ctx,
    id: &str,
    upload: Upload,
    body: &Bytes,
) -> Result<Response<Body>, Refusal> {
    let wanted = named(body).filter(|all| !all.is_empty()).ok_or_else(|| {
        let text = "The XML you provided was not well-formed or did not validate against our published schema";
        invalid("MalformedXML", text)
    })?;
    if wanted.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        let text = "The list of parts was not in ascending order. The parts list must be specified in order by part number.";
        return Err(invalid("InvalidPartOrder", text));
    }
    let mut size = 0;
    for (at, (number, tag)) in wanted.iter().enumerate() {
        let part = upload.parts.get(number).filter(|it| it.tag() == tag);
        let Some(part) = part else {
            let text = "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified \
                        entity tag may not match the part's entity tag.";
            return Err(invalid("InvalidPart", text));
        };
        if part.size < LEAST && at + 1 < wanted.len() {
            let text = "Your proposed upload is smaller than the minimum allowed size";
            return Err(invalid("EntityTooSmall", text));
        }
        size += part.size;
    }
    let object = Object {
        digest: join(&ctx.objects, id, &wanted)?,
        size,
        content_type: upload.content_type.clone(),
        modified: clock::now(),
        headers: upload.headers.clone(),
        parts: wanted.len(),
    };
    let object = ctx.objects.keep(&upload.bucket, &upload.key, object)?;
    forget(ctx, id)?;
    let inner = [
        element(
            "Location",
            &format!("http://{}/{}/{}", ctx.host, upload.bucket, upload.key),
        ),
        element("Bucket", &upload.bucket),
        element("Key", &upload.key),
        element("ETag", &format!("\"{}\"", object.tag())),
    ];
    Ok(xml(
        StatusCode::OK,
        "CompleteMultipartUploadResult",
        &inner.concat(),
    ))
}

/// Puts the parts together into a file that is named after its digest, which it returns.
fn join(objects: &Objects, id: &str, wanted: &[(u32, String)]) -> Result<String, Refusal> {
    let mut whole = tempfile::NamedTempFile::new_in(&objects.folder)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for (number, _) in wanted {
        let mut part = File::open(objects.parts(id).join(number.to_string()))?;
        loop {
            let read = part.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
            whole.write_all(&buffer[..read])?;
        }
    }
    whole.as_file().sync_all()?;
    let digest = hex::encode(digest.finalize());
    whole
        .persist(objects.folder.join(&digest))
        .map_err(|error| error.error)?;
    Ok(digest)
}

/// The parts that CompleteMultipartUpload names: number and entity tag.
fn named(body: &[u8]) -> Option<Vec<(u32, String)>> {
    let mut reader = quick_xml::Reader::from_str(std::str::from_utf8(body).ok()?);
    let (mut found, mut number, mut tag) = (Vec::new(), None, None);
    let mut within = String::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                element.local_name().as_ref().clone_into(&mut within);
            }
            Event::Text(text) => {
                let text = text.trim();
                match within.as_str() {
                    "PartNumber" => number = text.parse().ok(),
                    "ETag" => tag.get_or_insert_with(String::new).push_str(text),
                    _ => {}
                }
            }
            // A quotation mark that is written as an entity stands by itself, and is left out.
            Event::End(element) => {
                within.clear();
                if element.local_name().as_ref() == "Part" {
                    let tag: String = tag.take()?;
                    found.push((number.take()?, tag.trim_matches('"').to_owned()));
                }
            }
            Event::Eof => return Some(found),
            _ => {}
        }
    }
}

pub fn abort(ctx: &Ctx, id: &str) -> Result<Response<Body>, Refusal> {
    forget(ctx, id)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn forget(ctx: &Ctx, id: &str) -> Result<(), Refusal> {
    ctx.objects.uploads.delete("", id)?;
    match std::fs::remove_dir_all(ctx.objects.parts(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub fn list(id: &str, upload: &Upload) -> Response<Body> {
    let parts: String = upload
        .parts
        .iter()
        .map(|(number, part)| {
            let inner = [
                element("PartNumber", &number.to_string()),
                element("LastModified", &clock::iso8601(part.modified)),
                element("ETag", &format!("\"{}\"", part.tag())),
                element("Size", &part.size.to_string()),
            ];
            format!("<Part>{}</Part>", inner.concat())
        })
        .collect();
    let inner = [
        element("Bucket", &upload.bucket),
        element("Key", &upload.key),
        element("UploadId", id),
        element("StorageClass", "STANDARD"),
        element("IsTruncated", "false"),
        parts,
    ];
    xml(StatusCode::OK, "ListPartsResult", &inner.concat())
}

pub fn uploads(ctx: &Ctx, bucket: &str) -> Result<Response<Body>, Refusal> {
    ctx.objects.bucket(bucket)?;
    let mut all = ctx.objects.uploads.list("")?;
    all.retain(|(_, it)| it.bucket == bucket);
    all.sort_by(|(_, a), (_, b)| (&a.key, a.begun).cmp(&(&b.key, b.begun)));
    let shown: String = all
        .iter()
        .map(|(id, it)| {
            let inner = [
                element("Key", &it.key),
                element("UploadId", id),
                element("StorageClass", "STANDARD"),
                element("Initiated", &clock::iso8601(it.begun)),
            ];
            format!("<Upload>{}</Upload>", inner.concat())
        })
        .collect();
    let inner = [
        element("Bucket", bucket),
        element("IsTruncated", "false"),
        shown,
    ];
    Ok(xml(
        StatusCode::OK,
        "ListMultipartUploadsResult",
        &inner.concat(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_named_with_and_without_quotation_marks() {
        let body = b"<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><ETag>\"ab\"</ETag>\
                     <PartNumber>1</PartNumber></Part><Part><PartNumber>2</PartNumber><ETag>&quot;cd&quot;</ETag></Part>\
                     </CompleteMultipartUpload>";
        let expected = [(1, "ab".to_owned()), (2, "cd".to_owned())];
        assert_eq!(named(body), Some(expected.to_vec()));
        assert_eq!(
            named(b"<CompleteMultipartUpload><Part></Part></CompleteMultipartUpload>"),
            None
        );
        assert_eq!(named(b""), Some(Vec::new()));
    }
}
