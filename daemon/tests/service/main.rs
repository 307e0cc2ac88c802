//! The daemon against a service that misbehaves: a proxy before the real Local Lakebase refuses, loses, cuts, delays and
//! falsifies, and writes down what was asked of it. Tests carry the ids of the fault matrix.

mod answers;
mod branches;
mod broken;
mod chaos;
mod clocks;
mod doctor;
mod env_files;
mod fail_points;
mod hostile;
mod ignored;
mod ledger;
mod limits;
mod proposals;
mod proxy;
mod rig;
mod sign_in;
#[path = "../story/world.rs"]
mod world;
