//! This process's end of a nursery: sends requests, and hands out what comes back.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::sync::oneshot;

use crate::StartError;
use crate::linux::nursery;
use crate::linux::wire::{self, Event, Request, Role, What};

/// Called once with the wait status of a process that has ended.
pub(crate) type OnEnd = Box<dyn FnOnce(i32) + Send>;

/// A nursery, started on first use and again when it was killed.
#[derive(Debug)]
pub(crate) struct Births {
    init_program: PathBuf,
    running: Mutex<Option<Arc<Link>>>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    closed: bool,
    waiting: HashMap<u64, Waiting>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

struct Waiting {
    born: Option<oneshot::Sender<Result<OwnedFd, StartError>>>,
    on_end: Option<OnEnd>,
}

/// The status of a process that SIGKILL ended, as wait(2) gives it.
const KILLED: i32 = libc::SIGKILL;

impl Births {
    pub(crate) fn new(init_program: PathBuf) -> Births {
        Births {
            init_program,
            running: Mutex::new(None),
        }
    }

    /// Asks for a process. The receiver gets its pidfd; if that is dropped before, the process is killed.
    pub(crate) fn request(
        &self,
        files: &[(Role, BorrowedFd<'_>)],
        new_network: bool,
        on_end: OnEnd,
    ) -> Result<oneshot::Receiver<Result<OwnedFd, StartError>>, StartError> {
        let link = self.link().map_err(|error| {
            StartError::other("start the process that containers are born from", error)
        })?;
        let (born, receiver) = oneshot::channel();
        let mut state = lock(&link.state);
        if state.closed {
            return Err(StartError::other(
                "start a container",
                "the process that containers are born from has ended",
            ));
        }
        state.next += 1;
        let seq = state.next;
        state.waiting.insert(
            seq,
            Waiting {
                born: Some(born),
                on_end: Some(on_end),
            },
        );
        let request = Request {
            seq,
            roles: files.iter().map(|(role, _)| *role).collect(),
            new_network,
        };
        let raw: Vec<BorrowedFd<'_>> = files.iter().map(|(_, file)| *file).collect();
        if let Err(error) = wire::send(link.socket.as_fd(), &request, &raw) {
            state.waiting.remove(&seq);
            return Err(StartError::other("ask for a new process", error));
        }
        Ok(receiver)
    }

    fn link(&self) -> io::Result<Arc<Link>> {
        let mut running = lock(&self.running);
        if let Some(link) = running.as_ref().filter(|link| !lock(&link.state).closed) {
            return Ok(link.clone());
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let program = self.init_program.clone();
        // This thread lives as long as the nursery: its end is what makes the kernel kill the nursery and all that is in it.
        std::thread::Builder::new()
            .name("containers".to_owned())
            .spawn(move || {
                let (pid, link) = match nursery::spawn(&program) {
                    Ok((pid, socket)) => {
                        let state = Mutex::new(State::default());
                        let link = Arc::new(Link { socket, state });
                        let _ = sender.send(Ok(link.clone()));
                        (pid, link)
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                link.read();
                // The socket is closed, or broken: nothing of it may go on.
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                while nix::sys::wait::waitpid(pid, None) == Err(Errno::EINTR) {}
                link.close();
            })?;
        let link = receiver.recv().map_err(io::Error::other)??;
        *running = Some(link.clone());
        Ok(link)
    }
}

impl Drop for Births {
    fn drop(&mut self) {
        if let Some(link) = lock(&self.running).take() {
            // The nursery sees the end of its socket and ends, and with it everything that it made.
            let _ = shutdown(
                std::os::fd::AsRawFd::as_raw_fd(&link.socket),
                Shutdown::Both,
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    fn read(&self) {
        while let Ok(Some((event, files))) = wire::receive::<Event>(self.socket.as_fd()) {
            match event.what {
                What::Forked => {
                    let born = lock(&self.state)
                        .waiting
                        .get_mut(&event.seq)
                        .and_then(|waiting| waiting.born.take());
                    if let (Some(born), Some(pidfd)) = (born, files.into_iter().next())
                        && let Err(Ok(pidfd)) = born.send(Ok(pidfd))
                    {
                        // Nobody waits for it any more.
                        let _ = send_signal(&pidfd, libc::SIGKILL);
                    }
                }
                What::Refused(error) => {
                    if let Some(waiting) = lock(&self.state).waiting.remove(&event.seq)
                        && let Some(born) = waiting.born
                    {
                        let _ = born.send(Err(error));
                    }
                }
                What::Ended(status) => {
                    let waiting = lock(&self.state).waiting.remove(&event.seq);
                    if let Some(on_end) = waiting.and_then(|waiting| waiting.on_end) {
                        on_end(status);
                    }
                }
            }
        }
    }

    /// Tells everyone who waits that their process is gone.
    fn close(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        for (_, waiting) in waiting {
            if let Some(on_end) = waiting.on_end {
                on_end(KILLED);
            }
        }
    }
}

/// Sends a signal to the very process of a pidfd; nothing happens if it has ended.
pub(crate) fn send_signal(pidfd: &impl AsFd, signal: i32) -> io::Result<()> {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&pidfd.as_fd());
    // SAFETY: takes numbers only; no signal information is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
