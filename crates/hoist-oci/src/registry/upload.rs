//! Uploading one blob, through whatever happens on the way.
//!
//! A session is opened by POST; the content goes in one PUT, or by PATCH in pieces and an empty PUT. When a connection
//! drops, the registry is asked how far it got (`Range` of the session), and the rest is sent; if it has forgotten the session,
//! a new one begins.

use std::io::SeekFrom;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::push::{Plan, Target};
use super::transport::{Silent, asked, is_passing, lost};
use super::wait::trouble;
use super::{Registry, RegistryError, error};
use crate::spec::Descriptor;
use crate::{Digest, How, ProgressEvent, StoreError};

/// Bytes read from the file at once.
const PIECE: usize = 256 * 1024;

/// An upload that the registry knows.
pub(super) struct Session {
    pub location: Url,
    /// Bytes that the registry has.
    pub offset: u64,
    /// The registry wants pieces of at least so many bytes.
    smallest_piece: u64,
}

/// What came of asking for a blob of another repository.
enum Mount {
    Done,
    /// It must be uploaded, in the session that the registry opened for it.
    Not(Option<Session>),
}

/// Why an attempt did not get through.
enum Trouble {
    /// Another attempt may, after what the registry asks for.
    Passing {
        error: RegistryError,
        asked: Option<Duration>,
    },
    /// No other attempt will.
    Lasting(RegistryError),
}

impl<E: Into<RegistryError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Lasting(error.into())
    }
}

impl Registry {
    /// How long a registry may take to check and store what it received.
    pub(super) fn storing(&self) -> Duration {
        self.options.silence * 5
    }

