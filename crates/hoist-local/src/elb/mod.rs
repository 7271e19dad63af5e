//! Elastic Load Balancing: load balancers that balance. [`Balancers`] keeps what the API made and runs it.
//!
//! A listener ([`listen`]) takes connections on the load balancer's own loopback address; each request goes by the listener's
//! rules ([`rule`]) to a target group ([`group`]), which knows by its health checks ([`check`]) who may get it; [`proxy`] carries
//! it there and back over pooled connections ([`pool`]). [`udp`] carries what has none. [`mesh`] is what the proxies of Service Connect do with
//! requests.

mod api;
mod balancers;
mod body;
mod check;
mod dial;
mod express;
mod framing;
mod group;
mod headers;
mod listen;
mod mesh;
mod model;
mod outward;
mod page;
mod pool;
mod prefixed;
mod proxy;
mod rule;
mod secure;
mod sticky;
mod target;
mod traffic;
mod tunnel;
mod udp;
mod weights;

pub use api::handle;
pub use balancers::{Balancers, OpenError, Standing};
pub use dial::{Dialer, Direct};
pub(crate) use listen::bind;
pub(crate) use mesh::{Patience, Upstream, serve as serve_requests};
pub(crate) use rule::{Block, wild};
pub use target::{Condition, TargetHealth, TargetMessage, TargetState};
pub(crate) use tunnel::splice;
