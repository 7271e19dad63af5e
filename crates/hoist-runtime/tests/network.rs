//! Tasks that talk to each other and to this process through the hub.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use hoist_runtime::{Guard, Hub, HubConfig, NetNs, Network, Passage, Stdin, TaskNet};
use support::{Lab, both, is_root, text};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

hoist_runtime::init_in_tests!();

async fn hub() -> Hub {
    let subnets = vec![
        ("172.31.0.1".parse().unwrap(), 20),
        ("172.31.16.1".parse().unwrap(), 20),
    ];
    let config = HubConfig {
        subnets,
        ..HubConfig::default()
    };
    Hub::create(config).await.unwrap()
}

async fn add(hub: &Hub, ip: &str) -> NetNs {
    let ip: std::net::Ipv4Addr = ip.parse().unwrap();
    let [a, b, c, _] = ip.octets();
    hub.add(TaskNet {
        ip,
        prefix: 20,
        gateway: [a, b, c & 0xf0, 1].into(),
        mac: None,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_task_answers_this_process_and_tasks_of_both_subnets() {
    let lab = Lab::new("net");
    let hub = hub().await;
    let mut spec = lab.spec(
        "server",
        &[
            "sh",
            "-c",
            "echo ready; while true; do echo hello | nc -l -p 80; done",
        ],
    );
    spec.network = Network::Namespace(add(&hub, "172.31.0.5").await);
    let mut server = lab.containers.start(spec).await.unwrap();
    let mut lines = BufReader::new(server.take_stdout().unwrap()).lines();
    lines.next_line().await.unwrap();

    let mut answer = String::new();
    loop {
        // The shell says that it is ready just before it listens.
        if let Ok(mut stream) = hub.connect("172.31.0.5:80".parse().unwrap()).await {
            stream.read_to_string(&mut answer).await.unwrap();
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer, "hello\n");

    for (id, ip) in [("near", "172.31.0.6"), ("far", "172.31.16.7")] {
        let mut spec = lab.spec(
            id,
            &[
                "sh",
                "-c",
                "until nc 172.31.0.5 80 < /dev/null; do :; done; ip addr show eth0; ip route",
            ],
        );
        spec.network = Network::Namespace(add(&hub, ip).await);
        let (output, _) = lab.run(spec).await;
        assert!(
            output.contains("hello\n")
                && output.contains(&format!("inet {ip}/20"))
                && output.contains("default via 172.31."),
            "{output}"
        );
    }
    let own = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    assert!(
        !own.contains("hub:"),
        "nothing is added to this process's own namespace: {own}"
    );
}

#[tokio::test]
async fn containers_that_share_a_namespace_share_localhost() {
    let lab = Lab::new("pod");
    let hub = hub().await;
    let namespace = add(&hub, "172.31.0.9").await;
    let mut spec = lab.spec("server", &["sh", "-c", "echo inside | nc -l -p 7000"]);
    spec.network = Network::Namespace(namespace.clone());
    let server = lab.containers.start(spec).await.unwrap();
    let mut spec = lab.spec(
        "client",
        &[
            "sh",
            "-c",
            "until nc 127.0.0.1 7000 < /dev/null; do :; done 2>/dev/null",
        ],
    );
    spec.network = Network::Namespace(namespace);
    spec.user = String::new();
    assert_eq!(lab.run(spec).await.0, "inside\n");
    assert_eq!(server.wait().await.code, 0);
}

#[tokio::test]
async fn a_task_reaches_what_listens_in_the_hub() {
    let lab = Lab::new("listen");
    let hub = hub().await;
    let listener = hub
        .listen("172.31.0.1:8000".parse().unwrap())
        .await
        .unwrap();
    let mut spec = lab.spec("client", &["sh", "-c", "nc 172.31.0.1 8000"]);
    spec.network = Network::Namespace(add(&hub, "172.31.0.10").await);
    spec.stdin = Stdin::Pipe;
    let mut client = lab.containers.start(spec).await.unwrap();
    let (mut stream, from) = listener.accept().await.unwrap();
    assert_eq!(from.ip().to_string(), "172.31.0.10");
    stream.write_all(b"served\n").await.unwrap();
    drop(stream);
    drop(client.take_stdin());
    assert_eq!(both(&mut client).await, "served\n");
}

#[tokio::test]
async fn an_address_can_be_used_again_at_once_but_not_twice() {
    let lab = Lab::new("again");
    let hub = hub().await;
    for round in 0..3 {
        let namespace = add(&hub, "172.31.0.20").await;
        let twice = hub
            .add(TaskNet {
                ip: "172.31.0.20".parse().unwrap(),
                prefix: 20,
                gateway: "172.31.0.1".parse().unwrap(),
                mac: None,
            })
            .await;
        assert!(
            twice
                .unwrap_err()
                .to_string()
                .contains("172.31.0.20 is in use")
        );
        let listener = hub
            .listen("172.31.0.1:8000".parse().unwrap())
            .await
            .unwrap();
        let mut spec = lab.spec(
            &format!("client{round}"),
            &["sh", "-c", "nc 172.31.0.1 8000 < /dev/null"],
        );
        spec.network = Network::Namespace(namespace);
        let mut client = lab.containers.start(spec).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"ok").await.unwrap();
        drop(stream);
        assert_eq!(text(client.take_stdout()).await, "ok");
        hub.remove("172.31.0.20".parse().unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn anyone_may_listen_on_port_80() {
    let lab = Lab::new("port80");
    let hub = hub().await;
    let mut spec = lab.spec(
        "a",
        &["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"],
    );
    spec.network = Network::Namespace(add(&hub, "172.31.0.30").await);
    assert_eq!(lab.run(spec).await.0, "0\n");
}

#[test]
fn all_of_this_works_without_root_too() {
    support::again_without_root("all_of_this_works_without_root_too");
}

#[tokio::test]
async fn tasks_reach_each_other_only_as_their_groups_allow() {
    let lab = Lab::new("groups");
    let hub = hub().await;
    let script = "echo ready; while true; do echo hello | nc -l -p 80; done";
    let mut spec = lab.spec("server", &["sh", "-c", script]);
    spec.network = Network::Namespace(add(&hub, "172.31.0.5").await);
    let mut server = lab.containers.start(spec).await.unwrap();
    let mut lines = BufReader::new(server.take_stdout().unwrap()).lines();
    lines.next_line().await.unwrap();
    let guard = |ip: &str, ingress: Vec<Passage>| Guard {
        ip: ip.parse().unwrap(),
        ingress,
        egress: vec![Passage {
            protocol: None,
            ports: None,
            peers: vec![([0, 0, 0, 0].into(), 0)],
        }],
    };
    let http_from = |peers: &[&str]| Passage {
        protocol: Some(6),
        ports: Some((80, 80)),
        peers: peers.iter().map(|ip| (ip.parse().unwrap(), 32)).collect(),
    };
    // In the server's subnet, in the server's subnet and not allowed, and in the other one.
    let clients = ["172.31.0.6", "172.31.0.7", "172.31.16.8"];
    let mut namespaces = Vec::new();
    for ip in clients {
        namespaces.push((ip, add(&hub, ip).await));
    }
    let mut tried = 0;
    for allowed in [&["172.31.0.6", "172.31.16.8"][..], &["172.31.0.7"], &[]] {
        let mut guards: Vec<Guard> = clients.iter().map(|ip| guard(ip, Vec::new())).collect();
        guards.push(guard("172.31.0.5", vec![http_from(allowed)]));
        hub.guard(&guards).await.unwrap();
        for (ip, namespace) in &namespaces {
            tried += 1;
            let script = if allowed.contains(ip) {
                "until nc 172.31.0.5 80 < /dev/null; do :; done 2>/dev/null"
            } else {
                "nc -w 1 172.31.0.5 80 < /dev/null 2>/dev/null || echo refused"
            };
            let mut spec = lab.spec(&format!("client{tried}"), &["sh", "-c", script]);
            spec.network = Network::Namespace(namespace.clone());
            let (output, _) = lab.run(spec).await;
            let expected = if allowed.contains(ip) {
                "hello\n"
            } else {
                "refused\n"
            };
            assert_eq!(output, expected, "{ip} of {allowed:?}");
        }
    }
    // This process is no task.
    let mut answer = String::new();
    while answer.is_empty() {
        if let Ok(mut stream) = hub.connect("172.31.0.5:80".parse().unwrap()).await {
            let _ = stream.read_to_string(&mut answer).await;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer, "hello\n");
}

/// What is outside: a namespace with a server and a resolver, tied to one that stands for this machine. This thread moves into the
/// latter, and into a mount namespace in which `/etc/resolv.conf` names that resolver.
fn outside(directory: &std::path::Path) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, setns, unshare};
    let ip = |args: &str| {
        let status = std::process::Command::new("ip")
            .args(args.split(' '))
            .status();
        assert!(status.unwrap().success(), "ip {args}");
    };
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let own = directory.join("resolv.conf");
    std::fs::write(&own, "nameserver 10.99.0.2\n").unwrap();
    mount(
        Some(&own),
        "/etc/resolv.conf",
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let machine = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let far = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    ip("link set lo up");
    setns(&machine, CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
    ip(&format!(
        "link add near type veth peer name far netns /proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&far)
    ));
    ip("addr add 10.99.0.1/24 dev near");
    ip("link set near up");
    // Without one some programs believe that there is no outside.
    ip("route add default via 10.99.0.2");
    setns(&far, CloneFlags::CLONE_NEWNET).unwrap();
    ip("addr add 10.99.0.2/24 dev far");
    ip("link set far up");
    let server = std::net::TcpListener::bind("10.99.0.2:80").unwrap();
    let resolver = std::net::UdpSocket::bind("10.99.0.2:53").unwrap();
    setns(&machine, CloneFlags::CLONE_NEWNET).unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let from = stream.peer_addr().unwrap().ip();
            std::io::Write::write_all(&mut stream, format!("hello {from}\n").as_bytes()).unwrap();
        }
    });
    // Every name is the server's address here.
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = resolver.recv_from(&mut query) {
            let end = query[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
            let is_address = query[end - 3] == 1;
            let mut answer = query[..end.min(length)].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
            if is_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 99, 0, 2]);
            }
            resolver.send_to(&answer, from).unwrap();
        }
    });
}

