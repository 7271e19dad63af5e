//! Uploading a blob while it is still being made: one request takes what comes, as it comes.
//!
//! The content goes in a PATCH of unknown length (as `docker push` sends it), and an empty PUT names the digest, which is known only then.
//! After a drop, the registry is asked how far it got; all that was written can be read again, so the rest follows from there.

use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;

use super::push::Target;
use super::transport::{Action, Lost, Scope, Silent, is_passing, lost};
use super::upload::{Session, received, session_of};
use super::wait::trouble;
use super::{Registry, RegistryError, error};
use crate::growing::{Growing, Reach};
use crate::{Digest, ImageRef, Store};

/// Bytes from which on an upload of its own, ahead of the others, is worth its requests.
const WORTH_IT: u64 = 1 << 20;

/// For messages: it has no digest yet.
const WHAT: &str = "a layer";

/// What one attempt came to.
enum Attempt {
    Done(Digest),
    /// The writer gave up: there is nothing to upload.
    Pointless,
    /// Another attempt may get through.
    Passing(RegistryError),
}

impl Registry {
    /// Uploads a blob to the repository of `to` while it is being written. `None` for one that is too small to be worth it, or was given up:
    /// nothing of it stays.
    ///
    /// # Errors
    /// Fails when the registry cannot be asked or refuses; the blob can still be pushed as every other.
    pub async fn upload_growing(
        &self,
        store: &Store,
        to: &ImageRef,
        mut blob: Growing,
    ) -> Result<Option<Digest>, RegistryError> {
        if !matches!(blob.reach(WORTH_IT).await, Reach::More(_)) {
            return Ok(None);
        }
        let endpoint = self.endpoint(to, Action::Push);
        let scope = Scope::push(&endpoint, &[]);
        let target = Target {
            endpoint,
            scope,
            store,
            progress: &crate::Silent,
        };
        let mut session = self.open_session(&target, WHAT).await?;
        let mut attempt = 1;
        loop {
            let before = session.offset;
            let trouble = match self.stream_rest(&target, &blob, &mut session).await? {
                Attempt::Done(digest) => return Ok(Some(digest)),
                Attempt::Pointless => {
                    self.give_up(&target, &session).await;
                    return Ok(None);
                }
                Attempt::Passing(error) if attempt > self.patience() => return Err(error),
                Attempt::Passing(error) => {
                    tracing::debug!(%error, attempt, "streaming again");
                    trouble(&error)
                }
            };
            let pause = self.pause(attempt, None);
            self.wait(&target.endpoint.host, trouble, attempt, pause)
                .await;
            session = match self.ask_session(&target, &session).await? {
                Some(session) => session,
                None => self.open_session(&target, WHAT).await?,
            };
            attempt = if session.offset > before {
                1
            } else {
                attempt + 1
            };
        }
    }

    /// Sends what the session lacks, waiting for what is not there yet, and closes it.
    async fn stream_rest(
        &self,
        target: &Target<'_>,
        blob: &Growing,
        session: &mut Session,
    ) -> Result<Attempt, RegistryError> {
        loop {
            let whole = blob.whole();
            if whole.is_none_or(|(_, size)| session.offset < size) {
                let begun = session.offset;
                let response = match self.patch(target, blob, session).await? {
                    Ok(response) => response,
                    Err(_) if blob.given_up() => return Ok(Attempt::Pointless),
                    Err(error) => return Ok(Attempt::Passing(error)),
                };
                let Some((_, size)) = blob.whole() else {
                    return Ok(Attempt::Pointless);
                };
                session.offset = received(&response).unwrap_or(size).min(size);
                if let Some(next) = session_of(&response) {
                    session.location = next.location;
                }
                if session.offset <= begun {
                    return Ok(Attempt::Passing(RegistryError::Protocol {
                        doing: format!("upload {WHAT} to {}", target.endpoint.name()),
                        what: "the registry takes no more".to_owned(),
                    }));
                }
                continue;
            }
            let Some((digest, _)) = whole else { continue };
            let mut location = session.location.clone();
            location
                .query_pairs_mut()
                .append_pair("digest", &digest.to_string());
            let mut request = self
                .client()?
                .put(location.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, 0);
            if target.endpoint.owns(&location) {
                request = self.authorise(request, &target.endpoint, &target.scope);
            }
            let patience = self.storing();
            let answer = match tokio::time::timeout(patience, request.send()).await {
                Ok(answer) => answer.map_err(lost),
                Err(_) => Err(Silent(patience).into()),
            };
            let answer = self.judge(target, answer, StatusCode::CREATED).await?;
            return Ok(match answer {
                Ok(_) => Attempt::Done(digest),
                Err(error) => Attempt::Passing(error),
            });
        }
    }

    /// One request with all that comes from the session's offset on. The inner error is passing trouble.
    async fn patch(
        &self,
        target: &Target<'_>,
        blob: &Growing,
        session: &Session,
    ) -> Result<Result<Response, RegistryError>, RegistryError> {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let content = blob.content(session.offset).inspect(move |_| {
            // Nobody listens any more once the request has ended.
            let _ = sent.send(());
        });
        let mut request = self
            .client()?
            .patch(session.location.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(content));
        if target.endpoint.owns(&session.location) {
            request = self.authorise(request, &target.endpoint, &target.scope);
        }
        let answer = request.send();
        tokio::pin!(answer);
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer.map_err(lost),
                Some(()) = heard.recv() => {}
                // Whoever makes the content may be slow too, but not so slow.
                () = tokio::time::sleep(self.storing()) => break Err(Silent(self.storing()).into()),
            }
        };
        self.judge(target, answer, StatusCode::ACCEPTED).await
    }

    /// Sorts an answer into success, passing and lasting trouble.
    async fn judge(
        &self,
        target: &Target<'_>,
        answer: Result<Response, Lost>,
        expected: StatusCode,
    ) -> Result<Result<Response, RegistryError>, RegistryError> {
        let endpoint = &target.endpoint;
        let doing = format!("upload {WHAT} to {}", endpoint.name());
        let response = match answer {
            Ok(response) => response,
            Err(source) => {
                return Ok(Err(self.unreachable(
                    &doing,
                    endpoint,
                    self.patience() + 1,
                    source,
                )));
            }
        };
        let status = response.status();
        if status == expected || status.is_success() {
            return Ok(Ok(response));
        }
        let mut passing = is_passing(status)
            || matches!(
                status,
                StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::CONFLICT
            );
        if status == StatusCode::UNAUTHORIZED {
            passing = self
                .answer_challenge(&response, endpoint, &target.scope)
                .await?;
        }
        let error = error::refusal(response, &doing, endpoint, true).await;
        if passing { Ok(Err(error)) } else { Err(error) }
    }
}
