//! The methods of branches. Whether one should exist, and for how long, is decided elsewhere.

use chrono::{DateTime, Utc};

use super::{Client, about, ask, change, invalid, with_body};
use crate::error::{Action, Error};
use crate::resource::Empty;
use crate::resource::branch::{Branch, BranchPage, BranchSpec};
use crate::resource::name::{BranchName, ProjectName};
use crate::resource::operation::Operation;
use crate::transport::{Method, Repeat, Request};

impl Client {
    /// Returns a branch ("branches: get"). It may be a tombstone; see [`Branch::is_deleted`].
    pub async fn branch(&self, name: &BranchName) -> Result<Branch, Error> {
        let request = ask(Action::new("get branch", name), Method::Get, name);
        let branch: Branch = self.call(&request).await?;
        about(&request, &branch.name, name)?;
        Ok(branch)
    }

    /// Returns all branches of a project, sorted by name ("branches: list"): every page of them or an error.
    pub async fn list_branches(&self, project: &ProjectName) -> Result<Vec<Branch>, Error> {
        self.branches(project, Vec::new()).await
    }

    /// Returns all branches of a project and the tombstones that can still be undeleted.
    pub async fn list_branches_with_deleted(&self, project: &ProjectName) -> Result<Vec<Branch>, Error> {
        self.branches(project, vec![("show_deleted", "true".to_owned())])
            .await
    }

    async fn branches(
        &self,
        project: &ProjectName,
        query: Vec<(&'static str, String)>,
    ) -> Result<Vec<Branch>, Error> {
        let action = Action::new("list branches of", project);
        let request = Request {
            query,
            ..ask(action, Method::Get, format_args!("{project}/branches"))
        };
        let mut branches = self
            .every::<BranchPage>(request, |branch| branch.name.project() == *project)
            .await?;
        branches.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(branches)
    }

    /// Begins to make a branch ("branches: create"). After an unclear error, look before trying again.
    pub async fn create_branch(
        &self,
        project: &ProjectName,
        id: &str,
        spec: &BranchSpec,
    ) -> Result<Operation<Branch>, Error> {
        let action = Action::new("create branch", format_args!("{project}/branches/{id}"));
        let name = BranchName::new(project, id).map_err(|error| invalid(&action, &error))?;
        if let Some(uid) = [Some(&name), spec.source_branch.as_ref()]
            .into_iter()
            .flatten()
            .find(|n| n.looks_like_uid())
        {
            return Err(invalid(
                &action,
                &format_args!("`{}` looks like the uid of a branch, not like an id", uid.id()),
            ));
        }
        let mut request = change(action, Method::Post, format_args!("{project}/branches"), spec);
        request.query.push(("branch_id", id.to_owned()));
        self.call(&request).await
    }

    /// Begins to move the expiry of a branch to a point in time ("branches: update").
    ///
    /// There is no renewal by `ttl`, because the service counts that from the creation of the branch.
    pub async fn renew_branch(
        &self,
        name: &BranchName,
        expire_time: DateTime<Utc>,
    ) -> Result<Operation<Branch>, Error> {
        let spec = BranchSpec {
            expire_time: Some(expire_time),
            ..BranchSpec::default()
        };
        self.update_expiration(Action::new("renew branch", name), name, &spec)
            .await
    }

    /// Begins to take the expiry away from a branch ("branches: update").
    pub async fn set_no_expiry(&self, name: &BranchName) -> Result<Operation<Branch>, Error> {
        let spec = BranchSpec {
            no_expiry: Some(true),
            ..BranchSpec::default()
        };
        self.update_expiration(Action::new("remove expiry of branch", name), name, &spec)
            .await
    }

    async fn update_expiration(
        &self,
        action: Action,
        name: &BranchName,
        spec: &BranchSpec,
    ) -> Result<Operation<Branch>, Error> {
        let mut request = change(action, Method::Patch, name, spec);
        request.query.push(("update_mask", "spec.expiration".to_owned()));
        self.call(&request).await
    }

    /// Begins to delete a branch so that it can still be undeleted ("branches: delete"). There is no purge here.
    ///
    /// [`Error::NotFound`] means that it is gone already, perhaps by our own first try.
    pub async fn delete_branch(&self, name: &BranchName) -> Result<Operation<Empty>, Error> {
        self.call(&ask(Action::new("delete branch", name), Method::Delete, name))
            .await
    }

    /// Begins to bring a soft-deleted branch back ("branches: undelete").
    pub async fn undelete_branch(&self, name: &BranchName) -> Result<Operation<Empty>, Error> {
        let action = Action::new("undelete branch", name);
        let path = format_args!("{name}/undelete").to_string();
        let request = Request {
            repeat: Repeat::OnlyUntouched,
            ..ask(action, Method::Post, path)
        };
        self.call(&with_body(request, &Empty {})).await
    }
}
