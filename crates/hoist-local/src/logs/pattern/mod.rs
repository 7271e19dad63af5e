//! Filter patterns: see "Filter pattern syntax" in the CloudWatch Logs user guide.

mod columns;
mod json;
mod operand;
mod pattern;
mod text;

pub use pattern::Pattern;
