//! Whole stories: the built daemon, real git, real PostgreSQL, and the truth asked of the service itself.

mod credentials;
mod exports;
mod local;
mod lost_catalog;
mod lost_data;
mod matrix;
mod process;
mod requests;
mod rooms;
mod worktrees;
mod world;
