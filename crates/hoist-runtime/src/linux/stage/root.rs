//! The container's file system: the overlay, what the kernel shows in `/proc`, `/dev` and `/sys`, and the mounts asked for.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::fstatvfs;

use crate::linux::overlay::{Directories, clear_work, fd_path, open_in_root};
use crate::linux::wire::StartOrder;
use crate::{Mount, MountSource, StartError};

/// Hidden from containers, as in Docker (moby `oci/defaults.go`).
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
/// Not writable in containers, as in Docker.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
/// Bound from the host. Everything else that a container can write to is mounted `nodev`, so a device node that a program makes
/// cannot be opened: the same as Docker's device control group, without one.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let action = action.into();
    move |error| StartError::other(action, error)
}

fn mount_at(fs: &str, target: &Path, flags: MsFlags, options: &str) -> io::Result<()> {
    Ok(mount(Some(fs), target, Some(fs), flags, Some(options))?)
}

/// Makes `path` exist below `root` as a directory (or an empty file) and opens it for mounting on.
fn make(root: &OwnedFd, path: &str, directory: bool) -> io::Result<File> {
    let kind = if directory { libc::O_DIRECTORY } else { 0 };
    match open_in_root(root, path, libc::O_PATH | kind, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parent = make(root, parent, true)?;
    let inside = fd_path(&parent).join(name);
    let made = if directory {
        fs::create_dir(&inside)
            .and_then(|()| fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)))
    } else {
        File::create_new(&inside).map(drop)
    };
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Opened by the whole name again: where it is a dangling link, this fails instead of leading elsewhere.
    open_in_root(root, path, libc::O_PATH | kind, 0)
}

/// Makes what is mounted at `target` read-only, keeping the flags that a user namespace may not clear.
fn remount_read_only(target: &Path, extra: MsFlags) -> io::Result<()> {
    let file = File::options()
        .read(true)
        .open(target)
        .or_else(|_| crate::linux::overlay::open_path(target).map(File::from))?;
    let kept = fstatvfs(&file)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | extra;
    use nix::sys::statvfs::FsFlags;
    for (has, set) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if kept.contains(has) {
            flags |= set;
        }
    }
    Ok(mount(
        None::<&str>,
        target,
        None::<&str>,
        flags,
        None::<&str>,
    )?)
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?)
}

