//! A first `hoist.yaml` and a workflow, for a folder that has a Dockerfile.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The workflow that deploys on a push to the main branch; the same file that the documentation shows.
const WORKFLOW: &str = include_str!("../../../docs/examples/deploy.yml");

/// A file that would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Where, relative to the folder.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// Plans the files for the project in `folder`: the application is named after the folder, the port comes from the Dockerfile's
/// `EXPOSE`.
///
/// # Errors
/// The Dockerfile cannot be read.
pub fn plan(folder: &Path) -> io::Result<Vec<Planned>> {
    let dockerfile = fs::read_to_string(folder.join("Dockerfile"))?;
    let folder = fs::canonicalize(folder)?;
    let app = app_name(
        folder
            .file_name()
            .map(|name| name.to_string_lossy())
            .as_deref()
            .unwrap_or("app"),
    );
    let service = match exposed_port(&dockerfile) {
        Some(port) => format!("  web: {{ port: {port}, cpu: 256, memory: 512, count: 1, health: / }}"),
        None => "  worker: { cpu: 256, memory: 512, count: 1 } # the Dockerfile has no EXPOSE; a web service needs `port`".to_owned(),
    };
    let config = format!(
        "# What hoist deploys; every key: https://github.com/hoist/hoist/blob/main/docs/configuration.md\napp: {app}\nservices:\n{service}\n"
    );
    Ok(vec![
        Planned {
            path: PathBuf::from("hoist.yaml"),
            text: config,
        },
        workflow(),
    ])
}

/// The workflow that deploys on a push to the main branch.
pub fn workflow() -> Planned {
    Planned {
        path: PathBuf::from(".github/workflows/deploy.yml"),
        text: WORKFLOW.to_owned(),
    }
}

/// Writes the planned files that do not exist yet; returns those that were written. A file that exists is never touched.
///
/// # Errors
/// A folder or a file cannot be made.
pub fn write(folder: &Path, planned: &[Planned]) -> io::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for file in planned {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::File::create_new(&path) {
            Ok(mut new) => io::Write::write_all(&mut new, file.text.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        written.push(file.path.clone());
    }
    Ok(written)
}

/// Lower-case letters, digits and hyphens, starting with a letter.
pub fn app_name(folder: &str) -> String {
    let name: String = folder
        .to_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let name =
        name.trim_matches(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit());
    match name.chars().next() {
        Some(first) if first.is_ascii_lowercase() => name.to_owned(),
        Some(_) => format!("app-{name}"),
        None => "app".to_owned(),
    }
}

/// The first TCP port that an `EXPOSE` of the last stage names as a number.
fn exposed_port(dockerfile: &str) -> Option<u16> {
    let mut port = None;
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("FROM") => port = None,
            Some("EXPOSE") => {
                port = port.or_else(|| {
                    words.find_map(|word| word.strip_suffix("/tcp").unwrap_or(word).parse().ok())
                });
            }
            _ => {}
        }
    }
    port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_project_can_be_loaded_and_what_exists_is_kept() {
        let folder = tempfile::Builder::new().prefix("Shop_7").tempdir().unwrap();
        fs::write(
            folder.path().join("Dockerfile"),
            "FROM scratch AS build\nEXPOSE 1\nFROM scratch\nEXPOSE 53/udp 9000/tcp\n",
        )
        .unwrap();
        let planned = plan(folder.path()).unwrap();
        assert_eq!(write(folder.path(), &planned).unwrap().len(), 2);
        let project = crate::Project::load(&folder.path().join("hoist.yaml"), None).unwrap();
        assert!(project.app.starts_with("shop-7"), "{}", project.app);
        assert!(
            planned[0].text.contains("port: 9000"),
            "{}",
            planned[0].text
        );

        fs::write(folder.path().join("hoist.yaml"), "mine").unwrap();
        assert!(write(folder.path(), &planned).unwrap().is_empty());
        assert_eq!(
            fs::read_to_string(folder.path().join("hoist.yaml")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn names_of_folders_become_names_of_applications() {
        assert_eq!(app_name("My App"), "my-app");
        assert_eq!(app_name("9lives"), "app-9lives");
        assert_eq!(app_name("..."), "app");
    }
}
