//! The store against a real PostgreSQL that each test starts for itself, and a Control service on a real socket.

mod answers;
mod control;
mod follow;
mod openapi;
mod postgres;
mod process;
mod relay;
mod schema;
mod serving;
mod store;
mod tls;
