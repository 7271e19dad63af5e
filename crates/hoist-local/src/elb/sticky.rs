//! Sticky sessions: cookies that bring a client back to its target.
//!
//! See "Sticky sessions for your Application Load Balancer" of the Elastic Load Balancing user guide.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use sha2::{Digest as _, Sha256};

/// How a group keeps its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// By a cookie of the load balancer, `AWSALB`.
    Balancer(Duration),
    /// As long as the application sets its own cookie, by `AWSALBAPP-0` beside it.
    Application { cookie: String, lasts: Duration },
}

/// Keeps a client with one of several groups that a rule weighs.
const GROUP: &str = "AWSALBTG";
const BALANCER: &str = "AWSALB";
const APPLICATION: &str = "AWSALBAPP-0";

/// What stands for a target in a cookie: nobody else learns its address from it.
fn tag(group: &str, target: SocketAddr) -> String {
    hex::encode(&Sha256::digest(format!("{group} {target}"))[..16])
}

/// The value of a cookie that a client sent.
fn sent<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// The group that a client was given to come back to.
pub fn held_group(headers: &HeaderMap) -> Option<&str> {
    sent(headers, GROUP)
}

/// Whether a group is the one that the client comes back to.
pub fn is_group(held: &str, group: &str) -> bool {
    held == group_tag(group)
}

fn group_tag(group: &str) -> String {
    hex::encode(&Sha256::digest(group)[..16])
}

/// Adds the cookies of a group to the response of a target.
pub fn mark_group(group: &str, lasts: Duration, headers: &mut HeaderMap) {
    both(GROUP, &group_tag(group), lasts, headers);
}

/// Adds a cookie, and its twin for requests of other sites, which get no cookie without SameSite=None.
fn both(name: &str, value: &str, lasts: Duration, headers: &mut HeaderMap) {
    let ends = expires(lasts);
    add(headers, format!("{name}={value}; Expires={ends}; Path=/"));
    add(
        headers,
        format!("{name}CORS={value}; Expires={ends}; Path=/; SameSite=None"),
    );
}

fn expires(lasts: Duration) -> String {
    let ends = jiff::Timestamp::now() + lasts;
    ends.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn add(headers: &mut HeaderMap, line: String) {
    if let Ok(line) = HeaderValue::try_from(line) {
        headers.append(SET_COOKIE, line);
    }
}

impl Sticky {
    /// What the client was given to come back with.
    pub fn held<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        match self {
            Sticky::Balancer(_) => sent(headers, BALANCER),
            Sticky::Application { .. } => sent(headers, APPLICATION),
        }
    }

    /// Whether a target is the one that the client comes back to.
    pub fn is_meant(held: &str, group: &str, target: SocketAddr) -> bool {
        held == tag(group, target)
    }

    /// Adds the cookies to the response of a target.
    pub fn mark(&self, group: &str, target: SocketAddr, headers: &mut HeaderMap) {
        let (name, lasts) = match self {
            Sticky::Balancer(lasts) => (BALANCER, lasts),
            Sticky::Application { cookie, lasts } => {
                let mut set = headers
                    .get_all(SET_COOKIE)
                    .iter()
                    .filter_map(|it| it.to_str().ok());
                if !set.any(|line| {
                    line.split('=')
                        .next()
                        .is_some_and(|name| name.trim() == cookie)
                }) {
                    return;
                }
                (APPLICATION, lasts)
            }
        };
        let value = tag(group, target);
        if name == BALANCER {
            both(name, &value, *lasts, headers);
        } else {
            let ends = expires(*lasts);
            add(headers, format!("{name}={value}; Expires={ends}; Path=/"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_comes_back_with_what_it_was_given() {
        let (one, two): (SocketAddr, SocketAddr) = (
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
        );
        let sticky = Sticky::Balancer(Duration::from_secs(60));
        let mut answer = HeaderMap::new();
        sticky.mark("tg", one, &mut answer);
        let given: Vec<&str> = answer
            .get_all(SET_COOKIE)
            .iter()
            .map(|it| it.to_str().unwrap())
            .collect();
        assert!(
            given[0].starts_with("AWSALB=")
                && given[0].contains("; Path=/")
                && given[1].starts_with("AWSALBCORS="),
            "{given:?}"
        );
        let cookie = given[0].split(';').next().unwrap();
        let mut request = HeaderMap::new();
        request.insert(COOKIE, format!("a=b; {cookie}").parse().unwrap());
        let held = sticky.held(&request).unwrap();
        assert!(Sticky::is_meant(held, "tg", one));
        assert!(!Sticky::is_meant(held, "tg", two));
        assert!(!Sticky::is_meant(held, "other", one));
    }

    #[test]
    fn the_application_decides_by_its_own_cookie() {
        let one = "10.0.0.1:80".parse().unwrap();
        let sticky = Sticky::Application {
            cookie: "session".into(),
            lasts: Duration::from_secs(60),
        };
        let mut answer = HeaderMap::new();
        answer.append(SET_COOKIE, HeaderValue::from_static("other=1"));
        sticky.mark("tg", one, &mut answer);
        assert_eq!(answer.get_all(SET_COOKIE).iter().count(), 1);
        answer.append(SET_COOKIE, HeaderValue::from_static("session=1; Path=/"));
        sticky.mark("tg", one, &mut answer);
        assert!(
            answer
                .get_all(SET_COOKIE)
                .iter()
                .any(|it| it.as_bytes().starts_with(b"AWSALBAPP-0="))
        );
    }
}
