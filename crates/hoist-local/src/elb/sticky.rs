//! Sticky sessions: cookies that bring a client back to its target.
//!
//! See "Sticky sessions for your Application Load Balancer" of the Elastic Load Balancing user guide.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use sha2::{Digest as _, Sha256};

use super::group::Group;
use super::rule::{Share, draw};

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

/// The lines of a header, as far as they are text.
pub fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    lines.filter_map(|line| line.to_str().ok())
}

/// The value of a cookie that a client sent, by the lines of its header.
fn sent<'a>(mut cookies: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    cookies.find_map(|line| {
        let mut pairs = line.split(';').filter_map(|it| it.trim().split_once('='));
        pairs.find(|(known, _)| *known == name).map(|it| it.1)
    })
}

/// The group that a client comes back to by its cookies, else one drawn by weight.
pub fn group<'a, 'c>(
    shares: &'a [Share],
    cookies: impl Iterator<Item = &'c str>,
) -> Option<&'a Arc<Group>> {
    let returning = sent(cookies, GROUP).and_then(|held| {
        let mut groups = shares.iter().map(|share| &share.group);
        groups.find(|group| held == group_tag(group.arn()))
    });
    returning.or_else(|| draw(shares))
}

fn group_tag(group: &str) -> String {
    hex::encode(&Sha256::digest(group)[..16])
}

/// The cookies of a group, for the response of a target.
pub fn mark_group(group: &str, lasts: Duration) -> Vec<String> {
    both(GROUP, &group_tag(group), lasts)
}

/// A cookie, and its twin for requests of other sites, which get no cookie without SameSite=None.
fn both(name: &str, value: &str, lasts: Duration) -> Vec<String> {
    let ends = expires(lasts);
    vec![
        format!("{name}={value}; Expires={ends}; Path=/"),
        format!("{name}CORS={value}; Expires={ends}; Path=/; SameSite=None"),
    ]
}

fn expires(lasts: Duration) -> String {
    let ends = jiff::Timestamp::now() + lasts;
    ends.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Adds cookies to a response.
pub fn add(headers: &mut HeaderMap, cookies: Vec<String>) {
    for line in cookies {
        if let Ok(line) = HeaderValue::try_from(line) {
            headers.append(SET_COOKIE, line);
        }
    }
}

impl Sticky {
    /// What the client was given to come back with, by the lines of its cookies.
    pub fn held<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        match self {
            Sticky::Balancer(_) => sent(cookies, BALANCER),
            Sticky::Application { .. } => sent(cookies, APPLICATION),
        }
    }

    /// Whether a target is the one that the client comes back to.
    pub fn is_meant(held: &str, group: &str, target: SocketAddr) -> bool {
        held == tag(group, target)
    }

    /// The cookies for the response of a target, which itself sets these.
    pub fn mark<'a>(
        &self,
        group: &str,
        target: SocketAddr,
        set: impl Iterator<Item = &'a str>,
    ) -> Vec<String> {
        match self {
            Sticky::Balancer(lasts) => both(BALANCER, &tag(group, target), *lasts),
            Sticky::Application { cookie, lasts } => {
                let mut names = set.filter_map(|line| line.split('=').next());
                if !names.any(|name| name.trim() == cookie) {
                    return Vec::new();
                }
                let (value, ends) = (tag(group, target), expires(*lasts));
                vec![format!("{APPLICATION}={value}; Expires={ends}; Path=/")]
            }
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
        let given = sticky.mark("tg", one, std::iter::empty());
        assert!(
            given[0].starts_with("AWSALB=")
                && given[0].contains("; Path=/")
                && given[1].starts_with("AWSALBCORS="),
            "{given:?}"
        );
        let cookie = given[0].split(';').next().unwrap();
        let sent = ["x=y".to_owned(), format!("a=b; {cookie}")];
        let held = sticky.held(sent.iter().map(String::as_str)).unwrap();
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
        let set = ["other=1"];
        add(&mut answer, sticky.mark("tg", one, set.into_iter()));
        assert_eq!(lines(&answer, &SET_COOKIE).count(), 0);
        let set = ["other=1", "session=1; Path=/"];
        add(&mut answer, sticky.mark("tg", one, set.into_iter()));
        let given: Vec<&str> = lines(&answer, &SET_COOKIE).collect();
        assert!(
            given.len() == 1 && given[0].starts_with("AWSALBAPP-0="),
            "{given:?}"
        );
    }
}
