//! Which of root's powers a container keeps.

use nix::errno::Errno;

/// Names by number, from `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set (moby `oci/caps/defaults.go`).
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

fn number(name: &str) -> Result<u8, String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| *known == bare)
        .map(|position| position as u8)
        .ok_or_else(|| format!("unknown capability {name}"))
}

/// The numbers of Docker's default set with these added and those taken away.
pub(crate) fn resolve(add: &[String], drop: &[String]) -> Result<Vec<u8>, String> {
    let is_all =
        |name: &String| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let mut set: std::collections::BTreeSet<u8> = if add.iter().any(is_all) {
        (0..NAMES.len() as u8).collect()
    } else if drop.iter().any(is_all) {
        Default::default()
    } else {
        DEFAULT
            .iter()
            .map(|name| number(name))
            .collect::<Result<_, _>>()?
    };
    for name in drop.iter().filter(|name| !is_all(name)) {
        set.remove(&number(name)?);
    }
    for name in add.iter().filter(|name| !is_all(name)) {
        set.insert(number(name)?);
    }
    Ok(set.into_iter().collect())
}

/// Takes every capability but these out of the bounding set.
pub(crate) fn bound(keep: &[u8]) -> nix::Result<()> {
    for capability in 0..64u8 {
        // SAFETY: takes numbers only.
        let known = unsafe {
            libc::prctl(
                libc::PR_CAPBSET_READ,
                libc::c_ulong::from(capability),
                0,
                0,
                0,
            )
        };
        if known < 0 {
            break;
        }
        if known == 1 && !keep.contains(&capability) {
            // SAFETY: takes numbers only.
            Errno::result(unsafe {
                libc::prctl(
                    libc::PR_CAPBSET_DROP,
                    libc::c_ulong::from(capability),
                    0,
                    0,
                    0,
                )
            })?;
        }
    }
    Ok(())
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

fn current() -> nix::Result<[Data; 2]> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads one header and writes two data records, which both exist.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(data)
}

/// Whether this process has the capability of this number in effect.
pub(crate) fn has(capability: u8) -> bool {
    let (word, bit) = (usize::from(capability / 32), capability % 32);
    current().is_ok_and(|data| word < 2 && data[word].effective & (1 << bit) != 0)
}

/// Keeps only these in effect; none of them is handed on to programs of another user.
pub(crate) fn limit(keep: &[u8]) -> nix::Result<()> {
    let mut data = current()?;
    let mut mask = [0u32; 2];
    for &capability in keep.iter().filter(|&&capability| capability < 64) {
        mask[usize::from(capability / 32)] |= 1 << (capability % 32);
    }
    for (half, mask) in data.iter_mut().zip(mask) {
        half.permitted &= mask;
        half.effective = half.permitted;
        half.inheritable = 0;
    }
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    // SAFETY: version 3 reads one header and two data records, which both exist.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_dockers() {
        let mask = resolve(&[], &[])
            .unwrap()
            .iter()
            .fold(0u64, |mask, number| mask | 1 << number);
        assert_eq!(
            mask, 0xa804_25fb,
            "CapBnd in a container that docker started"
        );
    }

    #[test]
    fn dropping_all_and_adding_one_leaves_one() {
        assert_eq!(
            resolve(&["CAP_NET_BIND_SERVICE".into()], &["ALL".into()]).unwrap(),
            [10]
        );
        assert!(resolve(&["NO_SUCH".into()], &[]).is_err());
    }
}
