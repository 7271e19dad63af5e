//! The readers of what strangers write, for fuzzing: each takes any bytes, and says in a few words what it made of them. No part of the interface.

use std::path::Path;

use hoist_oci::spec::{Descriptor, ImageConfig, Index, Manifest, Platform};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::dockerfile::parser;
use crate::error::BuildError;
use crate::ignore::Ignore;
use crate::request::BuildRequest;
use crate::stages;

/// How an error begins: what comes later differs from input to input.
fn shape(error: &BuildError) -> String {
    let words = error
        .message()
        .split(|letter: char| !letter.is_ascii_lowercase());
    let words: Vec<&str> = words.filter(|word| word.len() > 1).take(4).collect();
    words.join(" ")
}

/// A count, as far as it matters.
fn few(count: usize) -> usize {
    count.min(4)
}

/// A Dockerfile: its lines, instructions, checks, and the plan of its stages.
pub fn dockerfile(bytes: &[u8]) -> String {
    let Ok(text) = String::from_utf8(bytes.to_vec()) else {
        return "no text".into();
    };
    let file = match parser::parse(Path::new("Dockerfile"), text) {
        Ok(file) => file,
        Err(error) => return shape(&error),
    };
    let mut request = BuildRequest::new(".");
    request.build_args = vec![("A".into(), "1".into())];
    let planned = match stages::plan(&file, &request) {
        Ok(plans) => format!(
            "{} needed",
            few(plans.stages.iter().filter(|it| it.needed).count())
        ),
        Err(error) => shape(&error),
    };
    // Whatever is told has a place, and the place is in the file.
    let mut told: Vec<&str> = Vec::new();
    for finding in &file.findings {
        let _ = file.source.location(finding.range.clone()).to_string();
        told.push(finding.rule);
    }
    told.sort_unstable();
    told.dedup();
    told.truncate(2);
    let instructions: usize = file.stages.iter().map(|it| it.instructions.len()).sum();
    format!(
        "{} {} {planned} {}",
        few(file.stages.len()),
        few(instructions),
        told.join(" ")
    )
}

/// A `.dockerignore`, and what it says of some paths.
pub fn ignore(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let ignore = match Ignore::parse(None, &text) {
        Ok(ignore) => ignore,
        Err(error) => return shape(&error),
    };
    let hidden = ["a", "a/b", "a/b/c.txt", ".git/x", "é/ü", "[x]", "a*b", "**"].map(|path| {
        match ignore.hides(path) {
            Some((_, line, rule)) => {
                assert!(line > 0 && !rule.is_empty());
                '1'
            }
            None => '0',
        }
    });
    let open = ignore.may_show_inside("a/b");
    format!("{} {open}", String::from_iter(hidden))
}

fn survives_writing<T>(read: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let written = serde_json::to_vec(read).expect("what was read is JSON");
    let again: T = serde_json::from_slice(&written).expect("and reads as the same kind of thing");
    // The reader of JSON may miss the last bit of a number with a fraction. These formats have none: one can only be in a field that nobody knows.
    if &again != read && !has_fraction(&serde_json::from_slice(&written).unwrap_or_default()) {
        panic!("{read:?} was written and read as {again:?}");
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(all) => all.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        _ => false,
    }
}

/// A manifest, an index, or a configuration.
///
/// # Panics
/// When what was read does not survive being written.
pub fn manifest(bytes: &[u8]) -> String {
    let mut said = String::new();
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        survives_writing(&manifest);
        said += &format!("manifest {}", manifest.layers.len().min(3));
        let forms = manifest.layers.iter().map(|layer: &Descriptor| {
            hoist_oci::Compression::of_media_type(&layer.media_type).map(|form| form.to_string())
        });
        said += &format!(" {:?}", forms.take(3).collect::<Vec<_>>());
    }
    if let Ok(index) = serde_json::from_slice::<Index>(bytes) {
        survives_writing(&index);
        let found = index
            .for_platform(&Platform::new("linux", "amd64"))
            .is_some();
        said += &format!("index {} {found}", index.manifests.len().min(3));
    }
    if let Ok(mut config) = serde_json::from_slice::<ImageConfig>(bytes) {
        crate::config::complete(&mut config);
        survives_writing(&config);
        said += &format!(
            "config {} {}",
            config.rootfs.diff_ids.len().min(3),
            config.platform().serves(&Platform::host())
        );
    }
    said
}
