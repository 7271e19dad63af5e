//! Overlay mounts.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::RuntimeError;

/// The directories of an overlay, held open: mounted by `/proc/self/fd/N`, a path's length, commas and colons do not matter, nor
/// what is mounted over it meanwhile. The mount options are one page, which is room for about 200 layers so.
#[derive(Debug)]
pub(crate) struct Directories {
    lower: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
}

/// Opens a directory without reading rights, to name it later.
pub(crate) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The name of an open file that any system call of this process can take.
pub(crate) fn fd_path(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

impl Directories {
    pub(crate) fn open(
        lower: &[PathBuf],
        upper: &Path,
        work: &Path,
    ) -> Result<Directories, RuntimeError> {
        let open = |path: &Path| {
            open_path(path).map_err(RuntimeError::path("open the overlay directory", path))
        };
        Ok(Directories {
            lower: lower
                .iter()
                .map(|path| open(path))
                .collect::<Result<_, _>>()?,
            upper: open(upper)?,
            work: open(work)?,
        })
    }

    /// Adds a lowest layer.
    pub(crate) fn push_lower(&mut self, path: &Path) -> io::Result<()> {
        self.lower.push(open_path(path)?);
        Ok(())
    }

    pub(crate) fn mount(
        &self,
        target: &Path,
        user_namespace: bool,
        flags: MsFlags,
    ) -> nix::Result<()> {
        let lower: Vec<String> = self
            .lower
            .iter()
            .map(|fd| fd_path(fd).display().to_string())
            .collect();
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            fd_path(&self.upper).display(),
            fd_path(&self.work).display()
        );
        // Renamed directories must be whole in the upper directory, because it becomes a layer.
        options += if user_namespace {
            ",userxattr"
        } else {
            ",redirect_dir=off,metacopy=off,index=off"
        };
        let attempt = |options: &str| {
            mount(
                Some("overlay"),
                target,
                Some("overlay"),
                flags,
                Some(options),
            )
        };
        // Without `volatile` (Linux 5.10) every unmount waits until the disk has all of the upper directory.
        match attempt(&format!("{options},volatile")) {
            Err(Errno::EINVAL) => attempt(&options),
            result => result,
        }
    }
}

/// Empties what an earlier overlay left in its work directory.
pub(crate) fn clear_work(work: &Path) -> io::Result<()> {
    let leftover = work.join("work");
    match std::fs::remove_dir_all(&leftover) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An overlay mounted in this process's mount namespace until it is dropped.
///
/// Containers need none: theirs is mounted in their own namespace. This one is for reading or writing a stack of layers directly.
#[derive(Debug)]
pub struct Overlay {
    target: PathBuf,
}

impl Overlay {
    /// Mounts `lower` (topmost first, may be empty) under `upper` at `target`. `work` must be on the same file system as `upper`.
    pub fn mount(
        lower: &[PathBuf],
        upper: &Path,
        work: &Path,
        target: &Path,
    ) -> Result<Overlay, RuntimeError> {
        let user_namespace = crate::privilege::in_user_namespace();
        clear_work(work).map_err(RuntimeError::path(
            "empty the overlay's work directory",
            work,
        ))?;
        let mounted = if lower.is_empty() {
            mount(
                Some(upper),
                target,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
        } else {
            Directories::open(lower, upper, work)?.mount(target, user_namespace, MsFlags::empty())
        };
        mounted.map_err(|errno| RuntimeError::path("mount an overlay at", target)(errno.into()))?;
        Ok(Overlay {
            target: target.to_owned(),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.target, MntFlags::MNT_DETACH) {
            tracing::warn!(target = %self.target.display(), %error, "cannot unmount an overlay");
        }
    }
}

/// Opens `path` below `root` as if `root` were `/`: no `..`, link or magic link leads out of it.
pub(crate) fn open_in_root(
    root: &impl AsRawFd,
    path: impl AsRef<Path>,
    flags: libc::c_int,
    mode: libc::mode_t,
) -> io::Result<File> {
    use std::os::fd::FromRawFd;
    let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_ref().as_os_str());
    let path = std::ffi::CString::new(if path.is_empty() {
        b".".as_slice()
    } else {
        path
    })?;
    // SAFETY: an all-zero `open_how` is a valid one.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    loop {
        // SAFETY: `path` ends in NUL, and `how` is as long as we say.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                std::mem::size_of::<libc::open_how>(),
            )
        };
        match Errno::result(fd) {
            Ok(fd) => {
                // SAFETY: the kernel has just made this descriptor for us.
                return Ok(unsafe { File::from_raw_fd(fd as i32) });
            }
            // A rename elsewhere raced with the lookup of `..`; openat2(2) says to try again.
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
    }
}
