//! Fetching a file by its address, with the same TLS as registries.

use std::io::Write;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_DISPOSITION, ETAG, IF_NONE_MATCH, LAST_MODIFIED};

use crate::{Digest, Hasher};

/// How often a download is tried.
const ATTEMPTS: u32 = 4;
/// A server that says nothing for so long will not say anything any more.
const SILENCE: Duration = Duration::from_secs(60);

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// The server's name for this version of the file.
    pub etag: Option<String>,
    /// When it changed, as the server says it (RFC 9110, `Last-Modified`).
    pub last_modified: Option<String>,
    /// The name that the server gives to the file.
    pub name: Option<String>,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The address is none.
    #[error("failed to read {url} as an address")]
    Address {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody answered, or the answer broke off.
    #[error("failed to fetch {url}, tried {attempts} times")]
    Unreachable {
        /// The address.
        url: String,
        /// How often it was tried.
        attempts: u32,
        /// The last trouble.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server has something else to say.
    #[error("failed to fetch {url}: the server answers {status}")]
    Answer {
        /// The address.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The content could not be written.
    #[error("failed to write what {url} gave")]
    Write {
        /// The address.
        url: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Fetches `url` and hands what comes to a fresh writer of `open`; `None` if the server says that it still is what `etag` names.
///
/// # Errors
/// See [`DownloadError`]. Passing troubles are tried again, with a new writer.
pub async fn download<W: Write>(
    url: &str,
    etag: Option<&str>,
    mut open: impl FnMut() -> std::io::Result<W>,
) -> Result<Option<(Downloaded, W)>, DownloadError> {
    let mut parsed: reqwest::Url = url.parse().map_err(|source| DownloadError::Address {
        url: url.to_owned(),
        source: Box::new(source),
    })?;
    // A password must not reach a message.
    let (user, password) = (
        parsed.username().to_owned(),
        parsed.password().map(str::to_owned),
    );
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    let shown = parsed.to_string();
    let unreachable = |attempts, source| DownloadError::Unreachable {
        url: shown.clone(),
        attempts,
        source,
    };
    let client = crate::registry::client().map_err(|error| unreachable(0, error.into()))?;
    let mut attempt = 1;
    loop {
        let mut request = client.get(parsed.clone());
        if !user.is_empty() {
            request = request.basic_auth(&user, password.as_ref());
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let trouble = match receive(request, &shown, &mut open).await {
            Ok(done) => return Ok(done),
            Err(Trouble::Passing(trouble)) => trouble,
            Err(Trouble::Lasting(error)) => return Err(error),
        };
        if attempt == ATTEMPTS {
            return Err(unreachable(attempt, trouble));
        }
        tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        attempt += 1;
    }
}

enum Trouble {
    Passing(Box<dyn std::error::Error + Send + Sync>),
    Lasting(DownloadError),
}

async fn receive<W: Write>(
    request: reqwest::RequestBuilder,
    url: &str,
    open: &mut impl FnMut() -> std::io::Result<W>,
) -> Result<Option<(Downloaded, W)>, Trouble> {
    let passing = |error: reqwest::Error| Trouble::Passing(Box::new(error.without_url()));
    let silent = |error| Trouble::Passing(Box::new(error));
    let write = |source| {
        Trouble::Lasting(DownloadError::Write {
            url: url.to_owned(),
            source,
        })
    };
    let mut response = tokio::time::timeout(SILENCE, request.send())
        .await
        .map_err(silent)?
        .map_err(passing)?;
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    if !status.is_success() {
        let error = DownloadError::Answer {
            url: url.to_owned(),
            status: status.as_u16(),
        };
        return Err(
            if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                Trouble::Passing(Box::new(error))
            } else {
                Trouble::Lasting(error)
            },
        );
    }
    let text = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let (etag, last_modified) = (text(ETAG), text(LAST_MODIFIED));
    let name = text(CONTENT_DISPOSITION).and_then(|value| file_name(&value));
    let mut out = open().map_err(write)?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(piece) = tokio::time::timeout(SILENCE, response.chunk())
        .await
        .map_err(silent)?
        .map_err(passing)?
    {
        hasher.update(&piece);
        size += piece.len() as u64;
        out.write_all(&piece).map_err(write)?;
    }
    out.flush().map_err(write)?;
    let downloaded = Downloaded {
        digest: hasher.finish(),
        size,
        etag,
        last_modified,
        name,
    };
    Ok(Some((downloaded, out)))
}

/// The name in a `Content-Disposition` header, without folders.
fn file_name(header: &str) -> Option<String> {
    let (_, value) = header.split(';').find_map(|part| {
        part.trim()
            .split_once('=')
            .filter(|(key, _)| key.trim().eq_ignore_ascii_case("filename"))
    })?;
    let name = value.trim().trim_matches('"');
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_cannot_lead_anywhere() {
        for (header, want) in [
            ("attachment; filename=\"a.tar\"", Some("a.tar")),
            ("attachment; FileName=b", Some("b")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"..\"", None),
            ("inline", None),
        ] {
            assert_eq!(file_name(header).as_deref(), want, "{header}");
        }
    }
}
