//! The control contract of lakebased: the generated messages and client, where the socket is, how to connect to it, and
//! the form of its errors. Knows nothing of git, branches or the service behind the daemon.

mod connect;
mod error;
mod socket;

pub use connect::{AUTHORITY, CLIENT_KEY, Client, ConnectError, Introduce, connect};
pub use error::{DOMAIN, Reason, fix_of, reason_of, status};
pub use socket::{SocketEnv, SocketPathError, socket_path};

/// The generated contract, version 1.
#[expect(missing_docs, reason = "generated; the comments are in control.proto")]
#[expect(clippy::pedantic, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("lakebase.control.v1");

    impl std::fmt::Debug for Credential {
        /// Shows everything but the password.
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Credential")
                .field("host", &self.host)
                .field("port", &self.port)
                .field("database", &self.database)
                .field("user", &self.user)
                .field("password", &"Secret(..)")
                .field("expire_time", &self.expire_time)
                .field("endpoint", &self.endpoint)
                .finish_non_exhaustive()
        }
    }
}

/// The contract as a file descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));

/// The version of the contract that this build speaks (`DaemonInfo.protocol`).
pub const PROTOCOL: u32 = 3;
