//! What a machine does to the daemon: git in every shape, file systems that fail or tell nothing, processes that are killed.
//! Each test is named after its case in the fault matrix.

mod disk;
mod git;
mod ledger;
mod process;
mod removal;
mod rules;
#[path = "../story/world.rs"]
mod world;
