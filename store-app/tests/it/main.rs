//! The store against a real PostgreSQL that each test starts for itself, and a Control service on a real socket.

mod answers;
mod bundle;
mod control;
mod deployed;
mod follow;
mod front;
mod openapi;
mod pool;
mod postgres;
mod process;
mod relay;
mod schema;
mod serving;
mod store;
mod tls;
