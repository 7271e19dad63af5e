use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED, LOCATION, RANGE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::{Refusal, element, empty, refused, xml};
use super::objects::{Bucket, Object};
use super::parts;
use crate::clock;
use crate::ctx::{ACCOUNT, Ctx};
use crate::sigv4::{self, SignatureError};

/// Headers of an object that are given back as they were sent.
const KEPT: [&str; 4] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
];

/// Whether a request is signed for S3.
pub fn answers(parts: &Parts) -> bool {
    sigv4::is_for(parts, "s3")
}

/// Answers one request of the S3 API.
pub fn handle(ctx: &Ctx, parts: &Parts, body: &Bytes) -> Response<Body> {
    let path = percent_decode_str(parts.uri.path())
        .decode_utf8_lossy()
        .into_owned();
    let answered = tokio::task::block_in_place(|| signed(ctx, parts, body, &path));
    let mut response = match answered {
        Ok(response) => response,
        Err(refusal) => {
            tracing::info!(code = refusal.code, path, "S3 refused a request");
            refused(&refusal, &path, parts.method == Method::HEAD)
        }
    };
    if let Ok(id) = HeaderValue::from_str(&crate::ids::upper(16)) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    response
}

fn signed(ctx: &Ctx, parts: &Parts, body: &Bytes, path: &str) -> Result<Response<Body>, Refusal> {
    let signed = sigv4::verify_s3(&ctx.keys, parts, body, ctx.now()).map_err(unsigned)?;
    let streamed = parts
        .headers
        .get("x-amz-content-sha256")
        .is_some_and(|it| it.as_bytes().starts_with(b"STREAMING-"));
    let whole = match streamed {
        true => Bytes::from(unchunked(body).ok_or_else(|| {
            Refusal::new(
                400,
                "IncompleteBody",
                "The request body terminated unexpectedly",
            )
        })?),
        false => body.clone(),
    };
    route(ctx, parts, &whole, path, &signed.region)
}

fn unsigned(error: SignatureError) -> Refusal {
    let code = match &error {
        SignatureError::Missing => "AccessDenied",
        SignatureError::Incomplete(_) => "AuthorizationHeaderMalformed",
        SignatureError::UnknownKey => "InvalidAccessKeyId",
        SignatureError::Expired => "ExpiredToken",
        SignatureError::Mismatch(text)
            if text.contains("SigV4") || text.starts_with("Signature ") =>
        {
            "RequestTimeTooSkewed"
        }
        SignatureError::Mismatch(_) => "SignatureDoesNotMatch",
        SignatureError::State(_) => "InternalError",
    };
    let status = match code {
        "ExpiredToken" | "AuthorizationHeaderMalformed" => 400,
        "InternalError" => 500,
        _ => 403,
    };
    Refusal::new(status, code, error.to_string())
}

/// The bytes of a body in the `aws-chunked` encoding: `SIZE;chunk-signature=...`, and trailers at the end.
fn unchunked(body: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), body);
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn route(
    ctx: &Ctx,
    parts: &Parts,
    body: &Bytes,
    path: &str,
    region: &str,
) -> Result<Response<Body>, Refusal> {
    let (bucket, key) = match path.trim_start_matches('/').split_once('/') {
        Some((bucket, key)) => (bucket, key),
        None => (path.trim_start_matches('/'), ""),
    };
    let query = parts.uri.query().unwrap_or_default();
    let queried = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    let not_here = || {
        let text = "A header or query you provided requests a function that is not implemented.";
        Err(Refusal::new(501, "NotImplemented", text))
    };
    match (&parts.method, bucket.is_empty(), key.is_empty()) {
        (&Method::GET, true, _) => buckets(ctx),
        (&Method::PUT, false, true) if query.is_empty() => create(ctx, bucket, region),
        (&Method::HEAD, false, true) => {
            let found = ctx.objects.bucket(bucket)?;
            let mut response = empty(StatusCode::OK);
            set(
                &mut response,
                HeaderName::from_static("x-amz-bucket-region"),
                &found.region,
            );
            Ok(response)
        }
        (&Method::DELETE, false, true) => remove(ctx, bucket),
        (&Method::GET, false, true) if queried("location").is_some() => {
            let region = ctx.objects.bucket(bucket)?.region;
            let region = if region == "us-east-1" { "" } else { &region };
            let escaped = quick_xml::escape::escape(region).into_owned();
            Ok(xml(StatusCode::OK, "LocationConstraint", &escaped))
        }
        (&Method::GET, false, true) if queried("uploads").is_some() => parts::uploads(ctx, bucket),
        (&Method::GET, false, true) if queried("list-type").as_deref() == Some("2") => {
            list(ctx, bucket, &queried)
        }
        (&Method::PUT, false, false) if parts.headers.contains_key("x-amz-copy-source") => {
            not_here()
        }
        (method, false, false) if queried("uploadId").is_some() => {
            let id = queried("uploadId").unwrap_or_default();
            let upload = parts::find(ctx, bucket, key, &id)?;
            match *method {
                Method::PUT => {
                    let number = queried("partNumber").unwrap_or_default();
                    parts::put(ctx, &id, upload, &number, body)
                }
                Method::POST => parts::complete(ctx, &id, upload, body),
                Method::DELETE => parts::abort(ctx, &id),
                Method::GET => Ok(parts::list(&id, &upload)),
                _ => not_here(),
            }
        }
        (&Method::POST, false, false) if queried("uploads").is_some() => {
            let (kind, kept) = described(parts);
            parts::begin(ctx, bucket, key, kind, kept)
        }
        (&Method::PUT, false, false) => put(ctx, parts, body, bucket, key),
        (&Method::GET, false, false) => get(ctx, parts, bucket, key, true),
        (&Method::HEAD, false, false) => get(ctx, parts, bucket, key, false),
        (&Method::DELETE, false, false) => {
            ctx.objects.delete(bucket, key)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => not_here(),
    }
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn create(ctx: &Ctx, name: &str, region: &str) -> Result<Response<Body>, Refusal> {
    let good = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it))
        && name.starts_with(|it: char| it.is_ascii_alphanumeric())
        && name.ends_with(|it: char| it.is_ascii_alphanumeric());
    if !good {
        let text = "The specified bucket is not valid.";
        return Err(Refusal::new(400, "InvalidBucketName", text));
    }
    // In us-east-1 the owner may make a bucket again; elsewhere not (API reference, CreateBucket).
    if ctx.objects.buckets.get("", name)?.is_some() && region != "us-east-1" {
        let text =
            "Your previous request to create the named bucket succeeded and you already own it.";
        return Err(Refusal::new(409, "BucketAlreadyOwnedByYou", text));
    }
    let bucket = Bucket {
        region: region.to_owned(),
        created: clock::now(),
    };
    ctx.objects.buckets.put("", name, &bucket)?;
    let mut response = empty(StatusCode::OK);
    set(&mut response, LOCATION, &format!("/{name}"));
    Ok(response)
}

