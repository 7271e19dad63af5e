use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::dial::Dialer;
use super::outward::reach;
use super::target::{Condition, TargetState};

/// Health check settings of a target group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub protocol: Protocol,
    /// `None` stands for `traffic-port`.
    pub port: Option<u16>,
    /// Path and query of the request; unused for [`Protocol::Tcp`].
    pub path: String,
    /// 5-300 s.
    pub interval: Duration,
    /// 2-120 s.
    pub timeout: Duration,
    /// 2-10 passes in a row bring an unhealthy target back. A new target needs one.
    pub healthy_threshold: u32,
    /// 2-10 failures in a row make a target unhealthy.
    pub unhealthy_threshold: u32,
    pub matcher: Matcher,
}

/// How a target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    /// HTTP in TLS.
    Https,
    Tcp,
}

/// HTTP codes that count as healthy, such as `200`, `200,202` or `200-299`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher(Vec<(u16, u16)>);

impl Matcher {
    /// Whether `code` passes.
    pub fn accepts(&self, code: u16) -> bool {
        self.0
            .iter()
            .any(|&(low, high)| (low..=high).contains(&code))
    }
}

impl Default for Matcher {
    fn default() -> Self {
        Self(vec![(200, 200)])
    }
}

impl FromStr for Matcher {
    type Err = BadMatcher;

