//! A bounded load of plain HTTP requests to a loopback address.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One GET on a connection of its own. Returns the status and the body.
pub fn get(url: &str) -> std::io::Result<(u16, String)> {
    ask(url, "")
}

/// The same with more header lines, each with its line end.
pub fn ask(url: &str, more: &str) -> std::io::Result<(u16, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = TcpStream::connect(&address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("no status line in `{text}`"),
            )
        })?;
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    Ok((status, body))
}

/// What a load saw.
#[derive(Default, Debug)]
pub struct Seen {
    pub answered: usize,
    pub failed: Vec<String>,
    pub bodies: std::collections::BTreeMap<String, usize>,
}

/// Requests from four threads, until stopped or for two minutes at most.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// Starts `rate` requests a second on `url`.
    pub fn start(url: &str, rate: u32) -> Load {
        const THREADS: u32 = 4;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS)
            .map(|_| {
                let (stop, url) = (Arc::clone(&stop), url.to_owned());
                std::thread::spawn(move || {
                    let mut seen = Seen::default();
                    let began = Instant::now();
                    let pause = Duration::from_secs(1) * THREADS / rate;
                    let mut due = began;
                    while !stop.load(Ordering::Relaxed)
                        && began.elapsed() < Duration::from_secs(120)
                    {
                        match get(&url) {
                            Ok((200, body)) => {
                                seen.answered += 1;
                                *seen.bodies.entry(body.trim().to_owned()).or_default() += 1;
                            }
                            Ok((status, body)) => seen
                                .failed
                                .push(format!("{:?} {status} {body}", began.elapsed())),
                            Err(error) => {
                                seen.failed.push(format!("{:?} {error}", began.elapsed()))
                            }
                        }
                        due += pause;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    seen
                })
            })
            .collect();
        Load { stop, threads }
    }

    /// Stops, and tells what was seen.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().unwrap();
            all.answered += seen.answered;
            all.failed.extend(seen.failed);
            for (body, count) in seen.bodies {
                *all.bodies.entry(body).or_default() += count;
            }
        }
        all
    }
}
