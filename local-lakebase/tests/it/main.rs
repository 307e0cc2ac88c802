//! Local Lakebase as its users meet it: over HTTP, and over PostgreSQL's protocol with a real `psql`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod api;
mod client;
mod data_dir;
mod databases;
mod expiry;
mod golden;
mod history;
mod hostile;
mod http;
mod lake;
mod login;
mod lost_catalog;
mod lost_data;
mod projects;
mod restart;
mod roles;
mod slow_http;
mod spoil;
mod startup;
mod wire;
