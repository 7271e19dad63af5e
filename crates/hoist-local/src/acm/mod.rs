//! Certificate Manager, as far as listeners need it: certificates that are imported, and requested ones, which are signed by themselves
//! and issued at once.

mod der;
mod handle;
pub(crate) mod issue;
pub(crate) mod kept;

pub use handle::handle;
pub use kept::{Certificate, Certificates};
