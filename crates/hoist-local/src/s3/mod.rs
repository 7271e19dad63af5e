//! S3 as far as `environmentFiles` need it: buckets and objects, addressed by path, in one piece or in parts of as many bytes as a request
//! may have.

mod answer;
mod objects;
mod parts;
mod serve;

pub use answer::unavailable;
pub use objects::Objects;
pub use serve::{answers, handle};
