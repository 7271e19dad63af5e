//! Owners by name, looked up in the image's own `/etc/passwd` and `/etc/group`.

use std::path::Path;

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::tree::{self, Rootfs, Tree};

/// The user and group of `user`, `uid`, `user:group` or `uid:gid`.
///
/// A name without a group brings its own one, a number without a group is its group's number too (Dockerfile reference, "COPY --chown").
pub(crate) fn owner(rootfs: &Rootfs, text: &str) -> Result<(u32, u32)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let (uid, own) = match user.parse::<u32>() {
        _ if user.is_empty() => (0, 0),
        Ok(uid) => (uid, uid),
        Err(_) => {
            let fields = find(rootfs, "etc/passwd", user)?
                .ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
            (number(&fields, 2), number(&fields, 3))
        }
    };
    let gid = match group {
        None => own,
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => number(
                &find(rootfs, "etc/group", group)?
                    .ok_or_else(|| unknown("group", group, "/etc/group"))?,
                2,
            ),
        },
    };
    Ok((uid, gid))
}

fn unknown(what: &str, name: &str, file: &str) -> BuildError {
    BuildError::new(
        BuildErrorKind::Dockerfile,
        format!("the {what} {name} is not in {file} of the image"),
    )
    .with_hint("add it in a RUN step before, or give a number")
}

fn number(fields: &[String], index: usize) -> u32 {
    fields
        .get(index)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

fn find(rootfs: &Rootfs, file: &str, name: &str) -> Result<Option<Vec<String>>> {
    let path = tree::resolve(rootfs, Path::new(file), true)?;
    let Some(node) = rootfs.lookup(&path)? else {
        return Ok(None);
    };
    let text = std::fs::read(&node.real)
        .map_err(|error| BuildError::io(format!("read /{file} of the image"), error))?;
    let text = String::from_utf8_lossy(&text);
    let fields = |line: &str| line.split(':').map(String::from).collect::<Vec<_>>();
    Ok(text.lines().map(fields).find(|fields| fields[0] == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_looked_up_in_the_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/:\napp:x:1000:1001::/:\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
        let rootfs = Rootfs {
            layers: vec![dir.path().into()],
        };
        for (text, want) in [
            ("app", (1000, 1001)),
            ("app:staff", (1000, 50)),
            ("7", (7, 7)),
            ("7:8", (7, 8)),
            ("root:staff", (0, 50)),
            ("app:", (1000, 1001)),
            (":staff", (0, 50)),
        ] {
            assert_eq!(owner(&rootfs, text).unwrap(), want, "{text}");
        }
        let error = owner(&rootfs, "nobody").unwrap_err();
        assert_eq!(
            error.message(),
            "the user nobody is not in /etc/passwd of the image"
        );
        assert_eq!(
            owner(&Rootfs::default(), "0:x").unwrap_err().message(),
            "the group x is not in /etc/group of the image"
        );
    }
}
