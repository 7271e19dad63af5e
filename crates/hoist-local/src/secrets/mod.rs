//! Secrets Manager: secrets with versions and staging labels, sealed on disk. Nothing rotates by itself.

mod handle;
mod read;
mod secret;
mod write;

pub use handle::handle;
pub use secret::Secrets;
