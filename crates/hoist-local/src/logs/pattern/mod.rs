//! Filter patterns: see "Filter pattern syntax" in the CloudWatch Logs user guide.

mod columns;
mod json;
mod kinds;
mod operand;
mod text;

pub use kinds::Pattern;
