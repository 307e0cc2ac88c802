//! One file for each command. A command asks the daemon, and prints what it was told.

pub(crate) mod branch;
pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod env;
pub(crate) mod events;
pub(crate) mod forget;
pub(crate) mod gc;
pub(crate) mod hook;
pub(crate) mod init;
pub(crate) mod ls;
pub(crate) mod psql;
pub(crate) mod reconcile;
pub(crate) mod recover;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod trust;
pub(crate) mod up;
pub(crate) mod why;
