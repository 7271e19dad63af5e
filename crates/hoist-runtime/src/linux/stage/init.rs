//! Process 1 of a container that asked for one: passes signals on, and takes up what orphaned processes leave.

use nix::errno::Errno;

use crate::StartError;

/// Divides this process. The child returns, to become the program; the parent stays process 1 and ends as the child does, as
/// Docker's `--init` lets it.
pub(super) fn divide() -> Result<(), StartError> {
    // SAFETY: all of these work on sets on the stack. Signals are held back before the fork, so that none is lost; as process 1
    // this process would never be given one that it has no handler for, except those it waits for.
    let (all, child) = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        (all, libc::fork())
    };
    match child {
        -1 => Err(StartError::other(
            "make the program's process",
            Errno::last(),
        )),
        0 => {
            // SAFETY: as above.
            unsafe {
                let mut none: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            }
            Ok(())
        }
        child => watch(child, &all),
    }
}

fn watch(child: libc::pid_t, all: &libc::sigset_t) -> ! {
    // SAFETY: everything but the standard streams is given up, first of all the pipe whose closing says that the program runs.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0) };
    loop {
        // SAFETY: the set is a valid one, and nothing is wanted but the number.
        match unsafe { libc::sigwaitinfo(all, std::ptr::null_mut()) } {
            libc::SIGCHLD => reap(child),
            // SAFETY: takes numbers; a child that has ended is not yet reaped, so its number is still its own.
            signal if signal > 0 => unsafe {
                libc::kill(child, signal);
            },
            _ => {}
        }
    }
}

/// Takes up all that have ended, and ends itself after the program.
fn reap(child: libc::pid_t) {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if ended <= 0 {
            return;
        }
        if ended == child {
            let code = if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            };
            // SAFETY: ends this process at once; the kernel ends what is left of the container.
            unsafe { libc::_exit(code) }
        }
    }
}
