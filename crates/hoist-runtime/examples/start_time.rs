//! Measures how long a container takes from the request to its end, on a root file system with a static busybox.
//!
//! `cargo run --release -p hoist-runtime --example start_time -- ROOTFS`
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hoist_runtime::{
    Config, ContainerSpec, Containers, ExecSpec, Hub, HubConfig, Limits, Network, RootFs, TaskNet,
    privilege,
};

const ROUNDS: u8 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    hoist_runtime::init();
    let privilege = privilege::acquire()?;
    let base = PathBuf::from(std::env::args().nth(1).ok_or("usage: start_time ROOTFS")?);
    println!("{privilege:?}, median of {ROUNDS}");
    let scratch = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&base, scratch.path()))?;
    let plain = [
        "--mount", "--pid", "--fork", "--ipc", "--uts", "--net", "chroot",
    ];
    report(
        "unshare and chroot",
        each(|_| {
            let status = Command::new("unshare")
                .args(plain)
                .arg(&base)
                .arg("/bin/true")
                .status()?;
            if status.success() {
                Ok(())
            } else {
                Err("unshare failed".into())
            }
        })?,
    );
    Ok(())
}

fn each(
    mut run: impl FnMut(u8) -> Result<(), Box<dyn Error>>,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    (0..ROUNDS)
        .map(|round| {
            let start = Instant::now();
            run(round)?;
            Ok(start.elapsed())
        })
        .collect()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() * 9 / 10]);
    println!(
        "{what}: {:.2} ms, 90 % within {:.2} ms",
        median.as_secs_f64() * 1e3,
        most.as_secs_f64() * 1e3
    );
}

async fn measure(base: &Path, scratch: &Path) -> Result<(), Box<dyn Error>> {
    let containers = Containers::new(Config {
        init_program: "/proc/self/exe".into(),
        cgroup_parent: format!("start-time-{}", std::process::id()),
    });
    let gateway = Ipv4Addr::new(10, 99, 0, 1);
    let hub = Hub::create(HubConfig {
        resolver: None,
        outside: None,
        subnets: vec![(gateway, 16)],
    })
    .await?;
    let spec = |id: String, program: &str| -> std::io::Result<ContainerSpec> {
        let (upper, work) = (
            scratch.join(format!("{id}-upper")),
            scratch.join(format!("{id}-work")),
        );
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        Ok(ContainerSpec {
            id,
            rootfs: RootFs {
                lower: vec![base.to_owned()],
                upper,
                work,
            },
            args: vec![program.to_owned(), "1000".to_owned()],
            ..ContainerSpec::default()
        })
    };
    let first = Instant::now();
    containers
        .start(spec("first".to_owned(), "/bin/true")?)
        .await?
        .wait()
        .await;
    println!(
        "the first one: {:.2} ms",
        first.elapsed().as_secs_f64() * 1e3
    );

    for (what, network, limits) in [
        ("a network of its own and limits", true, true),
        ("neither", false, false),
    ] {
        let mut started = Vec::new();
        let mut ended = Vec::new();
        for round in 0..ROUNDS {
            let start = Instant::now();
            let mut spec = spec(format!("{network}-{round}"), "/bin/true")?;
            let ip = Ipv4Addr::new(10, 99, 1, round);
            if network {
                let task = TaskNet {
                    ip,
                    prefix: 16,
                    gateway,
                    mac: None,
                };
                spec.network = Network::Namespace(hub.add(task).await?);
            } else {
                spec.network = Network::Host;
            }
            if limits {
                spec.limits = Limits {
                    memory_bytes: Some(512 << 20),
                    cpu_units: Some(256),
                    pids: Some(100),
                    ..Limits::default()
                };
            }
            let container = containers.start(spec).await?;
            started.push(start.elapsed());
            container.wait().await;
            hub.remove(ip).await?;
            ended.push(start.elapsed());
        }
        report(&format!("started, with {what}"), started);
        report(&format!("started, ended and removed, with {what}"), ended);
    }

    let container = containers
        .start(spec("long".to_owned(), "/bin/sleep")?)
        .await?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let exec = ExecSpec {
            args: vec!["/bin/true".to_owned()],
            ..ExecSpec::default()
        };
        container.exec(exec).await?.wait().await;
        times.push(start.elapsed());
    }
    report("a program added to a running container, to its end", times);
    Ok(())
}
