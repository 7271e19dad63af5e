//! Listener rules: which requests they match and where those go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Response, StatusCode};

use super::body::Inbound;
use super::group::Group;
use super::page;

/// The rules of one listener, in the order of their priorities, and the default action.
#[derive(Clone, Default)]
pub struct Rules {
    pub rules: Vec<(Vec<Test>, Action)>,
    pub default: Action,
}

impl Rules {
    /// The action of the first rule whose tests all pass.
    pub fn action(&self, request: &dyn Head, peer: IpAddr) -> &Action {
        let matching = self
            .rules
            .iter()
            .find(|(tests, _)| tests.iter().all(|test| test.passes(request, peer)));
        matching.map_or(&self.default, |(_, action)| action)
    }
}

/// What tests look at of a request, however far it has been read.
pub trait Head {
    fn method(&self) -> &str;
    /// The host that the client asked for, with its port if it named one.
    fn host(&self) -> &str;
    fn path(&self) -> &str;
    fn query(&self) -> Option<&str>;
    /// Whether a header of that name has a value that fits.
    fn any(&self, name: &HeaderName, fits: &dyn Fn(&str) -> bool) -> bool;
}

impl Head for Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn host(&self) -> &str {
        host(self)
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn any(&self, name: &HeaderName, fits: &dyn Fn(&str) -> bool) -> bool {
        let mut sent = self.headers.get_all(name).iter();
        sent.any(|value| value.to_str().is_ok_and(fits))
    }
}

/// One test of a rule. A list passes if one of its values does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Patterns of host names, in lower case.
    Host(Vec<String>),
    Path(Vec<String>),
    Method(Vec<String>),
    Header {
        name: HeaderName,
        values: Vec<String>,
    },
    /// Patterns of keys (any if `None`) and values.
    Query(Vec<(Option<String>, String)>),
    Source(Vec<Block>),
}

impl Test {
    fn passes(&self, request: &dyn Head, peer: IpAddr) -> bool {
        match self {
            Self::Host(patterns) => {
                let host = request.host().to_ascii_lowercase();
                let host = without_port(&host);
                patterns.iter().any(|pattern| wild(pattern, host))
            }
            Self::Path(patterns) => patterns.iter().any(|pattern| wild(pattern, request.path())),
            Self::Method(methods) => methods.iter().any(|method| method == request.method()),
            Self::Header { name, values } => request.any(name, &|sent| {
                let sent = sent.to_ascii_lowercase();
                values
                    .iter()
                    .any(|pattern| wild(&pattern.to_ascii_lowercase(), &sent))
            }),
            Self::Query(wanted) => {
                let query = request.query().unwrap_or_default().as_bytes();
                form_urlencoded::parse(query).any(|(key, value)| {
                    let (key, value) = (key.to_lowercase(), value.to_lowercase());
                    wanted.iter().any(|(k, v)| {
                        k.as_ref().is_none_or(|k| wild(&k.to_lowercase(), &key))
                            && wild(&v.to_lowercase(), &value)
                    })
                })
            }
            Self::Source(blocks) => blocks.iter().any(|block| block.contains(peer)),
        }
    }
}

/// An address block such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    address: IpAddr,
    length: u8,
}

impl Block {
    /// Reads `ADDRESS/LENGTH`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, length })
    }

    /// Whether `address` lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(u32::from(a)), u128::from(u32::from(b)), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), 128),
            _ => return false,
        };
        self.length == 0 || (ours ^ theirs) >> (width - u32::from(self.length)) == 0
    }
}

/// Where a request goes.
#[derive(Clone)]
pub enum Action {
    Forward(Vec<Share>),
    /// The same, and a client stays with its group for so long.
    Sticky(Vec<Share>, Duration),
    Fixed(Fixed),
    Redirect(Redirect),
}

impl Default for Action {
    /// A listener whose rules are not set yet knows no target.
    fn default() -> Self {
        Self::Forward(Vec::new())
    }
}

/// A target group's part of the requests.
#[derive(Clone)]
pub struct Share {
    pub group: Arc<Group>,
    /// 0-999.
    pub weight: u32,
}

/// Picks a group by weight; `None` if all weights are 0.
pub fn draw(shares: &[Share]) -> Option<&Arc<Group>> {
    if let [only] = shares {
        // A single group gets everything, whatever its weight.
        return Some(&only.group);
    }
    let total: u32 = shares.iter().map(|share| share.weight).sum();
    if total == 0 {
        return None;
    }
    let mut drawn = fastrand::u32(..total);
    shares.iter().find_map(|share| {
        if drawn < share.weight {
            return Some(&share.group);
        }
        drawn -= share.weight;
        None
    })
}

