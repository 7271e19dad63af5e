//! The page that a browser sees: what runs, what serves, what happened, what was printed, live.
//!
//! One static page without any request to the outside, and two documents that it asks for once a second. They are read without a
//! signature, so they are given only to this machine's own pages: a page of another origin cannot send the header that is asked
//! for, and a name that was made to point here is not ours.

mod answer;
mod view;

pub use answer::{answers, handle};
