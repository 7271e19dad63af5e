//! The way from tasks to what is outside: as root a pair of links and address translation, otherwise `slirp4netns` or `pasta` where one
//! is installed.
//!
//! All of it goes with this process, however that ends: the links with the hub's namespace, the rules of the machine's own namespace
//! with the `nft` that owns them (its input is a pipe of ours), and the carrying program by a signal of the kernel.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::hub::{converse, index_of};

/// The hub's end of the way out, where it is a pair of links.
const LINK: &str = "out";
/// What a program that carries calls its own.
pub(super) const TAP: &str = "tap0";
/// The addresses of both ends of `pasta`'s link, in the block of those of [`Outside`].
const PASTA_MACHINE: &str = "100.126.0.1";
const PASTA_HUB: &str = "100.126.0.2";

/// What the machine's own namespace knows a hub by: the name of its link, and the addresses of both ends.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    name: String,
    machine: Ipv4Addr,
    hub: Ipv4Addr,
}

impl Outside {
    /// Four addresses of 100.126.0.0/15, a part of the block for carriers' networks (RFC 6598) that hardly anybody uses, and a name:
    /// different for each home, and for each process of one, because the kernel takes old links away some time later.
    pub(super) fn of(home: &str) -> Outside {
        let mut hasher = DefaultHasher::new();
        (home, std::process::id()).hash(&mut hasher);
        let number = hasher.finish();
        let base = u32::from(Ipv4Addr::new(100, 126, 0, 0)) + (number as u32 & 0x7fff) * 4;
        Outside {
            name: format!("hoist{:08x}", (number >> 32) as u32),
            machine: Ipv4Addr::from(base + 1),
            hub: Ipv4Addr::from(base + 2),
        }
    }

    /// Makes the links, and the hub's side of the way. On the thread of the hub's namespace.
    pub(super) async fn tie(&self, hub: &Handle, machine: BorrowedFd<'_>) -> Result<(), String> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(self.name.clone())
            .setns_by_fd(machine.as_raw_fd())
            .build();
        let link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(LINK.to_owned())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let made = async {
            hub.link().add(link).execute().await?;
            bring_up(hub, LINK, self.hub).await?;
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(self.machine)
                .build();
            hub.route().add(route).execute().await
        };
        made.await
            .map_err(|error| format!("cannot make a link to this machine's network: {error}"))?;
        hub_rules(LINK)
    }

    /// Makes the machine's side. In the machine's namespace; what it returns has to be kept.
    pub(super) async fn open(&self) -> Result<Rules, String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("cannot set up the way out in this machine's network: {error}")
        };
        let handle = converse().map_err(|error| failed(&error))?;
        bring_up(&handle, &self.name, self.machine)
            .await
            .map_err(|error| failed(&error))?;
        // Docker and libvirt do the same.
        let switch = "/proc/sys/net/ipv4/ip_forward";
        if std::fs::read_to_string(switch).is_ok_and(|text| text.trim() == "0") {
            std::fs::write(switch, "1").map_err(|error| failed(&error))?;
        }
        let name = &self.name;
        let block = format!("{}/30", self.machine);
        let rules = Rules::install(
            name,
            &format!(
                "table ip {name} {{ flags owner; \
                 chain out {{ type nat hook postrouting priority srcnat; ip saddr {block} oifname != \"{name}\" masquerade; }}; \
                 chain in {{ type filter hook input priority filter; iifname \"{name}\" ct state new drop; }}; }}"
            ),
        )?;
        pass_docker(name);
        Ok(rules)
    }
}

async fn bring_up(handle: &Handle, name: &str, address: Ipv4Addr) -> Result<(), rtnetlink::Error> {
    let index = index_of(handle, name).await?;
    handle
        .address()
        .add(index, IpAddr::V4(address), 30)
        .execute()
        .await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await
}

/// Docker drops what is forwarded and not its own, but for what this chain accepts. Rules of links that are no more are taken away.
fn pass_docker(name: &str) {
    let iptables = |args: &[&str]| {
        let mut command = Command::new("iptables");
        command.arg("--wait").args(args).stdin(Stdio::null());
        command.stderr(Stdio::null()).output()
    };
    let Ok(listed) = iptables(&["--list-rules", "DOCKER-USER"]) else {
        return;
    };
    if !listed.status.success() {
        return;
    }
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["-A", "DOCKER-USER", direction, link, "-j", "ACCEPT"] = words[..]
            && link.starts_with("hoist")
            && !std::path::Path::new("/sys/class/net").join(link).exists()
        {
            let _ = iptables(&["-D", "DOCKER-USER", direction, link, "-j", "ACCEPT"]);
        }
    }
    for direction in ["-i", "-o"] {
        let _ = iptables(&["-I", "DOCKER-USER", direction, name, "-j", "ACCEPT"]);
    }
}

/// In the hub: outside, every task has the hub's address, as behind an internet gateway; and what a cloud tells its machines at
/// link-local addresses, credentials among it, is not for tasks.
pub(super) fn hub_rules(link: &str) -> Result<(), String> {
    feed_nft(&format!(
        "table ip outside {{ \
         chain out {{ type nat hook postrouting priority srcnat; oifname \"{link}\" masquerade; }}; \
         chain away {{ type filter hook forward priority filter; oifname \"{link}\" ip daddr 169.254.0.0/16 drop; }}; }}\n"
    ))
}

/// Hands rules to `nft` in the namespace of this thread.
pub(super) fn feed_nft(rules: &str) -> Result<(), String> {
    let run = || -> io::Result<std::process::Output> {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = nft.stdin.take() {
            stdin.write_all(rules.as_bytes())?;
        }
        nft.wait_with_output()
    };
    let output = run().map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "nft refused: {}",
        said.lines().next().unwrap_or_default()
    ))
}

