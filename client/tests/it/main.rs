//! The built binaries against a daemon on a real socket, in real git repositories.

mod commands;
mod dev;
mod fake;
mod hook;
mod hook_states;
mod init;
mod lost_catalog;
mod process;
mod rooms;
mod scene;
mod texts;
