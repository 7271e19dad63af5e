//! A container of the Docker Engine, or a program added to one, as a [`TaskProcess`].

use std::fmt;
use std::io;
use std::process::Stdio;

use futures_util::future::BoxFuture;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::command::Cli;
use crate::terminal::{self, Terminal};
use crate::{
    ExecSpec, Exit, InputStream, OutputStream, RuntimeError, StartError, Stats, Stdin, TaskProcess,
    TerminalSize,
};

pub(super) struct Process {
    cli: Cli,
    name: String,
    /// A program that was added, not the container's own.
    added: bool,
    exit: watch::Receiver<Option<Exit>>,
    terminal: Option<Terminal>,
    stdin: Option<InputStream>,
    stdout: Option<OutputStream>,
    stderr: Option<OutputStream>,
    /// Ends an added program's command; the engine's own containers are ended through the engine.
    end: Option<tokio::sync::mpsc::UnboundedSender<()>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Process")
            .field("name", &self.name)
            .field("exit", &*self.exit.borrow())
            .finish_non_exhaustive()
    }
}

/// How an end looks of which nobody could say more.
const KILLED: Exit = Exit {
    code: 137,
    signal: Some(9),
    oom_killed: false,
};

impl Process {
    /// Waits for the end of a container that was just started, and passes its output on.
    pub(super) fn follow(cli: Cli, name: String, mut attached: Child) -> Process {
        let (stdout, stderr) = streams(&mut attached);
        let (publish, exit) = watch::channel(None);
        let waiting = (cli.clone(), name.clone());
        tokio::spawn(async move {
            let (cli, name) = waiting;
            let exit = ended(&cli, &name).await.unwrap_or(KILLED);
            publish.send_replace(Some(exit));
            // The command ends by itself once it has passed everything on; it must not be dropped before.
            let _ = attached.wait().await;
        });
        Process {
            cli,
            name,
            added: false,
            exit,
            terminal: None,
            stdin: None,
            stdout,
            stderr,
            end: None,
        }
    }

    fn add(&self, exec: ExecSpec) -> Result<Process, StartError> {
        let mut args = vec!["exec".to_owned()];
        if exec.terminal.is_some() {
            args.extend(["--interactive".to_owned(), "--tty".to_owned()]);
        } else if exec.stdin == Stdin::Pipe {
            args.push("--interactive".to_owned());
        }
        for (name, _) in &exec.env {
            args.extend(["--env".to_owned(), name.clone()]);
        }
        if !exec.cwd.is_empty() {
            args.extend(["--workdir".to_owned(), exec.cwd.clone()]);
        }
        if !exec.user.is_empty() {
            args.extend(["--user".to_owned(), exec.user.clone()]);
        }
        args.push(self.name.clone());
        args.extend(exec.args);
        let mut command = self.cli.command(&args);
        // Values stay out of the argument list.
        command.envs(exec.env);
        let failed = |error| StartError::other("start a program in the container", error);
        let terminal = match exec.terminal {
            Some(size) => Some(attach_terminal(&mut command, size).map_err(failed)?),
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                if exec.stdin == Stdin::Pipe {
                    command.stdin(Stdio::piped());
                }
                None
            }
        };
        let mut child = command.spawn().map_err(failed)?;
        // It holds the command's side of the terminal, which must be closed here for its end to show.
        drop(command);
        let (mut stdout, stderr) = streams(&mut child);
        let mut stdin = child.stdin.take().map(|it| Box::pin(it) as InputStream);
        if let Some(terminal) = &terminal {
            stdin = Some(Box::pin(terminal.clone()));
            stdout = Some(Box::pin(terminal.clone()));
        }
        let (publish, exit) = watch::channel(None);
        let (end, mut asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                Some(()) = asked.recv() => {
                    let _ = child.kill().await;
                    child.wait().await
                }
            };
            let code = status.ok().and_then(|status| status.code());
            publish.send_replace(Some(code.map_or(KILLED, exit_of)));
        });
        Ok(Process {
            cli: self.cli.clone(),
            name: self.name.clone(),
            added: true,
            exit,
            terminal,
            stdin,
            stdout,
            stderr,
            end: Some(end),
        })
    }
}

