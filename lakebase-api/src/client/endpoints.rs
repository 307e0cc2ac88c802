//! The methods of what hangs on a branch: endpoints, databases, and passwords for them.

use std::time::Duration;

use super::{Client, about, ask, change, unintelligible, with_body};
use crate::error::{Action, Error};
use crate::resource::credential::{CredentialRequest, DatabaseCredential};
use crate::resource::database::{Database, DatabasePage};
use crate::resource::endpoint::{Endpoint, EndpointPage, EndpointSpec, EndpointType};
use crate::resource::name::{BranchName, EndpointName};
use crate::resource::operation::Operation;
use crate::transport::Method;

impl Client {
    /// Returns an endpoint ("endpoints: get").
    pub async fn endpoint(&self, name: &EndpointName) -> Result<Endpoint, Error> {
        let request = ask(Action::new("get endpoint", name), Method::Get, name);
        let endpoint: Endpoint = self.call(&request).await?;
        about(&request, &endpoint.name, name)?;
        Ok(endpoint)
    }

    /// Returns all endpoints of a branch ("endpoints: list"): every page of them or an error.
    pub async fn list_endpoints(&self, branch: &BranchName) -> Result<Vec<Endpoint>, Error> {
        let action = Action::new("list endpoints of", branch);
        let request = ask(action, Method::Get, format_args!("{branch}/endpoints"));
        self.every::<EndpointPage>(request, |endpoint| endpoint.name.branch() == *branch)
            .await
    }

    /// Begins to change how long a read-write endpoint is idle before it is suspended ("endpoints: update").
    pub async fn update_endpoint_suspend(
        &self,
        name: &EndpointName,
        idle: Duration,
    ) -> Result<Operation<Endpoint>, Error> {
        // The type must be in the body of every update, although the mask leaves it out.
        let spec = EndpointSpec {
            endpoint_type: Some(EndpointType::ReadWrite),
            suspend_timeout_duration: Some(idle.into()),
            ..EndpointSpec::default()
        };
        let action = Action::new("change suspension of endpoint", name);
        let mut request = change(action, Method::Patch, name, &spec);
        request.query.push(("update_mask", "spec.suspension".to_owned()));
        self.call(&request).await
    }

    /// Returns all databases of a branch ("databases: list"): every page of them or an error.
    pub async fn list_databases(&self, branch: &BranchName) -> Result<Vec<Database>, Error> {
        let action = Action::new("list databases of", branch);
        let request = ask(action, Method::Get, format_args!("{branch}/databases"));
        self.every::<DatabasePage>(request, |database| database.name.branch() == *branch)
            .await
    }

    /// Mints a password for an endpoint ("credentials: generate"). Each call mints another one.
    pub async fn generate_credential(
        &self,
        endpoint: &EndpointName,
        ttl: Option<Duration>,
    ) -> Result<DatabaseCredential, Error> {
        let action = Action::new("mint credential for", endpoint);
        let request = ask(action, Method::Post, "credentials");
        let body = CredentialRequest {
            endpoint: endpoint.clone(),
            expire_time: None,
            ttl: ttl.map(Into::into),
        };
        let request = with_body(request, &body);
        let answer = self.transport.send(&request).await?;
        serde_json::from_slice(&answer).map_err(|_| {
            // What the parser says may quote the token.
            unintelligible(&request, "the answer is not a credential".to_owned())
        })
    }
}
