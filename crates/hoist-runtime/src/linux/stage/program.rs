//! The last steps before a program runs: its user, its limits, its powers, and exec.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, Gid, Uid, access, chdir, fchown};

use super::seccomp::Filters;
use super::user::{self, Identity};
use super::{capabilities, identity, init};
use crate::StartError;
use crate::linux::wire::Program;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the program; returns only if that fails. The root has been entered, and only this thread exists.
pub(crate) fn run(program: &Program, filters: Option<&Filters>) -> StartError {
    match attempt(program, filters) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn attempt(
    program: &Program,
    filters: Option<&Filters>,
) -> Result<std::convert::Infallible, StartError> {
    let read = |path: &str| {
        fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    };
    let identity = user::resolve(
        &program.user,
        &program.groups,
        &read("/etc/passwd"),
        &read("/etc/group"),
    )?;
    umask(Mode::from_bits_truncate(0o022));
    enter_directory(&program.cwd)?;
    for limit in &program.ulimits {
        set_limit(&limit.name, limit.soft, limit.hard)?;
    }
    // So that a program of another user can open /dev/stdout and /dev/stderr again.
    for stream in [0, 1, 2] {
        // SAFETY: descriptors 0 to 2 were set up just before and stay open.
        let stream = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream) };
        let is_pipe = nix::sys::stat::fstat(stream)
            .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
        if is_pipe || nix::unistd::isatty(stream).unwrap_or(false) {
            let _ = fchown(
                stream.as_fd(),
                Some(Uid::from_raw(identity.uid)),
                Some(Gid::from_raw(identity.gid)),
            );
        }
    }
    reset_signals();
    let change = identity::prepare(&program.user, &identity)?;
    if let Some(filters) = filters {
        filters
            .install()
            .map_err(|error| StartError::other("install the system call filter", error))?;
    }
    let failed = |error: Errno| StartError::other("give up capabilities", error);
    capabilities::bound(&program.capabilities).map_err(failed)?;
    change.complete(&program.user, &identity)?;
    let keep = if identity.uid == 0 {
        program.capabilities.as_slice()
    } else {
        &[]
    };
    capabilities::limit(keep).map_err(failed)?;
    if !program.allow_new_privileges {
        nix::sys::prctl::set_no_new_privs()
            .map_err(|error| StartError::other("set no_new_privs", error))?;
    }
    let environment = environment(program, &identity);
    if program.init {
        init::divide()?;
    }
    exec(&program.args, &environment)
}

/// Enters the working directory, which is made when it does not exist, as Docker does.
fn enter_directory(cwd: &str) -> Result<(), StartError> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let failed = |reason: &dyn std::fmt::Display| StartError::WorkingDirectory {
        path: cwd.to_owned(),
        reason: reason.to_string(),
    };
    match chdir(cwd) {
        Ok(()) => Ok(()),
        Err(Errno::ENOENT) => {
            fs::create_dir_all(cwd).map_err(|error| failed(&error))?;
            chdir(cwd).map_err(|error| failed(&error.desc()))
        }
        Err(error) => Err(failed(&error.desc())),
    }
}

fn reset_signals() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in
        Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP))
    {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { sigaction(signal, &default) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

fn set_limit(name: &str, soft: u64, hard: u64) -> Result<(), StartError> {
    let resource = match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => {
            return Err(StartError::Invalid(format!(
                "unknown resource limit {name}"
            )));
        }
    };
    let failed = |error: Errno| StartError::other(format!("set the resource limit {name}"), error);
    let (_, most) = getrlimit(resource).map_err(failed)?;
    match setrlimit(resource, soft.min(hard), hard) {
        // Only CAP_SYS_RESOURCE may raise it, which root need not have.
        Err(Errno::EPERM) => {
            setrlimit(resource, soft.min(hard).min(most), hard.min(most)).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

fn environment(program: &Program, identity: &Identity) -> Vec<(String, String)> {
    let mut environment = program.env.clone();
    for (name, value) in [
        ("PATH", DEFAULT_PATH),
        ("HOSTNAME", program.hostname.as_str()),
        ("HOME", identity.home.as_str()),
    ] {
        if !environment.iter().any(|(known, _)| known == name) {
            environment.push((name.to_owned(), value.to_owned()));
        }
    }
    environment
}

fn exec(
    args: &[String],
    environment: &[(String, String)],
) -> Result<std::convert::Infallible, StartError> {
    let nul =
        |_| StartError::Invalid("an argument or an environment value holds a NUL byte".to_owned());
    let program = args
        .first()
        .filter(|program| !program.is_empty())
        .ok_or_else(|| StartError::Invalid("no command".to_owned()))?;
    let argv: Vec<CString> = args
        .iter()
        .map(|arg| CString::new(arg.as_str()))
        .collect::<Result<_, _>>()
        .map_err(nul)?;
    let envp: Vec<CString> = environment
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<_, _>>()
        .map_err(nul)?;
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, path)| path);
    let file = find(program, path)?;
    close_on_exec();
    let Err(error) = nix::unistd::execve(&file, &argv, &envp);
    let program = program.clone();
    Err(match error {
        Errno::ENOENT | Errno::ENOTDIR => StartError::NoSuchExecutable { program },
        Errno::ENOEXEC => StartError::ExecFormat { program },
        Errno::EACCES => StartError::PermissionDenied { program },
        error => StartError::other(format!("exec {program}"), error.desc()),
    })
}

/// Finds the file as Docker's runtime does: a name with `/` is taken as it stands, any other is looked for in `PATH`.
fn find(program: &str, path: &str) -> Result<CString, StartError> {
    let file = |name: &str| {
        CString::new(name)
            .map_err(|_| StartError::Invalid("the command holds a NUL byte".to_owned()))
    };
    if program.contains('/') {
        return file(program);
    }
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{program}");
        if fs::metadata(&candidate).is_ok_and(|metadata| metadata.is_file())
            && access(candidate.as_str(), AccessFlags::X_OK).is_ok()
        {
            return file(&candidate);
        }
    }
    // Also when there is a file of that name that may not be executed.
    Err(StartError::NoSuchExecutable {
        program: program.to_owned(),
    })
}

/// Marks everything beyond the standard streams to be closed by exec: nothing of ours reaches the program.
fn close_on_exec() {
    // SAFETY: sets a flag on descriptors; closes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        return;
    }
    // Before Linux 5.11.
    let Ok(directory) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    for entry in directory.flatten() {
        let number = CStr::from_bytes_with_nul(&[entry.file_name().as_bytes(), b"\0"].concat())
            .ok()
            .and_then(|name| name.to_str().ok()?.parse::<i32>().ok());
        if let Some(number) = number.filter(|&number| number > 2) {
            // SAFETY: sets a flag on a descriptor; fails harmlessly if it is closed meanwhile.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}
