//! Control groups: version 1, version 2, and both at once (hybrid).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Limits, Stats};

mod divided;

use divided::{CONTROLLERS_V2, enable, lists, writable_v2};

/// The controllers that limits and figures need.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];
/// The kernel's default period of processor quotas, in microseconds.
const PERIOD: u64 = 100_000;

/// Where this process may make control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// Each mounted hierarchy with the directory below which groups are made, and the name it is mounted by.
    V1(Vec<V1>),
    /// The directory below which groups are made. It may lack controllers; see [`Hierarchies::lacks`].
    V2(PathBuf),
    /// None, and why.
    Absent(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct V1 {
    /// Controllers as the mount names them, such as `cpu,cpuacct`.
    name: String,
    base: PathBuf,
}

impl Hierarchies {
    /// Looks at what is mounted here and tries whether it can be written to.
    pub(crate) fn detect() -> Hierarchies {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let found = Hierarchies::parse(&read("/proc/self/mountinfo"));
        match &found {
            Hierarchies::V1(all) => match all
                .iter()
                .find_map(|one| probe(&one.base).err().map(|error| (one, error)))
            {
                Some((one, error)) => Hierarchies::Absent(format!(
                    "cannot make control groups below {}: {error}",
                    one.base.display()
                )),
                None => found,
            },
            Hierarchies::V2(base) => match writable_v2(base) {
                Ok(base) => Hierarchies::V2(base),
                Err(error) => Hierarchies::Absent(error),
            },
            Hierarchies::Absent(_) => found,
        }
    }

    /// Groups for containers go to the top of what is mounted, beside that of this process: version 2 allows no processes between.
    fn parse(mountinfo: &str) -> Hierarchies {
        let mut v1 = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            let (Some(mount_point), Some(kind)) = (before.get(4), after.first()) else {
                continue;
            };
            match *kind {
                "cgroup2" => v2 = v2.or(Some(PathBuf::from(mount_point))),
                "cgroup" => {
                    let options: Vec<&str> = after
                        .get(2)
                        .map(|options| options.split(',').collect())
                        .unwrap_or_default();
                    let names: Vec<&str> = options
                        .into_iter()
                        .filter(|name| CONTROLLERS.contains(name))
                        .collect();
                    if !names.is_empty() {
                        v1.push(V1 {
                            name: names.join(","),
                            base: mount_point.into(),
                        });
                    }
                }
                _ => {}
            }
        }
        if v1
            .iter()
            .any(|one| one.name.split(',').any(|name| name == "memory"))
        {
            return Hierarchies::V1(v1);
        }
        match v2 {
            Some(top) => Hierarchies::V2(top),
            None => Hierarchies::Absent("no control groups are mounted".to_owned()),
        }
    }

    /// What cannot be limited here, and why; `None` if everything can.
    pub(crate) fn lacks(&self) -> Option<String> {
        match self {
            Hierarchies::V1(_) => None,
            Hierarchies::Absent(why) => Some(why.clone()),
            Hierarchies::V2(base) => {
                let file = base.join("cgroup.controllers");
                let available = fs::read_to_string(&file).unwrap_or_default();
                let missing: Vec<(&str, &str)> = CONTROLLERS_V2
                    .into_iter()
                    .filter(|(name, _)| !lists(&available, name))
                    .collect();
                let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
                let what: Vec<&str> = missing.iter().map(|(_, what)| *what).collect();
                (!missing.is_empty()).then(|| {
                    format!(
                        "{} of tasks cannot be limited: {} does not list {}",
                        what.join(" and "),
                        file.display(),
                        names.join(" and ")
                    )
                })
            }
        }
    }

    /// Version 1 hierarchies by name, for showing them in containers.
    pub(crate) fn v1_names(&self) -> Vec<String> {
        match self {
            Hierarchies::V1(all) => all.iter().map(|one| one.name.clone()).collect(),
            _ => Vec::new(),
        }
    }

    fn bases(&self) -> Vec<(&str, &Path)> {
        match self {
            Hierarchies::V1(all) => all
                .iter()
                .map(|one| (one.name.as_str(), one.base.as_path()))
                .collect(),
            Hierarchies::V2(base) => vec![("", base)],
            Hierarchies::Absent(_) => Vec::new(),
        }
    }

    /// Makes the group `path` (`/`-separated, below the base) with these limits; `None` where there are no control groups.
    pub(crate) fn create(&self, path: &str, limits: &Limits) -> io::Result<Option<Group>> {
        let mut directories = BTreeMap::new();
        for (name, base) in self.bases() {
            let mut tries = 0;
            let directory = loop {
                match self.make(base, path) {
                    // Another process of this home has just removed the empty parent.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 10 => {
                        tries += 1
                    }
                    made => break made?,
                }
            };
            if name.is_empty() {
                directories.insert(String::new(), directory);
            } else {
                for controller in name.split(',') {
                    directories.insert(controller.to_owned(), directory.clone());
                }
            }
        }
        if directories.is_empty() {
            return Ok(None);
        }
        let group = Group { directories };
        if let Err(error) = group.limit(limits) {
            let _ = group.remove();
            return Err(error);
        }
        Ok(Some(group))
    }

    fn make(&self, base: &Path, path: &str) -> io::Result<PathBuf> {
        let mut directory = base.to_owned();
        for part in path.split('/') {
            if matches!(self, Hierarchies::V2(_)) {
                enable(&directory)?;
            }
            directory.push(part);
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(named(error, &directory));
                }
                _ => {}
            }
        }
        Ok(directory)
    }

    /// Removes the group `path` if nothing is in it.
    pub(crate) fn remove_empty(&self, path: &str) {
        for (_, base) in self.bases() {
            // In use, or gone already: both are well.
            let _ = fs::remove_dir(base.join(path));
        }
    }

    /// Kills what is left in the group `path` and the groups below it, and removes them.
    pub(crate) fn remove_tree(&self, path: &str) -> io::Result<()> {
        for (_, base) in self.bases() {
            remove_below(&base.join(path))?;
        }
        Ok(())
    }
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn probe(base: &Path) -> io::Result<()> {
    let trial = base.join(format!("hoist-probe-{}", std::process::id()));
    fs::create_dir(&trial)?;
    fs::remove_dir(&trial)
}

