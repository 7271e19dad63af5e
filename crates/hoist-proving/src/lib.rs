//! Tests that set the deploying and the playing side against each other
