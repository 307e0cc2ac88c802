//! What travels on the wire: one file per resource, its JSON and its names. Nothing here does I/O.
//!
//! Both sides use these types. A client reads them and Local Lakebase serves them, so all of them serialise as
//! well as deserialise. Reading is tolerant: unknown fields are ignored, unknown enum values are kept as text, and
//! optional fields may be missing. Specs go in and statuses come out; the service never echoes a spec.

pub mod branch;
pub mod credential;
pub mod database;
pub mod duration;
pub mod endpoint;
pub mod name;
pub mod operation;
pub mod project;
pub mod role;
pub mod user;

mod number;
mod wire_enum;

use serde::{Deserialize, Serialize};

/// The body of every create and update request: the inner resource itself, with its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpecBody<S> {
    /// The fields the caller sets.
    pub spec: S,
}

/// The result of a method that has none, such as a delete (`google.protobuf.Empty`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
mod tests;