/// One group, in every hierarchy that there is.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// By controller; under `""` in version 2.
    directories: BTreeMap<String, PathBuf>,
}

impl Group {
    fn directory(&self, controller: &str) -> Option<&PathBuf> {
        self.directories
            .get(controller)
            .or_else(|| self.directories.get(""))
    }

    fn is_v2(&self) -> bool {
        self.directories.contains_key("")
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        let v2 = self.is_v2();
        let controllers = match self.directories.get("") {
            Some(directory) => fs::read_to_string(directory.join("cgroup.controllers"))?,
            None => String::new(),
        };
        let write = |controller: &str, file: &str, value: u64| -> io::Result<()> {
            let Some(directory) = self.directory(controller) else {
                return Ok(());
            };
            if v2 && !lists(&controllers, controller) {
                return Ok(());
            }
            let path = directory.join(file);
            fs::write(&path, value.to_string()).map_err(|error| named(error, &path))
        };
        if let Some(bytes) = limits.memory_bytes {
            write(
                "memory",
                if v2 {
                    "memory.max"
                } else {
                    "memory.limit_in_bytes"
                },
                bytes,
            )?;
            // No swap on top; these files exist only where the kernel accounts for swap.
            let (file, swap) = if v2 {
                ("memory.swap.max", 0)
            } else {
                ("memory.memsw.limit_in_bytes", bytes)
            };
            match write("memory", file, swap) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
        if let Some(units) = limits.cpu_units {
            // The kernel takes no quota below 1 ms.
            let quota = (units.saturating_mul(PERIOD) / 1024).max(1000);
            if v2 {
                if lists(&controllers, "cpu") {
                    let path = self.directories[""].join("cpu.max");
                    fs::write(&path, format!("{quota} {PERIOD}"))
                        .map_err(|error| named(error, &path))?;
                }
            } else {
                write("cpu", "cpu.cfs_period_us", PERIOD)?;
                write("cpu", "cpu.cfs_quota_us", quota)?;
            }
        }
        if let Some(shares) = limits.cpu_shares {
            let shares = shares.clamp(2, 262_144);
            if v2 {
                // The conversion that OCI runtimes agree on: 2..262144 to 1..10000.
                write("cpu", "cpu.weight", 1 + (shares - 2) * 9999 / 262_142)?;
            } else {
                write("cpu", "cpu.shares", shares)?;
            }
        }
        if let Some(pids) = limits.pids {
            write("pids", "pids.max", pids)?;
        }
        Ok(())
    }

    /// Files that take processes into the group, one in each hierarchy.
    pub(crate) fn open_procs(&self) -> io::Result<Vec<File>> {
        let mut directories: Vec<&PathBuf> = self.directories.values().collect();
        directories.dedup();
        directories
            .into_iter()
            .map(|directory| {
                let path = directory.join("cgroup.procs");
                File::options()
                    .write(true)
                    .open(&path)
                    .map_err(|error| named(error, &path))
            })
            .collect()
    }

    /// How many processes the kernel has killed here for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.is_v2() {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        self.directory("memory")
            .and_then(|directory| field(&directory.join(file), "oom_kill"))
            .unwrap_or(0)
    }

