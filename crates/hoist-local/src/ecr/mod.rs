//! The ECR API: what it tells of the [registry](crate::registry), and how it changes it.

mod account;
mod api;
mod images;
mod layers;
mod lifecycle;
mod policies;
mod referrers;
mod repositories;
mod scans;
#[cfg(test)]
mod tests;
mod words;

pub use api::handle;
pub use lifecycle::apply as apply_lifecycles;
pub(crate) use scans::FILE as FINDINGS;
