//! What an image is, without what no two engines share: files by path, and the configuration.

use std::collections::BTreeMap;
use std::io::Read;

use hoist_oci::Digest;
use serde_json::Value;

use crate::cases::THEN;

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub kind: char,
    pub mode: u32,
    pub owner: (u64, u64),
    /// The content's digest, the target of a link, or the number of a device.
    pub content: String,
    /// Only where it is that of the context.
    pub then: bool,
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// The first of several names of a file.
    pub first_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    pub files: BTreeMap<String, File>,
    pub config: BTreeMap<String, Value>,
}

impl Snapshot {
    /// Applies a layer's archive, compressed or not.
    pub fn apply(&mut self, blob: &[u8]) {
        let form = hoist_oci::Compression::of_magic(blob);
        let mut plain = Vec::new();
        form.decoder(blob).unwrap().read_to_end(&mut plain).unwrap();
        let mut archive = tar::Archive::new(&plain[..]);
        let mut layer = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").trim_matches('/').to_owned();
            let mut xattrs = Vec::new();
            let mut owner = (
                entry.header().uid().unwrap_or(0),
                entry.header().gid().unwrap_or(0),
            );
            if let Some(records) = entry.pax_extensions().unwrap() {
                for record in records.flatten() {
                    let key = record.key().unwrap_or_default().to_owned();
                    match key.as_str() {
                        "uid" => owner.0 = record.value().unwrap().parse().unwrap(),
                        "gid" => owner.1 = record.value().unwrap().parse().unwrap(),
                        _ => {
                            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                                xattrs.push((name.to_owned(), record.value_bytes().to_vec()));
                            }
                        }
                    }
                }
            }
            let header = entry.header().clone();
            let link = entry
                .link_name_bytes()
                .map(|link| String::from_utf8_lossy(&link).into_owned())
                .unwrap_or_default();
            let (kind, content) = match header.entry_type() {
                tar::EntryType::Directory => ('d', String::new()),
                tar::EntryType::Symlink => ('l', link),
                tar::EntryType::Link => (
                    'h',
                    link.trim_start_matches("./").trim_matches('/').to_owned(),
                ),
                tar::EntryType::XGlobalHeader => continue,
                tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
                    ('c', String::new())
                }
                _ => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).unwrap();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let short = bytes.len() < 80 && !text.contains('\u{fffd}');
                    (
                        'f',
                        if short {
                            text
                        } else {
                            Digest::of(&bytes).to_string()
                        },
                    )
                }
            };
            let file = File {
                kind,
                mode: if kind == 'l' {
                    0o777
                } else {
                    header.mode().unwrap() & 0o7777
                },
                owner,
                content,
                then: kind != 'd' && header.mtime().unwrap_or(0) == THEN as u64,
                xattrs,
                first_name: None,
            };
            layer.push((path, file));
        }
        for (path, _) in &layer {
            let (folder, name) = path
                .rsplit_once('/')
                .map_or(("", path.as_str()), |pair| pair);
            let below = |folder: &str| {
                if folder.is_empty() {
                    String::new()
                } else {
                    format!("{folder}/")
                }
            };
            if name == ".wh..wh..opq" {
                self.files
                    .retain(|other, _| !other.starts_with(&below(folder)));
            } else if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = format!("{}{gone}", below(folder));
                self.files
                    .retain(|other, _| *other != gone && !other.starts_with(&format!("{gone}/")));
            }
        }
        for (path, mut file) in layer {
            let name = path.rsplit('/').next().unwrap_or_default();
            if path.is_empty() || path == "." || name.starts_with(".wh.") {
                continue;
            }
            if file.kind == 'h' {
                let first = file.content.clone();
                let known = self
                    .files
                    .get_mut(&first)
                    .unwrap_or_else(|| panic!("{path}: no {first}"));
                known.first_name.get_or_insert(first);
                file = known.clone();
            }
            if file.kind != 'd' {
                self.files
                    .retain(|other, _| !other.starts_with(&format!("{path}/")));
            }
            self.files.insert(path, file);
        }
    }

    /// Takes what containers see of a configuration.
    pub fn configure(&mut self, config: &Value) {
        let keys = [
            "Env",
            "Cmd",
            "Entrypoint",
            "WorkingDir",
            "User",
            "Labels",
            "ExposedPorts",
            "Volumes",
            "StopSignal",
            "Healthcheck",
            "Shell",
            "OnBuild",
        ];
        for key in keys {
            let Some(value) = config["config"].get(key) else {
                continue;
            };
            let mut value = value.clone();
            if let (Some(labels), "Labels") = (value.as_object_mut(), key) {
                labels.retain(|name, _| name != "io.buildah.version");
            }
            // Maps have no order.
            if let Some(map) = value.as_object() {
                let sorted: BTreeMap<_, _> = map.clone().into_iter().collect();
                value = serde_json::to_value(sorted).unwrap();
            }
            let empty = match &value {
                Value::Null => true,
                Value::String(text) => text.is_empty() || (key == "WorkingDir" && text == "/"),
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if !empty {
                self.config.insert(key.into(), value);
            }
        }
    }

    /// Drops what engines leave of the mounts of a command, where it is empty.
    pub fn tidy(&mut self) {
        let stubs = [
            "proc",
            "sys",
            "dev",
            "dev/pts",
            "dev/shm",
            "run/.containerenv",
            "run/secrets",
            "run",
            "etc/hosts",
            "etc/resolv.conf",
            "etc/hostname",
        ];
        for stub in stubs {
            let empty = self.files.get(stub).is_some_and(|file| {
                (file.kind == 'd' || (file.kind == 'f' && file.content.is_empty()))
                    && !self
                        .files
                        .keys()
                        .any(|other| other.starts_with(&format!("{stub}/")))
            });
            if empty {
                self.files.remove(stub);
            }
        }
    }

    /// What differs from another, a line each.
    pub fn against(&self, other: &Snapshot) -> Vec<String> {
        let mut found = Vec::new();
        let paths: std::collections::BTreeSet<_> =
            self.files.keys().chain(other.files.keys()).collect();
        for path in paths {
            let (ours, theirs) = (self.files.get(path), other.files.get(path));
            if ours != theirs {
                let show = |file: Option<&File>| match file {
                    None => "is not there".to_owned(),
                    Some(file) => format!(
                        "{}{:o} {}:{} {:?}{}{}{}",
                        file.kind,
                        file.mode,
                        file.owner.0,
                        file.owner.1,
                        file.content,
                        if file.then { " old" } else { "" },
                        if file.xattrs.is_empty() {
                            ""
                        } else {
                            " xattrs"
                        },
                        file.first_name
                            .as_ref()
                            .map(|name| format!(" = {name}"))
                            .unwrap_or_default()
                    ),
                };
                found.push(format!("/{path}: {} | {}", show(ours), show(theirs)));
            }
        }
        let keys: std::collections::BTreeSet<_> =
            self.config.keys().chain(other.config.keys()).collect();
        for key in keys {
            let (ours, theirs) = (self.config.get(key), other.config.get(key));
            if ours != theirs {
                let show = |value: Option<&Value>| value.map_or("none".into(), Value::to_string);
                found.push(format!("{key}: {} | {}", show(ours), show(theirs)));
            }
        }
        found
    }
}
