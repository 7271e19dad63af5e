use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::check::{HealthCheck, Protocol};
use super::dial::Dialer;
use super::group::{Algorithm, Group, Settings, Surroundings};
use super::listen::{Listener as LiveListener, Speech};
use super::model::{
    Act, Condition as Wanted, Listener, LoadBalancer, Registration, Rule, TargetGroup,
};
use super::rule::{Action, Block, Fixed, Redirect, Rules, Share, Test};
use super::sticky::Sticky;
use super::target::{Condition, TargetMessage};
use crate::acm::Certificates;
use crate::api::ApiError;
use crate::clock::Millis;
use crate::ec2::Loopback;
use crate::settings::Pace;
use crate::state::{State, StateError, Table};

/// The load balancers of an instance: what is kept of them, and what runs. Cheap to clone.
#[derive(Clone)]
pub struct Balancers(Arc<Inner>);

struct Inner {
    tables: Tables,
    loopback: Loopback,
    around: Surroundings,
    certificates: Certificates,
    live: Mutex<Live>,
    /// Held while the configuration changes.
    changing: tokio::sync::Mutex<()>,
}

/// The tables of this service.
pub(super) struct Tables {
    pub state: State,
    pub balancers: Table<LoadBalancer>,
    pub groups: Table<TargetGroup>,
    pub listeners: Table<Listener>,
    pub rules: Table<Rule>,
}

#[derive(Default)]
struct Live {
    groups: HashMap<String, Arc<Group>>,
    listeners: HashMap<String, LiveListener>,
}

/// How a target group stands: see [`Balancers::standing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `ip` or `instance`.
    pub target_type: String,
    /// Whether a listener or a rule leads to it.
    pub has_balancer: bool,
}

