//! `ADD` of addresses and repositories, and agents of SSH: servers on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hoist_oci::Digest;

use crate::support::Bench;

/// Serves one file, by HTTP, with its version.
struct Server {
    address: SocketAddr,
    content: Arc<Mutex<Option<Vec<u8>>>>,
    requests: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    fn start(content: &[u8]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            content: Arc::new(Mutex::new(Some(content.to_vec()))),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let (content, requests, sent) = (
            server.content.clone(),
            server.requests.clone(),
            server.sent.clone(),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut piece = [0; 1024];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => head.extend(&piece[..n]),
                    }
                }
                requests.fetch_add(1, Ordering::SeqCst);
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let content = content.lock().unwrap().clone();
                let answer = match content {
                    None => {
                        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                            .to_vec()
                    }
                    Some(content) => {
                        let etag = format!("\"{}\"", &Digest::of(&content).hex()[..8]);
                        if head.contains(&format!("if-none-match: {etag}")) {
                            b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_vec()
                        } else {
                            sent.fetch_add(1, Ordering::SeqCst);
                            let mut answer = format!(
                                "HTTP/1.1 200 OK\r\netag: {etag}\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                                content.len()
                            )
                            .into_bytes();
                            answer.extend(content);
                            answer
                        }
                    }
                };
                let _ = stream.write_all(&answer);
            }
        });
        server
    }

    fn counts(&self) -> (usize, usize) {
        (
            self.requests.load(Ordering::SeqCst),
            self.sent.load(Ordering::SeqCst),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_fetched_checked_and_asked_for_again() {
    let bench = Bench::new();
    let server = Server::start(b"content one");
    let address = server.address;
    let dockerfile = format!(
        "FROM scratch\nADD http://{address}/path/file.txt?v=1 /in/\nADD --chmod=644 --chown=5:6 http://{address}/x /named\n"
    );
    let first = bench.build(&dockerfile).await;
    let files = bench.files(first.built());
    let file = &files["in/file.txt"];
    assert_eq!(
        (file.content.as_str(), file.mode, file.mtime),
        ("content one", 0o600, 784_111_777)
    );
    assert_eq!((files["named"].mode, files["named"].owner), (0o644, (5, 6)));
    assert_eq!(server.counts(), (2, 2));
    // It is asked again, but not sent again.
    let second = bench.build(&dockerfile).await;
    assert_eq!((second.built().steps_run, server.counts()), (0, (4, 2)));
    // What changes is built again.
    *server.content.lock().unwrap() = Some(b"content two".to_vec());
    let third = bench.build(&dockerfile).await;
    assert_eq!(bench.files(third.built())["named"].content, "content two");

    let sum = |text: &str| Digest::of(text.as_bytes()).to_string();
    let checked = |sum: &str| format!("FROM scratch\nADD --checksum={sum} http://{address}/x /x\n");
    assert!(
        bench
            .build(&checked(&sum("content two")))
            .await
            .result
            .is_ok()
    );
    let before = server.counts();
    // A file whose sum is known and kept needs no server.
    assert!(
        bench
            .build(&checked(&sum("content two")))
            .await
            .result
            .is_ok()
    );
    assert_eq!(server.counts(), before);
    let wrong = bench.build(&checked(&sum("other"))).await;
    let error = wrong.error();
    assert!(
        error.message().contains("--checksum asks for sha256:"),
        "{error}"
    );
    assert_eq!((error.line(), error.column()), (Some(2), Some(88)));
    let no_sum = bench.build(&checked("sha256:abc")).await;
    assert_eq!(no_sum.error().message(), "'sha256:abc' is no checksum");

    *server.content.lock().unwrap() = None;
    let gone = bench
        .build(&format!("FROM scratch\nADD http://{address}/other /x\n"))
        .await;
    assert_eq!(
        gone.error().message(),
        format!("failed to fetch http://{address}/other: the server answers 404")
    );
    let nameless = bench
        .build(&format!("FROM scratch\nADD http://{address}/ /x/\n"))
        .await;
    assert!(nameless.error().line() == Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_from_an_address_is_unpacked_only_when_asked() {
    let bench = Bench::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, "inner", &b"x"[..])
        .unwrap();
    let server = Server::start(&archive.into_inner().unwrap());
    let address = server.address;
    let outcome = bench
        .build(&format!(
            "FROM scratch\nADD http://{address}/a.tar /as-it-is/\nADD --unpack=true http://{address}/a.tar /unpacked/\n"
        ))
        .await;
    let files = bench.files(outcome.built());
    let names: Vec<_> = files
        .iter()
        .filter(|(_, file)| file.kind == 'f')
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(names, ["as-it-is/a.tar", "unpacked/inner"]);
}

/// Serves repositories below a folder by git's own protocol.
struct GitDaemon {
    process: Child,
    port: u16,
}

impl GitDaemon {
    fn start(folder: &Path) -> GitDaemon {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("git")
            .args([
                "daemon",
                "--export-all",
                "--reuseaddr",
                "--listen=127.0.0.1",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", folder.display()))
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need git");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        GitDaemon { process, port }
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        // Its own child serves; both end by the signal.
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .env("GIT_COMMITTER_DATE", "2001-09-09T01:46:40Z")
        .env("GIT_AUTHOR_DATE", "2001-09-09T01:46:40Z")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_copied_at_its_commit() {
    let bench = Bench::new();
    let served = bench.folder.path().join("served");
    let repository = served.join("r");
    std::fs::create_dir_all(repository.join("sub")).unwrap();
    git(&repository, &["init", "--quiet"]);
    std::fs::write(repository.join("a"), "one").unwrap();
    std::fs::write(repository.join("sub/run"), "#!").unwrap();
    std::fs::set_permissions(
        repository.join("sub/run"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);
    git(&repository, &["tag", "-a", "v1", "-m", "one"]);
    let first = git(&repository, &["rev-parse", "HEAD"]);
    std::fs::write(repository.join("a"), "two").unwrap();
    git(&repository, &["commit", "--quiet", "-am", "second"]);
    let daemon = GitDaemon::start(&served);
    let address = format!("git://127.0.0.1:{}/r", daemon.port);

    let outcome = bench
        .build(&format!(
            "FROM scratch\nADD {address} /head\nADD {address}#v1 /tag\nADD {address}#{first}:sub /sub\nADD --checksum={first} --keep-git-dir=true {address}#v1 /kept\n"
        ))
        .await;
    let files = bench.files(outcome.built());
    assert_eq!(
        (
            files["head/a"].content.as_str(),
            files["tag/a"].content.as_str()
        ),
        ("two", "one")
    );
    let run = &files["sub/run"];
    assert_eq!(
        (run.mode, run.mtime, run.owner),
        (0o755, 1_000_000_000, (0, 0))
    );
    assert!(!files.contains_key("head/.git") && !files.contains_key("sub/a"));
    assert!(files.contains_key("kept/.git/HEAD"));
    assert!(!files.contains_key("kept/.git/objects/info/alternates"));

    // Nothing moved: nothing is copied. The default branch moves: it is.
    let text = format!("FROM scratch\nADD {address} /head\n");
    let again = bench.build(&text).await;
    assert_eq!(
        (again.built().steps_run, again.built().steps_cached),
        (0, 1)
    );
    std::fs::write(repository.join("a"), "three").unwrap();
    git(&repository, &["commit", "--quiet", "-am", "third"]);
    let moved = bench.build(&text).await;
    assert_eq!(bench.files(moved.built())["head/a"].content, "three");

    let unknown = bench
        .build(&format!("FROM scratch\nADD {address}#nope /x\n"))
        .await;
    assert_eq!(
        unknown.error().message(),
        format!("the repository {address} has no branch or tag nope")
    );
    let wrong = bench
        .build(&format!(
            "FROM scratch\nADD --checksum={first} {address} /x\n"
        ))
        .await;
    assert!(
        wrong.error().message().contains("is the commit"),
        "{}",
        wrong.error()
    );
    let no_folder = bench
        .build(&format!("FROM scratch\nADD {address}#v1:nope /x\n"))
        .await;
    assert!(
        no_folder.error().message().ends_with("has no folder nope"),
        "{}",
        no_folder.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_forwarded_to_the_step_that_asks_for_it() {
    let bench = Bench::with_busybox().await;
    let socket = bench.folder.path().join("agent");
    // busybox cannot talk to a socket by its path; that talk passes is tested where it is forwarded.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = "FROM busybox\nRUN --mount=type=ssh,required=true test -S \"$SSH_AUTH_SOCK\" && stat -c '%a %n' \"$SSH_AUTH_SOCK\"\nRUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit\n";
    let outcome = bench
        .build_with(text, |request| {
            request.ssh = vec![("default".into(), socket.clone())]
        })
        .await;
    outcome.built();
    assert_eq!(outcome.output(), ["600 /run/buildkit/ssh_agent.0"]);
    let missing = bench
        .build(text.replace("test -S", "test  -S").as_str())
        .await;
    assert_eq!(
        missing.error().message(),
        "the SSH agent default is required and was not given"
    );
    let optional = bench
        .build("FROM busybox\nRUN --mount=type=ssh test -z \"$SSH_AUTH_SOCK\"\n")
        .await;
    optional.built();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_address_gives_is_part_of_the_inputs() {
    let bench = Bench::new();
    let server = Server::start(b"content one");
    bench.write(
        "Dockerfile",
        &format!(
            "ARG HOST={}\nFROM scratch\nARG HOST\nENV FILE=x\nADD http://$HOST/$FILE /x\n",
            server.address
        ),
    );
    let request = bench.request();
    let digest = async || {
        hoist_image::inputs_digest(&bench.workspace, &request)
            .await
            .unwrap()
    };
    let first = digest().await;
    assert_eq!(digest().await, first);
    *server.content.lock().unwrap() = Some(b"content two".to_vec());
    assert_ne!(digest().await, first);
}
