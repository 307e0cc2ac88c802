//! A typed client of the Databricks Postgres (Lakebase) REST API.

pub mod resource;

pub use resource::branch::{Branch, BranchPage, BranchSpec, BranchState, BranchStatus};
pub use resource::credential::{CredentialRequest, DatabaseCredential};
pub use resource::database::{Database, DatabasePage, DatabaseSpec, DatabaseStatus};
pub use resource::duration::{DurationError, ProtoDuration};
pub use resource::endpoint::{
    Endpoint, EndpointGroup, EndpointHosts, EndpointPage, EndpointSpec, EndpointState, EndpointStatus,
    EndpointType,
};
pub use resource::name::{BranchName, DatabaseName, EndpointName, NameError, OperationName, ProjectName};
pub use resource::operation::{Operation, OperationError};
pub use resource::project::{DefaultEndpointSettings, Project, ProjectPage, ProjectSpec, ProjectStatus};
pub use resource::user::User;
pub use resource::{Empty, SpecBody};