struct Ours;

impl hoist_runtime::Names for Ours {
    fn addresses(&self, name: &str) -> Option<Vec<std::net::Ipv4Addr>> {
        (name == "api.shop.local").then(|| vec!["172.31.0.77".parse().unwrap()])
    }
}

#[test]
fn tasks_reach_what_is_outside_under_this_machines_address_and_find_it_by_name() {
    let lab = Lab::new("outside");
    outside(lab.directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let resolver = "172.31.0.2".parse().unwrap();
        let hub = Hub::create(HubConfig {
            subnets: vec![("172.31.0.1".parse().unwrap(), 20)],
            resolver: Some(resolver),
            outside: Some(lab.parent.clone()),
        })
        .await
        .unwrap();
        if let (false, Some(why)) = (is_root(), hub.without_way_out()) {
            assert!(why.contains("neither is installed"), "{why}");
            return;
        }
        assert_eq!(hub.without_way_out(), None);
        hub.set_names(std::sync::Arc::new(Ours));
        let mut script = "nc 10.99.0.2 80 < /dev/null; nc far.example 80 < /dev/null; nslookup api.shop.local 172.31.0.2".to_owned();
        if is_root() {
            script += "; nc -w 1 10.99.0.1 8080 < /dev/null 2>/dev/null; echo machine=$?";
        }
        // What listens on the machine itself is not for tasks.
        let _listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        let mut spec = lab.spec("task", &["sh", "-c", &script]);
        spec.network = Network::Namespace(add(&hub, "172.31.0.5").await);
        spec.dns = vec![resolver.into()];
        let (output, _) = lab.run(spec).await;
        assert!(output.starts_with("hello 10.99.0.1\nhello 10.99.0.1\n"), "{output}");
        assert!(output.contains("172.31.0.77"), "{output}");
        if !is_root() {
            return;
        }
        assert!(output.ends_with("machine=1\n"), "{output}");
        let rules = || {
            let listed = std::process::Command::new("nft").args(["list", "tables"]).output();
            String::from_utf8(listed.unwrap().stdout).unwrap()
        };
        assert!(rules().contains("table ip hoist"), "{}", rules());
        drop(hub);
        assert_eq!(rules(), "");
    });
}
