//! A target group at work: its targets, their health checks, and which of them gets the next request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::check::{HealthCheck, Judge, Outcome, probe};
use super::dial::Dialer;
use super::pool::{InFlight, Pool};
use super::sticky::Sticky;
use super::target::{Condition, TargetHealth, TargetMessage, TargetState};

/// How a group picks a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    #[default]
    RoundRobin,
    LeastOutstanding,
    Random,
}

/// When a new target is checked for the first time, and what happens until it first passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// The load balancer looks at once, and often until the first pass; failures still count only once an interval, so no threshold
    /// is met earlier than on the real service.
    #[default]
    Fast,
    /// The first check comes at some moment of the first interval, as on the real service.
    Fargate,
}

/// Time between looks at a target that has not passed yet, under [`Pace::Fast`].
const EAGER: Duration = Duration::from_millis(250);

/// Settings of a target group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `None` where health checks are off: targets count as healthy at once.
    pub check: Option<HealthCheck>,
    pub algorithm: Algorithm,
    /// 0-3600 s.
    pub deregistration_delay: Duration,
    /// How long a target that has become healthy takes to its whole share: 30-900 s, or 0. Only for [`Algorithm::RoundRobin`].
    pub slow_start: Duration,
    pub sticky: Option<Sticky>,
    /// Whether the targets speak TLS.
    pub secure: bool,
    /// Whether a listener leads here. Targets of an unused group are not checked.
    pub used: bool,
}

struct Target {
    pool: Arc<Pool>,
    judge: Mutex<Judge>,
    /// When it became healthy.
    healthy: Mutex<Option<Instant>>,
    /// Ends the health checks.
    leaving: CancellationToken,
}

impl Target {
    fn condition(&self) -> Condition {
        self.judge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .condition()
            .clone()
    }

    /// How much of its share it gets: all of it, or less as long as it starts slowly.
    fn warmth(&self, slow_start: Duration) -> f64 {
        let since = *self.healthy.lock().unwrap_or_else(PoisonError::into_inner);
        match since {
            Some(since) if !slow_start.is_zero() => {
                (since.elapsed().as_secs_f64() / slow_start.as_secs_f64()).min(1.0)
            }
            _ => 1.0,
        }
    }

    fn state(&self) -> TargetState {
        self.judge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .condition()
            .state
    }
}

/// What every group of one load balancer process shares.
#[derive(Clone)]
pub struct Surroundings {
    pub dialer: Arc<dyn Dialer>,
    pub messages: mpsc::UnboundedSender<TargetMessage>,
    pub pace: Pace,
}

/// One target group at work.
pub struct Group {
    arn: String,
    around: Surroundings,
    settings: watch::Sender<Arc<Settings>>,
    targets: RwLock<Arc<Vec<Arc<Target>>>>,
    turn: AtomicUsize,
    requests: AtomicU64,
    /// The load balancers that lead here.
    balancers: RwLock<Vec<String>>,
}

impl Group {
    pub fn new(arn: String, settings: Settings, around: Surroundings) -> Arc<Self> {
        Arc::new(Self {
            arn,
            around,
            settings: watch::Sender::new(Arc::new(settings)),
            targets: RwLock::default(),
            turn: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            balancers: RwLock::default(),
        })
    }

