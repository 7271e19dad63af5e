//! A loopback proxy before the embedded AWS that knows the calls, and can kill the caller at one of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::sandbox::Sandbox;

/// When the caller is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// The call was made, and is never carried out.
    Unsent,
    /// The call was carried out, and its answer never comes.
    Unanswered,
}

/// Which call.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// The one with this number, from 0.
    Nth(usize),
    /// Of this operation the one with this number, from 0.
    Of(String, usize),
}

/// What the proxy sees and does.
#[derive(Default)]
struct State {
    calls: Vec<String>,
    /// The call at which the caller dies.
    deadly: Option<(Call, Moment)>,
    /// The caller.
    process: Option<u32>,
    /// The caller was killed: nothing of it goes through any more.
    dead: bool,
    /// Calls that were answered with a throttling error.
    throttled: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    known: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// Kills the caller, whose process is known soon.
    fn kill(&self) {
        let mut state = self.lock();
        while state.process.is_none() {
            state = self.known.wait(state).unwrap();
        }
        state.dead = true;
        let process = nix::unistd::Pid::from_raw(state.process.unwrap() as i32);
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

/// A proxy in the place of the daemon's port.
pub struct Proxy {
    shared: Arc<Shared>,
    record: std::path::PathBuf,
    original: String,
}

impl Proxy {
    /// Stands before the running daemon of this sandbox: whoever asks its home for the port gets the proxy's.
    pub fn before(sandbox: &Sandbox) -> Proxy {
        let record = sandbox.home().join("local/daemon.json");
        let original = std::fs::read_to_string(&record).unwrap();
        let mut status: serde_json::Value = serde_json::from_str(&original).unwrap();
        let port = u16::try_from(status["port"].as_u64().unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        status["port"] = listener.local_addr().unwrap().port().into();
        std::fs::write(&record, status.to_string()).unwrap();
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ours = Arc::clone(&ours);
                // A connection that breaks is the caller's to notice.
                std::thread::spawn(move || serve(stream, port, &ours));
            }
        });
        Proxy {
            shared,
            record,
            original,
        }
    }

    /// Forgets the calls so far; the next caller dies at the given call, if there is one given.
    pub fn begin(&self, deadly: Option<(Call, Moment)>) {
        *self.shared.lock() = State {
            deadly,
            ..State::default()
        };
    }

    /// Says who the caller is.
    pub fn caller(&self, process: u32) {
        self.shared.lock().process = Some(process);
        self.shared.known.notify_all();
    }

    /// How many of the calls were throttled.
    pub fn throttled(&self) -> usize {
        self.shared.lock().throttled
    }

    /// The operations that were called since.
    pub fn calls(&self) -> Vec<String> {
        self.shared.lock().calls.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.record, &self.original);
    }
}

/// A request or an answer as it came.
struct Message {
    bytes: Vec<u8>,
    lines: Vec<String>,
}

impl Message {
    /// Reads one; a body ends by its length or its last chunk.
    fn read(from: &mut impl BufRead) -> Option<Message> {
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        loop {
            let start = bytes.len();
            if from.read_until(b'\n', &mut bytes).ok()? == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&bytes[start..]).trim().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut message = Message { bytes, lines };
        let length = message.value("content-length").map(|it| it.parse());
        if let Some(length) = length {
            message.more(length.ok()?, from)?;
        } else if message.value("transfer-encoding").is_some() {
            loop {
                let start = message.bytes.len();
                from.read_until(b'\n', &mut message.bytes).ok()?;
                let size = String::from_utf8_lossy(&message.bytes[start..]);
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                message.more(size + 2, from)?;
                if size == 0 {
                    break;
                }
            }
        }
        Some(message)
    }

    fn more(&mut self, length: usize, from: &mut impl Read) -> Option<()> {
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        from.read_exact(&mut self.bytes[start..]).ok()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The operation that a request calls; none if it is no call of an API.
    fn operation(&self) -> Option<String> {
        if let Some(target) = self.value("x-amz-target") {
            return target.rsplit('.').next().map(str::to_owned);
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let (_, action) = text.rsplit_once("Action=")?;
        action.split('&').next().map(str::to_owned)
    }
}

/// Carries what one connection asks to the daemon and back, until either ends it.
fn serve(client: TcpStream, port: u16, shared: &Shared) -> Option<()> {
    let mut to_client = client.try_clone().ok()?;
    let mut client = BufReader::new(client);
    let server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let mut to_server = server.try_clone().ok()?;
    let mut server = BufReader::new(server);
    loop {
        let request = Message::read(&mut client)?;
        let fate = request.operation().and_then(|name| {
            let mut state = shared.lock();
            state.calls.push(name);
            let (nth, name) = (state.calls.len() - 1, &state.calls[state.calls.len() - 1]);
            let alike = state.calls.iter().filter(|call| *call == name).count() - 1;
            let is_it = |call: &Call| match call {
                Call::Nth(at) => *at == nth,
                Call::Of(operation, at) => operation == name && *at == alike,
            };
            let deadly = state.deadly.as_ref().filter(|(call, _)| is_it(call));
            deadly.map(|(_, moment)| *moment)
        });
        if fate == Some(Moment::Unsent) {
            shared.kill();
        }
        if shared.lock().dead {
            return None;
        }
        to_server.write_all(&request.bytes).ok()?;
        let answer = Message::read(&mut server)?;
        if fate.is_some() {
            shared.kill();
            return None;
        }
        if !answer.lines[0].contains(" 200 ") {
            let text = String::from_utf8_lossy(&answer.bytes);
            shared.lock().throttled += usize::from(text.contains("Rate exceeded"));
        }
        to_client.write_all(&answer.bytes).ok()?;
        if request.value("connection") == Some("close") {
            return None;
        }
    }
}
