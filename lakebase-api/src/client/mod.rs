//! The methods of the API, one function each: build the request, send it, check that the answer is about what was
//! asked. Retries, limits and the token are the transport's. This file holds the client itself, the methods of users
//! and projects, and what all methods share; the other resources have a file each.

mod branches;
mod endpoints;
mod operations;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::auth::Workspace;
use crate::auth::origin::Origin;
use crate::error::{Action, Error};
use crate::page::Page;
use crate::resource::SpecBody;
use crate::resource::name::ProjectName;
use crate::resource::operation::Operation;
use crate::resource::project::{Project, ProjectSpec};
use crate::resource::user::User;
use crate::transport::{Limits, Method, Repeat, Request, Transport};

const BASE: &str = "/api/2.0/postgres";
const ME: &str = "/api/2.0/preview/scim/v2/Me";

/// More pages than any project has. A list that does not end by then never will.
const MAX_PAGES: usize = 200;

/// A client of one workspace. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// Makes a client. Nothing is sent yet.
    pub fn new(workspace: Workspace) -> Result<Self, Error> {
        Self::with_limits(workspace, Limits::default())
    }

    /// Makes a client with limits of the caller's choice.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a workspace holds the token; the caller keeps no copy"
    )]
    pub fn with_limits(workspace: Workspace, limits: Limits) -> Result<Self, Error> {
        Ok(Self {
            transport: Arc::new(Transport::new(&workspace, limits)?),
        })
    }

    /// Returns the address of the workspace.
    pub fn origin(&self) -> &Origin {
        self.transport.origin()
    }

    /// Returns the time by the server's clock, as the last good answer told it; `None` if none did.
    ///
    /// Exact to a second, and behind after this machine has slept, until the next answer.
    pub fn server_time(&self) -> Option<DateTime<Utc>> {
        self.transport.server_time()
    }

    /// Returns the user the token belongs to ("current user: me").
    pub async fn me(&self) -> Result<User, Error> {
        let action = Action::new("get user", "Me");
        let request = Request {
            path: ME.to_owned(),
            ..ask(action, Method::Get, "")
        };
        self.call(&request).await
    }

    /// Returns a project ("projects: get").
    pub async fn project(&self, name: &ProjectName) -> Result<Project, Error> {
        let request = ask(Action::new("get project", name), Method::Get, name);
        let project: Project = self.call(&request).await?;
        about(&request, &project.name, name)?;
        Ok(project)
    }

    /// Begins to make a project ("projects: create"). Its branch `production` comes with it.
    pub async fn create_project(&self, id: &str, spec: &ProjectSpec) -> Result<Operation<Project>, Error> {
        let action = Action::new("create project", id);
        ProjectName::new(id).map_err(|error| invalid(&action, &error))?;
        let mut request = change(action, Method::Post, "projects", spec);
        request.query.push(("project_id", id.to_owned()));
        self.call(&request).await
    }

    async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        let answer = self.transport.send(request).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            let web_page = answer.trim_ascii_start().starts_with(b"<");
            let reason = if web_page {
                "a web page answered".to_owned()
            } else {
                format!("wrong answer: {error}")
            };
            unintelligible(request, reason)
        })
    }

    /// Reads every page of a list, and refuses items that do not belong to it.
    async fn every<P: Page>(
        &self,
        mut request: Request,
        belongs: impl Fn(&P::Item) -> bool,
    ) -> Result<Vec<P::Item>, Error> {
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        let first_query = request.query.clone();
        for _ in 0..MAX_PAGES {
            let (page, next) = self.call::<P>(&request).await?.into_parts();
            if !page.iter().all(&belongs) {
                return Err(unintelligible(
                    &request,
                    "the list has items from elsewhere".to_owned(),
                ));
            }
            items.extend(page);
            let Some(token) = next.filter(|token| !token.is_empty()) else {
                return Ok(items);
            };
            if !seen.insert(token.clone()) {
                return Err(unintelligible(
                    &request,
                    "the list begins again instead of ending".to_owned(),
                ));
            }
            request.query.clone_from(&first_query);
            request.query.push(("page_token", token));
        }
        Err(unintelligible(
            &request,
            format!("the list has more than {MAX_PAGES} pages"),
        ))
    }
}

/// Describes a request that may be repeated and has no body.
fn ask(action: Action, method: Method, path: impl fmt::Display) -> Request {
    let path = format!("{BASE}/{path}");
    Request {
        action,
        method,
        path,
        query: Vec::new(),
        body: None,
        repeat: Repeat::Harmless,
    }
}

/// Describes a request that sets fields of a resource.
fn change(action: Action, method: Method, path: impl fmt::Display, spec: &impl Serialize) -> Request {
    let request = Request {
        repeat: Repeat::OnlyUntouched,
        ..ask(action, method, path)
    };
    with_body(request, &SpecBody { spec })
}

fn with_body(request: Request, body: &impl Serialize) -> Request {
    let body =
        serde_json::to_vec(body).expect("specs are structs of text, numbers and times, which JSON can hold");
    Request {
        body: Some(body),
        ..request
    }
}

/// Refuses an answer about another resource than the one that was asked for.
fn about<N: PartialEq + fmt::Display>(request: &Request, answered: &N, asked: &N) -> Result<(), Error> {
    if answered == asked {
        return Ok(());
    }
    Err(unintelligible(
        request,
        format!("the answer is about `{answered}`"),
    ))
}

fn unintelligible(request: &Request, reason: String) -> Error {
    Error::Unintelligible {
        action: request.action.clone(),
        reason,
    }
}

fn invalid(action: &Action, reason: &impl fmt::Display) -> Error {
    Error::Invalid {
        action: action.clone(),
        reason: reason.to_string(),
    }
}