/// Gives the command a terminal of its own; it passes sizes on to the engine. Returns our side.
fn attach_terminal(command: &mut Command, size: TerminalSize) -> io::Result<Terminal> {
    let pair = nix::pty::openpty(None, None)?;
    for side in [&pair.master, &pair.slave] {
        fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    terminal::set_size(&pair.master, size)?;
    command
        .stdin(pair.slave.try_clone()?)
        .stdout(pair.slave.try_clone()?)
        .stderr(pair.slave);
    // SAFETY: between fork and exec only two system calls are made, on numbers.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Errno::result(libc::ioctl(0, libc::TIOCSCTTY as _, 0))?;
            Ok(())
        });
    }
    Terminal::new(pair.master)
}

fn streams(child: &mut Child) -> (Option<OutputStream>, Option<OutputStream>) {
    (
        child.stdout.take().map(|it| Box::pin(it) as OutputStream),
        child.stderr.take().map(|it| Box::pin(it) as OutputStream),
    )
}

/// Codes above 128 are signals, as the engine reports them.
fn exit_of(code: i32) -> Exit {
    Exit {
        code,
        signal: (129..=128 + 64).contains(&code).then_some(code - 128),
        oom_killed: false,
    }
}

async fn ended(cli: &Cli, name: &str) -> Result<Exit, RuntimeError> {
    cli.run(&["wait", name]).await?;
    let state = cli
        .run(&[
            "inspect",
            "--format",
            "{{.State.ExitCode}} {{.State.OOMKilled}}",
            name,
        ])
        .await?;
    let (code, oom) = state.trim().split_once(' ').unwrap_or(("137", "false"));
    let mut exit = exit_of(code.parse().unwrap_or(137));
    exit.oom_killed = oom == "true" && exit.signal == Some(9);
    Ok(exit)
}

/// Reads why a container was not made out of what the engine said. It makes the working directory.
pub(super) fn make_error(error: RuntimeError, cwd: &str) -> StartError {
    match error {
        RuntimeError::Docker { problem, .. } if problem.contains("Cannot mkdir") => {
            StartError::WorkingDirectory {
                path: cwd.to_owned(),
                reason: problem,
            }
        }
        error => StartError::other("make the container", error),
    }
}

/// Reads why a container did not start out of what the engine said.
pub(super) fn start_error(said: &str, program: &str, user: &str, cwd: &str) -> StartError {
    if said.contains("chdir to cwd") {
        return StartError::WorkingDirectory {
            path: cwd.to_owned(),
            reason: said.to_owned(),
        };
    }
    let program = program.to_owned();
    let about_exec =
        said.contains("exec: ") || said.contains("exec failed") || said.contains("stat ");
    if said.contains("executable file not found")
        || (about_exec && said.contains("no such file or directory"))
    {
        StartError::NoSuchExecutable { program }
    } else if said.contains("exec format error") {
        StartError::ExecFormat { program }
    } else if about_exec && (said.contains("permission denied") || said.contains("is a directory"))
    {
        StartError::PermissionDenied { program }
    } else if said.contains("unable to find user") || said.contains("unable to find group") {
        let what = if said.contains("unable to find group") {
            "group"
        } else {
            "user"
        };
        let (who, with) = user.split_once(':').unwrap_or((user, ""));
        StartError::NoSuchUser {
            what: what.to_owned(),
            name: if what == "group" { with } else { who }.to_owned(),
            file: if what == "group" {
                "/etc/group"
            } else {
                "/etc/passwd"
            }
            .to_owned(),
        }
    } else {
        StartError::other("start the container", said)
    }
}

impl TaskProcess for Process {
    fn pid(&self) -> Option<u32> {
        // The engine may run on another machine.
        None
    }

    fn take_stdin(&mut self) -> Option<InputStream> {
        self.stdin.take()
    }

    fn take_stdout(&mut self) -> Option<OutputStream> {
        self.stdout.take()
    }

    fn take_stderr(&mut self) -> Option<OutputStream> {
        self.stderr.take()
    }

