//! Local Lakebase: the Lakebase REST API served on this machine, over real PostgreSQL.
//!
//! ```text
//!  HTTP ──► server ──► api ──► control ──► model      rules: values in, decision or refusal out
//!                                 │  ├────► catalog    what survives a restart
//!                                 │  └────► engine ──► storage, compute    data directories, postmasters
//!                                 ▼                       ▲
//!  psql ──────────────────► listener ─────────────────────┘  TLS, token, relay
//! ```
//!
//! | part | owns | does not know |
//! |---|---|---|
//! | `server`, `api` | HTTP, JSON, the exact form of answers | rules, SQL, PostgreSQL |
//! | `control` | the order in which things happen | HTTP |
//! | `model` | every rule of the service, as functions of values | anything that waits |
//! | `catalog` | SQLite, and the descriptors beside the data | rules |
//! | `recovery` | whether catalog and data fit together, and how they are put together again | HTTP, SQL |
//! | `engine` | branches as data directories and processes | projects, tokens, HTTP |
//! | `listener` | PostgreSQL clients until they are relayed | SQL, the catalog |
//! | `identity`, `token` | the secrets of this installation | what they open |
//!
//! # Invariants
//!
//! - A soft-deleted branch keeps its data for the whole window; a purged one loses its row before its data.
//! - A password opens one endpoint of one branch for one user, and a new branch of the same name is another branch.
//! - No secret is in the catalog, a log line, an error or a file that others can read.
//! - One process serves a data directory; a second one is refused.
//! - Only data of a branch that the catalog was told to remove are removed. Other data that it does not name are moved to
//!   `lost`, which is never emptied; and with a catalog that is not the one of last time nothing is served at all.

mod api;
mod catalog;
mod clock;
mod compute;
mod control;
mod engine;
mod error;
mod identity;
mod listener;
mod local;
mod model;
mod postgres;
mod private_file;
mod recovery;
mod server;
mod storage;
mod token;
mod uid;

pub use catalog::CatalogError;
pub use clock::Clock;
pub use listener::tls::TlsError;
pub use local::{CA, Config, LocalLakebase, LocalProblem, PROFILE_NAMES, PROFILES, StartError};
pub use model::Limits;
pub use recovery::{
    Aside, Done, FoundCatalog, LostPassword, Missing, RecoverError, Recovery, RecoveryPlan, Refusal,
    RefusalReason, Restored, Source, StillLost, WithoutDefault,
};
pub use storage::mount::{NotMounted, mark_mount_point, unmark_mount_point};
pub use storage::shares_blocks;
