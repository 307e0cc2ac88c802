//! The client against a server that records what it is sent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod headers;
mod limits;
mod lists;
mod operations;
mod refusals;
mod retries;
mod server;
mod sign_in;
mod tls;
