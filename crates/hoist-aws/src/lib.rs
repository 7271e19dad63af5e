//! AWS access: credentials, signing, retries, and one pass-through client