/// Builds the root and moves into it. Afterwards nothing of the host's file system can be reached.
pub(crate) fn enter(order: &StartOrder) -> Result<(), StartError> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|error| StartError::other("make the mounts private", error))?;
    clear_work(&order.work).map_err(failed(format!("empty {}", order.work.display())))?;
    let mut directories = Directories::open(&order.lower, &order.upper, &order.work)
        .map_err(|error| StartError::other("open the layers", chain(&error)))?;

    // A little memory over the upper directory, in this mount namespace only. It holds the lowest layer, so that every mount
    // point exists without a trace in the upper directory (Docker's "init layer"), and the files of /etc.
    let own = &order.upper;
    mount_at(
        "tmpfs",
        own,
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=755,size=1m",
    )
    .map_err(failed("mount a tmpfs"))?;
    let skeleton = own.join("skeleton");
    let target = own.join("root");
    let prepare = || -> io::Result<()> {
        for directory in ["dev", "etc", "proc", "sys"] {
            fs::create_dir_all(skeleton.join(directory))?;
        }
        fs::create_dir(&target)?;
        for (name, content) in etc_files(order) {
            File::create(skeleton.join("etc").join(name))?;
            fs::write(own.join(name), content)?;
        }
        directories.push_lower(&skeleton)
    };
    let mut prepare = prepare;
    prepare().map_err(failed("prepare the root"))?;
    directories
        .mount(&target, order.user_namespace, MsFlags::MS_NODEV)
        .map_err(|error| {
            StartError::other(
                format!("mount an overlay of {} layers", order.lower.len()),
                error,
            )
        })?;

    let root = crate::linux::overlay::open_path(&target).map_err(failed("open the root"))?;
    proc(&root)?;
    dev(&root, order).map_err(failed("make /dev"))?;
    sys(&root, order).map_err(failed("mount /sys"))?;
    for (name, _) in etc_files(order) {
        let file = make(&root, &format!("/etc/{name}"), false)
            .map_err(failed(format!("make /etc/{name}")))?;
        bind(&own.join(name), &fd_path(&file)).map_err(failed(format!("mount /etc/{name}")))?;
    }
    for wanted in &order.mounts {
        add(&root, wanted).map_err(failed(format!("mount {}", wanted.target)))?;
    }
    for (key, value) in &order.sysctls {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        open_in_root(&root, &path, libc::O_WRONLY, 0)
            .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
            .map_err(failed(format!("set {key} to {value}")))?;
    }
    protect(&root).map_err(failed("protect /proc and /sys"))?;
    if order.read_only {
        remount_read_only(&fd_path(&root), MsFlags::MS_NODEV)
            .map_err(failed("make the root read-only"))?;
    }
    pivot(&root).map_err(failed("change the root"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

fn etc_files(order: &StartOrder) -> [(&'static str, String); 3] {
    [
        ("hostname", format!("{}\n", order.hostname)),
        ("hosts", order.hosts.clone()),
        ("resolv.conf", order.resolv_conf.clone()),
    ]
}

fn proc(root: &OwnedFd) -> Result<(), StartError> {
    let target = make(root, "/proc", true).map_err(failed("make /proc"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &fd_path(&target), Some("proc"), flags, None::<&str>).map_err(|error| {
        let why = match error {
            Errno::EPERM => "operation not permitted (this machine hides parts of its own /proc: is it a container itself?)".to_owned(),
            error => error.to_string(),
        };
        StartError::other("mount /proc", why)
    })
}

fn dev(root: &OwnedFd, order: &StartOrder) -> io::Result<()> {
    let nosuid_noexec = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let target = make(root, "/dev", true)?;
    mount_at(
        "tmpfs",
        &fd_path(&target),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=755,size=65536k",
    )?;
    // What was opened before is below the new mount.
    let dev = open_in_root(root, "/dev", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let path = fd_path(&dev);
    for name in DEVICES {
        let node = path.join(name);
        File::create(&node)?;
        bind(&Path::new("/dev").join(name), &node)?;
    }
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
        ("core", "/proc/kcore"),
    ] {
        symlink(to, path.join(link))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(path.join(name))?;
    }
    let pts = path.join("pts");
    // Group 5 is `tty` everywhere, but a user namespace of one id has no such group.
    mount_at(
        "devpts",
        &pts,
        nosuid_noexec,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    )
    .or_else(|_| {
        mount_at(
            "devpts",
            &pts,
            nosuid_noexec,
            "newinstance,ptmxmode=0666,mode=0620",
        )
    })?;
    let shm = format!("mode=1777,size={}", order.shm_bytes);
    mount_at(
        "tmpfs",
        &path.join("shm"),
        nosuid_noexec | MsFlags::MS_NODEV,
        &shm,
    )?;
    // Some kernels have no message queues.
    let _ = mount_at(
        "mqueue",
        &path.join("mqueue"),
        nosuid_noexec | MsFlags::MS_NODEV,
        "",
    );
    Ok(())
}

fn sys(root: &OwnedFd, order: &StartOrder) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let target = make(root, "/sys", true)?;
    match mount(
        Some("sysfs"),
        &fd_path(&target),
        Some("sysfs"),
        flags | MsFlags::MS_RDONLY,
        None::<&str>,
    ) {
        Ok(()) => {}
        // With the host's network, or where the host hides parts of its own, a user namespace may not; an empty one is safe.
        Err(Errno::EPERM) => {
            return mount_at(
                "tmpfs",
                &fd_path(&target),
                flags | MsFlags::MS_RDONLY,
                "mode=755,size=0k,nr_inodes=2",
            );
        }
        Err(error) => return Err(error.into()),
    }
    let Ok(cgroup) = open_in_root(root, "/sys/fs/cgroup", libc::O_PATH | libc::O_DIRECTORY, 0)
    else {
        return Ok(());
    };
    let path = fd_path(&cgroup);
    if !order.cgroup_namespace {
        return mount_at(
            "tmpfs",
            &path,
            flags | MsFlags::MS_RDONLY,
            "mode=755,size=0k,nr_inodes=2",
        );
    }
    if order.cgroup_v1.is_empty() {
        return mount_at("cgroup2", &path, flags | MsFlags::MS_RDONLY, "");
    }
    mount_at("tmpfs", &path, flags, "mode=755,size=1m")?;
    let inside = open_in_root(root, "/sys/fs/cgroup", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    for hierarchy in &order.cgroup_v1 {
        let directory = fd_path(&inside).join(hierarchy);
        fs::create_dir(&directory)?;
        mount_at("cgroup", &directory, flags | MsFlags::MS_RDONLY, hierarchy)?;
        for controller in hierarchy.split(',').filter(|name| *name != hierarchy) {
            symlink(hierarchy, fd_path(&inside).join(controller))?;
        }
    }
    remount_read_only(&fd_path(&inside), flags)
}

fn add(root: &OwnedFd, wanted: &Mount) -> io::Result<()> {
    match &wanted.source {
        MountSource::Bind(source) => {
            let directory = fs::metadata(source)?.is_dir();
            let target = make(root, &wanted.target, directory)?;
            bind(source, &fd_path(&target))?;
            let target = open_in_root(root, &wanted.target, libc::O_PATH, 0)?;
            let path = fd_path(&target);
            if wanted.read_only {
                remount_read_only(&path, MsFlags::MS_NODEV)?;
            } else {
                let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NODEV;
                match mount(None::<&str>, &path, None::<&str>, flags, None::<&str>) {
                    // The source has flags that a user namespace may not clear; it has nodev there, too.
                    Err(Errno::EPERM) => {}
                    result => result?,
                }
            }
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            let target = make(root, &wanted.target, true)?;
            let mut options = format!("mode={:o}", mode.unwrap_or(0o1777));
            if let Some(size) = size_bytes {
                options += &format!(",size={size}");
            }
            let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            if wanted.read_only {
                flags |= MsFlags::MS_RDONLY;
            }
            mount_at("tmpfs", &fd_path(&target), flags, &options)?;
        }
    }
    Ok(())
}

fn protect(root: &OwnedFd) -> io::Result<()> {
    for path in READ_ONLY {
        let Ok(target) = open_in_root(root, path, libc::O_PATH, 0) else {
            continue;
        };
        bind(&fd_path(&target), &fd_path(&target))?;
        let target = open_in_root(root, path, libc::O_PATH, 0)?;
        remount_read_only(
            &fd_path(&target),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        )?;
    }
    for path in MASKED {
        let Ok(target) = open_in_root(root, path, libc::O_PATH, 0) else {
            continue;
        };
        if target.metadata()?.is_dir() {
            mount_at(
                "tmpfs",
                &fd_path(&target),
                MsFlags::MS_RDONLY,
                "size=0k,nr_inodes=2",
            )?;
        } else {
            bind(Path::new("/dev/null"), &fd_path(&target))?;
        }
    }
    Ok(())
}

fn pivot(root: &OwnedFd) -> io::Result<()> {
    nix::unistd::fchdir(root)?;
    // The old root goes on top of the new one, and is then taken off it (pivot_root(2), "pivot_root(".", ".")").
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(())
}