    /// Changes settings; running checks take them up at once.
    pub fn set(&self, settings: Settings) {
        self.settings.send_if_modified(|current| {
            let changed = **current != settings;
            if changed {
                *current = Arc::new(settings);
            }
            changed
        });
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    /// Adds a target and begins to check it. A target that is draining comes back as a new one; one that is there stays as it is.
    pub fn register(self: &Arc<Self>, address: SocketAddr) {
        let target = Arc::new(Target {
            pool: Pool::new(address, self.settings().secure),
            judge: Mutex::new(Judge::new()),
            healthy: Mutex::default(),
            leaving: CancellationToken::new(),
        });
        let there = self.change(|targets| {
            if targets
                .iter()
                .any(|t| t.pool.address() == address && t.state() != TargetState::Draining)
            {
                return true;
            }
            targets.retain(|t| t.pool.address() != address);
            targets.push(target.clone());
            false
        });
        if !there {
            self.tell(&target);
            tokio::spawn(self.clone().watch(target));
        }
    }

    /// Takes a target out of rotation. It leaves the group when the deregistration delay is over.
    pub fn deregister(self: &Arc<Self>, address: SocketAddr) {
        let found = self
            .snapshot()
            .iter()
            .find(|t| t.pool.address() == address)
            .cloned();
        let Some(target) = found.filter(|t| t.state() != TargetState::Draining) else {
            return;
        };
        self.note(&target, Judge::drain);
        target.leaving.cancel();
        target.pool.close();
        let (group, delay) = (self.clone(), self.settings().deregistration_delay);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            target.pool.cut();
            let left = group.change(|targets| {
                let before = targets.len();
                targets.retain(|t| !Arc::ptr_eq(t, &target));
                before != targets.len()
            });
            // If it was registered again meanwhile, the address is not drained.
            if left {
                let _ = group.around.messages.send(TargetMessage::Drained {
                    group: group.arn.clone(),
                    target: address,
                });
            }
        });
    }

    /// Stops checking and cuts all connections: the group was deleted.
    pub fn close(&self) {
        self.change(|targets| {
            for target in targets.drain(..) {
                target.leaving.cancel();
                target.pool.cut();
            }
        });
    }

    /// Each registered target and its condition, in the order of registration.
    pub fn conditions(&self) -> Vec<(SocketAddr, Condition)> {
        self.snapshot()
            .iter()
            .map(|t| (t.pool.address(), t.condition()))
            .collect()
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The target that a client comes back to, if it is healthy.
    pub fn return_to(&self, held: &str) -> Option<InFlight> {
        let targets = self.snapshot();
        let meant = targets.iter().find(|target| {
            target.state() == TargetState::Healthy
                && Sticky::is_meant(held, &self.arn, target.pool.address())
        })?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(meant.pool.enter())
    }

    /// The load balancers that lead here.
    pub fn balancers(&self) -> Vec<String> {
        let balancers = self.balancers.read();
        balancers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which load balancers lead here.
    pub fn set_balancers(&self, arns: Vec<String>) {
        *self
            .balancers
            .write()
            .unwrap_or_else(PoisonError::into_inner) = arns;
    }

    /// Requests and connections that were given to a target since the group runs.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Targets that are healthy now.
    pub fn healthy(&self) -> usize {
        let targets = self.snapshot();
        let healthy = targets.iter().filter(|t| t.state() == TargetState::Healthy);
        healthy.count()
    }

    /// The target for the next request. With no healthy target all that are not draining take part ("fail open").
    pub fn choose(&self, tried: &[SocketAddr]) -> Option<InFlight> {
        let targets = self.snapshot();
        let (algorithm, slow_start) = {
            let settings = self.settings.borrow();
            (settings.algorithm, settings.slow_start)
        };
        let mut candidates: Vec<(&Arc<Target>, TargetState)> = targets
            .iter()
            .map(|t| (t, t.state()))
            .filter(|(_, state)| *state != TargetState::Draining)
            .collect();
        if candidates
            .iter()
            .any(|(_, state)| *state == TargetState::Healthy)
        {
            candidates.retain(|(_, state)| *state == TargetState::Healthy);
        }
        candidates.retain(|(t, _)| !tried.contains(&t.pool.address()));
        let count = candidates.len();
        if count == 0 {
            return None;
        }
        let start = match algorithm {
            Algorithm::Random => fastrand::usize(..count),
            Algorithm::RoundRobin | Algorithm::LeastOutstanding => {
                self.turn.fetch_add(1, Ordering::Relaxed) % count
            }
        };
        let chosen = match algorithm {
            Algorithm::LeastOutstanding => {
                // Begins at another one each time, so that equals take turns.
                (0..count)
                    .map(|i| candidates[(start + i) % count].0)
                    .min_by_key(|t| t.pool.in_flight())?
            }
            Algorithm::RoundRobin if !slow_start.is_zero() => {
                // One that starts slowly leaves a part of its turns to the next.
                let takes = |i: &usize| {
                    let warmth = candidates[(start + i) % count].0.warmth(slow_start);
                    warmth >= 1.0 || fastrand::f64() < warmth
                };
                let taken = (0..count).find(takes).unwrap_or(0);
                candidates[(start + taken) % count].0
            }
            Algorithm::RoundRobin | Algorithm::Random => candidates[start].0,
        };
        if tried.is_empty() {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        Some(chosen.pool.enter())
    }

    async fn watch(self: Arc<Self>, target: Arc<Target>) {
        let leaving = target.leaving.clone();
        tokio::select! {
            () = leaving.cancelled() => {}
            () = self.check_for_ever(&target) => {}
        }
    }

    async fn check_for_ever(&self, target: &Target) {
        let mut changes = self.settings.subscribe();
        loop {
            let settings = changes.borrow_and_update().clone();
            if !settings.used {
                self.note(target, Judge::unused);
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let Some(check) = &settings.check else {
                self.note(target, |judge| judge.observe(&Outcome::Passed, &UNCHECKED));
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if matches!(target.state(), TargetState::Initial | TargetState::Unused) {
                self.note(target, Judge::restart);
            }
            tokio::select! {
                () = self.check_with(target, check) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Checks once an interval with the same settings, for ever.
    async fn check_with(&self, target: &Target, check: &HealthCheck) {
        let mut next = Instant::now();
        if self.around.pace == Pace::Fargate {
            next += check.interval.mul_f64(fastrand::f64());
        }
        let address = target.pool.address();
        loop {
            tokio::time::sleep_until(next).await;
            next += check.interval;
            let outcome = probe(check, address, &*self.around.dialer).await;
            self.note(target, |judge| judge.observe(&outcome, check));
            while self.around.pace == Pace::Fast && target.state() == TargetState::Initial {
                let look = Instant::now() + EAGER;
                if look >= next {
                    break;
                }
                tokio::time::sleep_until(look).await;
                if probe(check, address, &*self.around.dialer).await == Outcome::Passed {
                    self.note(target, |judge| judge.observe(&Outcome::Passed, check));
                }
            }
            next = next.max(Instant::now());
        }
    }

    fn note(&self, target: &Target, change: impl FnOnce(&mut Judge) -> bool) {
        let changed = change(&mut target.judge.lock().unwrap_or_else(PoisonError::into_inner));
        if changed {
            // A group without any healthy target has nobody else to leave turns to: its first ones do not start slowly.
            let healthy = target.state() == TargetState::Healthy;
            let alone = !self.snapshot().iter().any(|other| {
                other.pool.address() != target.pool.address()
                    && other.state() == TargetState::Healthy
            });
            *target
                .healthy
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = (healthy && !alone).then(Instant::now);
            self.tell(target);
        }
    }

    fn tell(&self, target: &Target) {
        let health = TargetHealth {
            group: self.arn.clone(),
            target: target.pool.address(),
            condition: target.condition(),
        };
        tracing::debug!(target = %health.target, state = %health.condition.state, "target health");
        // Nobody listens any more when the daemon is going down.
        let _ = self.around.messages.send(TargetMessage::Health(health));
    }

    fn snapshot(&self) -> Arc<Vec<Arc<Target>>> {
        self.targets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Vec<Arc<Target>>) -> R) -> R {
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut targets))
    }
}

/// Stands for the settings of a group without checks, whose targets all count as healthy.
static UNCHECKED: std::sync::LazyLock<HealthCheck> = std::sync::LazyLock::new(|| HealthCheck {
    protocol: super::check::Protocol::Tcp,
    port: None,
    path: String::new(),
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(5),
    healthy_threshold: 1,
    unhealthy_threshold: 1,
    matcher: super::check::Matcher::default(),
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use futures_util::future::BoxFuture;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::elb::check::Protocol;
    use crate::elb::dial::Direct;

    /// An interval in milliseconds; the deregistration delay is as long.
    fn settings(interval: u64) -> Settings {
        Settings {
            check: Some(HealthCheck {
                protocol: Protocol::Tcp,
                port: None,
                path: "/".into(),
                interval: Duration::from_millis(interval),
                timeout: Duration::from_secs(2),
                healthy_threshold: 2,
                unhealthy_threshold: 2,
                matcher: super::super::check::Matcher::default(),
            }),
            algorithm: Algorithm::RoundRobin,
            deregistration_delay: Duration::from_millis(interval),
            slow_start: Duration::ZERO,
            sticky: None,
            secure: false,
            used: true,
        }
    }

    fn group(
        settings: Settings,
        dialer: impl Dialer,
    ) -> (Arc<Group>, mpsc::UnboundedReceiver<TargetMessage>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let around = Surroundings {
            dialer: Arc::new(dialer),
            messages,
            pace: Pace::Fast,
        };
        (Group::new("tg".into(), settings, around), inbox)
    }

    async fn next_state(
        inbox: &mut mpsc::UnboundedReceiver<TargetMessage>,
    ) -> (TargetState, Option<&'static str>) {
        match inbox.recv().await.unwrap() {
            TargetMessage::Health(health) => (health.condition.state, health.condition.reason),
            TargetMessage::Drained { .. } => panic!("drained"),
        }
    }

    /// Refuses every connection, and counts.
    #[derive(Clone, Default)]
    struct Refusing(Arc<AtomicUsize>);

    impl Dialer for Refusing {
        fn dial(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
        }
    }

    #[tokio::test]
    async fn a_target_that_answers_goes_from_registration_to_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (group, mut inbox) = group(settings(30_000), Direct);
        group.register(listener.local_addr().unwrap());
        assert_eq!(
            next_state(&mut inbox).await,
            (TargetState::Initial, Some("Elb.RegistrationInProgress"))
        );
        assert_eq!(
            next_state(&mut inbox).await,
            (TargetState::Initial, Some("Elb.InitialHealthChecking"))
        );
        assert_eq!(next_state(&mut inbox).await, (TargetState::Healthy, None));
    }

    #[tokio::test]
    async fn eager_looks_are_no_failed_checks() {
        let dialer = Refusing::default();
        let (group, mut inbox) = group(settings(600), dialer.clone());
        group.register("10.0.0.1:80".parse().unwrap());
        next_state(&mut inbox).await;
        next_state(&mut inbox).await;
        assert_eq!(
            next_state(&mut inbox).await,
            (TargetState::Unhealthy, Some("Target.FailedHealthChecks"))
        );
        let looks = dialer.0.load(Ordering::SeqCst);
        assert!(
            looks > 2,
            "{looks} looks, and the threshold of two was met by the checks alone"
        );
    }

    #[tokio::test]
    async fn an_unused_group_is_not_checked_until_a_listener_leads_to_it() {
        let (group, mut inbox) = group(
            Settings {
                used: false,
                ..settings(50)
            },
            Refusing::default(),
        );
        group.register("10.0.0.1:80".parse().unwrap());
        next_state(&mut inbox).await;
        assert_eq!(
            next_state(&mut inbox).await,
            (TargetState::Unused, Some("Target.NotInUse"))
        );
        group.set(settings(50));
        assert_eq!(
            next_state(&mut inbox).await,
            (TargetState::Initial, Some("Elb.InitialHealthChecking"))
        );
        assert_eq!(next_state(&mut inbox).await.0, TargetState::Unhealthy);
    }

    #[tokio::test]
    async fn a_deregistered_target_drains_for_the_delay_and_gets_no_request() {
        let (group, mut inbox) = group(
            Settings {
                check: None,
                ..settings(50)
            },
            Refusing::default(),
        );
        let address = "10.0.0.1:80".parse().unwrap();
        group.register(address);
        next_state(&mut inbox).await;
        assert_eq!(next_state(&mut inbox).await.0, TargetState::Healthy);
        group.deregister(address);
        group.deregister(address);
        assert_eq!(next_state(&mut inbox).await.0, TargetState::Draining);
        assert!(group.choose(&[]).is_none());
        assert_eq!(
            inbox.recv().await.unwrap(),
            TargetMessage::Drained {
                group: "tg".into(),
                target: address
            }
        );
        assert!(group.conditions().is_empty());
    }

    #[tokio::test]
    async fn a_target_registered_again_while_draining_stays() {
        let (group, mut inbox) = group(
            Settings {
                check: None,
                ..settings(50)
            },
            Refusing::default(),
        );
        let address = "10.0.0.1:80".parse().unwrap();
        group.register(address);
        group.deregister(address);
        group.register(address);
        // A second target that leaves later shows that the first one's delay is over.
        let other = "10.0.0.2:80".parse().unwrap();
        group.register(other);
        group.deregister(other);
        let drained = loop {
            if let TargetMessage::Drained { target, .. } = inbox.recv().await.unwrap() {
                break target;
            }
        };
        assert_eq!(drained, other);
        assert_eq!(group.conditions(), [(address, Condition::healthy())]);
    }

    #[tokio::test]
    async fn requests_take_turns_and_the_least_busy_target_comes_first() {
        let (group, _inbox) = group(
            Settings {
                check: None,
                ..settings(50)
            },
            Refusing::default(),
        );
        let addresses: Vec<SocketAddr> = (1..=3)
            .map(|i| SocketAddr::from(([10, 0, 0, i], 80)))
            .collect();
        for address in &addresses {
            group.register(*address);
        }
        // None is healthy yet: all take part.
        let mut seen = BTreeMap::new();
        for _ in 0..30 {
            *seen
                .entry(group.choose(&[]).unwrap().pool().address())
                .or_insert(0) += 1;
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [10, 10, 10]);

        group.set(Settings {
            check: None,
            algorithm: Algorithm::LeastOutstanding,
            ..settings(50)
        });
        let held: Vec<InFlight> = (0..6).map(|_| group.choose(&[]).unwrap()).collect();
        for address in &addresses {
            assert_eq!(
                held.iter()
                    .filter(|h| h.pool().address() == *address)
                    .count(),
                2
            );
        }
        assert!(
            group.choose(&addresses).is_none(),
            "a target that was tried is not tried again"
        );
    }
}