    pub(crate) fn stats(&self) -> io::Result<Stats> {
        let number = |controller: &str, file: &str| -> io::Result<u64> {
            let directory = self.directory(controller).ok_or(io::ErrorKind::NotFound)?;
            let path = directory.join(file);
            let text = fs::read_to_string(&path).map_err(|error| named(error, &path))?;
            text.trim()
                .parse()
                .map_err(|_| io::Error::other(format!("{} holds no number", path.display())))
        };
        let memory = self
            .directory("memory")
            .map(|directory| directory.join("memory.stat"))
            .unwrap_or_default();
        let v2 = self.is_v2();
        let used = if v2 {
            // Not there where the controller is not.
            number("memory", "memory.current").unwrap_or(0)
        } else {
            number("memory", "memory.usage_in_bytes")?
        };
        let idle_cache = field(
            &memory,
            if v2 {
                "inactive_file"
            } else {
                "total_inactive_file"
            },
        )
        .unwrap_or(0);
        let cpu_nanos = if v2 {
            field(&self.directories[""].join("cpu.stat"), "usage_usec").unwrap_or(0) * 1000
        } else {
            number("cpuacct", "cpuacct.usage")?
        };
        Ok(Stats {
            memory_bytes: used.saturating_sub(idle_cache),
            cpu_nanos,
            pids: number("pids", "pids.current").unwrap_or(0),
        })
    }

    /// Removes the group, whose processes have ended. The kernel needs a moment to notice the last one's end.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let mut result = Ok(());
        for directory in self.directories.values() {
            if let Err(error) = remove_one(directory) {
                result = Err(error);
            }
        }
        result
    }
}

fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

fn remove_one(directory: &Path) -> io::Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy
                    && pause < Duration::from_secs(1) =>
            {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(error) => return Err(named(error, directory)),
        }
    }
}

/// Removes a group and those below it; any of them may vanish meanwhile, because its container's end removes it, too.
fn remove_below(directory: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
    };
    // All at once, where the kernel can (version 2, Linux 5.14); what is killed one by one may fork meanwhile.
    let _ = File::options()
        .write(true)
        .open(directory.join("cgroup.kill"))
        .and_then(|mut file| io::Write::write_all(&mut file, b"1"));
    let entries = match fs::read_dir(directory) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path())?;
        }
    }
    let processes = match fs::read_to_string(directory.join("cgroup.procs")) {
        Err(error) if gone(&error) => return Ok(()),
        processes => processes.map_err(|error| named(error, directory))?,
    };
    for pid in processes.lines().filter_map(|pid| pid.parse().ok()) {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    remove_one(directory)
}

#[cfg(test)]
mod tests {
    use super::divided::empty;
    use super::*;

