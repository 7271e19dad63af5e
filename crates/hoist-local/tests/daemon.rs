//! The life of the daemon, as its users see it: started, asked, killed, stopped, forgotten.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use hoist_local::control::{self, ControlError, StartOptions, Status};
use hoist_local::state::State;
use hoist_local::{Home, Pace};

/// A home whose daemon is stopped when the test ends, however it ends.
struct Place {
    home: Home,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        Place {
            home: Home::at(folder.path()),
            _folder: folder,
        }
    }

    fn options(&self) -> StartOptions {
        StartOptions {
            program: Some(env!("CARGO_BIN_EXE_hoist-local").into()),
            ..StartOptions::default()
        }
    }

    fn start(&self) -> Status {
        control::start(&self.home, &self.options()).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hoist-local"))
            .args(arguments)
            .env("HOIST_HOME", self.home.path())
            .output()
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = control::stop(&self.home);
    }
}

fn get(status: &Status, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", status.port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_alive(pid: i32) -> bool {
    // A zombie answers signals but runs no more.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn it_answers_when_start_returns_and_is_gone_when_stop_returns() {
    let place = Place::new();
    assert_eq!(control::status(&place.home).unwrap(), None);
    let status = place.start();
    assert!(get(&status, "/_hoist/health").contains("\"running\""));
    assert!(get(&status, "/").starts_with("HTTP/1.1 200"));
    assert_eq!(control::status(&place.home).unwrap(), Some(status.clone()));
    assert_eq!(
        place.start().pid,
        status.pid,
        "a second start finds it running"
    );
    assert!(control::stop(&place.home).unwrap());
    assert!(!is_alive(status.pid));
    assert!(!control::stop(&place.home).unwrap());
    assert_eq!(control::status(&place.home).unwrap(), None);
}

#[test]
fn of_many_starts_at_once_one_starts_it_and_all_return_the_same() {
    let place = Place::new();
    let pids: Vec<i32> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| place.start().pid)).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[test]
fn it_leaves_the_session_of_whoever_started_it() {
    let place = Place::new();
    let status = place.start();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", status.pid)).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, status.pid.to_string());
}

#[test]
fn the_port_is_kept_and_the_pace_is_kept_until_changed() {
    let place = Place::new();
    let first = control::start(
        &place.home,
        &StartOptions {
            pace: Some(Pace::Fargate),
            ..place.options()
        },
    )
    .unwrap();
    control::stop(&place.home).unwrap();
    let second = place.start();
    assert_eq!((second.port, second.pace), (first.port, Pace::Fargate));
    let other = control::start(
        &place.home,
        &StartOptions {
            port: Some(1),
            ..place.options()
        },
    );
    assert!(
        matches!(other, Err(ControlError::OtherPort { asked: 1, .. })),
        "{other:?}"
    );
}

#[test]
fn after_kill_nine_the_next_start_serves_again() {
    let place = Place::new();
    let first = place.start();
    Command::new("kill")
        .args(["-9", &first.pid.to_string()])
        .status()
        .unwrap();
    let second = place.start();
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.port, first.port);
    assert!(get(&second, "/_hoist/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let error = control::start(
        &place.home,
        &StartOptions {
            port: Some(port),
            ..place.options()
        },
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("failed to listen on 127.0.0.1:{port}")),
        "{error}"
    );
    assert_eq!(control::status(&place.home).unwrap(), None);
}

#[test]
fn a_second_daemon_on_one_home_is_refused() {
    let place = Place::new();
    place.start();
    let output = place.run(&["local", "serve"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("another embedded AWS already serves this home"),
        "{said}"
    );
}

#[test]
fn a_state_of_another_version_is_refused_and_reset_is_the_way_out() {
    let place = Place::new();
    place.home.create().unwrap();
    let path = place.home.file("state.redb");
    State::open(&path)
        .unwrap()
        .table::<u64>("meta")
        .put("", "schema", &99)
        .unwrap();
    let error = control::start(&place.home, &place.options())
        .unwrap_err()
        .to_string();
    assert!(error.contains("has layout 99"), "{error}");
    control::reset(&place.home).unwrap();
    place.start();
}

#[test]
fn env_names_the_endpoint_and_a_key_and_needs_a_first_start() {
    let place = Place::new();
    assert!(matches!(
        control::env(&place.home),
        Err(ControlError::NeverStarted { .. })
    ));
    let status = place.start();
    let env: std::collections::HashMap<_, _> =
        control::env(&place.home).unwrap().into_iter().collect();
    assert_eq!(env["AWS_ENDPOINT_URL"], status.endpoint());
    assert!(env["AWS_ACCESS_KEY_ID"].starts_with("AKIA"));
    assert_eq!(env["AWS_SECRET_ACCESS_KEY"].len(), 40);
    assert!(!env["AWS_REGION"].is_empty());
    let lines = String::from_utf8(place.run(&["local", "env"]).stdout).unwrap();
    assert!(
        lines.lines().all(|line| line.starts_with("export AWS_")),
        "{lines}"
    );
    let mode = |name: &str| mode_of(&place.home.file(name));
    assert_eq!(mode("root-key.json"), 0o600, "nobody else reads the secret");
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
