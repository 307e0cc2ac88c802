//! The development loop of one worktree, as its `lakebase.dev.toml` describes it: `lakebase dev start | stop | ...`.
//!
//! ```text
//! lakebase dev start ──► place: whose file, whose directory ──► ports: this worktree's own
//!        │ spawns
//!        ▼
//! supervisor (one per worktree, a session of its own) ──► a task for each process: build, run, probe, back off
//!        ▲ desk, at a socket: status, restart, stop           ▲ watcher: a file changed
//! lakebase dev status | stop | restart                        log: one file, read by `lakebase dev logs`
//! ```
//!
//! # Invariants
//! - Only a person's command starts something, with that person's environment; nothing here is called by `lakebased`.
//! - A supervisor holds its worktree's lock for as long as it lives. Whoever gets the lock knows that there is none.
//! - Every process leads a process group in the supervisor's session. Groups are on the disk, with their start times, so
//!   that whoever comes after a killed supervisor ends what it left, and nothing else.
//! - A port belongs to one worktree, recorded under a lock, until that worktree is gone.
//!
//! Process groups are made by the standard library and ended in `system.rs`. A crate for them (process-wrap, command-group)
//! would spare us those two calls: it waits for its own children alone, and neither ends a group gently, with its
//! grandchildren and those that left it, nor one that an earlier supervisor began. That is the rest of that file, and `left.rs`.
//!
//! It does not know git, Lakebase or the store: a process that wants a database is run by `lakebase run`.

mod board;
pub mod cli;
mod clock;
mod command;
mod control;
mod desk;
mod failure;
mod file;
mod left;
mod log;
mod place;
mod ports;
mod process;
mod ready;
mod span;
mod supervisor;
mod system;
mod terminal;
mod watch;
