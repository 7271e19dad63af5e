//! The life of the daemon: start, stop, status, env, reset.
//!
//! Two locks in `local/` order it: `daemon.lock` is held by the daemon as long as it lives, `start.lock` by whoever is starting
//! it, so that of two starts at once one starts it and the other finds it running.

use std::fs::{File, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::dials::{self, Dials};
use crate::faults::FaultSpec;
use crate::home::{Home, HomeError};
use crate::keys;
use crate::limits::Limiting;
use crate::settings::{Pace, Settings};

/// Set for a daemon that [`start`] made: it leaves the session, and says on standard output when it answers.
pub(crate) const DETACHED: &str = "HOIST_LOCAL_DETACHED";
/// How long a daemon may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to start; what is not given stays as it was at the last start.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// The loopback port.
    pub port: Option<u16>,
    /// How long things take.
    pub pace: Option<Pace>,
    /// `native` or `docker`.
    pub runtime: Option<String>,
    /// How many calls are answered.
    pub limits: Option<Limiting>,
    /// What goes wrong on purpose.
    pub faults: Option<FaultSpec>,
    /// The program to run with the arguments `local serve`; this one if not given.
    pub program: Option<PathBuf>,
}

/// A daemon that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its process id.
    pub pid: i32,
    /// The loopback port it answers on.
    pub port: u16,
    /// How long things take in it.
    pub pace: Pace,
    /// When it was started.
    pub since: Millis,
    /// The version of hoist that it is.
    pub version: String,
    /// What tasks lack on this machine, such as limits or a way out, and why.
    #[serde(default)]
    pub lacks: Vec<String>,
}

impl Status {
    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn path(home: &Home) -> PathBuf {
        home.file("daemon.json")
    }
}

/// Why the daemon could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The home directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file of the home.
    #[error("failed to {doing} {path}")]
    File {
        /// What was being done, such as `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process could not be made.
    #[error("failed to run {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The daemon ended before it answered.
    #[error("the embedded AWS did not start: {said}")]
    Failed {
        /// The last lines of its log.
        said: String,
    },
    /// It runs, and on another port than asked for.
    #[error("the embedded AWS already runs on port {running}, not {asked}")]
    OtherPort {
        /// The port it answers on.
        running: u16,
        /// The port asked for.
        asked: u16,
    },
    /// It has never been started, so it has no address.
    #[error("the embedded AWS of {home} has never been started")]
    NeverStarted {
        /// The home.
        home: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("failed to stop the embedded AWS (process {pid})")]
    Signal {
        /// Its process id.
        pid: i32,
        /// What the system said.
        source: std::io::Error,
    },
    /// It runs, and does not do as told.
    #[error("the embedded AWS did not do as told: {said}")]
    Refused {
        /// What it answered.
        said: String,
    },
    /// It does not end.
    #[error("the embedded AWS (process {pid}) does not {what}")]
    Stuck {
        /// Its process id.
        pid: i32,
        /// `answer` or `end`.
        what: &'static str,
    },
}

impl ControlError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            ControlError::Home(error) => error.hint().map(str::to_owned),
            ControlError::OtherPort { .. } => Some("stop it first: hoist local stop".to_owned()),
            ControlError::NeverStarted { .. } => Some("start it: hoist local start".to_owned()),
            ControlError::Stuck { pid, .. } => Some(format!(
                "see its log, local/daemon.log in the home; `kill -9 {pid}` loses nothing"
            )),
            ControlError::Signal { .. } => Some("stop it as the user who started it".to_owned()),
            ControlError::File { .. }
            | ControlError::Spawn { .. }
            | ControlError::Failed { .. }
            | ControlError::Refused { .. } => None,
        }
    }
}

fn file(doing: &'static str, path: PathBuf) -> impl FnOnce(std::io::Error) -> ControlError {
    move |source| ControlError::File {
        doing,
        path,
        source,
    }
}

