//! hoist.yaml, templates, and what git says of the source
