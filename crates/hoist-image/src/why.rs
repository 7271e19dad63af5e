//! What makes an image large, and what would make it smaller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::contents::{apply, layers, readable};
use crate::error::Result;
use crate::images;
use crate::workspace::Workspace;

/// Why an image has its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Bytes of all layers as they are stored and travel.
    pub compressed: u64,
    /// Bytes of the files that containers see.
    pub visible: u64,
    /// Bytes that are in layers, but covered or deleted by later ones.
    pub hidden: u64,
    /// Steps with the bytes of the files they brought, the largest first.
    pub steps: Vec<(String, u64)>,
    /// Folders with the bytes below them, the largest first; none that lies in another of the list with nearly the same size.
    pub folders: Vec<(PathBuf, u64)>,
    /// The largest files.
    pub files: Vec<(PathBuf, u64)>,
    /// What would make it smaller, the largest gain first.
    pub advice: Vec<Advice>,
}

/// Something that would make an image smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What to do.
    pub text: String,
    /// Bytes, before compression.
    pub bytes: u64,
}

/// Where tools leave what no container needs: the folder, and how to do without it.
const LEFTOVERS: [(&str, &str); 12] = [
    (
        "var/lib/apt/lists",
        "end the step of apt-get with `&& rm -rf /var/lib/apt/lists/*`, or mount it: RUN --mount=type=cache,target=/var/lib/apt",
    ),
    (
        "var/cache/apt",
        "mount the cache of apt: RUN --mount=type=cache,target=/var/cache/apt",
    ),
    ("var/cache/apk", "use `apk add --no-cache`"),
    (
        "var/cache/dnf",
        "end the step of dnf with `&& dnf clean all`",
    ),
    (
        "var/cache/yum",
        "end the step of yum with `&& yum clean all`",
    ),
    (
        "root/.cache/pip",
        "use `pip install --no-cache-dir`, or RUN --mount=type=cache,target=/root/.cache/pip",
    ),
    (
        "root/.npm",
        "mount the cache of npm: RUN --mount=type=cache,target=/root/.npm",
    ),
    (
        "root/.cargo/registry",
        "build in a stage of its own and copy the program, or RUN --mount=type=cache,target=/root/.cargo/registry",
    ),
    (
        "root/go/pkg",
        "build in a stage of its own and copy the program, or RUN --mount=type=cache,target=/root/go/pkg",
    ),
    (
        "root/.cache",
        "mount it: RUN --mount=type=cache,target=/root/.cache",
    ),
    (
        "usr/share/doc",
        "manuals are rarely read in containers: a slim base image has none",
    ),
    ("tmp", "remove temporary files in the step that makes them"),
];

/// Names of folders that are rarely meant to be in an image.
const STRAY: [(&str, &str); 3] = [
    (".git", "name .git in .dockerignore"),
    (
        "__pycache__",
        "name **/__pycache__ in .dockerignore, or set PYTHONDONTWRITEBYTECODE=1",
    ),
    (
        "target",
        "name target in .dockerignore, or build in a stage of its own",
    ),
];

/// Less than this is not worth a word.
const WORTH: u64 = 100 << 10;

