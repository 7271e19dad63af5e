//! The network of tasks: one namespace with a bridge, to which every task's own namespace is tied.
//!
//! Nothing is added to the namespace that this process lives in. Programs of this process reach tasks by sockets that a thread in the
//! hub's namespace makes; a socket belongs to the namespace it was made in, wherever it is used. Only a way out for tasks, where one
//! is asked for, adds a link and rules to the machine's own ([`super::egress`]).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder, new_connection,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use super::egress::{Carrier, Outside, Rules, TAP, feed_nft, hub_rules};
use super::guards;
use crate::names::Resolver;
use crate::{Guard, Names, NetNs, RuntimeError};

/// What a hub offers.
#[derive(Debug, Clone, Default)]
pub struct HubConfig {
    /// The address of the hub in each subnet, which is the subnet's router, and the length of its prefix.
    pub subnets: Vec<(Ipv4Addr, u8)>,
    /// Where tasks ask for names: an address of the hub that answers. Nobody answers when absent.
    pub resolver: Option<Ipv4Addr>,
    /// Gives tasks a way to what is outside. The name tells what is added to this machine's network from that of other homes.
    pub outside: Option<String>,
}

/// The network of one task.
#[derive(Debug, Clone)]
pub struct TaskNet {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Length of its subnet's prefix.
    pub prefix: u8,
    /// Its router: the hub's address in the subnet.
    pub gateway: Ipv4Addr,
    /// Its hardware address. Made from `ip` when absent, so that an address that is used again needs no new lookup.
    pub mac: Option<[u8; 6]>,
}

/// A network namespace with a bridge. Dropping the last clone takes it away, and the links of all tasks with it.
#[derive(Debug, Clone)]
pub struct Hub {
    orders: mpsc::UnboundedSender<Order>,
    resolver: Resolver,
    way_out: Arc<Result<Way, String>>,
    links: Arc<Mutex<HashMap<Ipv4Addr, u64>>>,
}