/// A fixed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub status: StatusCode,
    pub kind: HeaderValue,
    pub body: String,
}

impl Fixed {
    pub fn respond(&self) -> Response<Inbound> {
        page::own(
            self.status,
            self.kind.clone(),
            self.body.clone().into_bytes(),
        )
    }
}

/// A redirect; its parts may hold `#{protocol}`, `#{host}`, `#{port}`, `#{path}` and `#{query}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub protocol: String,
    pub host: String,
    pub port: String,
    pub path: String,
    pub query: String,
    pub status: StatusCode,
}

impl Redirect {
    pub fn respond(&self, request: &Parts, scheme: &str, listener_port: u16) -> Response<Inbound> {
        let host = host(request);
        let port = listener_port.to_string();
        let fill = |text: &str| {
            text.replace("#{protocol}", scheme)
                .replace("#{host}", without_port(host))
                .replace("#{port}", &port)
                .replace("#{path}", request.uri.path().trim_start_matches('/'))
                .replace("#{query}", request.uri.query().unwrap_or_default())
        };
        let protocol = fill(&self.protocol).to_ascii_lowercase();
        let mut location = format!(
            "{protocol}://{}:{}{}",
            fill(&self.host),
            fill(&self.port),
            fill(&self.path)
        );
        let query = fill(&self.query);
        if !query.is_empty() {
            location.push('?');
            location.push_str(&query);
        }
        let Ok(location) = HeaderValue::from_str(&location) else {
            return page::page(StatusCode::BAD_REQUEST);
        };
        let mut response = page::page(self.status);
        response.headers_mut().insert(LOCATION, location);
        response
    }
}

/// The host that the client asked for, with its port if it named one.
pub fn host(request: &Parts) -> &str {
    let named = request
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    named
        .or_else(|| request.uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether `text` fits `pattern`, where `*` stands for any characters and `?` for exactly one.
pub fn wild(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to resume when a guess about the last `*` was wrong.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                resume = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = resume else {
                    return false;
                };
                resume = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    #[test]
    fn wildcards_stand_for_any_text_or_one_character() {
        for (pattern, text) in [
            ("*", ""),
            ("/api/*", "/api/"),
            ("*.example.com", "a.b.example.com"),
            ("/i?g/*x*", "/img/axb"),
            ("a*b*c", "aXbYbc"),
        ] {
            assert!(wild(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("/api/*", "/api"),
            ("", "a"),
            ("?", ""),
            ("a*b", "acbd"),
            ("/Api/*", "/api/x"),
        ] {
            assert!(!wild(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_needs_all_of_its_tests_and_one_value_of_each() {
        let tests = [
            Test::Host(vec!["*.example.com".into(), "example.com".into()]),
            Test::Path(vec!["/a/*".into()]),
            Test::Method(vec!["GET".into(), "HEAD".into()]),
            Test::Header {
                name: HeaderName::from_static("user-agent"),
                values: vec!["*Chrome*".into()],
            },
            Test::Query(vec![
                (Some("version".into()), "v1".into()),
                (None, "*beta*".into()),
            ]),
            Test::Source(vec![Block::parse("10.0.0.0/8").unwrap()]),
        ];
        let good = parts(
            "/a/b?x=1&y=BETA2",
            &[
                ("host", "Example.com:8080"),
                ("user-agent", "Mozilla chrome"),
            ],
        );
        for test in &tests {
            assert!(test.passes(&good, PEER), "{test:?}");
        }
        let bad = parts("/b?version=v2", &[("host", "example.org")]);
        for test in tests
            .iter()
            .filter(|test| !matches!(test, Test::Method(_) | Test::Source(_)))
        {
            assert!(!test.passes(&bad, PEER), "{test:?}");
        }
        assert!(!tests[5].passes(&good, "192.168.0.1".parse().unwrap()));
    }

    #[test]
    fn a_redirect_fills_in_the_parts_of_the_request() {
        let redirect = Redirect {
            protocol: "HTTPS".into(),
            host: "#{host}".into(),
            port: "443".into(),
            path: "/new/#{path}".into(),
            query: "#{query}".into(),
            status: StatusCode::MOVED_PERMANENTLY,
        };
        let response = redirect.respond(
            &parts("/old?x=1", &[("host", "shop.test:8080")]),
            "http",
            8080,
        );
        assert_eq!(response.status(), 301);
        assert_eq!(
            response.headers()[LOCATION],
            "https://shop.test:443/new/old?x=1"
        );
    }
}