fn remove(ctx: &Ctx, name: &str) -> Result<Response<Body>, Refusal> {
    if !ctx.objects.list(name, "")?.is_empty() {
        let text = "The bucket you tried to delete is not empty";
        return Err(Refusal::new(409, "BucketNotEmpty", text));
    }
    ctx.objects.buckets.delete("", name)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn buckets(ctx: &Ctx) -> Result<Response<Body>, Refusal> {
    let shown: String = ctx
        .objects
        .buckets
        .list("")?
        .iter()
        .map(|(name, it)| {
            let parts =
                element("Name", name) + &element("CreationDate", &clock::iso8601(it.created));
            format!("<Bucket>{parts}</Bucket>")
        })
        .collect();
    let owner = format!("<Owner>{}</Owner>", element("ID", ACCOUNT));
    let inner = format!("{owner}<Buckets>{shown}</Buckets>");
    Ok(xml(StatusCode::OK, "ListAllMyBucketsResult", &inner))
}

/// What is said of an object that comes: its type, and the headers that are given back.
fn described(parts: &Parts) -> (&str, Vec<(String, String)>) {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in &parts.headers {
        let wanted = name.as_str().starts_with("x-amz-meta-") || KEPT.contains(&name.as_str());
        if let (true, Ok(value)) = (wanted, value.to_str()) {
            let value = value
                .trim_start_matches("aws-chunked")
                .trim_start_matches(',');
            if !value.is_empty() {
                kept.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
    }
    let kind = header(parts, CONTENT_TYPE.as_str());
    (kind.unwrap_or("binary/octet-stream"), kept)
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|it| it.to_str().ok())
}

fn put(
    ctx: &Ctx,
    parts: &Parts,
    body: &Bytes,
    bucket: &str,
    key: &str,
) -> Result<Response<Body>, Refusal> {
    let (kind, kept) = described(parts);
    let object = ctx.objects.put(bucket, key, kind, kept, body)?;
    let mut response = empty(StatusCode::OK);
    set(&mut response, ETAG, &quoted(&object));
    Ok(response)
}

fn quoted(object: &Object) -> String {
    format!("\"{}\"", object.tag())
}

/// The first and the last byte that a `Range` asks for (RFC 9110, section 14.1.2); one that is none counts as none.
fn range(asked: &str, size: u64) -> Option<Result<(u64, u64), Refusal>> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let wanted = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.saturating_sub(1)),
        (Err(_), Ok(count)) if first.is_empty() => {
            (size.saturating_sub(count), size.saturating_sub(1))
        }
        _ => return None,
    };
    if wanted.0 >= size {
        let text = "The requested range is not satisfiable";
        return Some(Err(Refusal::new(416, "InvalidRange", text)));
    }
    Some(Ok(wanted))
}

