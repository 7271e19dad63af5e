//! Tables of contents of compressed layers (zTOC), noted while the layer is compressed: where each file begins in the archive, and from which
//! places of the blob decompression can begin.
//!
//! The form is that of soci-snapshotter, version 0.9: a FlatBuffer of
//! <https://github.com/awslabs/soci-snapshotter/blob/main/ztoc/fbs/ztoc.fbs>. Checkpoints lie where our pieces begin: at full bytes, with the end
//! of what came before as window.

use hoist_oci::spec::{Descriptor, media_type};
use hoist_oci::{Digest, Hasher, Store, StoreError};
use tar::EntryType;

use crate::compress::PIECE;
use crate::config::rfc3339;
use crate::flatbuffer::{Field, Slot, Writer};

/// Pieces of a span, which is what a lazy reader fetches at once: 4 MiB of archive, as AWS's own tool makes them.
pub(crate) const SPAN_PIECES: usize = 4;
/// Layers below are fetched whole; the limit is that of AWS's tool.
pub(crate) const WORTH_IT: u64 = 10 << 20;
/// Who made it.
pub(crate) const TOOL: &str = concat!("hoist ", env!("CARGO_PKG_VERSION"));
/// Bytes of a gzip header without a name.
const HEADER: u64 = 10;
/// What decompression may refer back to.
const WINDOW: usize = 32 << 10;
const BLOCK: usize = 512;

/// What is where in a compressed layer.
pub(crate) struct Contents {
    files: Vec<FileEntry>,
    size: u64,
    compressed_size: u64,
    spans: Vec<Span>,
    windows: Vec<Vec<u8>>,
}

/// One file of the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FileEntry {
    name: Vec<u8>,
    kind: &'static str,
    /// Where its content begins in the archive.
    offset: u64,
    size: u64,
    link: Vec<u8>,
    mode: u32,
    uid: u64,
    gid: u64,
    user: Vec<u8>,
    group: Vec<u8>,
    /// RFC 3339.
    changed: String,
    device: (u32, u32),
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Span {
    /// Where it begins in the blob.
    start: u64,
    digest: Digest,
}

/// Counts and hashes a blob's spans while its pieces are written.
#[derive(Default)]
pub(crate) struct Spans {
    pieces: usize,
    position: u64,
    done: Vec<Span>,
    current: Option<(u64, Hasher)>,
}

impl Spans {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        if self.pieces.is_multiple_of(SPAN_PIECES) {
            self.close();
            self.current = Some((HEADER + self.position, Hasher::new()));
        }
        self.pieces += 1;
        self.position += piece.len() as u64;
        self.trailer(piece);
    }

    /// What belongs to the last span without being a piece of its own.
    pub(crate) fn trailer(&mut self, bytes: &[u8]) {
        if let Some((_, hasher)) = &mut self.current {
            hasher.update(bytes);
        }
    }

    fn close(&mut self) {
        if let Some((start, hasher)) = self.current.take() {
            self.done.push(Span {
                start,
                digest: hasher.finish(),
            });
        }
    }
}

/// Reads a tar archive as it goes by, and notes its files.
#[derive(Default)]
pub(crate) struct Table {
    position: u64,
    block: Vec<u8>,
    /// What is left of the present content, its padding included.
    left: u64,
    /// Content that says something about the next file.
    about: Option<(EntryType, u64, Vec<u8>)>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    files: Vec<FileEntry>,
    ended: bool,
    /// Something of the archive is not understood, so that no table is better than a wrong one.
    lost: bool,
}

