//! Who a program runs as, by the image's own `/etc/passwd` and `/etc/group`.

use crate::StartError;

/// A user as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Looks `user` (`""`, `name`, `uid`, and either with `:group` or `:gid`) up, as Docker does: a number needs no entry, and then its group is 0.
pub(crate) fn resolve(
    user: &str,
    extra_groups: &[String],
    passwd: &str,
    group: &str,
) -> Result<Identity, StartError> {
    let (who, with) = match user.split_once(':') {
        Some((who, with)) => (who, Some(with)),
        None => (user, None),
    };
    let who = if who.is_empty() { "0" } else { who };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 4)
        .find(|fields| fields[0] == who || (who.parse::<u32>().is_ok() && fields[2] == who));
    let missing = |what: &str, name: &str, file: &str| StartError::NoSuchUser {
        what: what.to_owned(),
        name: name.to_owned(),
        file: file.to_owned(),
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|&id| id <= i32::MAX as u32);
    let (uid, mut gid, name, home) = match &entry {
        Some(fields) => (
            number(fields[2]).ok_or_else(|| missing("user", who, "/etc/passwd"))?,
            number(fields[3]).unwrap_or(0),
            Some(fields[0]),
            fields
                .get(5)
                .copied()
                .filter(|home| !home.is_empty())
                .unwrap_or("/"),
        ),
        None => (
            number(who).ok_or_else(|| missing("user", who, "/etc/passwd"))?,
            0,
            None,
            "/",
        ),
    };
    let group_id = |name: &str| {
        let entry = group
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.len() >= 3 && fields[0] == name);
        entry
            .and_then(|fields| number(fields[2]))
            .or_else(|| number(name))
            .ok_or_else(|| missing("group", name, "/etc/group"))
    };
    let mut groups = Vec::new();
    match with {
        Some(with) if !with.is_empty() => gid = group_id(with)?,
        // Membership counts only when no group was named, as in Docker.
        _ => {
            for fields in group
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
            {
                let is_member = fields.len() >= 4
                    && fields[3]
                        .split(',')
                        .any(|member| Some(member.trim()) == name);
                if let (true, Some(id)) = (is_member, fields.get(2).and_then(|id| number(id))) {
                    groups.push(id);
                }
            }
        }
    }
    for extra in extra_groups {
        groups.push(group_id(extra)?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nwheel:x:10:app,other\nlog:x:20:other\n";

    fn ids(user: &str) -> (u32, u32, Vec<u32>, String) {
        let identity = resolve(user, &[], PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn names_numbers_and_groups_resolve_as_in_docker() {
        assert_eq!(ids(""), (0, 0, vec![], "/root".into()));
        assert_eq!(ids("app"), (1000, 1001, vec![10], "/home/app".into()));
        assert_eq!(ids("1000"), (1000, 1001, vec![10], "/home/app".into()));
        assert_eq!(ids("app:log"), (1000, 20, vec![], "/home/app".into()));
        assert_eq!(ids("4242"), (4242, 0, vec![], "/".into()));
        assert_eq!(ids("4242:4243"), (4242, 4243, vec![], "/".into()));
    }

    #[test]
    fn an_unknown_name_says_where_it_was_looked_for() {
        let error = resolve("ghost", &[], PASSWD, GROUP).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unable to find user ghost: no matching entries in /etc/passwd"
        );
        let error = resolve("app:ghosts", &[], PASSWD, GROUP).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unable to find group ghosts: no matching entries in /etc/group"
        );
    }
}
