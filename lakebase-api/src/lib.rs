//! A typed client of the Databricks Postgres (Lakebase) REST API.
//!
//! It turns names and specs into requests and answers into resources or into one [`Error`], whose variants say what
//! the caller can do next. The same resource types are what Local Lakebase serves, so the two sides cannot drift
//! apart unnoticed.
//!
//! | part | owns |
//! |---|---|
//! | [`resource`] | the JSON of each resource, and names that are checked when they are parsed |
//! | [`auth`] | which workspace, which way of signing in, where both were found; fetches tokens and keeps them |
//! | [`Client`] | the methods, and the check that an answer is about what was asked |
//! | `transport` | requests and answers: where the token may go, limits, retries |
//! | [`Error`] | what a failed answer means, whatever its shape |
//!
//! # Invariants
//!
//! - The token is sent to the workspace's origin and nowhere else: no redirect is followed, plain `http` is only for
//!   this machine, and host and token always come from the same place. A secret that tokens are given for goes to the
//!   origin or to another of the service's hosts in its zone.
//! - [`Error::NotFound`] is the service's own word. A proxy's page with status 404, or a path the service does not
//!   know, is something else; "could not look" never becomes "is not there".
//! - A list is complete or it is an error, and holds nothing from outside what was asked for.
//! - What may have been done is not done again blindly: creates and updates are only repeated when the service did
//!   not begin, and [`Error::is_unclear`] tells the caller to look.
//! - Deleting is always the kind that can be undone. There is no method that purges.
//! - No secret is in an error, a log line or a `Debug` text.
//!
//! # What it does not know
//!
//! It knows nothing of git, worktrees, leases or the daemon, decides nothing about which branch should exist, keeps
//! no state besides connections and tokens in memory, and reads neither the environment outside
//! [`AuthEnv::from_process`] nor the wall clock, but to tell how long a token lives that a program printed.

pub mod auth;
pub mod resource;

mod client;
mod error;
mod page;
mod server_error;
mod transport;

pub use auth::env::AuthEnv;
pub use auth::origin::{Origin, OriginError};
pub use auth::sign_in::{SignIn, SignInError};
pub use auth::{Attempt, AuthError, Outcome, TokenSource, Workspace};
pub use client::Client;
pub use error::{Action, Error};
pub use resource::branch::{Branch, BranchPage, BranchSpec, BranchState, BranchStatus};
pub use resource::credential::{CredentialRequest, DatabaseCredential};
pub use resource::database::{Database, DatabasePage, DatabaseSpec, DatabaseStatus};
pub use resource::duration::{DurationError, ProtoDuration};
pub use resource::endpoint::{
    DEFAULT_PORT, Endpoint, EndpointGroup, EndpointHosts, EndpointPage, EndpointSpec, EndpointState,
    EndpointStatus, EndpointType,
};
pub use resource::name::{
    BranchName, DatabaseName, EndpointName, NameError, OperationName, ProjectName, RoleName,
};
pub use resource::operation::{Operation, OperationError};
pub use resource::project::{
    CustomTag, DefaultEndpointSettings, Project, ProjectPage, ProjectSpec, ProjectStatus,
};
pub use resource::role::{
    AuthMethod, IdentityType, MembershipRole, Role, RoleAttributes, RoleAttributesSpec, RolePage,
    RolePassword, RoleSpec, RoleStatus,
};
pub use resource::user::User;
pub use resource::{Empty, SpecBody};
pub use server_error::ServerError;
pub use transport::Limits;
