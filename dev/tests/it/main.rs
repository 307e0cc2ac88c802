//! The built program with real processes, each project in a directory of its own.

mod changes;
mod ends;
mod file;
mod logs;
mod rooms;
mod scene;
mod start;
