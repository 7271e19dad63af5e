//! The image registry: repositories and images per region, the OCI distribution API on `/v2/`, and what the ECR API tells of them.
//!
//! One blob store holds all content; repositories hold links to it. A repository of the same name may exist in every region; on
//! `/v2/`, the token that a client signs in with says which region it means.

mod answers;
mod catalogue;
mod manifests;
mod place;
mod refusal;
mod repositories;
mod server;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod unread;
mod uploads;

pub use catalogue::{Blob, Registry, RegistryOpenError};
pub use manifests::{ImageRecord, PutOutcome};
pub use refusal::Refusal;
pub use repositories::{Mutability, Repository};
pub(crate) use repositories::{matches_pattern, rule_meets};
pub use server::serve;
pub use token::{SignedIn, USER as TOKEN_USER, VALIDITY as TOKEN_VALIDITY};