/// What keeps the way out open.
#[derive(Debug)]
enum Way {
    Rules(#[allow(dead_code, reason = "held until the hub is dropped")] Rules),
    Carrier(#[allow(dead_code, reason = "held until the hub is dropped")] Carrier),
}

enum Order {
    Add(TaskNet, u64, oneshot::Sender<Result<NetNs, RuntimeError>>),
    Remove(u64, oneshot::Sender<Result<(), RuntimeError>>),
    Within(Box<dyn FnOnce() + Send>),
}

/// The namespace and its bridge, as the hub's own thread holds them.
struct Place {
    own: OwnedFd,
    handle: Handle,
    bridge: u32,
}

const BRIDGE: &str = "hub";
/// An address of the hub that every task reaches, whatever its subnet.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
/// Of the task's end of the link, in its namespace, where `lo` is 1.
const TASK_LINK: u32 = 2;

impl Hub {
    /// Makes the namespace and the bridge.
    pub async fn create(config: HubConfig) -> Result<Hub, RuntimeError> {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (ready, made) = oneshot::channel();
        let outside = config.outside.as_deref().map(Outside::of);
        let resolver_address = config.resolver;
        let machine = File::open("/proc/thread-self/ns/net")
            .map_err(RuntimeError::path("open", "/proc/thread-self/ns/net"))?;
        let link = outside.clone();
        std::thread::Builder::new()
            .name("hub".to_owned())
            .spawn(move || {
                live(
                    &config,
                    link.map(|link| (link, machine.into())),
                    receiver,
                    ready,
                )
            })
            .map_err(RuntimeError::system("start the thread of the hub network"))?;
        let tied = made.await.map_err(gone)??;
        let mut hub = Hub {
            orders,
            resolver: Resolver::default(),
            way_out: Arc::new(Err(String::new())),
            links: Arc::default(),
        };
        hub.way_out = Arc::new(match (tied, outside) {
            (Err(why), _) => Err(why),
            (Ok(Tied::Links), Some(outside)) => outside.open().await.map(Way::Rules),
            (Ok(Tied::Links), None) => Err("none was asked for".to_owned()),
            (Ok(Tied::Carried(namespace)), _) => hub.carried(namespace).await.map(Way::Carrier),
        });
        if let Some(address) = resolver_address {
            hub.answer_at(address)
                .await
                .map_err(RuntimeError::system(format!(
                    "answer questions for names at {address}"
                )))?;
        }
        Ok(hub)
    }

    /// Lets the resolver answer at an address of the hub, as long as that is there.
    async fn answer_at(&self, address: Ipv4Addr) -> io::Result<()> {
        let address = SocketAddr::from((address, 53));
        let listener = self.listen(address).await?;
        let socket = self
            .within(move || {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .await?;
        self.resolver.serve(listener, UdpSocket::from_std(socket)?);
        Ok(())
    }

    /// The way out without root. A thread of this process does it, not the hub's: the program that carries everything has to begin in
    /// the machine's namespace, which root of a user namespace can leave but not enter.
    async fn carried(&self, namespace: OwnedFd) -> Result<Carrier, String> {
        let carrier = Carrier::start(namespace).await?;
        let ruled = self.within(|| hub_rules(TAP).map_err(io::Error::other));
        ruled.await.map_err(|error| error.to_string())?;
        Ok(carrier)
    }

    /// Lets pass between tasks only what these allow; see [`crate::Runtime::guard`].
    ///
    /// # Errors
    ///
    /// When `nft` is missing, or refuses.
    pub async fn guard(&self, guards: &[Guard]) -> Result<(), RuntimeError> {
        let table = guards::table(guards);
        let fed = self
            .within(move || feed_nft(&table).map_err(io::Error::other))
            .await;
        fed.map_err(RuntimeError::system("enforce the security groups"))
    }

    /// Why tasks cannot reach what is outside, if so.
    pub fn without_way_out(&self) -> Option<&str> {
        self.way_out.as_ref().as_ref().err().map(String::as_str)
    }

    /// Gives the resolver names of ours. Those given first stay.
    pub fn set_names(&self, names: Arc<dyn Names>) {
        self.resolver.set(names);
    }

    /// Makes a namespace with an interface `eth0` of this address, and `lo`.
    ///
    /// # Errors
    ///
    /// When the address is in use, or the kernel refuses.
    pub async fn add(&self, task: TaskNet) -> Result<NetNs, RuntimeError> {
        let ip = task.ip;
        let number = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            if links.contains_key(&ip) {
                return Err(network(
                    "add a task to the hub",
                    format!("the address {ip} is in use"),
                ));
            }
            // Never used again: the kernel takes removed links away some time later.
            static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
            let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            links.insert(ip, number);
            number
        };
        let added = self.ask(|answer| Order::Add(task, number, answer)).await;
        if added.is_err() {
            self.links
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&ip);
        }
        added
    }

    /// Unties the task with this address. Nothing happens if there is none.
    pub async fn remove(&self, ip: Ipv4Addr) -> Result<(), RuntimeError> {
        let number = self
            .links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&ip);
        match number {
            Some(number) => self.ask(|answer| Order::Remove(number, answer)).await,
            None => Ok(()),
        }
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, RuntimeError>>) -> Order,
    ) -> Result<T, RuntimeError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(order(answer));
        answered.await.map_err(gone)?
    }

    /// Runs something short on the thread that lives in the hub's namespace, to make sockets there.
    pub async fn within<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::Within(Box::new(move || {
            let _ = answer.send(make());
        })));
        answered
            .await
            .map_err(|_| io::Error::other("the hub network is gone"))?
    }

    /// Opens a connection from the hub, usually to a task.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self
            .within(move || {
                if address.is_ipv4() {
                    TcpSocket::new_v4()
                } else {
                    TcpSocket::new_v6()
                }
            })
            .await?;
        socket.connect(address).await
    }

    /// A socket of the hub for datagrams to and from an address, usually a task's.
    pub async fn datagrams(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self
            .within(|| {
                let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .await?;
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(address).await?;
        Ok(socket)
    }

    /// Listens at an address of the hub, for tasks to connect to.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = self
            .within(move || {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .await?;
        TcpListener::from_std(listener)
    }
}

fn gone(_: oneshot::error::RecvError) -> RuntimeError {
    network("use the hub network", "its thread has ended")
}

fn network(action: &str, problem: impl ToString) -> RuntimeError {
    RuntimeError::Network {
        action: action.to_owned(),
        problem: problem.to_string(),
    }
}

/// How the hub's namespace was tied to what is outside.
enum Tied {
    /// By links, whose other side is still to be set up.
    Links,
    /// Not yet: a program is to carry everything that goes out of this namespace.
    Carried(OwnedFd),
}

fn live(
    config: &HubConfig,
    outside: Option<(Outside, OwnedFd)>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    ready: oneshot::Sender<Result<Result<Tied, String>, RuntimeError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(RuntimeError::system(
                "start the thread of the hub network",
            )(error)));
            return;
        }
    };
    runtime.block_on(async {
        let place = match Place::make(config).await {
            Ok(place) => place,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let tied = place.tie(outside).await;
        let place = Arc::new(place);
        let _ = ready.send(Ok(tied));
        while let Some(order) = orders.recv().await {
            match order {
                Order::Within(make) => make(),
                Order::Add(task, number, answer) => {
                    let place = place.clone();
                    // All on this one thread, but the next order need not wait for the kernel's answers.
                    tokio::spawn(async move {
                        let _ = answer.send(place.add(&task, number).await);
                    });
                }
                Order::Remove(number, answer) => {
                    let place = place.clone();
                    tokio::spawn(async move {
                        let _ = answer.send(place.remove(number).await);
                    });
                }
            }
        }
    });
}