/// Starts the daemon of `home` and returns when it answers; at once if it already runs.
///
/// # Errors
/// When it cannot be started; [`ControlError::Failed`] has what it said.
pub fn start(home: &Home, options: &StartOptions) -> Result<Status, ControlError> {
    home.create()?;
    let path = home.file("start.lock");
    let starting = open_lock(home, "start.lock")?;
    starting.lock().map_err(file("lock", path))?;
    if let Some(status) = running(home)? {
        return match options.port {
            Some(asked) if asked != status.port => Err(ControlError::OtherPort {
                running: status.port,
                asked,
            }),
            _ => {
                if options.limits.is_some() || options.faults.is_some() {
                    turn(&status, options.limits, options.faults.clone())?;
                }
                Ok(status)
            }
        };
    }
    let settings_file = || home.file("settings.json");
    let mut settings = Settings::load(home).map_err(file("read", settings_file()))?;
    settings.port = options.port.or(settings.port);
    settings.pace = options.pace.unwrap_or(settings.pace);
    settings.runtime = options.runtime.clone().or(settings.runtime);
    settings.limits = options.limits.unwrap_or(settings.limits);
    settings.faults = options.faults.clone().unwrap_or(settings.faults);
    settings
        .save(home)
        .map_err(file("write", settings_file()))?;
    spawn(home, options)
}

fn spawn(home: &Home, options: &StartOptions) -> Result<Status, ControlError> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(file("find", PathBuf::from("/proc/self/exe")))?,
    };
    let log_path = home.file("daemon.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(file("open", log_path.clone()))?;
    let before = log.metadata().map(|data| data.len()).unwrap_or(0);
    let mut child = Command::new(&program)
        .args(["local", "serve"])
        .env("HOIST_HOME", home.path())
        .env(DETACHED, "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|source| ControlError::Spawn { program, source })?;
    // The daemon writes one line when it answers. If it ends first, the pipe does too.
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    match serde_json::from_str(&line) {
        Ok(status) => Ok(status),
        Err(_) => {
            let _ = child.wait();
            let mut said = std::fs::read(&log_path).unwrap_or_default();
            let said = said.split_off(usize::try_from(before).unwrap_or(0).min(said.len()));
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.trim().lines().collect();
            let said = lines[lines.len().saturating_sub(10)..].join("\n");
            Err(ControlError::Failed {
                said: if said.is_empty() {
                    "it said nothing".to_owned()
                } else {
                    said
                },
            })
        }
    }
}

/// The limits and faults of a running daemon; those that are given are set first, and kept for its next start.
///
/// # Errors
/// When it does not answer, or refuses them.
pub fn turn(
    status: &Status,
    limits: Option<Limiting>,
    faults: Option<FaultSpec>,
) -> Result<Dials, ControlError> {
    post(
        status,
        &serde_json::json!({"limits": limits, "faults": faults}),
    )
}

/// Takes the capacity of a FARGATE_SPOT task back, as AWS may at any time. `task` is its ARN or id.
///
/// # Errors
/// When the daemon does not answer, or knows no such task.
pub fn interrupt(status: &Status, task: &str) -> Result<(), ControlError> {
    post(status, &serde_json::json!({"interrupt": task})).map(drop)
}

/// Puts a CloudWatch alarm into the ALARM state, or takes it out of it.
///
/// # Errors
/// When the daemon does not answer.
pub fn set_alarm(
    status: &Status,
    region: &str,
    name: &str,
    alarming: bool,
) -> Result<(), ControlError> {
    let alarm = serde_json::json!({"region": region, "name": name, "alarming": alarming});
    post(status, &serde_json::json!({"alarm": alarm})).map(drop)
}

fn post(status: &Status, wanted: &serde_json::Value) -> Result<Dials, ControlError> {
    let wanted = wanted.to_string();
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-hoist-control: 1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{wanted}",
        dials::PATH,
        wanted.len()
    );
    let answer = exchange(status.port, &request).map_err(|error| ControlError::Refused {
        said: error.to_string(),
    })?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|_| ControlError::Refused {
        said: body.trim().to_owned(),
    })
}

/// The daemon of `home`, if it runs and answers.
///
/// # Errors
/// When the home cannot be read.
pub fn status(home: &Home) -> Result<Option<Status>, ControlError> {
    if !home.local().is_dir() || !is_locked(home)? {
        return Ok(None);
    }
    Ok(recorded(home).filter(|status| answers(status.port)))
}