/// Looks into a local image.
///
/// # Errors
/// Fails when there is none of that name, or it cannot be read.
pub fn why(workspace: &Workspace, name: &str) -> Result<Why> {
    let image = images::inspect(workspace, name)?;
    let mut all = BTreeMap::new();
    let (mut steps, mut hidden, mut lost_by) = (Vec::new(), 0, Vec::new());
    let (mut compressed, mut strays) = (0, BTreeMap::new());
    for layer in layers(&workspace.store, &image, false)? {
        compressed += layer.size;
        let brought: u64 = layer.files.iter().map(|(_, item)| item.size).sum();
        // What a base image brought is nothing that this Dockerfile can leave out.
        let ours =
            !(layer.created_by.starts_with("IMPORT ") || layer.created_by.contains("#(nop)"));
        for (path, item) in &layer.files {
            match ours {
                true => strays.insert(path.clone(), item.size),
                false => strays.remove(path),
            };
        }
        let mut lost = 0;
        apply(&mut all, layer.files, |_, item| lost += item.size);
        hidden += lost;
        let step = readable(&layer.created_by);
        if lost >= WORTH {
            lost_by.push((step.clone(), lost));
        }
        steps.push((step, brought));
    }
    let mut folders: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut files = Vec::new();
    for (path, item) in &all {
        for folder in path
            .ancestors()
            .skip(1)
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            *folders.entry(folder.into()).or_default() += item.size;
        }
        if item.size > 0 {
            files.push((path.clone(), item.size));
        }
    }
    let visible = files.iter().map(|(_, size)| size).sum();
    let mut advice: Vec<Advice> = lost_by
        .into_iter()
        .map(|(step, bytes)| Advice {
            text: covering(&step),
            bytes,
        })
        .collect();
    let mut counted: Vec<&str> = Vec::new();
    for (folder, text) in LEFTOVERS {
        let inside_another = counted.iter().any(|other| other.starts_with(folder));
        let bytes = folders.get(Path::new(folder)).copied().unwrap_or(0);
        if bytes >= WORTH && !inside_another {
            counted.push(folder);
            advice.push(Advice {
                text: format!("/{folder}: {text}"),
                bytes,
            });
        }
    }
    strays.retain(|path, _| all.contains_key(path));
    advice.extend(STRAY.iter().filter_map(|stray| strayed(&strays, *stray)));
    advice.sort_by_key(|advice| std::cmp::Reverse(advice.bytes));
    steps.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    files.truncate(10);
    Ok(Why {
        compressed,
        visible,
        hidden,
        steps,
        folders: largest(folders),
        files,
        advice,
    })
}

/// What to do about a step that hides what earlier layers brought.
fn covering(step: &str) -> String {
    let what = short(step);
    let words = |word: &str| {
        step.split(|c: char| !c.is_alphanumeric())
            .any(|it| it == word)
    };
    if step.starts_with("RUN ") && (words("chown") || words("chmod")) {
        return format!(
            "`{what}` copies each file whose owner or mode it changes: COPY has --chown and --chmod"
        );
    }
    format!(
        "`{what}` deletes or covers files of earlier layers, which stay in them: do it in the step that makes them, or copy what is needed into a new stage"
    )
}

/// What to do about the folders of a name that are rarely meant to be in an image.
fn strayed(files: &BTreeMap<PathBuf, u64>, (name, text): (&str, &str)) -> Option<Advice> {
    let mut folders: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for (path, size) in files {
        // The outermost of that name.
        let above: Vec<_> = path.ancestors().skip(1).collect();
        let found = above.iter().rev().find(|folder| folder.ends_with(name));
        if let Some(folder) = found {
            *folders.entry((*folder).to_owned()).or_default() += size;
        }
    }
    let bytes = folders.values().sum();
    let (largest, _) = folders.iter().max_by_key(|(_, size)| **size)?;
    let place = match folders.len() {
        1 => format!("/{}", largest.display()),
        count => format!("{count} folders, such as /{}", largest.display()),
    };
    (bytes >= WORTH).then(|| Advice {
        text: format!("{place}: {text}"),
        bytes,
    })
}

/// The folders that say most: none that is little more than its largest folder.
fn largest(folders: BTreeMap<PathBuf, u64>) -> Vec<(PathBuf, u64)> {
    let telling = |folder: &PathBuf, size: u64| {
        !folders
            .range(folder.clone()..)
            .skip(1)
            .take_while(|(other, _)| other.starts_with(folder))
            .any(|(_, below)| *below * 10 >= size * 9)
    };
    let mut found: Vec<_> = folders
        .iter()
        .filter(|(folder, size)| **size > 0 && telling(folder, **size))
        .map(|(folder, size)| (folder.clone(), *size))
        .collect();
    found.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    found.truncate(10);
    found
}

/// The beginning of a step, on one line.
fn short(step: &str) -> String {
    let line: String = step.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(70) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
