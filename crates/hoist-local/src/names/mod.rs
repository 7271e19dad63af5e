//! Names that tasks find each other by: Cloud Map namespaces with the services of ECS that register there, the aliases of Service
//! Connect, and the names of network interfaces. The runtime's resolver asks [`Table`].
//!
//! Service Connect has no proxies here: an alias stands for the addresses of the tasks themselves, so its port is theirs.

mod handle;
mod instances;
mod map;
mod table;

pub use handle::handle;
pub use map::CloudMap;
pub use table::Table;
