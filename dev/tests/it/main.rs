//! The built program with small projects of shell and Python: real processes, real ports, real files.

mod files;
mod life;
mod ports;
mod reports;
mod rooms;
mod world;
