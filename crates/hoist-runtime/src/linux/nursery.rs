//! The process that all containers are born from.
//!
//! It is process 1 of a process id namespace of its own, one per [`crate::Containers`], re-executed from the program itself with a
//! hidden name, single-threaded, and killed by the kernel when the thread that started it ends. The kernel then kills everything in
//! its namespace and those below: no container survives the process that started it, however that ended and whatever the containers
//! did to their own settings. Because it has one thread it may fork and work on in the child, which a program with threads may not;
//! and because it is small, a fork costs a fraction of a new execution of the whole program.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::StartError;
use crate::linux::stage::{self, Files, seccomp::Filters};
use crate::linux::wire::{self, Event, Request, Role, What};

/// The hidden name under which the program is executed again to be a nursery.
pub(crate) const NAME: &str = "hoist: containers";
/// The same, executed once more from a mount that cannot be written to.
const SEALED: &std::ffi::CStr = c"hoist: containers (sealed)";

/// Becomes the nursery if this process was started to be one. Call it first in `main`, before threads, arguments and signals.
///
/// Returns at once otherwise.
pub fn init() {
    let name = std::env::args_os().next().unwrap_or_default();
    if name == NAME {
        // Where the kernel cannot, containers start all the same.
        let _ = seal();
    }
    if name == NAME || name.as_encoded_bytes() == SEALED.to_bytes() {
        let code = match serve() {
            Ok(()) => 0,
            Err(_) => 1,
        };
        // SAFETY: ends this process at once; it holds nothing that needs cleaning up, and its containers die with it.
        unsafe { libc::_exit(code) }
    }
}

/// Executes this program again from a read-only mount of its own, which nothing else can see.
///
/// A container's first process is this program until it executes the container's. Root in a container could open it by
/// `/proc/PID/exe` and write to the file that is the program on the machine (CVE-2019-5736); on such a mount it cannot.
/// Needs Linux 5.12. Returns only if it fails.
fn seal() -> io::Result<std::convert::Infallible> {
    // SAFETY: each call takes numbers, constant strings, and structures that live as long as the call.
    unsafe {
        let mount = libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            c"/proc/self/exe".as_ptr(),
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
        );
        let mount = OwnedFd::from_raw_fd(Errno::result(mount)? as i32);
        let mut attributes: libc::mount_attr = std::mem::zeroed();
        attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
        Errno::result(libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        ))?;
        let argv = [SEALED.as_ptr(), std::ptr::null()];
        let envp: [*const libc::c_char; 1] = [std::ptr::null()];
        libc::syscall(
            libc::SYS_execveat,
            mount.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(io::Error::last_os_error())
}

/// Starts a nursery from this thread, whose end will be the nursery's. Returns its process id and our end of its socket.
pub(crate) fn spawn(init_program: &std::path::Path) -> io::Result<(nix::unistd::Pid, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    // Everything is prepared before the fork: the child of a program with threads may not allocate.
    let argv = [c"hoist: containers".as_ptr(), std::ptr::null()];
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    let path = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(
        init_program.as_os_str(),
    ))?;
    let socket = theirs.as_raw_fd();
    let flags = libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork. The child only makes system calls on memory prepared above, then executes or ends.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: as above; each call takes numbers or pointers that stay valid.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::dup2(socket, 0) == 0 {
                libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
            }
            libc::_exit(127);
        }
    }
    let pid = Errno::result(pid)? as i32;
    Ok((nix::unistd::Pid::from_raw(pid), ours))
}

/// The nursery's life: makes processes on request, reports their ends, and ends when the other side does.
fn serve() -> io::Result<()> {
    let _ = nix::unistd::setsid();
    // SAFETY: descriptor 0 is the socket that `spawn` put there, and nothing else uses it.
    let inherited = unsafe { OwnedFd::from_raw_fd(0) };
    // Away from the standard streams, which every child replaces.
    let socket = nix::fcntl::fcntl(&inherited, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    drop(inherited);
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    for number in 0..3 {
        // SAFETY: the standard streams become /dev/null; the socket is above them.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), number) })?;
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let filters = Filters::compile();
    let home = std::fs::File::open("/proc/self/ns/pid")?;
    let mut children: std::collections::HashMap<i32, u64> = std::collections::HashMap::new();
    loop {
        let mut waiting =
            [socket.as_raw_fd(), signals.as_fd().as_raw_fd()].map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            });
        // SAFETY: the array is as long as we say.
        match Errno::result(unsafe {
            libc::poll(waiting.as_mut_ptr(), waiting.len() as libc::nfds_t, -1)
        }) {
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let [asked, ended] = waiting.map(|one| one.revents != 0);
        if asked {
            let Some((request, files)) = wire::receive::<Request>(socket.as_fd())? else {
                return Ok(());
            };
            let seq = request.seq;
            let files = Files(request.roles.iter().copied().zip(files).collect());
            match fork(&request, &files, home.as_fd(), filters.as_ref()) {
                Ok((pid, pidfd)) => {
                    children.insert(pid, seq);
                    wire::send(
                        socket.as_fd(),
                        &Event {
                            seq,
                            what: What::Forked,
                        },
                        &[pidfd.as_fd()],
                    )?;
                }
                Err(error) => {
                    let what = What::Refused(error);
                    wire::send(socket.as_fd(), &Event { seq, what }, &[])?;
                }
            }
        }
        if ended {
            while let Ok(Some(_)) = signals.read_signal() {}
            reap(&mut children, socket.as_fd())?;
        }
    }
}

/// Makes the process of a request; in the child this never returns.
fn fork(
    request: &Request,
    files: &Files,
    home: BorrowedFd<'_>,
    filters: Option<&Filters>,
) -> Result<(i32, OwnedFd), StartError> {
    let mut flags = libc::CLONE_PIDFD | libc::SIGCHLD;
    let target = files.get(Role::Target);
    match target {
        Some(target) => setns(target, CloneFlags::CLONE_NEWPID).map_err(|error| match error {
            Errno::ESRCH => StartError::NotRunning { id: String::new() },
            error => StartError::other("enter the container's process namespace", error),
        })?,
        None => {
            flags |=
                libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
            if request.new_network {
                flags |= libc::CLONE_NEWNET;
            }
        }
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: without CLONE_VM this is a fork, and this process has one thread, so the child may do anything. The kernel writes one
    // descriptor to `pidfd`, which it takes as the third argument (x86-64 and arm64 agree up to there).
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags as u32 as libc::c_ulong,
            0,
            &raw mut pidfd,
            0,
            0,
        )
    };
    if pid == 0 {
        stage::run(files, filters);
    }
    let result = Errno::result(pid);
    if target.is_some() {
        setns(home, CloneFlags::CLONE_NEWPID).map_err(|error| {
            StartError::other("return from the container's process namespace", error)
        })?;
    }
    let pid = result.map_err(|error| match error {
        // The container's process 1 has ended: nothing can be born there any more.
        Errno::ENOMEM if target.is_some() => StartError::NotRunning { id: String::new() },
        error => StartError::other("make a process", error),
    })?;
    // SAFETY: clone succeeded with CLONE_PIDFD, so the descriptor is valid and ours.
    Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

fn reap(
    children: &mut std::collections::HashMap<i32, u64>,
    socket: BorrowedFd<'_>,
) -> io::Result<()> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match Errno::result(pid) {
            Err(Errno::ECHILD) | Ok(0) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(pid) => {
                if let Some(seq) = children.remove(&pid) {
                    let what = What::Ended(status);
                    wire::send(socket, &Event { seq, what }, &[])?;
                }
            }
        }
    }
}
