//! The arrows between the crates run only downwards, the two sides never meet, and the pure crates stay pure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Which crates of the house each may use; ARCHITECTURE.md has the picture.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("hoist-oci", &[]),
    ("hoist-ecs", &[]),
    ("hoist-fargate", &[]),
    ("hoist-rollout", &[]),
    ("hoist-aws", &[]),
    ("hoist-runtime", &["hoist-oci"]),
    ("hoist-image", &["hoist-runtime", "hoist-oci"]),
    ("hoist-project", &["hoist-ecs"]),
    (
        "hoist-local",
        &["hoist-runtime", "hoist-fargate", "hoist-oci"],
    ),
    (
        "hoist-pipeline",
        &[
            "hoist-project",
            "hoist-image",
            "hoist-aws",
            "hoist-rollout",
            "hoist-ecs",
            "hoist-oci",
        ],
    ),
    (
        "hoist",
        &[
            "hoist-pipeline",
            "hoist-local",
            "hoist-project",
            "hoist-image",
            "hoist-runtime",
            "hoist-aws",
            "hoist-rollout",
            "hoist-ecs",
            "hoist-oci",
        ],
    ),
    (
        "hoist-proving",
        &[
            "hoist-ecs",
            "hoist-rollout",
            "hoist-fargate",
            "hoist-aws",
            "hoist-local",
            "hoist-pipeline",
            "hoist-oci",
        ],
    ),
];

/// Crates that a pure crate must not use, whatever for: clocks, networks, runtimes, files.
const IMPURE: [&str; 14] = [
    "tokio",
    "reqwest",
    "hyper",
    "axum",
    "nix",
    "libc",
    "redb",
    "tempfile",
    "walkdir",
    "tracing",
    "fastrand",
    "rustls",
    "reqsign",
    "futures-util",
];

/// The dependencies of each crate, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(CRATES).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let mut section = String::new();
        let mut found = BTreeSet::new();
        for line in text.lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            } else if (section == "dependencies" || section.ends_with(".dependencies"))
                && let Some(name) = line
                    .split(['.', '=', ' '])
                    .next()
                    .filter(|name| !name.is_empty())
            {
                found.insert(name.to_owned());
            }
        }
        all.insert(
            folder.file_name().unwrap().to_string_lossy().into_owned(),
            found,
        );
    }
    all
}

#[test]
fn arrows_run_only_downwards_and_the_two_sides_never_meet() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    let all = dependencies();
    assert_eq!(
        all.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        allowed.keys().copied().collect()
    );
    for (name, uses) in &all {
        for used in uses.iter().filter(|used| used.starts_with("hoist")) {
            assert!(
                allowed[name.as_str()].contains(used.as_str()),
                "{name} must not use {used}"
            );
        }
    }
}

#[test]
fn the_pure_crates_use_nothing_that_reaches_outside() {
    let all = dependencies();
    for name in ["hoist-ecs", "hoist-rollout", "hoist-fargate"] {
        for used in &all[name] {
            assert!(
                !IMPURE.contains(&used.as_str()),
                "{name} must not use {used}"
            );
        }
        let mut files = Vec::new();
        sources(&Path::new(CRATES).join(name).join("src"), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            if is_for_tests_only(&file) {
                continue;
            }
            // Tests may read fixtures and the documentation; what ships may not.
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            for forbidden in [
                "std::fs",
                "std::net",
                "std::process",
                "std::env::var",
                "SystemTime",
                "Instant::now",
                "async fn",
                "std::thread",
            ] {
                assert!(
                    !shipped.contains(forbidden),
                    "{} uses {forbidden}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn unsafe_code_lives_only_in_the_runtime() {
    for (name, _) in ALLOWED {
        let mut files = Vec::new();
        sources(&Path::new(CRATES).join(name).join("src"), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            if name != "hoist-runtime" {
                assert!(
                    !text.contains("allow(unsafe_code)"),
                    "{} allows unsafe code",
                    file.display()
                );
            }
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Whether the crate's root declares the file under `#[cfg(test)]`.
fn is_for_tests_only(file: &Path) -> bool {
    let module = file.file_stem().unwrap_or_default().to_string_lossy();
    let root = std::fs::read_to_string(file.with_file_name("lib.rs")).unwrap_or_default();
    root.contains(&format!("#[cfg(test)]\nmod {module};"))
}