/// Why the load balancers could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A listener found no port at all.
    #[error("failed to listen for {listener}")]
    Listen {
        /// The listener's ARN.
        listener: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Balancers {
    /// Brings up every load balancer in `state`, with the targets that were registered; changes of their health go to `messages`.
    ///
    /// # Errors
    /// When the state cannot be read, or a listener can be bound to no port.
    pub async fn open(
        state: &State,
        loopback: Loopback,
        dialer: Arc<dyn Dialer>,
        messages: mpsc::UnboundedSender<TargetMessage>,
        pace: Pace,
        certificates: Certificates,
    ) -> Result<Self, OpenError> {
        let tables = Tables {
            state: state.clone(),
            balancers: state.table("elb-load-balancers"),
            groups: state.table("elb-target-groups"),
            listeners: state.table("elb-listeners"),
            rules: state.table("elb-rules"),
        };
        let pace = match pace {
            Pace::Fast => super::group::Pace::Fast,
            Pace::Fargate => super::group::Pace::Fargate,
        };
        let around = Surroundings {
            dialer,
            messages,
            pace,
        };
        let balancers = Self(Arc::new(Inner {
            tables,
            loopback,
            around,
            certificates,
            live: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }));
        balancers.restore().await?;
        Ok(balancers)
    }

    async fn restore(&self) -> Result<(), OpenError> {
        let mut regions = BTreeSet::new();
        for (region, arn, group) in self.tables().groups.all()? {
            let live = self.start_group(&arn, &group, false);
            for target in &group.targets {
                live.register(SocketAddr::new(target.id, target.port));
            }
            regions.insert(region);
        }
        for (region, arn, mut listener) in self.tables().listeners.all()? {
            let Some(balancer) = self
                .tables()
                .balancers
                .get(&region, &listener.shown.load_balancer_arn)?
            else {
                continue;
            };
            let port = self
                .start_listener(&arn, &listener, &balancer)
                .await
                .map_err(|source| OpenError::Listen {
                    listener: arn.clone(),
                    source,
                })?;
            if port != listener.shown.port {
                listener.shown.port = port;
                self.tables().listeners.put(&region, &arn, &listener)?;
            }
            regions.insert(region);
        }
        for region in regions {
            self.refresh(&region)?;
        }
        Ok(())
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.0.tables
    }

    pub(super) fn loopback(&self) -> &Loopback {
        &self.0.loopback
    }

    /// Held by every operation that changes something.
    pub(super) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.changing.lock().await
    }

    /// How long a new load balancer is `provisioning`, in milliseconds. AWS publishes no figure; 14 logs of `terraform apply` in public
    /// repositories ("aws_lb... Creation complete after") have 126 to 187 s, half of them more than 156, of which up to 10 are
    /// Terraform's own waiting between two looks. Application and Network Load Balancers do not differ.
    pub(super) fn provisioning(&self) -> Millis {
        match self.0.around.pace {
            super::group::Pace::Fast => 1_000,
            super::group::Pace::Fargate => 150_000,
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a target. One that is there already is left as it is.
    ///
    /// # Errors
    /// `TargetGroupNotFound`, or when the state cannot be written.
    pub async fn register_target(
        &self,
        group: &str,
        ip: IpAddr,
        port: u16,
        zone: Option<&str>,
    ) -> Result<(), ApiError> {
        let _changing = self.changing().await;
        self.register(
            group,
            vec![Registration {
                id: ip,
                port,
                availability_zone: zone.map(str::to_owned),
            }],
        )
    }

    /// Takes a target out. [`TargetMessage::Drained`] follows when it has left. One that is not there is no error.
    ///
    /// # Errors
    /// `TargetGroupNotFound`, or when the state cannot be written.
    pub async fn deregister_target(
        &self,
        group: &str,
        ip: IpAddr,
        port: u16,
    ) -> Result<(), ApiError> {
        let _changing = self.changing().await;
        self.deregister(group, &[SocketAddr::new(ip, port)])
    }

    /// The condition of every target of a group, draining ones included; `None` if there is no such group.
    pub fn health(&self, group: &str) -> Option<Vec<(SocketAddr, Condition)>> {
        self.live()
            .groups
            .get(group)
            .map(|group| group.conditions())
    }

    /// What ECS has to know of a group before it puts tasks into it; `None` if there is no such group.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn standing(&self, group: &str) -> Result<Option<Standing>, ApiError> {
        let region = region_of(group);
        let Some(kept) = self.tables().groups.get(region, group)? else {
            return Ok(None);
        };
        let uses = super::api::uses(self, region)?;
        Ok(Some(Standing {
            target_type: kept.shown.target_type,
            has_balancer: uses.iter().any(|(_, used)| used == group),
        }))
    }

    pub(super) fn register(&self, group: &str, targets: Vec<Registration>) -> Result<(), ApiError> {
        let region = region_of(group);
        let mut kept = self
            .tables()
            .groups
            .get(region, group)?
            .ok_or_else(group_not_found)?;
        let addresses: Vec<SocketAddr> = targets
            .iter()
            .map(|t| SocketAddr::new(t.id, t.port))
            .collect();
        let before = kept.targets.len();
        for target in targets {
            if !kept
                .targets
                .iter()
                .any(|t| t.id == target.id && t.port == target.port)
            {
                kept.targets.push(target);
            }
        }
        if kept.targets.len() != before {
            self.tables().groups.put(region, group, &kept)?;
        }
        let live = self
            .live()
            .groups
            .get(group)
            .cloned()
            .ok_or_else(group_not_found)?;
        for address in addresses {
            live.register(address);
        }
        Ok(())
    }

    pub(super) fn deregister(&self, group: &str, targets: &[SocketAddr]) -> Result<(), ApiError> {
        let region = region_of(group);
        let mut kept = self
            .tables()
            .groups
            .get(region, group)?
            .ok_or_else(group_not_found)?;
        let before = kept.targets.len();
        kept.targets
            .retain(|t| !targets.contains(&SocketAddr::new(t.id, t.port)));
        if kept.targets.len() != before {
            self.tables().groups.put(region, group, &kept)?;
        }
        let live = self
            .live()
            .groups
            .get(group)
            .cloned()
            .ok_or_else(group_not_found)?;
        for address in targets {
            live.deregister(*address);
        }
        Ok(())
    }

    /// Every group that runs, by its ARN.
    pub(super) fn running_groups(&self) -> Vec<(String, Arc<Group>)> {
        let live = self.live();
        let groups = live.groups.iter();
        groups
            .map(|(arn, group)| (arn.clone(), group.clone()))
            .collect()
    }

    /// Runs a group that was just made.
    pub(super) fn start_group(&self, arn: &str, group: &TargetGroup, used: bool) -> Arc<Group> {
        let live = Group::new(arn.to_owned(), settings(group, used), self.0.around.clone());
        self.live().groups.insert(arn.to_owned(), live.clone());
        live
    }

    /// Stops a group that was deleted.
    pub(super) fn stop_group(&self, arn: &str) {
        if let Some(group) = self.live().groups.remove(arn) {
            group.close();
        }
    }

    /// Runs a listener; returns the port it got.
    pub(super) async fn start_listener(
        &self,
        arn: &str,
        listener: &Listener,
        balancer: &LoadBalancer,
    ) -> io::Result<u16> {
        let ip = balancer
            .shown
            .dns_name
            .parse()
            .unwrap_or(Ipv4Addr::LOCALHOST);
        let dialer = self.0.around.dialer.clone();
        let live = LiveListener::open(
            ip.into(),
            listener.shown.port,
            speech(listener),
            idle(balancer, listener),
            dialer,
        )
        .await?;
        let port = live.address().port();
        self.live().listeners.insert(arn.to_owned(), live);
        Ok(port)
    }

    /// The certificates that listeners may show.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// The load balancers with listeners that show a certificate.
    pub(crate) fn showing(
        &self,
        region: &str,
        certificate: &str,
    ) -> Result<Vec<String>, StateError> {
        let mut found = Vec::new();
        for (_, listener) in self.tables().listeners.list(region)? {
            let shows = listener.certificates().any(|it| it == certificate);
            if shows && !found.contains(&listener.shown.load_balancer_arn) {
                found.push(listener.shown.load_balancer_arn.clone());
            }
        }
        Ok(found)
    }

    /// Makes a listener that runs speak its protocol, and offer what its ALPN policy says, from the next connection on.
    pub(super) fn speak(&self, arn: &str, listener: &Listener) -> io::Result<()> {
        match self.live().listeners.get(arn) {
            Some(running) => running.speak(speech(listener)),
            None => Ok(()),
        }
    }

    /// Stops a listener; its port is free afterwards, requests in flight finish.
    pub(super) async fn stop_listener(&self, arn: &str) {
        let stopped = self.live().listeners.remove(arn);
        if let Some(stopped) = stopped {
            stopped.close().await;
        }
    }

    /// Makes what runs in a region follow what is kept.
    pub(crate) fn refresh(&self, region: &str) -> Result<(), StateError> {
        let balancers: HashMap<_, _> = self.tables().balancers.list(region)?.into_iter().collect();
        let mut rules: HashMap<String, Vec<Rule>> = HashMap::new();
        for (_, rule) in self.tables().rules.list(region)? {
            rules.entry(rule.listener.clone()).or_default().push(rule);
        }
        let listeners = self.tables().listeners.list(region)?;
        let groups = self.tables().groups.list(region)?;
        let live = self.live();
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (arn, listener) in &listeners {
            let mut own = rules.remove(arn).unwrap_or_default();
            own.sort_by_key(|rule| rule.shown.priority.parse::<u32>().unwrap_or(u32::MAX));
            for act in listener
                .shown
                .default_actions
                .iter()
                .chain(own.iter().flat_map(|rule| &rule.shown.actions))
            {
                for group in act.groups() {
                    let leading = used.entry(group.to_owned()).or_default();
                    leading.insert(listener.shown.load_balancer_arn.clone());
                }
            }
            let Some(running) = live.listeners.get(arn) else {
                continue;
            };
            let Some(balancer) = balancers.get(&listener.shown.load_balancer_arn) else {
                continue;
            };
            let idle = idle(balancer, listener);
            running.show(
                listener
                    .certificates()
                    .filter_map(|arn| self.0.certificates.served(arn))
                    .collect(),
            );
            running.set(
                Rules {
                    rules: own
                        .iter()
                        .map(|rule| {
                            (
                                tests(&rule.shown.conditions),
                                action(&rule.shown.actions, &live.groups),
                            )
                        })
                        .collect(),
                    default: action(&listener.shown.default_actions, &live.groups),
                },
                idle,
            );
        }
        for (arn, group) in &groups {
            if let Some(running) = live.groups.get(arn) {
                let leading = used.remove(arn.as_str()).unwrap_or_default();
                running.set(settings(group, !leading.is_empty()));
                running.set_balancers(leading.into_iter().collect());
            }
        }
        Ok(())
    }
}

pub(super) fn group_not_found() -> ApiError {
    ApiError::new("TargetGroupNotFound", "One or more target groups not found")
}

/// The region in an ARN.
pub(super) fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

impl Act {
    /// The target groups that the action leads to.
    pub(super) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.target_group_arn.as_deref().into_iter().collect();
        for group in self
            .forward_config
            .iter()
            .flat_map(|config| &config.target_groups)
        {
            if !groups.contains(&group.target_group_arn.as_str()) {
                groups.push(&group.target_group_arn);
            }
        }
        groups
    }
}

