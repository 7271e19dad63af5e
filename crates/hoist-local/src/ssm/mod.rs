//! Systems Manager: the Parameter Store. Values of SecureString lie sealed on disk; any KMS key that is named is taken for ours.

mod handle;
mod parameter;
mod read;
mod write;

pub use handle::handle;
pub use parameter::{Parameter, Parameters};
