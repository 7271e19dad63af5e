//! Records by ARN. Each has a place, found by hash; lists are in the order of the ARNs.
//!
//! A step touches a handful of records many times. An ARN is long and its beginning the same for all, so a tree of ARNs spends most
//! of a step comparing them: a place is looked up once, and used.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

/// The place of a record in its [`Table`], the same as long as the record is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u32);

impl Key {
    /// As an index into what is kept beside a table.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// So many bytes of an ARN are hashed: its end, where ARNs differ.
const TAIL: usize = 24;

/// A hash of ARNs that is quick and the same in every run. Whoever makes ARNs collide slows only their own scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quick(u64);

impl Hasher for Quick {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let tail = bytes.len().saturating_sub(TAIL);
        if tail > 0 {
            self.write_u64(bytes.len() as u64);
        }
        let (words, rest) = bytes[tail..].as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// A map that hashes with [`Quick`].
pub(crate) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Records of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    places: Vec<Option<Box<T>>>,
    names: Vec<Option<Arc<str>>>,
    free: Vec<Key>,
    keys: QuickMap<Arc<str>, Key>,
    /// The places in the order of the ARNs, since somebody asked for that.
    sorted: OnceLock<Vec<Key>>,
    changes: Changes,
}

/// What changed since it was last asked for.
#[derive(Clone, Debug, Default)]
struct Changes {
    /// The places of changed records, each once.
    keys: Vec<Key>,
    is_in: Vec<bool>,
    /// The ARNs of dropped records.
    dropped: Vec<Arc<str>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            places: Vec::new(),
            names: Vec::new(),
            free: Vec::new(),
            keys: QuickMap::default(),
            sorted: OnceLock::new(),
            changes: Changes::default(),
        }
    }
}

impl<T> Table<T> {
    /// The place of the record of that ARN.
    #[inline]
    pub fn key(&self, arn: &str) -> Option<Key> {
        self.keys.get(arn).copied()
    }

    /// The record of that ARN.
    #[inline]
    pub fn get(&self, arn: &str) -> Option<&T> {
        self.at(self.key(arn)?)
    }

    /// The record of that ARN, to change it.
    #[inline]
    pub fn get_mut(&mut self, arn: &str) -> Option<&mut T> {
        self.at_mut(self.key(arn)?)
    }

    /// The record at that place; `None` while it is [taken](Table::take).
    #[inline]
    pub fn at(&self, key: Key) -> Option<&T> {
        self.places.get(key.index())?.as_deref()
    }

    /// The record at that place, to change it.
    #[inline]
    pub fn at_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.index())?.as_deref_mut()
    }

    /// Takes a record out of its place, to be [put back](Table::put) before anyone else looks.
    #[inline]
    pub fn take(&mut self, key: Key) -> Option<Box<T>> {
        self.places.get_mut(key.index())?.take()
    }

    /// Puts a record back into its place.
    #[inline]
    pub fn put(&mut self, key: Key, record: Box<T>) {
        if let Some(place) = self.places.get_mut(key.index()) {
            *place = Some(record);
        }
    }

    /// Notes that the record at that place changed.
    #[inline]
    pub fn touch(&mut self, key: Key) {
        let changes = &mut self.changes;
        if changes.is_in.len() <= key.index() {
            changes.is_in.resize(key.index() + 1, false);
        }
        if !std::mem::replace(&mut changes.is_in[key.index()], true) {
            changes.keys.push(key);
        }
    }

    /// The ARNs of the records that were kept, touched or dropped since the last time, each once.
    pub fn take_changed(&mut self) -> Vec<Arc<str>> {
        let mut changed = std::mem::take(&mut self.changes.dropped);
        changed.retain(|arn| !self.keys.contains_key(arn));
        for key in self.changes.keys.drain(..) {
            self.changes.is_in[key.index()] = false;
            changed.extend(self.names.get(key.index()).cloned().flatten());
        }
        changed
    }

    /// Keeps a record under its ARN, in place of the old one if there is one.
    pub fn insert(&mut self, arn: &str, record: T) -> Key {
        let key = match self.key(arn) {
            Some(key) => key,
            None => {
                let key = self.free.pop().unwrap_or_else(|| {
                    self.places.push(None);
                    self.names.push(None);
                    Key(self.places.len() as u32 - 1)
                });
                let arn: Arc<str> = arn.into();
                self.names[key.index()] = Some(arn.clone());
                self.keys.insert(arn, key);
                self.sorted.take();
                key
            }
        };
        self.put(key, Box::new(record));
        self.touch(key);
        key
    }

    /// Drops the record of that ARN; its place may be another's from now on.
    pub fn remove(&mut self, arn: &str) -> Option<Key> {
        let key = self.keys.remove(arn)?;
        self.sorted.take();
        self.take(key);
        let name = self.names[key.index()].take();
        self.changes.dropped.extend(name);
        self.free.push(key);
        Some(key)
    }

    /// Every record, to change it.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// Every record with its place, in the order of the ARNs.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.sorted
            .get_or_init(|| self.in_order())
            .iter()
            .filter_map(|key| Some((*key, self.at(*key)?)))
    }

    fn in_order(&self) -> Vec<Key> {
        let mut all: Vec<(&Arc<str>, Key)> =
            self.keys.iter().map(|(arn, key)| (arn, *key)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key)| key).collect()
    }

    /// Every record, in the order of the ARNs.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, record)| record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_arn_and_place_and_listed_in_order() {
        let mut table = Table::default();
        let b = table.insert("b", 2);
        table.insert("a", 1);
        assert_eq!(table.get("b"), Some(&2));
        assert_eq!(table.values().collect::<Vec<_>>(), [&1, &2]);
        assert_eq!(table.insert("b", 3), b);
        let taken = table.take(b).unwrap();
        assert_eq!(table.get("b"), None);
        table.put(b, taken);
        assert_eq!(table.at(b), Some(&3));
        table.remove("b");
        assert_eq!((table.get("b"), table.key("b")), (None, None));
        assert_eq!(table.insert("c", 4), b, "the place is used again");
    }

    #[test]
    fn changes_are_told_once_and_what_was_dropped_by_its_old_name() {
        let mut table = Table::default();
        let told = |table: &mut Table<u8>| -> Vec<String> {
            let mut names: Vec<String> = table
                .take_changed()
                .iter()
                .map(|it| it.to_string())
                .collect();
            names.sort();
            names
        };
        let a = table.insert("a", 1);
        table.insert("b", 2);
        table.touch(a);
        assert_eq!(told(&mut table), ["a", "b"]);
        assert_eq!(told(&mut table), [""; 0]);
        table.touch(a);
        table.remove("a");
        table.insert("c", 3);
        assert_eq!(told(&mut table), ["a", "c"]);
        table.remove("b");
        table.insert("b", 4);
        assert_eq!(told(&mut table), ["b"]);
    }
}