    fn wait(&self) -> BoxFuture<'_, Exit> {
        let mut exit = self.exit.clone();
        Box::pin(async move {
            let ended = exit.wait_for(Option::is_some).await;
            ended.ok().and_then(|exit| *exit).unwrap_or(KILLED)
        })
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async move {
            if self.exit.borrow().is_some() {
                return Ok(());
            }
            if self.added {
                // The engine offers no way to signal an added program, only to stop listening to it.
                if let Some(end) = &self.end {
                    let _ = end.send(());
                }
                return Ok(());
            }
            let number = format!("--signal={signal}");
            match self.cli.run(&["kill", &number, &self.name]).await {
                Err(RuntimeError::Docker { problem, .. })
                    if problem.contains("is not running")
                        || problem.contains("No such container") =>
                {
                    Ok(())
                }
                result => result.map(drop),
            }
        })
    }

    fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError> {
        match &self.terminal {
            Some(terminal) => terminal
                .resize(size)
                .map_err(RuntimeError::system("change the size of a terminal")),
            None => Ok(()),
        }
    }

    fn exec(&self, exec: ExecSpec) -> BoxFuture<'_, Result<Box<dyn TaskProcess>, StartError>> {
        let added = if self.exit.borrow().is_some() {
            Err(StartError::NotRunning {
                id: self.name.clone(),
            })
        } else {
            self.add(exec)
                .map(|process| Box::new(process) as Box<dyn TaskProcess>)
        };
        Box::pin(std::future::ready(added))
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, RuntimeError>> {
        Box::pin(async move {
            // Seconds of processor time, memory in KiB and threads of each process.
            let table = self
                .cli
                .run(&["top", &self.name, "-o", "pid,cputimes,rss,nlwp"])
                .await?;
            Ok(stats_of(&table, ticks))
        })
    }
}

/// Processor time of a process of this machine in nanoseconds, to the hundredth of a second.
fn ticks(pid: u64) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th fields after it.
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut time = || fields.next()?.parse::<u64>().ok();
    Some((time()? + time()?) * 10_000_000)
}

/// The engine tells whole seconds, too coarse for what is measured every second. `exact` knows more where the engine is on this machine;
/// a process that is another's has used another time.
fn stats_of(table: &str, exact: impl Fn(u64) -> Option<u64>) -> Stats {
    const SECOND: u64 = 1_000_000_000;
    let mut stats = Stats::default();
    for line in table.lines().skip(1) {
        let mut fields = line
            .split_whitespace()
            .map(|field| field.parse::<u64>().unwrap_or(0));
        let pid = fields.next().unwrap_or(0);
        let told = fields.next().unwrap_or(0) * SECOND;
        let known = exact(pid).filter(|nanos| nanos.abs_diff(told) <= 2 * SECOND);
        stats.cpu_nanos += known.unwrap_or(told);
        stats.memory_bytes += fields.next().unwrap_or(0) * 1024;
        stats.pids += fields.next().unwrap_or(0);
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_summed_over_the_processes_of_a_container() {
        let table = "PID    TIME  RSS  NLWP\n10     3     1024 2\n11     0     512  1\n";
        let stats = stats_of(table, |_| None);
        assert_eq!(
            (stats.cpu_nanos, stats.memory_bytes, stats.pids),
            (3_000_000_000, 1536 * 1024, 3)
        );
        let own = |pid| (pid == 10).then_some(3_210_000_000);
        assert_eq!(stats_of(table, own).cpu_nanos, 3_210_000_000);
        let of_another = |_| Some(90_000_000_000);
        assert_eq!(stats_of(table, of_another).cpu_nanos, 3_000_000_000);
        assert!(ticks(std::process::id().into()).is_some());
    }

    #[test]
    fn what_the_engine_says_of_a_start_becomes_the_same_error_as_natively() {
        let said = "OCI runtime create failed: runc create failed: unable to start container process: \
                    error during container init: exec: \"no-such\": executable file not found in $PATH";
        assert!(matches!(
            start_error(said, "no-such", "", ""),
            StartError::NoSuchExecutable { .. }
        ));
        let said = "runc create failed: unable to start container process: error during container init: exec: \"/x\": permission denied";
        assert!(matches!(
            start_error(said, "/x", "", ""),
            StartError::PermissionDenied { .. }
        ));
        let said = "unable to find user ghost: no matching entries in passwd file";
        assert!(
            matches!(start_error(said, "x", "ghost", ""), StartError::NoSuchUser { name, .. } if name == "ghost")
        );
        assert!(matches!(
            start_error("out of space", "x", "", ""),
            StartError::Other { .. }
        ));
    }
}