impl Table {
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.ended || self.lost {
                self.position += bytes.len() as u64;
                return;
            }
            let wanted = match self.left {
                0 => BLOCK - self.block.len(),
                left => usize::try_from(left).unwrap_or(usize::MAX),
            };
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            self.position += now.len() as u64;
            if self.left > 0 {
                self.left -= now.len() as u64;
                if let Some((_, _, content)) = &mut self.about {
                    content.extend(now);
                }
                if self.left == 0
                    && let Some((kind, size, content)) = self.about.take()
                {
                    self.note(kind, &content[..usize::try_from(size).unwrap_or(0)]);
                }
                continue;
            }
            self.block.extend(now);
            if self.block.len() == BLOCK {
                let block = std::mem::take(&mut self.block);
                if block.iter().all(|byte| *byte == 0) {
                    self.ended = true;
                } else if self.header(&block).is_none() {
                    self.lost = true;
                }
            }
        }
    }

    fn record(&self, key: &[u8]) -> Option<&[u8]> {
        let (_, value) = self.records.iter().rev().find(|(known, _)| known == key)?;
        Some(value)
    }

    fn number(&self, key: &[u8]) -> Option<u64> {
        std::str::from_utf8(self.record(key)?).ok()?.parse().ok()
    }

    fn header(&mut self, block: &[u8]) -> Option<()> {
        let header = tar::Header::from_byte_slice(block);
        let kind = header.entry_type();
        let size = match self.number(b"size").filter(|_| !about_others(kind)) {
            Some(size) => size,
            None => header.entry_size().ok()?,
        };
        let padded = size.checked_next_multiple_of(BLOCK as u64)?;
        if about_others(kind) {
            // A record of any reasonable file is short.
            if size > 16 << 20 {
                return None;
            }
            self.left = padded;
            if size > 0 {
                self.about = Some((kind, size, Vec::new()));
            }
            return Some(());
        }
        let (kind, size) = match kind {
            EntryType::Regular | EntryType::Continuous => ("reg", size),
            EntryType::Link => ("hardlink", 0),
            EntryType::Symlink => ("symlink", 0),
            EntryType::Directory => ("dir", 0),
            EntryType::Char => ("char", 0),
            EntryType::Block => ("block", 0),
            EntryType::Fifo => ("fifo", 0),
            _ => return None,
        };
        self.left = if kind == "reg" { padded } else { 0 };
        let own = |text: &[u8]| text.to_vec();
        let (seconds, fraction) = match self.record(b"mtime") {
            Some(text) => {
                let text = std::str::from_utf8(text).ok()?;
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                (whole.parse().ok()?, fraction.trim_end_matches('0'))
            }
            None => (i64::try_from(header.mtime().unwrap_or(0)).ok()?, ""),
        };
        let mut changed = rfc3339(seconds);
        if !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            changed = changed.replace('Z', &format!(".{}Z", &fraction[..fraction.len().min(9)]));
        }
        let entry = FileEntry {
            name: match (self.record(b"path"), &self.name) {
                (Some(name), _) => own(name),
                (None, Some(name)) => name.clone(),
                (None, None) => header.path_bytes().into_owned(),
            },
            kind,
            offset: self.position,
            size,
            link: match (self.record(b"linkpath"), &self.link) {
                (Some(link), _) => own(link),
                (None, Some(link)) => link.clone(),
                (None, None) => header
                    .link_name_bytes()
                    .map(|link| link.into_owned())
                    .unwrap_or_default(),
            },
            // Fields that writers leave empty are 0.
            mode: header.mode().unwrap_or(0),
            uid: self.number(b"uid").or(header.uid().ok()).unwrap_or(0),
            gid: self.number(b"gid").or(header.gid().ok()).unwrap_or(0),
            user: match self.record(b"uname") {
                Some(name) => own(name),
                None => header.username_bytes().map(own).unwrap_or_default(),
            },
            group: match self.record(b"gname") {
                Some(name) => own(name),
                None => header.groupname_bytes().map(own).unwrap_or_default(),
            },
            changed,
            device: match kind {
                "char" | "block" => (
                    header.device_major().ok().flatten().unwrap_or(0),
                    header.device_minor().ok().flatten().unwrap_or(0),
                ),
                _ => (0, 0),
            },
            records: std::mem::take(&mut self.records),
        };
        (self.name, self.link) = (None, None);
        self.files.push(entry);
        Some(())
    }

    /// What a record says about the next file.
    fn note(&mut self, kind: EntryType, content: &[u8]) {
        let text = || content.strip_suffix(b"\0").unwrap_or(content).to_vec();
        match kind {
            EntryType::GNULongName => self.name = Some(text()),
            EntryType::GNULongLink => self.link = Some(text()),
            EntryType::XHeader => {
                for record in tar::PaxExtensions::new(content) {
                    let Ok(record) = record else {
                        self.lost = true;
                        return;
                    };
                    if record.key_bytes().starts_with(b"GNU.sparse.") {
                        self.lost = true;
                    }
                    self.records
                        .push((record.key_bytes().to_vec(), record.value_bytes().to_vec()));
                }
                // A key that is there twice counts as it was said last.
                let mut known: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
                for (key, value) in std::mem::take(&mut self.records) {
                    known.retain(|(other, _)| *other != key);
                    known.push((key, value));
                }
                known.sort();
                self.records = known;
            }
            _ => {}
        }
    }

    /// Puts together what was noted; nothing, if the archive was not understood.
    pub(crate) fn finish(
        self,
        compressed_size: u64,
        mut spans: Spans,
        windows: Vec<Vec<u8>>,
    ) -> Option<Contents> {
        spans.close();
        let whole = self.ended && !self.lost && spans.done.len() == windows.len();
        whole.then_some(Contents {
            files: self.files,
            size: self.position,
            compressed_size,
            spans: spans.done,
            windows,
        })
    }
}