fn missing(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "nft is not installed (nftables)".to_owned(),
        _ => format!("nft cannot be run: {error}"),
    }
}

/// The way out without root: a program that carries what tasks send as an ordinary user's connections. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Carrier {
    _end: std::sync::mpsc::Sender<()>,
}

/// Those that are known, with the package that each is in, the one that is tried first first.
pub(crate) const CARRIERS: [(&str, &str); 2] = [("slirp4netns", "slirp4netns"), ("pasta", "passt")];

impl Carrier {
    /// Starts one and waits until it carries. Its own side is the namespace that this is called in, where its connections come from.
    pub(super) async fn start(namespace: OwnedFd) -> Result<Carrier, String> {
        let (end, ended) = std::sync::mpsc::channel();
        let (says, said) = tokio::sync::oneshot::channel();
        // The kernel ends the program with the thread that started it, so that thread does nothing else.
        let life = move || match carry(namespace.as_fd()) {
            Ok(mut program) => {
                let _ = says.send(Ok(()));
                // Nothing is ever sent: this waits until the sender is dropped.
                let _ = ended.recv();
                let _ = program.kill();
                let _ = program.wait();
            }
            Err(why) => drop(says.send(Err(why))),
        };
        std::thread::Builder::new()
            .name("way out".to_owned())
            .spawn(life)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let started = said.await;
        started.map_err(|_| "the thread of the way out has ended".to_owned())??;
        Ok(Carrier { _end: end })
    }
}

/// Starts the first program that is installed and works.
fn carry(namespace: BorrowedFd<'_>) -> Result<Child, String> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let mut problems = Vec::new();
    for (program, _) in CARRIERS {
        if crate::detect::find(program).is_none() {
            continue;
        }
        let mut command = Command::new(program);
        // Where it says that it carries: one prints other things, the other closes all but the standard streams.
        let says_at = if program == "slirp4netns" {
            command
                .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
                .args(["--ready-fd=3", "--netns-type=path", &path, TAP]);
            3
        } else {
            command
                .args([
                    "--foreground",
                    "--quiet",
                    "--ipv4-only",
                    "--config-net",
                    "--no-map-gw",
                ])
                .args([
                    "--address",
                    PASTA_HUB,
                    "--netmask",
                    "30",
                    "--gateway",
                    PASTA_MACHINE,
                ])
                .args(["--tcp-ports", "none", "--udp-ports", "none"])
                .args(["--tcp-ns", "none", "--udp-ns", "none"])
                .args([
                    "--ns-ifname",
                    TAP,
                    "--pid",
                    "/dev/stdout",
                    "--netns",
                    "/proc/self/fd/0",
                ]);
            1
        };
        match begin(&mut command, namespace, says_at) {
            Ok(child) => return Ok(child),
            Err(problem) => problems.push(format!("{program}: {problem}")),
        }
    }
    if problems.is_empty() {
        return Err(without_carrier());
    }
    Err(problems.join("; "))
}

/// What to say where none is installed.
pub(crate) fn without_carrier() -> String {
    let [(first, package), (other, other_package)] = CARRIERS;
    format!(
        "without root that takes `{first}` or `{other}`, and neither is installed (package {package} or {other_package})"
    )
}

/// Starts a program that writes to this descriptor once it carries.
fn begin(command: &mut Command, namespace: BorrowedFd<'_>, says_at: i32) -> Result<Child, String> {
    let (mut ready, says) = io::pipe().map_err(|error| error.to_string())?;
    // As its standard input: a program that has given up rights may not look at descriptors of this process.
    let namespace = namespace
        .try_clone_to_owned()
        .map_err(|error| error.to_string())?;
    command
        .stdin(namespace)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let descriptor = says.as_raw_fd();
    // SAFETY: between fork and exec only system calls on numbers are made.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::dup2(descriptor, says_at) < 0 || libc::fcntl(says_at, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut program = command.spawn().map_err(|error| error.to_string())?;
    drop(says);
    let mut word = [0; 1];
    if matches!(ready.read(&mut word), Ok(1)) {
        // Nobody reads further complaints, which must not stop it.
        drop(program.stderr.take());
        return Ok(program);
    }
    let _ = program.kill();
    let mut said = String::new();
    if let Some(mut stderr) = program.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    let _ = program.wait();
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(last.unwrap_or("it ended without a word").trim().to_owned())
}

/// A table of the machine's own namespace that lives as long as this value, or this process.
#[derive(Debug)]
pub(super) struct Rules {
    nft: Child,
}

impl Rules {
    fn install(name: &str, table: &str) -> Result<Rules, String> {
        let mut nft = Command::new("nft")
            .arg("--interactive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(missing)?;
        let (mut stdin, stdout, mut stderr) =
            match (nft.stdin.take(), nft.stdout.take(), nft.stderr.take()) {
                (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
                _ => return Err("nft cannot be talked to".to_owned()),
            };
        // The last of these answers always, whatever became of the others.
        let asked = format!("{table}\nlist table ip {name}\ndescribe ip saddr\n");
        stdin.write_all(asked.as_bytes()).map_err(missing)?;
        let mut there = false;
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(missing)?;
            there |= line.contains(&format!("table ip {name} "));
            if line.contains("payload expression") {
                break;
            }
        }
        nft.stdin = Some(stdin);
        let mut rules = Rules { nft };
        if there {
            return Ok(rules);
        }
        drop(rules.nft.stdin.take());
        let mut said = String::new();
        let _ = stderr.read_to_string(&mut said);
        Err(format!(
            "nft refused: {}",
            said.lines().next().unwrap_or_default()
        ))
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        // It ends at the end of its input, and what it owns goes with it.
        drop(self.nft.stdin.take());
        let _ = self.nft.wait();
    }
}
