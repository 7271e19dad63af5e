//! What an image has in a directory, copied into a volume: the layers as overlay has them, read without mounting anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Copies what `layers` (topmost first) have in the directory `path` into `to`, which gets the owner and the mode of that directory.
/// False if there is no such directory, or if a symbolic link is on the way to it.
pub fn seed(layers: &[PathBuf], path: &Path, to: &Path) -> io::Result<bool> {
    let mut here = layers.to_vec();
    for component in path.components() {
        if let Component::Normal(name) = component {
            here = below(&here, Path::new(name))?;
        }
    }
    let Some(topmost) = here.first() else {
        return Ok(false);
    };
    let shown = topmost.symlink_metadata()?;
    copy(&here, to)?;
    dress(to, &shown)?;
    Ok(true)
}

/// The directories of that name in directories that lie over each other; none where the topmost entry of that name is something else.
fn below(layers: &[PathBuf], name: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for layer in layers {
        let path = layer.join(name);
        let shown = match path.symlink_metadata() {
            Ok(shown) => shown,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !shown.is_dir() {
            break;
        }
        let hides = hides(&path);
        found.push(path);
        if hides {
            break;
        }
    }
    Ok(found)
}

/// Whether a directory hides what lies below it.
fn hides(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|mark| matches!(xattr::get(path, mark), Ok(Some(value)) if value == b"y"))
}

fn copy(layers: &[PathBuf], to: &Path) -> io::Result<()> {
    let mut names: BTreeMap<OsString, (PathBuf, Metadata)> = BTreeMap::new();
    for layer in layers {
        for entry in fs::read_dir(layer)? {
            let entry = entry?;
            let shown = entry.path().symlink_metadata()?;
            names
                .entry(entry.file_name())
                .or_insert((entry.path(), shown));
        }
    }
    for (name, (from, shown)) in names {
        let target = to.join(&name);
        if shown.is_dir() {
            fs::create_dir(&target)?;
            copy(&below(layers, Path::new(&name))?, &target)?;
        } else if shown.is_file() {
            fs::copy(&from, &target)?;
        } else if shown.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &target)?;
        } else {
            // A whiteout, or what no volume needs: a device, a socket, a pipe.
            continue;
        }
        dress(&target, &shown)?;
    }
    Ok(())
}

/// Gives a path the owner and the mode of another.
fn dress(path: &Path, like: &Metadata) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(like.uid()), Some(like.gid()))?;
    if !like.is_symlink() {
        fs::set_permissions(path, like.permissions())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_volume_gets_what_the_layers_show_of_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let (top, low, to) = (
            folder.path().join("top"),
            folder.path().join("low"),
            folder.path().join("to"),
        );
        write(&low, "data/kept", "low");
        write(&low, "data/changed", "low");
        write(&low, "data/inner/deep", "low");
        write(&top, "data/changed", "top");
        write(&top, "data/inner/new", "top");
        std::os::unix::fs::symlink("kept", top.join("data/link")).unwrap();
        fs::set_permissions(top.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::create_dir(&to).unwrap();
        let layers = [top.clone(), low];
        assert!(seed(&layers, Path::new("/data"), &to).unwrap());
        let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        assert_eq!(
            ["kept", "changed", "link", "inner/deep", "inner/new"].map(read),
            ["low", "top", "low", "low", "top"]
        );
        assert_eq!(to.metadata().unwrap().mode() & 0o777, 0o750);
        assert!(!seed(&layers, Path::new("/none"), &to).unwrap());
        assert!(!seed(&layers, Path::new("/data/link"), &to).unwrap());
    }
}