/// Entries that are no files but speak of the next one, or of all.
fn about_others(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XHeader
            | EntryType::XGlobalHeader
            | EntryType::GNULongName
            | EntryType::GNULongLink
    )
}

impl Contents {
    /// Where decompression can begin: a count, the size of spans, and for each place its offsets in blob and archive, no odd bits, and the window.
    fn checkpoints(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + self.spans.len() * (17 + WINDOW));
        bytes.extend(i32::try_from(self.spans.len()).unwrap_or(0).to_le_bytes());
        bytes.extend(((SPAN_PIECES * PIECE) as i64).to_le_bytes());
        for (index, (span, window)) in self.spans.iter().zip(&self.windows).enumerate() {
            bytes.extend(span.start.to_le_bytes());
            bytes.extend(((index * SPAN_PIECES * PIECE) as u64).to_le_bytes());
            bytes.push(0);
            bytes.resize(bytes.len() + WINDOW - window.len(), 0);
            bytes.extend(window);
        }
        bytes
    }

    fn to_flatbuffer(&self) -> Vec<u8> {
        let (mut out, root) = Writer::new();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let slots = out.table(
            root,
            &[
                Field::Later,
                Field::Later,
                Field::I64(signed(self.compressed_size)),
                Field::I64(signed(self.size)),
                Field::Later,
                Field::Later,
            ],
        );
        out.string(slots[0], b"0.9");
        out.string(slots[1], TOOL.as_bytes());
        let table = out.table(slots[2], &[Field::Later]);
        let files = out.vector(table[0], self.files.len());
        for (slot, file) in files.into_iter().zip(&self.files) {
            write_file(&mut out, slot, file);
        }
        // Gzip is 1 and what a reader assumes; newer ones want it said.
        let last = i32::try_from(self.spans.len()).unwrap_or(0) - 1;
        let info = out.table(
            slots[3],
            &[Field::I8(1), Field::I32(last), Field::Later, Field::Later],
        );
        let digests = out.vector(info[0], self.spans.len());
        for (slot, span) in digests.into_iter().zip(&self.spans) {
            out.string(slot, span.digest.to_string().as_bytes());
        }
        out.vector_of_bytes(info[1], &self.checkpoints());
        out.finish()
    }
}

fn write_file(out: &mut Writer, slot: Slot, file: &FileEntry) {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let short = |number: u64| Field::U32(u32::try_from(number).unwrap_or(u32::MAX));
    let texts = [
        file.name.as_slice(),
        file.kind.as_bytes(),
        &file.link,
        &file.user,
        &file.group,
        file.changed.as_bytes(),
    ];
    let text = |text: &[u8]| match text.is_empty() {
        true => Field::Absent,
        false => Field::Later,
    };
    let slots = out.table(
        slot,
        &[
            text(texts[0]),
            text(texts[1]),
            Field::I64(signed(file.offset)),
            Field::I64(signed(file.size)),
            text(texts[2]),
            Field::I64(file.mode.into()),
            short(file.uid),
            short(file.gid),
            text(texts[3]),
            text(texts[4]),
            text(texts[5]),
            Field::I64(file.device.0.into()),
            Field::I64(file.device.1.into()),
            match file.records.is_empty() {
                true => Field::Absent,
                false => Field::Later,
            },
        ],
    );
    let mut slots = slots.into_iter();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        if let Some(slot) = slots.next() {
            out.string(slot, text);
        }
    }
    if let Some(slot) = slots.next() {
        let records = out.vector(slot, file.records.len());
        for (slot, (key, value)) in records.into_iter().zip(&file.records) {
            let slots = out.table(slot, &[Field::Later, Field::Later]);
            out.string(slots[0], key);
            out.string(slots[1], value);
        }
    }
}

