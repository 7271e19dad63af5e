//! A small web application: standard library only, one static binary, nothing to pull.
//!
//! `GET /` greets, `GET /healthz` answers `ok`, and `GET /slow` sends its answer in pieces over a second. With `UNHEALTHY=1` in its
//! environment the health check answers 503, so that a rollback can be seen. `hello exit CODE` is a task that runs to its end.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, action: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

/// The first process of a container gets no default action for SIGTERM: without this, every stop would take the whole stop timeout.
extern "C" fn stop(_: i32) {
    // SAFETY: `_exit` may be called from a signal handler (POSIX async-signal-safe list).
    unsafe { _exit(0) }
}

fn main() {
    // SAFETY: the handler only calls `_exit`.
    unsafe { signal(15, stop) };
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello from hoist".into());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, code] = &arguments[..]
        && word == "exit"
    {
        println!("{greeting}: this task ends with {code}");
        std::process::exit(code.parse().unwrap_or(1));
    }
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
    println!("listening on port {port}");
    for stream in listener.incoming().flatten() {
        let greeting = greeting.clone();
        std::thread::spawn(move || serve(stream, &greeting));
    }
}

fn serve(mut stream: TcpStream, greeting: &str) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let (mut header, mut last) = (String::new(), false);
        while reader.read_line(&mut header).unwrap_or(0) > 2 {
            last |= header.trim_end().eq_ignore_ascii_case("connection: close");
            header.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        let sent = match path.as_str() {
            "/" => {
                println!("GET /");
                answer(&mut stream, "200 OK", &format!("{greeting}\n"))
            }
            "/healthz" if std::env::var_os("UNHEALTHY").is_some() => {
                answer(&mut stream, "503 Service Unavailable", "unhealthy\n")
            }
            "/healthz" => answer(&mut stream, "200 OK", "ok\n"),
            "/slow" => trickle(&mut stream),
            _ => answer(&mut stream, "404 Not Found", "not found\n"),
        };
        if sent.is_err() || last {
            return;
        }
    }
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn trickle(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for piece in ["one\n", "two\n", "three\n", "four\n"] {
        write!(stream, "{:x}\r\n{piece}\r\n", piece.len())?;
        stream.flush()?;
        std::thread::sleep(Duration::from_millis(250));
    }
    write!(stream, "0\r\n\r\n")
}
