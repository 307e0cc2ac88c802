//! The client of lakebased: git's post-checkout hook, and the command line around it. It speaks the control contract and
//! nothing else: no git library, no HTTP client, no TLS, no database driver, so that it starts and ends in about a
//! millisecond. The hook needs none of what the command line needs (feature `cli`).

pub mod hook;
mod span;
mod text;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
mod clock;
#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "cli")]
mod config_file;
#[cfg(feature = "cli")]
mod connect;
#[cfg(feature = "cli")]
mod daemon;
#[cfg(feature = "cli")]
mod failure;
#[cfg(feature = "cli")]
mod here;
#[cfg(feature = "cli")]
mod hook_file;
#[cfg(feature = "cli")]
mod json;
#[cfg(feature = "cli")]
mod terminal;
#[cfg(feature = "cli")]
mod tree;
#[cfg(feature = "cli")]
mod variables;
#[cfg(feature = "cli")]
mod words;
