//! Identity and Access Management: roles, their policies, and OIDC providers. Policies are kept, not enforced, but for the trust
//! policy, which decides who may assume a role.

mod ask;
mod handle;
mod policies;
mod providers;
mod role;
mod roles;
mod service;
mod trust;

pub use handle::handle;
pub use providers::provider_arn;
pub use role::Role;
pub use service::Iam;
pub use trust::Caller;
