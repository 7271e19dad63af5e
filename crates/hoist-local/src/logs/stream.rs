//! One log stream on disk: numbered segments of frames, the oldest of which go when the stream gets too large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// A segment that is as large as this is followed by a new one.
const SEGMENT: u64 = 1 << 20;
/// Segments that a stream keeps: 32 MiB.
const SEGMENTS: usize = 32;
/// Length and checksum, before each payload.
const HEAD: usize = 8;
/// Timestamp, ingestion time and number, before each message.
const FIXED: usize = 24;
/// No frame is longer: the service's limit of an event is 1 MiB.
const LONGEST: usize = (1 << 20) + FIXED;

/// A log event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub timestamp: Millis,
    pub ingestion: Millis,
    /// Unique within the instance and growing.
    pub number: u64,
    pub message: String,
}

impl Event {
    /// What events are ordered by: time first, then the order of their arrival.
    pub fn id(&self) -> u128 {
        id(self.timestamp, self.number)
    }
}

/// The place of an event among all others; 56 decimal digits on the wire.
pub fn id(timestamp: Millis, number: u64) -> u128 {
    (u128::from(u64::try_from(timestamp).unwrap_or(0)) << 64) | u128::from(number)
}

/// A stream's name and birth, in `stream.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    pub name: String,
    pub created: Millis,
}

/// A stream.
pub struct Stream {
    pub described: Described,
    folder: PathBuf,
    /// Number and size of each segment, oldest first.
    segments: Vec<(u64, u64)>,
    pub first_event: Option<Millis>,
    pub last_event: Option<Millis>,
    pub last_ingestion: Option<Millis>,
}