/// Ends the daemon and every container of it; false if none ran.
///
/// # Errors
/// When it does not end.
pub fn stop(home: &Home) -> Result<bool, ControlError> {
    if !home.local().is_dir() || !is_locked(home)? {
        return Ok(false);
    }
    let begun = Instant::now();
    let mut signalled = None;
    while is_locked(home)? {
        // The record is written just after the lock is taken, and may be another's only while we do not hold the lock.
        if let Some(Status { pid, .. }) = recorded(home)
            && signalled != Some(pid)
        {
            match kill(Pid::from_raw(pid), Signal::SIGTERM) {
                // Gone already: the lock will be free in a moment.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(ControlError::Signal {
                        pid,
                        source: errno.into(),
                    });
                }
            }
            signalled = Some(pid);
        }
        if begun.elapsed() > PATIENCE {
            return Err(ControlError::Stuck {
                pid: signalled.unwrap_or(0),
                what: "end",
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // The lock goes a moment before the process does.
    while signalled.is_some_and(is_alive) {
        if begun.elapsed() > PATIENCE {
            return Err(ControlError::Stuck {
                pid: signalled.unwrap_or(0),
                what: "end",
            });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

/// Ends the daemon and forgets all that it kept, except its port and other settings.
///
/// # Errors
/// When it does not end, or a file cannot be removed.
pub fn reset(home: &Home) -> Result<(), ControlError> {
    stop(home)?;
    let folder = home.local();
    if !folder.is_dir() {
        return Ok(());
    }
    let starting = open_lock(home, "start.lock")?;
    starting
        .lock()
        .map_err(file("lock", home.file("start.lock")))?;
    for entry in std::fs::read_dir(&folder).map_err(file("read", folder.clone()))? {
        let path = entry.map_err(file("read", folder.clone()))?.path();
        let kept = ["start.lock", "daemon.lock", "settings.json"]
            .iter()
            .any(|name| path.ends_with(name));
        if !kept {
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(file("remove", path))?;
        }
    }
    Ok(())
}

/// The variables that make any SDK or CLI talk to the daemon of `home`.
///
/// `AWS_DEFAULT_REGION` is there because boto3 and the AWS CLI 1 read no other. The region is that of the environment, else
/// `us-east-1`.
///
/// # Errors
/// When it was never started, and so has no port.
pub fn env(home: &Home) -> Result<Vec<(String, String)>, ControlError> {
    let settings = Settings::load(home).map_err(file("read", home.file("settings.json")))?;
    let port = settings.port.ok_or_else(|| ControlError::NeverStarted {
        home: home.path().to_owned(),
    })?;
    let key = keys::root(home).map_err(file("read", home.file("root-key.json")))?;
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "us-east-1".to_owned());
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        pair("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        pair("AWS_ACCESS_KEY_ID", key.id),
        pair("AWS_SECRET_ACCESS_KEY", key.secret),
        pair("AWS_REGION", region.clone()),
        pair("AWS_DEFAULT_REGION", region),
        // Clients put a prefix before the host for some calls (`data-` for DiscoverInstances), which an address cannot have.
        pair("AWS_DISABLE_HOST_PREFIX_INJECTION", "true".to_owned()),
    ])
}

/// Opens a lock file of the home.
pub(crate) fn open_lock(home: &Home, name: &str) -> Result<File, ControlError> {
    let path = home.file(name);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(&path)
        .map_err(file("open", path))
}

fn is_locked(home: &Home) -> Result<bool, ControlError> {
    match open_lock(home, "daemon.lock")?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(file("lock", home.file("daemon.lock"))(source)),
    }
}

/// Whether a process is there. One that has ended and waits for its parent (who may be us) counts as gone.
fn is_alive(pid: i32) -> bool {
    if kill(Pid::from_raw(pid), None).is_err() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('Z'))
}

fn recorded(home: &Home) -> Option<Status> {
    serde_json::from_slice(&std::fs::read(Status::path(home)).ok()?).ok()
}

/// The running daemon; waits for one that is just starting or ending.
fn running(home: &Home) -> Result<Option<Status>, ControlError> {
    let begun = Instant::now();
    while is_locked(home)? {
        if let Some(status) = recorded(home)
            && answers(status.port)
        {
            return Ok(Some(status));
        }
        if begun.elapsed() > PATIENCE {
            let pid = recorded(home).map_or(0, |status| status.pid);
            return Err(ControlError::Stuck {
                pid,
                what: "answer",
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

/// Whether an embedded AWS answers on that port.
fn answers(port: u16) -> bool {
    let asked = exchange(
        port,
        "GET /_hoist/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Sends one request and reads until the connection ends.
fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
