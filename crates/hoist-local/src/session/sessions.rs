use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::{self, Millis};
use crate::driver::Crew;
use crate::ids;

/// How long a session waits for somebody to come for it.
const VALIDITY: Millis = 60_000;

/// A program that ExecuteCommand promised to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// `ecs-execute-command-…`.
    pub id: String,
    /// What whoever opens the channel must know.
    pub token: String,
    /// The task, by its ARN.
    pub task: String,
    /// The container's name.
    pub container: String,
    /// The program and its arguments.
    pub args: Vec<String>,
    expires: Millis,
}

/// The sessions that nobody has come for yet. They end with the daemon.
#[derive(Default)]
pub struct Sessions {
    waiting: Arc<Mutex<HashMap<String, Session>>>,
    crew: OnceLock<Crew>,
}

impl Sessions {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who holds the containers; once, at the start.
    pub(crate) fn serve(&self, crew: Crew) {
        let _ = self.crew.set(crew);
    }

    /// Who holds the containers.
    pub(crate) fn crew(&self) -> Option<&Crew> {
        self.crew.get()
    }

    /// Promises to run a program.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn open(&self, task: &str, container: &str, args: Vec<String>) -> std::io::Result<Session> {
        let now = clock::now();
        let session = Session {
            id: format!("ecs-execute-command-{}", ids::hex(25)),
            token: ids::secret(64)?,
            task: task.to_owned(),
            container: container.to_owned(),
            args,
            expires: now + VALIDITY,
        };
        let mut waiting = self.waiting();
        waiting.retain(|_, it| it.expires > now);
        waiting.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    /// Takes a session that is waited for with its token, once.
    pub fn take(&self, id: &str, token: &str) -> Option<Session> {
        let mut waiting = self.waiting();
        let good = waiting
            .get(id)
            .is_some_and(|it| it.token == token && it.expires > clock::now());
        good.then(|| waiting.remove(id)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_taken_once_and_with_its_token_only() {
        let sessions = Sessions::default();
        let session = sessions.open("task", "app", vec!["sh".to_owned()]).unwrap();
        assert_eq!(sessions.take(&session.id, "wrong"), None);
        assert_eq!(
            sessions.take(&session.id, &session.token),
            Some(session.clone())
        );
        assert_eq!(sessions.take(&session.id, &session.token), None);
    }
}