fn get(
    ctx: &Ctx,
    parts: &Parts,
    bucket: &str,
    key: &str,
    with_body: bool,
) -> Result<Response<Body>, Refusal> {
    let object: Object = ctx.objects.object(bucket, key)?;
    let names = |list: &str| {
        list.split(',')
            .any(|it| matches!(it.trim(), "*") || it.trim() == quoted(&object))
    };
    if header(parts, "if-match").is_some_and(|list| !names(list)) {
        let text = "At least one of the pre-conditions you specified did not hold";
        return Err(Refusal::new(412, "PreconditionFailed", text));
    }
    let mut response = empty(StatusCode::OK);
    set(&mut response, ETAG, &quoted(&object));
    let modified = clock::http_date(object.modified);
    set(&mut response, LAST_MODIFIED, &modified);
    if header(parts, "if-none-match").is_some_and(names) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    for (name, value) in &object.headers {
        if let Ok(name) = HeaderName::try_from(name) {
            set(&mut response, name, value);
        }
    }
    set(&mut response, CONTENT_TYPE, &object.content_type);
    set(&mut response, ACCEPT_RANGES, "bytes");
    let wanted = header(parts, RANGE.as_str()).and_then(|it| range(it, object.size));
    let bytes = match wanted.transpose()? {
        Some((first, last)) => {
            let shown = format!("bytes {first}-{last}/{}", object.size);
            set(&mut response, CONTENT_RANGE, &shown);
            set(
                &mut response,
                CONTENT_LENGTH,
                &(last + 1 - first).to_string(),
            );
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            with_body.then(|| ctx.objects.slice(&object, first, last))
        }
        None => {
            set(&mut response, CONTENT_LENGTH, &object.size.to_string());
            with_body.then(|| ctx.objects.bytes(&object))
        }
    };
    if let Some(bytes) = bytes.transpose()? {
        *response.body_mut() = Body::from(bytes);
    }
    Ok(response)
}

fn list(
    ctx: &Ctx,
    bucket: &str,
    queried: &impl Fn(&str) -> Option<String>,
) -> Result<Response<Body>, Refusal> {
    let prefix = queried("prefix").unwrap_or_default();
    let delimiter = queried("delimiter").unwrap_or_default();
    let most: usize = queried("max-keys")
        .and_then(|it| it.parse().ok())
        .unwrap_or(1000)
        .min(1000);
    let after = queried("continuation-token")
        .or_else(|| queried("start-after"))
        .unwrap_or_default();
    let (mut shown, mut folders, mut count, mut last) = (String::new(), Vec::new(), 0, None);
    for (key, object) in ctx.objects.list(bucket, &prefix)? {
        if key <= after {
            continue;
        }
        let folder = match delimiter.as_str() {
            "" => None,
            delimiter => key[prefix.len()..]
                .find(delimiter)
                .map(|at| key[..prefix.len() + at + delimiter.len()].to_owned()),
        };
        if folder.as_ref().is_some_and(|it| folders.contains(it)) {
            last = Some(key);
            continue;
        }
        if count == most {
            let token = last.take().unwrap_or_default();
            shown += &element("NextContinuationToken", &token);
            break;
        }
        count += 1;
        match folder {
            Some(folder) => folders.push(folder),
            None => {
                let parts = [
                    element("Key", &key),
                    element("LastModified", &clock::iso8601(object.modified)),
                    element("ETag", &quoted(&object)),
                    element("Size", &object.size.to_string()),
                    element("StorageClass", "STANDARD"),
                ];
                shown += &format!("<Contents>{}</Contents>", parts.concat());
            }
        }
        last = Some(key);
    }
    for folder in &folders {
        shown += &format!(
            "<CommonPrefixes>{}</CommonPrefixes>",
            element("Prefix", folder)
        );
    }
    let more = shown.contains("<NextContinuationToken>");
    let inner = [
        element("Name", bucket),
        element("Prefix", &prefix),
        element("KeyCount", &count.to_string()),
        element("MaxKeys", &most.to_string()),
        element("IsTruncated", &more.to_string()),
        shown,
    ];
    Ok(xml(StatusCode::OK, "ListBucketResult", &inner.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_and_trailers_left_out() {
        let body =
            b"3;chunk-signature=x\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        assert_eq!(unchunked(body).as_deref(), Some(&b"abcde"[..]));
        assert_eq!(unchunked(b"3\r\nab"), None);
        assert_eq!(unchunked(b"z\r\n"), None);
    }

    #[test]
    fn a_range_names_its_first_and_its_last_byte() {
        let read = |asked: &str| range(asked, 10).map(|it| it.map_err(|refusal| refusal.status));
        assert_eq!(read("bytes=0-3"), Some(Ok((0, 3))));
        assert_eq!(read("bytes=4-"), Some(Ok((4, 9))));
        assert_eq!(read("bytes=-3"), Some(Ok((7, 9))));
        assert_eq!(read("bytes=8-99"), Some(Ok((8, 9))));
        assert_eq!(read("bytes=10-"), Some(Err(416)));
        assert_eq!(read("bytes=3-1"), None);
        assert_eq!(read("lines=1-2"), None);
    }
}
