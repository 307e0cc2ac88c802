//! The pure half of lakebased: everything that is decided, and nothing that is done.
//!
//! Values go in, values come out. No clock, disk, network or environment is in reach of this crate (its `Cargo.toml` is
//! the wall), so that every rule about what is created, renewed or deleted can be read in one place and tested by the
//! million. [`plan::plan`] is the heart; [`permit::may_delete`] is the only way to a delete.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod backoff;
pub mod config_file;
pub mod confirmed;
pub mod env_file;
pub mod git_file;
pub mod ids;
pub mod lease;
pub mod naming;
pub mod permit;
pub mod plan;
pub mod queue;
pub mod recovery;
pub mod state;
pub mod why;

/// A point in wall time. The core is given it and never asks for it.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