/// Keeps the table of contents of a layer, if it is large enough to be worth it.
pub(crate) fn remember(
    store: &Store,
    diff_id: &Digest,
    blob: &Digest,
    contents: &Contents,
) -> Result<(), StoreError> {
    if contents.compressed_size < WORTH_IT {
        return Ok(());
    }
    let bytes = contents.to_flatbuffer();
    store.put(&bytes)?;
    let mut descriptor = Descriptor::of("application/octet-stream", &bytes);
    descriptor.annotations.extend(
        [
            (
                "com.amazon.soci.image-layer-mediaType",
                media_type::LAYER_GZIP.to_owned(),
            ),
            ("com.amazon.soci.image-layer-digest", blob.to_string()),
            (
                "com.amazon.soci.span-size",
                (SPAN_PIECES * PIECE).to_string(),
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    store.add_layer_contents(diff_id, &descriptor)
}

/// The table of contents of a layer in this blob, if it was kept.
pub(crate) fn recall(
    store: &Store,
    diff_id: &Digest,
    blob: &Digest,
) -> Result<Option<Descriptor>, StoreError> {
    let known = store.layer_contents(diff_id)?;
    Ok(known.filter(|table| {
        table
            .annotations
            .get("com.amazon.soci.image-layer-digest")
            .is_some_and(|of| *of == blob.to_string())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(archive: &[u8], step: usize) -> Table {
        let mut table = Table::default();
        for piece in archive.chunks(step) {
            table.read(piece);
        }
        table
    }

    #[test]
    fn files_are_found_where_they_are_however_the_archive_comes() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(700);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_mtime(1_000_000_000);
        let long = "x".repeat(150);
        archive
            .append_data(&mut header, &long, &[1; 700][..])
            .unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        archive
            .append_link(&mut link, "link", "y".repeat(140))
            .unwrap();
        archive
            .append_pax_extensions([("mtime", b"5.250".as_slice()), ("SCHILY.xattr.a", b"b\0")])
            .unwrap();
        let mut file = tar::Header::new_ustar();
        file.set_size(3);
        file.set_mode(0o600);
        archive
            .append_data(&mut file, "small", &b"abc"[..])
            .unwrap();
        let archive = archive.into_inner().unwrap();
        let whole = read(&archive, archive.len());
        for step in [1, 511, 512, 513, 1000] {
            assert_eq!(read(&archive, step).files, whole.files, "{step}");
        }
        assert!(whole.ended && !whole.lost);
        let [first, second, third] = whole.files.as_slice() else {
            panic!("{:?}", whole.files);
        };
        assert_eq!(
            (first.name.as_slice(), first.kind),
            (long.as_bytes(), "reg")
        );
        assert_eq!((first.size, first.mode, first.uid), (700, 0o4755, 7));
        assert_eq!(first.changed, "2001-09-09T01:46:40Z");
        let at = usize::try_from(first.offset).unwrap();
        assert_eq!(archive[at..at + 700], [1; 700]);
        assert_eq!(
            (second.kind, second.link.len(), second.size),
            ("symlink", 140, 0)
        );
        assert_eq!(third.changed, "1970-01-01T00:00:05.25Z");
        let at = usize::try_from(third.offset).unwrap();
        assert_eq!(&archive[at..at + 3], b"abc");
        assert_eq!(
            third.records[0],
            (b"SCHILY.xattr.a".to_vec(), b"b\0".to_vec())
        );
    }

    #[test]
    fn what_is_not_understood_gets_no_table() {
        for archive in [vec![b'x'; 2048], vec![0xff; 512], Vec::new()] {
            let mut table = Table::default();
            table.read(&archive);
            let contents = table.finish(1, Spans::default(), Vec::new());
            assert!(contents.is_none());
        }
    }
}
