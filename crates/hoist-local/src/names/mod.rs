//! Names that tasks find each other by: Cloud Map namespaces with the services of ECS that register there, and the names of network
//! interfaces, which the runtime's resolver asks [`Table`] for; and the endpoints of Service Connect, which each task has a proxy for.

mod connect;
mod handle;
mod instances;
mod map;
mod table;

pub(crate) use connect::{Endpoint, addressed, endpoints};
pub use handle::handle;
pub use map::CloudMap;
pub use table::Table;