/// Moves this thread into a new network namespace and opens it.
fn new_namespace() -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Talks to the kernel about the namespace that this thread is in now.
pub(super) fn converse() -> io::Result<Handle> {
    let (connection, handle, _) = new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

impl Place {
    async fn make(config: &HubConfig) -> Result<Place, RuntimeError> {
        let own = new_namespace().map_err(RuntimeError::system(
            "make the network namespace of the hub",
        ))?;
        let handle = converse().map_err(RuntimeError::system("open a netlink socket"))?;
        // Tasks of different subnets reach each other through the hub, which is not to tell them of a shorter way.
        for (name, value) in [
            ("ip_forward", "1"),
            ("conf/all/send_redirects", "0"),
            ("conf/default/send_redirects", "0"),
        ] {
            let path = format!("/proc/sys/net/ipv4/{name}");
            fs::write(&path, value).map_err(RuntimeError::path("write", path))?;
        }
        let failed = |error: rtnetlink::Error| network("make the hub's bridge", error);
        handle
            .link()
            .set(LinkUnspec::new_with_index(1).up().build())
            .execute()
            .await
            .map_err(failed)?;
        handle
            .link()
            .add(LinkBridge::new(BRIDGE).up().build())
            .execute()
            .await
            .map_err(failed)?;
        let bridge = index_of(&handle, BRIDGE).await.map_err(failed)?;
        for (address, prefix) in &config.subnets {
            handle
                .address()
                .add(bridge, IpAddr::V4(*address), *prefix)
                .execute()
                .await
                .map_err(failed)?;
        }
        // Where tasks on Fargate find their metadata and the keys of their role.
        handle
            .address()
            .add(bridge, IpAddr::V4(METADATA), 32)
            .execute()
            .await
            .map_err(failed)?;
        if let Some(resolver) = config.resolver {
            handle
                .address()
                .add(bridge, IpAddr::V4(resolver), 32)
                .execute()
                .await
                .map_err(failed)?;
        }
        Ok(Place {
            own,
            handle,
            bridge,
        })
    }

    /// Ties the namespace to what is outside; the error says why there is no way.
    async fn tie(&self, outside: Option<(Outside, OwnedFd)>) -> Result<Tied, String> {
        let Some((outside, machine)) = outside else {
            return Err("none was asked for".to_owned());
        };
        if crate::privilege::in_user_namespace() {
            let own = self.own.try_clone();
            return own.map(Tied::Carried).map_err(|error| error.to_string());
        }
        outside.tie(&self.handle, machine.as_fd()).await?;
        Ok(Tied::Links)
    }

    async fn add(&self, task: &TaskNet, number: u64) -> Result<NetNs, RuntimeError> {
        // No `await` in here: this thread has to be back in the hub's namespace before anything else runs on it.
        let inside = || -> io::Result<(OwnedFd, io::Result<Handle>)> {
            let made = new_namespace();
            let handle = if made.is_ok() {
                converse()
            } else {
                Err(io::ErrorKind::NotFound.into())
            };
            setns(&self.own, CloneFlags::CLONE_NEWNET)?;
            Ok((made?, handle))
        };
        let (namespace, handle) =
            inside().map_err(RuntimeError::system("make a network namespace for a task"))?;
        let handle = handle.map_err(RuntimeError::system(
            "open a netlink socket in a task's namespace",
        ))?;
        let [a, b, c, d] = task.ip.octets();
        // Locally administered, with the address in it.
        let mac = task.mac.unwrap_or([0x0a, 0x58, a, b, c, d]);
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name("eth0")
            .index(TASK_LINK)
            .address(mac.to_vec())
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(format!("t{number}"))
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .controller(self.bridge)
            .up()
            .build();
        let failed = |error: rtnetlink::Error| {
            network(
                &format!("tie the task with address {} to the hub", task.ip),
                error,
            )
        };
        self.handle
            .link()
            .add(link)
            .execute()
            .await
            .map_err(failed)?;
        let isolated = async {
            // Everything between tasks passes the hub's packet filter: nothing goes from link to link, not even made-up frames.
            let index = index_of(&self.handle, &format!("t{number}")).await?;
            let port = LinkBridgePort::new(index).isolated(true).build();
            self.handle.link().set_port(port).execute().await
        };
        if let Err(error) = isolated.await {
            let _ = self.remove(number).await;
            return Err(failed(error));
        }
        let inside = async {
            // The task's end of the pair cannot be brought up before the pair is complete (ENOTCONN).
            for index in [1, TASK_LINK] {
                handle
                    .link()
                    .set(LinkUnspec::new_with_index(index).up().build())
                    .execute()
                    .await?;
            }
            let mut address = handle
                .address()
                .add(TASK_LINK, IpAddr::V4(task.ip), task.prefix);
            let flags = AddressAttribute::Flags(AddressFlags::Noprefixroute);
            address.message_mut().attributes.push(flags);
            address.execute().await?;
            // The neighbours are behind the router, too.
            let router = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(task.gateway, 32)
                .scope(RouteScope::Link)
                .output_interface(TASK_LINK)
                .build();
            handle.route().add(router).execute().await?;
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(task.gateway)
                .output_interface(TASK_LINK)
                .build();
            handle.route().add(route).execute().await
        };
        if let Err(error) = inside.await {
            let _ = self.remove(number).await;
            return Err(failed(error));
        }
        Ok(namespace.into())
    }

    async fn remove(&self, number: u64) -> Result<(), RuntimeError> {
        let name = format!("t{number}");
        let failed = |error: rtnetlink::Error| network("untie a task from the hub", error);
        let index = match index_of(&self.handle, &name).await {
            Ok(index) => index,
            // The task's namespace has gone, and its link with it.
            Err(error) if errno(&error) == Some(libc::ENODEV) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        match self.handle.link().del(index).execute().await {
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(()),
            result => result.map_err(failed),
        }
    }
}

pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    use futures_util::TryStreamExt;
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links
        .try_next()
        .await?
        .ok_or(rtnetlink::Error::RequestFailed)?;
    Ok(link.header.index)
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}