    /// Brings one blob into the repository, if it is needed.
    pub(super) async fn upload(
        &self,
        target: &Target<'_>,
        blob: &Descriptor,
        mut plan: Plan<'_>,
    ) -> Result<How, RegistryError> {
        let what = blob.digest.to_string();
        let begin = async {
            match plan.likely_new && plan.mount_from.is_empty() {
                true => self.open_session(target, &what).await.map(Some),
                false => Ok(None),
            }
        };
        let (there, begun) = futures_util::join!(self.has_blob(target, &blob.digest), begin);
        // Nobody decides any more only where the push is over.
        let needed = plan.needed.wait_for(Option::is_some).await;
        let needed = needed.is_ok_and(|needed| *needed == Some(true));
        if !needed || there? {
            if let Ok(Some(session)) = begun {
                self.give_up(target, &session).await;
            }
            return Ok(How::Exists);
        }
        let begun = match begun? {
            Some(session) => Some(session),
            None => match self.mount(target, &blob.digest, plan.mount_from).await? {
                Mount::Done => return Ok(How::Mounted),
                Mount::Not(session) => session,
            },
        };
        let mut session = match begun {
            Some(session) => session,
            None => self.open_session(target, &what).await?,
        };
        let mut attempt = 1;
        loop {
            let before = session.offset;
            let (asked, trouble) = match self.send_rest(target, blob, &mut session).await {
                Ok(()) => return Ok(How::Sent),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing { error, .. }) if attempt > self.patience() => {
                    return Err(error);
                }
                Err(Trouble::Passing { error, asked }) => {
                    tracing::debug!(%error, attempt, "uploading again");
                    (asked, trouble(&error))
                }
            };
            let pause = self.pause(attempt, asked);
            self.wait(&target.endpoint.host, trouble, attempt, pause)
                .await;
            // The answer may have been lost after all was done.
            if self.has_blob(target, &blob.digest).await? {
                return Ok(How::Sent);
            }
            session = match self.ask_session(target, &session).await? {
                Some(session) => session,
                None => self.open_session(target, &what).await?,
            };
            // A connection that drops again and again but gets further each time will get there.
            attempt = if session.offset > before {
                1
            } else {
                attempt + 1
            };
        }
    }

    async fn has_blob(&self, target: &Target<'_>, digest: &Digest) -> Result<bool, RegistryError> {
        let endpoint = &target.endpoint;
        let doing = format!("ask {} for the blob {digest}", endpoint.name());
        let url = endpoint.url(&format!("blobs/{digest}"));
        let response = self
            .send(endpoint, &target.scope, &doing, |client| client.head(&url))
            .await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        error::accept(response, &doing, endpoint).await?;
        Ok(true)
    }

    /// Asks the registry to take the blob from one of its other repositories.
    async fn mount(
        &self,
        target: &Target<'_>,
        digest: &Digest,
        mount_from: &[String],
    ) -> Result<Mount, RegistryError> {
        let endpoint = &target.endpoint;
        let mut begun: Option<Session> = None;
        for from in mount_from
            .iter()
            .filter(|from| **from != endpoint.repository)
        {
            let doing = format!("mount {digest} from {from} into {}", endpoint.name());
            let url = endpoint.url(&format!(
                "blobs/uploads/?mount={digest}&from={}",
                from.replace('/', "%2F")
            ));
            let answer = self
                .send(endpoint, &target.scope, &doing, |client| {
                    client.post(&url).header(CONTENT_LENGTH, 0)
                })
                .await;
            let done = match answer {
                Ok(response) if response.status() == StatusCode::CREATED => true,
                // The registry opened a session instead: one of them is what an upload begins with.
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    match session_of(&response) {
                        Some(session) if begun.is_some() => self.give_up(target, &session).await,
                        Some(session) => begun = Some(session),
                        None => {}
                    }
                    false
                }
                // No such repository, or no permission for it: then the blob is uploaded.
                Ok(_) | Err(RegistryError::Denied { .. }) => false,
                Err(error) => return Err(error),
            };
            if done {
                if let Some(session) = begun {
                    self.give_up(target, &session).await;
                }
                return Ok(Mount::Done);
            }
        }
        Ok(Mount::Not(begun))
    }

    /// Closes a session that nothing comes of. One attempt, best effort: the registry forgets it by itself some day, and nobody waits for that.
    pub(super) async fn give_up(&self, target: &Target<'_>, session: &Session) {
        let Ok(client) = self.client() else { return };
        let mut request = client.delete(session.location.clone());
        if target.endpoint.owns(&session.location) {
            request = self.authorise(request, &target.endpoint, &target.scope);
        }
        let closed = request.timeout(self.options.silence).send().await;
        if let Err(error) = closed.map_err(lost) {
            tracing::debug!(%error, "an upload stays open");
        }
    }

    pub(super) async fn open_session(
        &self,
        target: &Target<'_>,
        what: &str,
    ) -> Result<Session, RegistryError> {
        let endpoint = &target.endpoint;
        let doing = format!("begin the upload of {what} to {}", endpoint.name());
        let url = endpoint.url("blobs/uploads/");
        let response = self
            .send(endpoint, &target.scope, &doing, |client| {
                client.post(&url).header(CONTENT_LENGTH, 0)
            })
            .await?;
        let response = error::accept(response, &doing, endpoint).await?;
        session_of(&response).ok_or_else(|| RegistryError::Protocol {
            doing,
            what: "the answer names no place to upload to".to_owned(),
        })
    }

    /// Asks how far the session got; `None` if it cannot go on.
    pub(super) async fn ask_session(
        &self,
        target: &Target<'_>,
        session: &Session,
    ) -> Result<Option<Session>, RegistryError> {
        let doing = format!("resume an upload to {}", target.endpoint.name());
        let location = session.location.clone();
        let response = self
            .send(&target.endpoint, &target.scope, &doing, |client| {
                client.get(location.clone())
            })
            .await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        // `0-0` stands for one byte and, with some registries, for none: not worth the doubt.
        let offset = received(&response).filter(|offset| *offset > 1);
        let location = session_of(&response).map_or(location, |session| session.location);
        Ok(offset.map(|offset| Session {
            location,
            offset,
            smallest_piece: session.smallest_piece,
        }))
    }

    /// Sends what the session lacks and closes it.
    async fn send_rest(
        &self,
        target: &Target<'_>,
        blob: &Descriptor,
        session: &mut Session,
    ) -> Result<(), Trouble> {
        let resumed = session.offset > 0;
        let piece = self
            .options
            .chunk_size
            .map(|size| size.max(session.smallest_piece).max(1));
        let in_one = !resumed && piece.is_none_or(|piece| piece >= blob.size);
        if !in_one {
            while session.offset < blob.size {
                let end = blob
                    .size
                    .min(piece.map_or(blob.size, |piece| session.offset + piece));
                let response = self
                    .transfer(
                        target,
                        blob,
                        Method::PATCH,
                        session.location.clone(),
                        session.offset..end,
                    )
                    .await?;
                let response = self
                    .check(target, blob, response, StatusCode::ACCEPTED, resumed)
                    .await?;
                session.offset = received(&response).unwrap_or(end).min(blob.size);
                if let Some(next) = session_of(&response) {
                    session.location = next.location;
                }
            }
        }
        let mut location = session.location.clone();
        location
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let range = if in_one {
            0..blob.size
        } else {
            blob.size..blob.size
        };
        let response = self
            .transfer(target, blob, Method::PUT, location, range)
            .await?;
        self.check(target, blob, response, StatusCode::CREATED, resumed)
            .await?;
        Ok(())
    }

    /// Sends one request with the bytes `range` of the blob.
    async fn transfer(
        &self,
        target: &Target<'_>,
        blob: &Descriptor,
        method: Method,
        location: Url,
        range: std::ops::Range<u64>,
    ) -> Result<Response, Trouble> {
        let path = target.store.blob_path(&blob.digest);
        let file = target.store.open_blob(&blob.digest)?;
        let metadata = file
            .metadata()
            .map_err(|source| StoreError::io("read", &path, source))?;
        if metadata.len() != blob.size {
            // No registry would take it, however often it was tried.
            target.store.verify(&blob.digest)?;
        }
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(range.start))
            .await
            .map_err(|source| StoreError::io("read", &path, source))?;
        let (sent, mut heard) = mpsc::unbounded_channel();
        let mut position = range.start;
        let content = ReaderStream::with_capacity(file.take(range.end - range.start), PIECE)
            .inspect(move |piece| {
                if let Ok(piece) = piece {
                    position += piece.len() as u64;
                    // Nobody listens any more once the request has ended.
                    let _ = sent.send(position);
                }
            });
        let mut request = self
            .client()?
            .request(method.clone(), location.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, range.end - range.start);
        if method == Method::PATCH {
            request = request.header(
                CONTENT_RANGE,
                format!("{}-{}", range.start, range.end.saturating_sub(1)),
            );
        }
        if target.endpoint.owns(&location) {
            request = self.authorise(request, &target.endpoint, &target.scope);
        }
        if !range.is_empty() {
            request = request.body(reqwest::Body::wrap_stream(content));
        }
        let answer = request.send();
        tokio::pin!(answer);
        let mut position = range.start;
        loop {
            let patience = if position < range.end {
                self.options.silence
            } else {
                self.storing()
            };
            let outcome = tokio::select! {
                answer = &mut answer => answer.map_err(lost),
                Some(now) = heard.recv() => {
                    position = now;
                    target.progress.event(ProgressEvent::Advanced { digest: blob.digest, bytes: now });
                    continue;
                }
                () = tokio::time::sleep(patience) => Err(Silent(patience).into()),
            };
            return outcome.map_err(|source| Trouble::Passing {
                error: RegistryError::Unreachable {
                    doing: format!("upload {} to {}", blob.digest, target.endpoint.name()),
                    host: target.endpoint.host.clone(),
                    attempts: self.patience() + 1,
                    source,
                },
                asked: None,
            });
        }
    }

    /// Sorts the answer to a piece into success, passing and lasting trouble.
    async fn check(
        &self,
        target: &Target<'_>,
        blob: &Descriptor,
        response: Response,
        expected: StatusCode,
        resumed: bool,
    ) -> Result<Response, Trouble> {
        let status = response.status();
        if status == expected || status.is_success() {
            return Ok(response);
        }
        let endpoint = &target.endpoint;
        let doing = format!("upload {} to {}", blob.digest, endpoint.name());
        let asked = asked(&response);
        if status == StatusCode::UNAUTHORIZED {
            // The token ran out during the upload.
            let renewed = self
                .answer_challenge(&response, endpoint, &target.scope)
                .await?;
            let error = error::refusal(
                response,
                &doing,
                endpoint,
                self.has_token(endpoint, &target.scope),
            )
            .await;
            return Err(if renewed {
                Trouble::Passing {
                    error,
                    asked: Some(Duration::ZERO),
                }
            } else {
                Trouble::Lasting(error)
            });
        }
        let error = error::refusal(response, &doing, endpoint, true).await;
        let wrong_digest = matches!(&error, RegistryError::Answer { code: Some(code), .. } if code == "DIGEST_INVALID");
        if wrong_digest && !resumed {
            // Either the registry or our own file is wrong. The file can be checked.
            target.store.verify(&blob.digest)?;
        }
        let lost_session = matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::CONFLICT
        );
        if is_passing(status) || lost_session || wrong_digest && resumed {
            return Err(Trouble::Passing { error, asked });
        }
        Err(Trouble::Lasting(error))
    }
}

pub(super) fn session_of(response: &Response) -> Option<Session> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let smallest_piece = response
        .headers()
        .get("oci-chunk-min-length")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Some(Session {
        location: response.url().join(location).ok()?,
        offset: 0,
        smallest_piece: smallest_piece.unwrap_or(0),
    })
}

/// The number of bytes that `Range: 0-<last>` says were received.
pub(super) fn received(response: &Response) -> Option<u64> {
    let range = response.headers().get("range")?.to_str().ok()?;
    let (_, last) = range.trim_start_matches("bytes=").split_once('-')?;
    last.trim().parse::<u64>().ok().map(|last| last + 1)
}
