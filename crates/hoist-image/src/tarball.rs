//! Writing a layer's entries as a tar archive, always the same bytes for the same entries.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use crate::device;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::{Content, Entries, Entry, EntryKind};

/// Writes entries as a tar archive in the pax format.
pub(crate) fn write_archive(entries: &Entries, out: &mut dyn Write) -> Result<()> {
    for (path, entry) in entries {
        write_entry(path, entry, out)?;
    }
    out.write_all(&[0; 1024]).map_err(archive_failed)
}

fn archive_failed(error: io::Error) -> BuildError {
    BuildError::io("write a layer", error)
}

fn write_entry(path: &Path, entry: &Entry, out: &mut dyn Write) -> Result<()> {
    let mut name = path.as_os_str().as_bytes().to_vec();
    let mut header = Header::new_ustar();
    let mut pax = Vec::new();
    let mut link: Option<&Path> = None;
    let mut size = 0;
    let kind = match &entry.kind {
        EntryKind::Folder => {
            name.push(b'/');
            EntryType::Directory
        }
        EntryKind::File { size: bytes, .. } => {
            size = *bytes;
            EntryType::Regular
        }
        EntryKind::Symlink(target) => {
            link = Some(target);
            EntryType::Symlink
        }
        EntryKind::Hardlink(target) => {
            link = Some(target);
            EntryType::Link
        }
        EntryKind::Character(device) | EntryKind::Block(device) => {
            let (major, minor) = (device::major(*device), device::minor(*device));
            header
                .set_device_major(u32::try_from(major).unwrap_or(0))
                .map_err(archive_failed)?;
            header
                .set_device_minor(u32::try_from(minor).unwrap_or(0))
                .map_err(archive_failed)?;
            if matches!(entry.kind, EntryKind::Character(_)) {
                EntryType::Char
            } else {
                EntryType::Block
            }
        }
        EntryKind::Fifo => EntryType::Fifo,
    };
    header.set_entry_type(kind);
    put_text(&mut header.as_old_mut().name, &name, b"path", &mut pax);
    if let Some(link) = link {
        put_text(
            &mut header.as_old_mut().linkname,
            link.as_os_str().as_bytes(),
            b"linkpath",
            &mut pax,
        );
    }
    header.set_mode(entry.mode & 0o7777);
    // What does not fit into the octal fields goes into pax records.
    let mut number = |value: u64, limit: u64, key: &[u8]| {
        if value > limit {
            put_record(&mut pax, key, value.to_string().as_bytes());
        }
        value.min(limit)
    };
    const OCTAL_7: u64 = 0o7_777_777;
    const OCTAL_11: u64 = 0o77_777_777_777;
    header.set_uid(number(entry.uid.into(), OCTAL_7, b"uid"));
    header.set_gid(number(entry.gid.into(), OCTAL_7, b"gid"));
    header.set_size(number(size, OCTAL_11, b"size"));
    header.set_mtime(number(
        u64::try_from(entry.mtime.0).unwrap_or(0),
        OCTAL_11,
        b"mtime",
    ));
    if entry.mtime.0 < 0 {
        put_record(&mut pax, b"mtime", entry.mtime.0.to_string().as_bytes());
    }
    for (key, value) in &entry.xattrs {
        put_record(&mut pax, format!("SCHILY.xattr.{key}").as_bytes(), value);
    }
    if !pax.is_empty() {
        let mut extra = Header::new_ustar();
        extra.set_entry_type(EntryType::XHeader);
        let mut name = b"PaxHeaders.0/".to_vec();
        name.extend(path.file_name().map(OsStrExt::as_bytes).unwrap_or_default());
        name.truncate(100);
        extra.as_old_mut().name[..name.len()].copy_from_slice(&name);
        extra.set_mode(0);
        extra.set_uid(0);
        extra.set_gid(0);
        extra.set_mtime(0);
        extra.set_size(pax.len() as u64);
        extra.set_cksum();
        out.write_all(extra.as_bytes()).map_err(archive_failed)?;
        out.write_all(&pax).map_err(archive_failed)?;
        pad(pax.len() as u64, out)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(archive_failed)?;
    if let EntryKind::File { content, size } = &entry.kind {
        match content {
            Content::Bytes(bytes) => out.write_all(bytes).map_err(archive_failed)?,
            Content::Path(real) => write_file(real, *size, out)?,
            Content::Part(real, offset) => write_part(real, *offset, *size, out)?,
        }
        pad(*size, out)?;
    }
    Ok(())
}

fn write_file(real: &Path, size: u64, out: &mut dyn Write) -> Result<()> {
    let failed = |error| BuildError::io(format!("read {}", real.display()), error);
    let mut file = File::open(real).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    let mut left = size;
    loop {
        let n = match file.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if n as u64 > left || (n == 0 && left > 0) {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("{} changed while it was read", real.display()),
            )
            .with_hint("let what writes it finish, and build again"));
        }
        if n == 0 {
            return Ok(());
        }
        left -= n as u64;
        out.write_all(&buffer[..n]).map_err(archive_failed)?;
    }
}

fn write_part(real: &Path, offset: u64, size: u64, out: &mut dyn Write) -> Result<()> {
    let failed = |error| BuildError::io(format!("read {}", real.display()), error);
    let mut file = File::open(real).map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    // Writing fails with its own words; what is short here is the file.
    let copied = io::copy(&mut file.take(size), out).map_err(archive_failed)?;
    if copied != size {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

fn pad(size: u64, out: &mut dyn Write) -> Result<()> {
    let rest = usize::try_from(size % 512).unwrap_or(0);
    if rest > 0 {
        out.write_all(&[0; 512][rest..]).map_err(archive_failed)?;
    }
    Ok(())
}

fn put_text(field: &mut [u8; 100], text: &[u8], key: &[u8], pax: &mut Vec<u8>) {
    if text.len() > field.len() {
        put_record(pax, key, text);
    }
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text[..fits]);
}

/// `length key=value\n`, the length counting itself.
fn put_record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend(key);
    pax.push(b'=');
    pax.extend(value);
    pax.push(b'\n');
}
