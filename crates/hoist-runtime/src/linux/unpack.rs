//! Unpacks one layer into a directory that overlay can mount.
//!
//! What a layer deletes becomes what overlay takes for deleted: a character device 0/0 for a file, a mark on a directory whose former
//! content is hidden. Nothing in a layer, neither `..` nor a link, reaches out of the directory.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use crate::linux::overlay::{fd_path, open_in_root, open_path};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What could not be kept of a layer because this process is not root.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Device nodes that were not made.
    pub devices: u64,
    /// Files whose owner stayed the one who unpacked.
    pub owners: u64,
}

/// One directory being filled.
pub(crate) struct Unpacking {
    root: OwnedFd,
    user_namespace: bool,
    /// The directory of the last entry: the next one is often there, too.
    parent: Option<(PathBuf, File)>,
    /// Set when everything is there, because making a file changes its directory's time.
    directories: Vec<(PathBuf, TimeSpec)>,
    left: Left,
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

impl Unpacking {
    pub(crate) fn new(directory: &Path, user_namespace: bool) -> io::Result<Unpacking> {
        Ok(Unpacking {
            root: open_path(directory)?,
            user_namespace,
            parent: None,
            directories: Vec::new(),
            left: Left::default(),
        })
    }

    /// Unpacks a whole tar archive. The error names the entry.
    pub(crate) fn archive(mut self, archive: impl Read) -> io::Result<Left> {
        let mut archive = Archive::new(archive);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path_bytes().into_owned();
            self.entry(&mut entry).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("{}: {error}", String::from_utf8_lossy(&name)),
                )
            })?;
        }
        for (path, time) in std::mem::take(&mut self.directories).into_iter().rev() {
            // Gone or replaced by a later entry of the same archive: nothing to set.
            let Ok(directory) = open_in_root(
                &self.root,
                &path,
                libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW,
                0,
            ) else {
                continue;
            };
            utimensat(
                nix::fcntl::AT_FDCWD,
                &fd_path(&directory),
                &time,
                &time,
                UtimensatFlags::FollowSymlink,
            )?;
        }
        Ok(self.left)
    }

    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        let path = clean(&entry.path()?)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself: only its own properties.
            let target = fd_path(&self.root);
            self.properties(entry, &target, true)?;
            self.directories.push((path, modified(entry)?));
            return Ok(());
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_owned();
        let parent = self.parent(&parent_path)?;
        if name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            return self.whiteout(&name, &parent);
        }
        let target = fd_path(&parent).join(&name);
        let at = CString::new(name.as_bytes())?;
        match kind {
            EntryType::Directory => {
                if !self.is_directory(&parent, &at) {
                    self.remove(&parent, &at)?;
                    mkdirat(&parent, at.as_c_str(), Mode::from_bits_truncate(0o755))?;
                }
                self.properties(entry, &target, true)?;
                self.directories.push((path, modified(entry)?));
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_WRONLY
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                let open = || {
                    openat(
                        &parent,
                        at.as_c_str(),
                        flags,
                        Mode::from_bits_truncate(0o600),
                    )
                };
                let file = match open() {
                    Err(Errno::EEXIST) => {
                        self.remove(&parent, &at)?;
                        open()?
                    }
                    file => file?,
                };
                io::copy(entry, &mut File::from(file))?;
            }
            EntryType::Link => {
                let link = entry
                    .link_name()?
                    .ok_or_else(|| invalid("a hard link to nothing"))?;
                let link = clean(&link)?;
                let link_name = link
                    .file_name()
                    .ok_or_else(|| invalid("a hard link to the root"))?
                    .to_owned();
                let source = open_in_root(
                    &self.root,
                    link.parent().unwrap_or(Path::new("")),
                    libc::O_PATH | libc::O_DIRECTORY,
                    0,
                )?;
                if link != path {
                    self.remove(&parent, &at)?;
                    linkat(
                        &source,
                        link_name.as_os_str(),
                        &parent,
                        at.as_c_str(),
                        LinkatFlags::empty(),
                    )?;
                }
                // Its properties are those of the file it links to.
                return Ok(());
            }
            EntryType::Symlink => {
                let link = entry
                    .link_name_bytes()
                    .ok_or_else(|| invalid("a link to nothing"))?;
                self.remove(&parent, &at)?;
                symlinkat(OsStr::from_bytes(&link), &parent, at.as_c_str())?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.remove(&parent, &at)?;
                if !self.node(entry, kind, &parent, &at)? {
                    return Ok(());
                }
            }
            other => {
                return Err(invalid(format!(
                    "unknown kind of entry {:?}",
                    other.as_byte() as char
                )));
            }
        }
        self.properties(entry, &target, false)?;
        let time = modified(entry)?;
        utimensat(
            &parent,
            at.as_c_str(),
            &time,
            &time,
            UtimensatFlags::NoFollowSymlink,
        )?;
        Ok(())
    }

    /// Opens the directory of an entry, making what an archive left out.
    fn parent(&mut self, path: &Path) -> io::Result<File> {
        if let Some((known, file)) = &self.parent
            && known == path
        {
            return file.try_clone();
        }
        let file = self.make_directories(path)?;
        self.parent = Some((path.to_owned(), file.try_clone()?));
        Ok(file)
    }

    fn make_directories(&self, path: &Path) -> io::Result<File> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        match open_in_root(&self.root, path, flags, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
        let parent = self.make_directories(path.parent().unwrap_or(Path::new("")))?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        open_in_root(&self.root, path, flags, 0)
    }

    fn whiteout(&mut self, name: &OsStr, parent: &File) -> io::Result<()> {
        if name == OPAQUE {
            let mark = if self.user_namespace {
                "user.overlay.opaque"
            } else {
                "trusted.overlay.opaque"
            };
            return xattr::set_deref(fd_path(parent), mark, b"y");
        }
        let hidden = &name.as_bytes()[WHITEOUT.len()..];
        // Other names with this prefix twice are notes of a file system that nobody uses any more.
        if hidden.starts_with(WHITEOUT.as_bytes()) || hidden.is_empty() {
            return Ok(());
        }
        if hidden == b"." || hidden == b".." {
            return Err(invalid("a deletion of a directory by itself"));
        }
        let hidden = CString::new(hidden)?;
        self.remove(parent, &hidden)?;
        Ok(mknodat(
            parent,
            hidden.as_c_str(),
            SFlag::S_IFCHR,
            Mode::empty(),
            0,
        )?)
    }

    /// Makes a device or pipe; `false` if that is left out because devices are root's.
    fn node(
        &mut self,
        entry: &Entry<'_, impl Read>,
        kind: EntryType,
        parent: &File,
        name: &CString,
    ) -> io::Result<bool> {
        let header = entry.header();
        let number = || -> io::Result<u64> {
            let (major, minor) = (
                header.device_major()?.unwrap_or(0),
                header.device_minor()?.unwrap_or(0),
            );
            Ok(nix::sys::stat::makedev(u64::from(major), u64::from(minor)))
        };
        let (flag, device) = match kind {
            EntryType::Char => (SFlag::S_IFCHR, number()?),
            EntryType::Block => (SFlag::S_IFBLK, number()?),
            _ => (SFlag::S_IFIFO, 0),
        };
        match mknodat(
            parent,
            name.as_c_str(),
            flag,
            Mode::from_bits_truncate(0o600),
            device,
        ) {
            Ok(()) => Ok(true),
            Err(Errno::EPERM) if self.user_namespace => {
                self.left.devices += 1;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Owner, attributes and mode, in this order: each of the first two can clear bits of the last.
    fn properties(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        target: &Path,
        directory: bool,
    ) -> io::Result<()> {
        let header = entry.header();
        let (uid, gid) = (
            u32::try_from(header.uid()?).map_err(invalid_number)?,
            u32::try_from(header.gid()?).map_err(invalid_number)?,
        );
        let mode = header.mode()? & 0o7777;
        let is_link = header.entry_type().is_symlink();
        let follow = if directory {
            AtFlags::empty()
        } else {
            AtFlags::AT_SYMLINK_NOFOLLOW
        };
        match fchownat(
            nix::fcntl::AT_FDCWD,
            target,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            follow,
        ) {
            Ok(()) => {}
            // Ids that do not exist in this user namespace.
            Err(Errno::EPERM | Errno::EINVAL) if self.user_namespace => self.left.owners += 1,
            Err(error) => return Err(error.into()),
        }
        let mut attributes = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                if let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                    attributes.push((
                        OsStr::from_bytes(name).to_owned(),
                        extension.value_bytes().to_owned(),
                    ));
                }
            }
        }
        for (name, value) in attributes {
            // Overlay's own marks could make a layer show files from elsewhere.
            if [&b"trusted.overlay."[..], b"user.overlay."]
                .iter()
                .any(|own| name.as_bytes().starts_with(own))
            {
                continue;
            }
            let set = if directory {
                xattr::set_deref(target, &name, &value)
            } else {
                xattr::set(target, &name, &value)
            };
            match set {
                // Attributes of a kind that the file system or this user cannot have.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) =>
                {
                    tracing::debug!(attribute = ?name, path = %target.display(), "an extended attribute is left out");
                }
                result => result?,
            }
        }
        if !is_link {
            fchmodat(
                nix::fcntl::AT_FDCWD,
                target,
                Mode::from_bits_truncate(mode),
                FchmodatFlags::FollowSymlink,
            )?;
        }
        Ok(())
    }

    fn is_directory(&self, parent: &File, name: &CString) -> bool {
        nix::sys::stat::fstatat(parent, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }

    /// Removes what an earlier entry of this archive put in the place of a later one.
    fn remove(&mut self, parent: &File, name: &CString) -> io::Result<()> {
        match unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {
                std::fs::remove_dir_all(fd_path(parent).join(OsStr::from_bytes(name.as_bytes())))?
            }
            Err(error) => return Err(error.into()),
        }
        // It may have been part of the path of the directory that we remember.
        self.parent = None;
        Ok(())
    }
}

fn invalid_number(_: std::num::TryFromIntError) -> io::Error {
    invalid("an owner's number is too large")
}

fn modified(entry: &Entry<'_, impl Read>) -> io::Result<TimeSpec> {
    Ok(TimeSpec::new(
        i64::try_from(entry.header().mtime()?).unwrap_or(0),
        0,
    ))
}

/// The path without leading `/` and `.`; `..` is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid("the path leads out of the layer"));
            }
        }
    }
    Ok(clean)
}