    /// Codes lie between 200 and 499 on an Application Load Balancer, 200 and 599 on a Network Load Balancer; the wider range is taken.
    fn from_str(text: &str) -> Result<Self, BadMatcher> {
        let bad = || BadMatcher(text.to_owned());
        let code = |s: &str| {
            s.trim()
                .parse::<u16>()
                .ok()
                .filter(|c| (200..=599).contains(c))
                .ok_or_else(bad)
        };
        let ranges = text
            .split(',')
            .map(|part| match part.split_once('-') {
                Some((low, high)) => Ok((code(low)?, code(high)?)),
                None => code(part).map(|c| (c, c)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if ranges.iter().any(|(low, high)| low > high) {
            return Err(bad());
        }
        Ok(Self(ranges))
    }
}

/// A matcher that is no list of codes and ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("health check matcher '{0}' is not a list of HTTP codes and ranges between 200 and 599")]
pub struct BadMatcher(String);

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (low, high)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if low == high {
                write!(f, "{comma}{low}")?
            } else {
                write!(f, "{comma}{low}-{high}")?
            }
        }
        Ok(())
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The target answered with a code outside the matcher.
    Code(u16),
    TimedOut,
    /// No connection, or no HTTP answer on it.
    Failed,
}

/// Asks the target at `address` once.
pub async fn probe(check: &HealthCheck, address: SocketAddr, dialer: &dyn Dialer) -> Outcome {
    let to = SocketAddr::new(address.ip(), check.port.unwrap_or(address.port()));
    let ask = async {
        let secure = check.protocol == Protocol::Https;
        let stream = reach(dialer, to, secure).await.ok()?;
        if check.protocol == Protocol::Tcp {
            return Some(200);
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let request = http::Request::get(&check.path)
            .header(http::header::HOST, to.to_string())
            .header(http::header::CONNECTION, "close")
            .header(http::header::USER_AGENT, "ELB-HealthChecker/2.0")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let answer = async {
            sender
                .send_request(request)
                .await
                .ok()
                .map(|r| r.status().as_u16())
        };
        tokio::pin!(answer);
        tokio::select! {
            code = &mut answer => code,
            // The connection may end right after the answer was read.
            _ = connection => answer.await,
        }
    };
    match timeout(check.timeout, ask).await {
        Err(_) => Outcome::TimedOut,
        Ok(None) => Outcome::Failed,
        Ok(Some(_)) if check.protocol == Protocol::Tcp => Outcome::Passed,
        Ok(Some(code)) if check.matcher.accepts(code) => Outcome::Passed,
        Ok(Some(code)) => Outcome::Code(code),
    }
}

/// Turns the outcomes of one target's checks into its condition.
#[derive(Debug, Clone)]
pub struct Judge {
    condition: Condition,
    passes: u32,
    failures: u32,
}

impl Judge {
    /// A target that was just registered.
    pub fn new() -> Self {
        Self {
            condition: Condition::registering(),
            passes: 0,
            failures: 0,
        }
    }

    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The target group came into use, or its checks begin anew.
    pub fn restart(&mut self) -> bool {
        *self = Self {
            condition: self.condition.clone(),
            passes: 0,
            failures: 0,
        };
        self.become_(Condition::checking())
    }

    /// No listener leads to the group.
    pub fn unused(&mut self) -> bool {
        self.become_(Condition::not_in_use())
    }

    /// The target is being deregistered; no further check counts.
    pub fn drain(&mut self) -> bool {
        self.become_(Condition::draining())
    }

    /// Counts one outcome; true if the condition changed.
    ///
    /// A new target is healthy after one pass, whatever the threshold ("each target must pass one health check to be considered
    /// healthy" after registration, Application Load Balancers user guide, Health checks).
    pub fn observe(&mut self, outcome: &Outcome, check: &HealthCheck) -> bool {
        if self.condition.state == TargetState::Draining {
            return false;
        }
        if *outcome == Outcome::Passed {
            self.failures = 0;
            self.passes = self.passes.saturating_add(1);
            let enough = self.condition.state != TargetState::Unhealthy
                || self.passes >= check.healthy_threshold;
            return enough && self.become_(Condition::healthy());
        }
        self.passes = 0;
        self.failures = self.failures.saturating_add(1);
        let down = self.condition.state == TargetState::Unhealthy
            || self.failures >= check.unhealthy_threshold;
        down && self.become_(Condition::unhealthy(outcome))
    }

    fn become_(&mut self, condition: Condition) -> bool {
        let changed = self.condition != condition;
        self.condition = condition;
        changed
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elb::dial::Direct;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn check() -> HealthCheck {
        HealthCheck {
            protocol: Protocol::Http,
            port: None,
            path: "/healthz?deep=1".into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: Matcher::default(),
        }
    }

    #[test]
    fn a_matcher_reads_codes_and_ranges_and_writes_them_back() {
        let matcher: Matcher = "200-399,404".parse().unwrap();
        assert!(matcher.accepts(200) && matcher.accepts(302) && matcher.accepts(404));
        assert!(!matcher.accepts(403) && !matcher.accepts(500));
        assert_eq!(matcher.to_string(), "200-399,404");
        for bad in ["", "abc", "100", "300-200", "200,", "600"] {
            assert!(bad.parse::<Matcher>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_new_target_is_healthy_after_one_pass_and_a_fallen_one_after_the_threshold() {
        let (mut judge, check) = (Judge::new(), check());
        assert!(judge.restart());
        assert!(judge.observe(&Outcome::Passed, &check));
        assert_eq!(judge.condition(), &Condition::healthy());

        assert!(!judge.observe(&Outcome::TimedOut, &check));
        assert!(judge.observe(&Outcome::TimedOut, &check));
        assert_eq!(
            judge.condition().description.as_deref(),
            Some("Request timed out")
        );
        assert!(
            judge.observe(&Outcome::Code(503), &check),
            "the reason follows the last failure"
        );
        assert_eq!(
            judge.condition().description.as_deref(),
            Some("Health checks failed with these codes: [503]")
        );

        assert!(!judge.observe(&Outcome::Passed, &check));
        assert!(!judge.observe(&Outcome::Passed, &check));
        assert!(judge.observe(&Outcome::Passed, &check));
        assert_eq!(judge.condition().state, TargetState::Healthy);
    }

    #[test]
    fn one_pass_between_failures_starts_the_count_anew() {
        let (mut judge, check) = (Judge::new(), check());
        judge.observe(&Outcome::Passed, &check);
        for _ in 0..5 {
            assert!(!judge.observe(&Outcome::Failed, &check));
            assert!(!judge.observe(&Outcome::Passed, &check));
        }
        assert_eq!(judge.condition().state, TargetState::Healthy);
    }

    #[test]
    fn nothing_counts_while_draining() {
        let (mut judge, check) = (Judge::new(), check());
        judge.drain();
        assert!(!judge.observe(&Outcome::Passed, &check));
        assert_eq!(
            judge.condition().reason,
            Some("Target.DeregistrationInProgress")
        );
    }

    async fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap();
                assert!(head[..read].starts_with(b"GET /healthz?deep=1 HTTP/1.1\r\n"));
                stream.write_all(answer).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_probe_reports_the_code_or_what_went_wrong() {
        let check = check();
        let ok =
            answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(probe(&check, ok, &Direct).await, Outcome::Passed);
        let missing = answering(b"HTTP/1.0 404 Not Found\r\n\r\n").await;
        assert_eq!(probe(&check, missing, &Direct).await, Outcome::Code(404));
        let nonsense = answering(b"SSH-2.0-x\r\n").await;
        assert_eq!(probe(&check, nonsense, &Direct).await, Outcome::Failed);

        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(probe(&check, closed, &Direct).await, Outcome::Failed);
        let tcp = HealthCheck {
            protocol: Protocol::Tcp,
            ..check.clone()
        };
        assert_eq!(probe(&tcp, closed, &Direct).await, Outcome::Failed);
        assert_eq!(probe(&tcp, ok, &Direct).await, Outcome::Passed);
    }

    #[tokio::test]
    async fn a_silent_target_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let check = HealthCheck {
            timeout: Duration::from_millis(50),
            ..check()
        };
        assert_eq!(probe(&check, address, &Direct).await, Outcome::TimedOut);
    }
}
