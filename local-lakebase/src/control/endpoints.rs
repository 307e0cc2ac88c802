//! The methods of endpoints, and credentials for them.

use std::sync::Arc;

use lakebase_api::{BranchName, CredentialRequest, DatabaseCredential, Endpoint, EndpointName, EndpointSpec};
use serde_json::Value;

use super::{Control, key};
use crate::catalog::Write;
use crate::error::ApiError;
use crate::identity::Caller;
use crate::model::record::{BranchRecord, EndpointRecord, PRIMARY};
use crate::model::{credential, endpoint, mask, view};
use crate::token::{Opens, Validity};

impl Control {
    pub(crate) async fn endpoint(&self, name: &EndpointName) -> Result<Endpoint, ApiError> {
        let (branch, endpoint) = self.endpoint_record(name).await?;
        Ok(view::endpoint(&endpoint, self.seen(&branch)))
    }

    pub(crate) async fn endpoints(&self, branch: &BranchName) -> Result<Vec<Endpoint>, ApiError> {
        let branch = self.live_branch(branch).await?;
        let endpoints = self.catalog.endpoints(&branch.uid).await?;
        let seen = self.seen(&branch);
        Ok(endpoints
            .iter()
            .map(|endpoint| view::endpoint(endpoint, seen))
            .collect())
    }

    pub(crate) async fn create_endpoint(
        self: &Arc<Self>,
        branch: BranchName,
        id: Option<String>,
        spec: EndpointSpec,
        replace_existing: bool,
    ) -> Result<Value, ApiError> {
        let project = branch.project();
        let create = move |control: Arc<Self>| async move {
            control.live_branch(&branch).await?;
            let primary = EndpointName::new(&branch, PRIMARY);
            let primary = primary.map_err(|error| ApiError::invalid(error.to_string()))?;
            let (branch, existing) = control.endpoint_record(&primary).await?;
            let now = control.clock.now();
            let endpoint = endpoint::create(&existing, id.as_deref(), &spec, replace_existing, now)?;
            control.save_endpoint(&branch, endpoint).await
        };
        self.change(project, create).await
    }

    pub(crate) async fn update_endpoint(
        self: &Arc<Self>,
        name: EndpointName,
        update_mask: Option<String>,
        spec: EndpointSpec,
    ) -> Result<Value, ApiError> {
        let project = name.branch().project();
        let update = move |control: Arc<Self>| async move {
            let (branch, existing) = control.endpoint_record(&name).await?;
            let mask = mask::parse(update_mask.as_deref(), endpoint::MASK)?;
            let endpoint = endpoint::update(&existing, &spec, &mask, control.clock.now())?;
            control.save_endpoint(&branch, endpoint).await
        };
        self.change(project, update).await
    }

    async fn save_endpoint(
        &self,
        branch: &BranchRecord,
        endpoint: EndpointRecord,
    ) -> Result<Value, ApiError> {
        let shown = view::endpoint(&endpoint, self.seen(branch));
        let (operation, answer) = self.done(endpoint.name.as_str(), "Endpoint", &shown)?;
        self.catalog
            .commit(&[Write::Endpoint(endpoint.clone()), operation])
            .await?;
        self.engine
            .set_suspend_timeout(&key(branch), endpoint.suspend_timeout());
        self.listeners.set_disabled(&endpoint.name, endpoint.disabled);
        Ok(answer)
    }

    /// Refuses: an endpoint goes only with its branch.
    pub(crate) async fn delete_endpoint(&self, name: &EndpointName) -> Result<Value, ApiError> {
        let (_, endpoint) = self.endpoint_record(name).await?;
        Err(endpoint::delete(&endpoint))
    }

    /// Makes a password for an endpoint, for the caller. Its compute may sleep; nothing is asked of it, not even whether it
    /// has a role for the caller.
    pub(crate) async fn credential(
        &self,
        caller: &Caller,
        request: &CredentialRequest,
    ) -> Result<DatabaseCredential, ApiError> {
        let (branch, endpoint) = self.endpoint_record(&request.endpoint).await?;
        self.check_data(&branch)?;
        let now = self.clock.now();
        let expire_time = credential::expire_time(request.ttl, request.expire_time, now, &self.limits)?;
        let validity = Validity {
            from: now,
            until: expire_time,
        };
        let opens = Opens {
            endpoint: &endpoint.name,
            branch_uid: &branch.uid,
            address: endpoint.own_address(),
        };
        let token = self.signer.database_token(&caller.name, opens, validity);
        let token = token.map_err(|error| ApiError::failed("sign a credential", &error))?;
        Ok(DatabaseCredential { token, expire_time })
    }
}
