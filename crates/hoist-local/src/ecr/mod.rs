//! The ECR API: what it tells of the [registry](crate::registry), and how it changes it.

mod api;
mod images;
mod layers;
mod policies;
mod repositories;
#[cfg(test)]
mod tests;
mod words;

pub use api::handle;
