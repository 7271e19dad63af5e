//! The filter that keeps a container's programs away from calls that act on the whole machine.
//!
//! Docker's default profile lists what is allowed; this one lists what that profile refuses to a container with the default
//! capabilities (moby `profiles/seccomp/default_linux.go`). New system calls therefore work, as ordinary programs expect.

use std::collections::BTreeMap;

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Filters to install one after another.
pub(crate) struct Filters(Vec<BpfProgram>);

/// Every flag of clone and unshare that makes a namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
];

fn refused() -> Vec<i64> {
    let mut calls = vec![
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_bpf,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_fanotify_init,
        libc::SYS_finit_module,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_init_module,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_lookup_dcookie,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_move_pages,
        libc::SYS_nfsservctl,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_pivot_root,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_ioperm,
        libc::SYS_iopl,
        libc::SYS__sysctl,
        libc::SYS_sysfs,
        libc::SYS_uselib,
        libc::SYS_ustat,
    ]);
    calls
}

impl Filters {
    /// Compiles them; `None` on an architecture for which there is no compiler.
    pub(crate) fn compile() -> Option<Filters> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => TargetArch::x86_64,
            "aarch64" => TargetArch::aarch64,
            _ => return None,
        };
        let build = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: Errno| -> BpfProgram {
            SeccompFilter::new(
                rules,
                SeccompAction::Allow,
                SeccompAction::Errno(errno as u32),
                architecture,
            )
            .and_then(TryInto::try_into)
            .expect("the rules are constant and valid")
        };
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = refused()
            .into_iter()
            .map(|call| (call, Vec::new()))
            .collect();
        let namespaces = NAMESPACES
            .iter()
            .map(|&flag| {
                let flag = flag as u32 as u64;
                let condition = SeccompCondition::new(
                    0,
                    SeccompCmpArgLen::Qword,
                    SeccompCmpOp::MaskedEq(flag),
                    flag,
                )
                .expect("the argument number is valid");
                SeccompRule::new(vec![condition]).expect("there is a condition")
            })
            .collect();
        rules.insert(libc::SYS_clone, namespaces);
        // The flags of clone3 are behind a pointer, where no filter can look; without it the C libraries use clone.
        let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        Some(Filters(vec![
            build(rules, Errno::EPERM),
            build(unknown, Errno::ENOSYS),
        ]))
    }

    /// Installs them for this process and its children. Needs `CAP_SYS_ADMIN` or no_new_privs.
    pub(crate) fn install(&self) -> nix::Result<()> {
        for program in &self.0 {
            let fprog = libc::sock_fprog {
                len: program.len() as libc::c_ushort,
                filter: program.as_ptr().cast_mut().cast(),
            };
            // SAFETY: `fprog` points to `len` instructions that outlive the call, and the kernel copies them.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    0,
                    &raw const fprog,
                )
            };
            Errno::result(result)?;
        }
        Ok(())
    }
}