    #[test]
    fn hybrid_hierarchies_are_used_as_version_1() {
        let mountinfo = "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            33 24 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let Hierarchies::V1(all) = Hierarchies::parse(mountinfo) else {
            panic!("not version 1")
        };
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["memory", "cpu,cpuacct"]);
        assert_eq!(all[1].base, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn the_unified_hierarchy_alone_is_version_2() {
        let mountinfo = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            Hierarchies::parse(mountinfo),
            Hierarchies::V2("/sys/fs/cgroup".into())
        );
        assert!(matches!(Hierarchies::parse(""), Hierarchies::Absent(_)));
    }

    #[test]
    fn limits_are_written_in_the_terms_of_version_2() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        fs::write(
            top.join("cgroup.controllers"),
            "cpuset cpu io memory pids\n",
        )
        .unwrap();
        fs::write(top.join("cgroup.subtree_control"), "").unwrap();
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            cpu_units: Some(256),
            cpu_shares: Some(1024),
            pids: Some(7),
        };
        // The kernel fills a new group with files; here somebody else has to.
        let home = top.join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        let group = Hierarchies::V2(top.to_owned())
            .create("home", &limits)
            .unwrap()
            .unwrap();
        let read = |name: &str| fs::read_to_string(group.directories[""].join(name)).unwrap();
        assert_eq!(
            fs::read_to_string(top.join("cgroup.subtree_control")).unwrap(),
            "+cpu +memory +pids"
        );
        assert_eq!(
            (read("memory.max"), read("memory.swap.max")),
            ("1048576".into(), "0".into())
        );
        assert_eq!(
            (read("cpu.max"), read("cpu.weight"), read("pids.max")),
            ("25000 100000".into(), "39".into(), "7".into())
        );
    }

    #[test]
    fn a_group_that_lacks_a_controller_limits_what_it_can_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        let home = top.join("home");
        fs::create_dir(&home).unwrap();
        fs::write(top.join("cgroup.subtree_control"), "").unwrap();
        // What systemd before 252 hands on to users.
        for place in [top, &home] {
            fs::write(place.join("cgroup.controllers"), "memory pids\n").unwrap();
        }
        let hierarchies = Hierarchies::V2(top.to_owned());
        let said = hierarchies.lacks().unwrap();
        assert!(
            said.starts_with("processor time of tasks cannot be limited: ")
                && said.ends_with("cgroup.controllers does not list cpu"),
            "{said}"
        );
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            cpu_units: Some(256),
            cpu_shares: Some(1024),
            pids: None,
        };
        hierarchies.create("home", &limits).unwrap().unwrap();
        assert_eq!(
            fs::read_to_string(home.join("memory.max")).unwrap(),
            "1048576"
        );
        assert!(!home.join("cpu.max").exists() && !home.join("cpu.weight").exists());
        fs::write(top.join("cgroup.controllers"), "hugetlb\n").unwrap();
        let error = enable(top).unwrap_err().to_string();
        assert!(
            error.ends_with("has none of the controllers cpu, memory, pids"),
            "{error}"
        );
    }

    /// Where version 2 is mounted on this machine, for root.
    fn mounted_v2() -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let top = PathBuf::from(line.split(' ').nth(4)?);
        probe(&top).ok().map(|()| top)
    }

    /// On a hybrid machine such as this one may be, the controllers are version 1's, which gives none back while anybody uses it. What
    /// needs no controller is the kernel's own here: groups, who is in them, their end.
    #[test]
    #[allow(clippy::print_stderr, reason = "says why it is skipped")]
    fn a_real_group_of_version_2_takes_processes_and_ends_with_all_of_them() {
        let Some(top) = mounted_v2() else {
            eprintln!("skipped: no hierarchy of version 2 is mounted that this user may write to");
            return;
        };
        let name = format!("hoist-test-v2-{}", std::process::id());
        let inner = top.join(&name).join("task/container");
        fs::create_dir_all(&inner).unwrap();
        let group = Group {
            directories: BTreeMap::from([(String::new(), inner.clone())]),
        };
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            cpu_units: Some(512),
            cpu_shares: Some(64),
            pids: Some(50),
        };
        group.limit(&limits).unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read go; sleep 1000 & sleep 1000"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        for mut procs in group.open_procs().unwrap() {
            io::Write::write_all(&mut procs, child.id().to_string().as_bytes()).unwrap();
        }
        io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
        let inside = || {
            let text = fs::read_to_string(inner.join("cgroup.procs")).unwrap();
            text.lines().count()
        };
        while inside() < 3 {
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        let populated = field(&top.join(&name).join("cgroup.events"), "populated");
        assert_eq!(populated, Some(1));
        // As it is where no other group is ours: those who are in it make room for groups below it.
        empty(&inner).unwrap();
        assert_eq!(inside(), 0);
        let beside = fs::read_to_string(inner.join("hoist-beside/cgroup.procs")).unwrap();
        assert_eq!(beside.lines().count(), 3);
        assert_eq!(group.oom_kills(), 0);
        assert!(group.stats().unwrap().cpu_nanos > 0, "{:?}", group.stats());
        Hierarchies::V2(top.clone()).remove_tree(&name).unwrap();
        assert!(!top.join(&name).exists());
        let ended = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&ended),
            Some(9)
        );
    }
}