fn seconds(pairs: &super::model::Pairs, name: &str, default: u64) -> Duration {
    Duration::from_secs(
        pairs
            .get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default),
    )
}

/// After how long without a byte a connection ends.
fn idle(balancer: &LoadBalancer, listener: &Listener) -> Duration {
    match balancer.shown.kind.as_str() {
        "network" => seconds(&listener.attributes, "tcp.idle_timeout.seconds", 350),
        _ => seconds(&balancer.attributes, "idle_timeout.timeout_seconds", 60),
    }
}

fn speech(listener: &Listener) -> Speech {
    match listener.shown.protocol.as_str() {
        "HTTP" => Speech::Http,
        "HTTPS" => Speech::Https,
        "TLS" => Speech::Tls(offered(&listener.shown.alpn_policy)),
        "UDP" => Speech::Udp,
        "TCP_UDP" => Speech::TcpUdp,
        _ => Speech::Tcp,
    }
}

/// The protocols that a TLS listener offers by its ALPN policy, the best first ("ALPN policies", Network Load Balancers user guide).
fn offered(policy: &[String]) -> &'static [&'static str] {
    match policy.first().map(String::as_str) {
        Some("HTTP1Only") => &["http/1.1", "http/1.0"],
        Some("HTTP2Only") => &["h2"],
        Some("HTTP2Optional") => &["http/1.1", "http/1.0", "h2"],
        Some("HTTP2Preferred") => &["h2", "http/1.1", "http/1.0"],
        _ => &[],
    }
}

