//! Lenient views of the few fields that hoist reads from answers.
//!
//! A view borrows the answer and never fails: what is absent, null or of another shape reads as empty. Nothing that AWS adds tomorrow breaks it.
