//! The daemon's socket, its process and its secrets under abuse: each test asks the built daemon, over real sockets. What they
//! look at in `/proc`, and threads that become another user, are Linux's.
#![cfg(target_os = "linux")]

mod abuse;
mod frames;
mod load;
mod numbers;
mod peers;
mod place;
mod records;
mod repository;
mod secrets;
mod sessions;
#[path = "../story/world.rs"]
mod world;