fn settings(group: &TargetGroup, used: bool) -> Settings {
    let shown = &group.shown;
    let check = shown.health_check_enabled.then(|| HealthCheck {
        protocol: match shown.health_check_protocol.as_str() {
            "HTTP" => Protocol::Http,
            "HTTPS" => Protocol::Https,
            _ => Protocol::Tcp,
        },
        port: shown.health_check_port.parse().ok(),
        path: shown
            .health_check_path
            .clone()
            .unwrap_or_else(|| "/".into()),
        interval: Duration::from_secs(shown.health_check_interval_seconds.into()),
        timeout: Duration::from_secs(shown.health_check_timeout_seconds.into()),
        healthy_threshold: shown.healthy_threshold_count,
        unhealthy_threshold: shown.unhealthy_threshold_count,
        matcher: shown
            .matcher
            .as_ref()
            .and_then(|m| m.http_code.parse().ok())
            .unwrap_or_default(),
    });
    let algorithm = match group
        .attributes
        .get("load_balancing.algorithm.type")
        .map(String::as_str)
    {
        Some("least_outstanding_requests") => Algorithm::LeastOutstanding,
        Some("weighted_random") => Algorithm::Random,
        _ => Algorithm::RoundRobin,
    };
    let delay = seconds(
        &group.attributes,
        "deregistration_delay.timeout_seconds",
        300,
    );
    let attribute = |name: &str| group.attributes.get(name).map(String::as_str);
    let lasts = |name: &str| seconds(&group.attributes, name, 86_400);
    let sticky = match (
        attribute("stickiness.enabled"),
        attribute("stickiness.type"),
    ) {
        (Some("true"), Some("lb_cookie")) => Some(Sticky::Balancer(lasts(
            "stickiness.lb_cookie.duration_seconds",
        ))),
        (Some("true"), Some("app_cookie")) => Some(Sticky::Application {
            cookie: attribute("stickiness.app_cookie.cookie_name")
                .unwrap_or_default()
                .to_owned(),
            lasts: lasts("stickiness.app_cookie.duration_seconds"),
        }),
        _ => None,
    };
    Settings {
        check,
        algorithm,
        deregistration_delay: delay,
        slow_start: seconds(&group.attributes, "slow_start.duration_seconds", 0),
        sticky,
        secure: matches!(shown.protocol.as_str(), "HTTPS" | "TLS"),
        used,
    }
}

