//! Properties of the judge.