impl Stream {
    /// Makes a new stream in `folder`.
    pub fn create(folder: PathBuf, described: Described) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        crate::settings::write_whole(
            &folder.join("stream.json"),
            &serde_json::to_vec(&described)?,
        )?;
        Ok(Self {
            described,
            folder,
            segments: Vec::new(),
            first_event: None,
            last_event: None,
            last_ingestion: None,
        })
    }

    /// Opens the stream in `folder`; `None` if it has none (a crash while it was made).
    pub fn open(folder: PathBuf) -> io::Result<Option<Self>> {
        let described = match fs::read(folder.join("stream.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|n| n.parse::<u64>().ok());
            if let Some(number) = number {
                segments.push((number, entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        let mut stream = Self {
            described,
            folder,
            segments,
            first_event: None,
            last_event: None,
            last_ingestion: None,
        };
        if let Some(&(first, _)) = stream.segments.first() {
            let mut head = vec![0; HEAD + FIXED];
            if File::open(stream.path(first))?
                .read_exact(&mut head)
                .is_ok()
            {
                stream.first_event = Some(i64::from_le_bytes(array(&head[HEAD..])));
            }
        }
        if let Some(last) = stream.segments.len().checked_sub(1) {
            let (number, _) = stream.segments[last];
            let bytes = fs::read(stream.path(number))?;
            let (events, whole) = parse(&bytes);
            if whole < bytes.len() {
                OpenOptions::new()
                    .write(true)
                    .open(stream.path(number))?
                    .set_len(whole as u64)?;
            }
            stream.segments[last].1 = whole as u64;
            stream.last_event = events.iter().map(|event| event.timestamp).max();
            stream.last_ingestion = events.iter().map(|event| event.ingestion).max();
        }
        Ok(Some(stream))
    }

    /// Writes events to the end.
    pub fn append(&mut self, events: &[Event]) -> io::Result<()> {
        let mut rest = events;
        while !rest.is_empty() {
            let (number, size) = match self.segments.last() {
                Some(&(number, size)) if size < SEGMENT => (number, size),
                last => {
                    let number = last.map_or(0, |(number, _)| number + 1);
                    self.segments.push((number, 0));
                    (number, 0)
                }
            };
            let mut frames = Vec::new();
            let mut taken = 0;
            for event in rest {
                if taken > 0 && size + frames.len() as u64 >= SEGMENT {
                    break;
                }
                frame(event, &mut frames);
                taken += 1;
            }
            let path = self.path(number);
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            if let Err(error) = file.write_all(&frames) {
                // A part of a frame (the disk is full) must not stay before what comes later.
                file.set_len(size)?;
                return Err(error);
            }
            if let Some(last) = self.segments.last_mut() {
                last.1 += frames.len() as u64;
            }
            rest = &rest[taken..];
        }
        for event in events {
            self.first_event.get_or_insert(event.timestamp);
            self.last_event = self.last_event.max(Some(event.timestamp));
            self.last_ingestion = self.last_ingestion.max(Some(event.ingestion));
        }
        while self.segments.len() > SEGMENTS {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// All events, ordered by time.
    pub fn read(&self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        for (number, _) in &self.segments {
            events.extend(parse(&fs::read(self.path(*number))?).0);
        }
        events.sort_by_key(Event::id);
        Ok(events)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, size)| size).sum()
    }

    /// When each segment was last written, oldest first.
    pub fn ages(&self) -> io::Result<Vec<(std::time::SystemTime, u64)>> {
        let of = |(number, size): &(u64, u64)| {
            Ok((fs::metadata(self.path(*number))?.modified()?, *size))
        };
        self.segments.iter().map(of).collect()
    }

    /// Removes the oldest segment.
    pub fn drop_oldest(&mut self) -> io::Result<()> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let (number, _) = self.segments.remove(0);
        fs::remove_file(self.path(number))
    }

    /// Removes the stream.
    pub fn delete(&self) -> io::Result<()> {
        // Without its description it is gone, whatever happens before the rest is.
        fs::remove_file(self.folder.join("stream.json"))?;
        fs::remove_dir_all(&self.folder)
    }

    fn path(&self, number: u64) -> PathBuf {
        segment(&self.folder, number)
    }
}

fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

fn frame(event: &Event, out: &mut Vec<u8>) {
    let mut message = event.message.as_bytes();
    if message.len() > LONGEST - FIXED {
        message = &message[..event.message.floor_char_boundary(LONGEST - FIXED)];
    }
    let mut payload = Vec::with_capacity(FIXED + message.len());
    payload.extend(event.timestamp.to_le_bytes());
    payload.extend(event.ingestion.to_le_bytes());
    payload.extend(event.number.to_le_bytes());
    payload.extend(message);
    out.extend(
        u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend(checksum(&payload).to_le_bytes());
    out.extend(payload);
}

/// The events in `bytes`, and how many bytes they take; what follows is torn.
fn parse(bytes: &[u8]) -> (Vec<Event>, usize) {
    let (mut events, mut at) = (Vec::new(), 0);
    while bytes.len() - at >= HEAD {
        let length = u32::from_le_bytes(array(&bytes[at..])) as usize;
        let sum = u32::from_le_bytes(array(&bytes[at + 4..]));
        let Some(payload) = bytes.get(at + HEAD..at + HEAD + length) else {
            break;
        };
        if !(FIXED..=LONGEST).contains(&length) || checksum(payload) != sum {
            break;
        }
        events.push(Event {
            timestamp: i64::from_le_bytes(array(payload)),
            ingestion: i64::from_le_bytes(array(&payload[8..])),
            number: u64::from_le_bytes(array(&payload[16..])),
            message: String::from_utf8_lossy(&payload[FIXED..]).into_owned(),
        });
        at += HEAD + length;
    }
    (events, at)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// FNV-1a: enough to tell a whole frame from a torn one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64, message: &str) -> Event {
        Event {
            timestamp: 1_000 + i64::try_from(number).unwrap(),
            ingestion: 2_000,
            number,
            message: message.into(),
        }
    }

    fn described() -> Described {
        Described {
            name: "web/app/1".into(),
            created: 5,
        }
    }

    #[test]
    fn events_are_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Stream::create(folder.path().join("s"), described()).unwrap();
        let events = [event(1, "eins"), event(2, "zwei\nZeilen"), event(3, "")];
        stream.append(&events[..1]).unwrap();
        stream.append(&events[1..]).unwrap();
        let again = Stream::open(folder.path().join("s")).unwrap().unwrap();
        assert_eq!(again.read().unwrap(), events);
        assert_eq!(
            (again.first_event, again.last_event, again.last_ingestion),
            (Some(1001), Some(1003), Some(2000))
        );
        assert_eq!(again.described, described());
    }

    #[test]
    fn a_torn_frame_is_cut_off_and_writing_goes_on_behind_the_last_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let mut stream = Stream::create(path.clone(), described()).unwrap();
        stream
            .append(&[event(1, "whole"), event(2, "torn")])
            .unwrap();
        let file = segment(&path, 0);
        let length = fs::metadata(&file).unwrap().len();
        for cut in 1..12 {
            OpenOptions::new()
                .write(true)
                .open(&file)
                .unwrap()
                .set_len(length - cut)
                .unwrap();
            let mut again = Stream::open(path.clone()).unwrap().unwrap();
            assert_eq!(again.read().unwrap(), [event(1, "whole")]);
            again.append(&[event(2, "torn")]).unwrap();
            assert_eq!(again.read().unwrap(), [event(1, "whole"), event(2, "torn")]);
        }
    }

    #[test]
    fn a_stream_keeps_its_newest_segments_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Stream::create(folder.path().join("s"), described()).unwrap();
        let line = "x".repeat(300 << 10);
        for number in 0..200 {
            stream.append(&[event(number, &line)]).unwrap();
        }
        assert!(stream.bytes() <= (SEGMENTS as u64) * (SEGMENT + (300 << 10)));
        let read = stream.read().unwrap();
        assert_eq!(read.last().unwrap().number, 199);
        assert!(
            read[0].number > 0
                && read
                    .windows(2)
                    .all(|pair| pair[0].number + 1 == pair[1].number)
        );
    }
}