fn action(acts: &[Act], groups: &HashMap<String, Arc<Group>>) -> Action {
    let Some(act) = acts.last() else {
        return Action::default();
    };
    if let Some(fixed) = &act.fixed_response_config {
        let status = fixed
            .status_code
            .parse()
            .ok()
            .and_then(|code: u16| StatusCode::from_u16(code).ok());
        let kind = fixed
            .content_type
            .as_deref()
            .and_then(|kind| HeaderValue::from_str(kind).ok());
        return Action::Fixed(Fixed {
            status: status.unwrap_or(StatusCode::OK),
            kind: kind.unwrap_or(HeaderValue::from_static("text/plain")),
            body: fixed.message_body.clone().unwrap_or_default(),
        });
    }
    if let Some(redirect) = &act.redirect_config {
        return Action::Redirect(Redirect {
            protocol: redirect.protocol.clone(),
            host: redirect.host.clone(),
            port: redirect.port.clone(),
            path: redirect.path.clone(),
            query: redirect.query.clone(),
            status: if redirect.status_code == "HTTP_301" {
                StatusCode::MOVED_PERMANENTLY
            } else {
                StatusCode::FOUND
            },
        });
    }
    let weighted = act
        .forward_config
        .iter()
        .flat_map(|config| &config.target_groups);
    let shares = weighted.filter_map(|group| {
        let weight = group.weight.unwrap_or(1);
        groups.get(&group.target_group_arn).map(|live| Share {
            group: live.clone(),
            weight,
        })
    });
    let shares = shares.collect();
    let sticky = act
        .forward_config
        .as_ref()
        .map(|config| &config.target_group_stickiness_config);
    match sticky.filter(|it| it.enabled == Some(true)) {
        // Without a duration: one day is the most that other cookies default to; the service demands one.
        Some(sticky) => Action::Sticky(
            shares,
            Duration::from_secs(sticky.duration_seconds.unwrap_or(86_400).into()),
        ),
        None => Action::Forward(shares),
    }
}

fn tests(conditions: &[Wanted]) -> Vec<Test> {
    conditions.iter().filter_map(test).collect()
}

fn test(condition: &Wanted) -> Option<Test> {
    let values = |config: &Option<super::model::Values>| {
        config
            .as_ref()
            .map(|c| c.values.clone())
            .or_else(|| condition.values.clone())
            .unwrap_or_default()
    };
    Some(match condition.field.as_str() {
        "host-header" => Test::Host(
            values(&condition.host_header_config)
                .iter()
                .map(|v| v.to_ascii_lowercase())
                .collect(),
        ),
        "path-pattern" => Test::Path(values(&condition.path_pattern_config)),
        "http-request-method" => Test::Method(values(&condition.http_request_method_config)),
        "source-ip" => Test::Source(
            values(&condition.source_ip_config)
                .iter()
                .filter_map(|v| Block::parse(v))
                .collect(),
        ),
        "http-header" => {
            let config = condition.http_header_config.as_ref()?;
            let name = HeaderName::from_bytes(config.http_header_name.as_bytes()).ok()?;
            Test::Header {
                name,
                values: config.values.clone(),
            }
        }
        "query-string" => {
            let config = condition.query_string_config.as_ref()?;
            Test::Query(
                config
                    .values
                    .iter()
                    .map(|q| (q.key.clone(), q.value.clone()))
                    .collect(),
            )
        }
        _ => return None,
    })
}
