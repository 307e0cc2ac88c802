//! The service: which one and why, who we are to it, and what we may do there. Each question is asked only if the one before
//! was answered well.

use super::{failed, failure, ok, skipped, warning};
use crate::attempts::{MAKE_ROOM, gone_fix, service_fix, sign_in_fix};
use crate::board::RepositoryView;
use crate::service::Service;
use crate::services::{Examined, Way, chain};
use daemon_core::config_file::Settings;
use lakebase_api::{Branch, BranchState, Client, Error, ProjectName};
use lakebase_proto::v1::{self, Area};
use std::sync::Arc;

const AREA: Area = Area::Service;

impl Service {
    pub(super) async fn service_checks(&self, view: Option<&Arc<RepositoryView>>) -> Vec<v1::Check> {
        let settings = view.and_then(|view| view.settings.as_deref());
        let Examined {
            ways,
            chosen,
            client,
            limit,
        } = self
            .services
            .examine(settings.and_then(|settings| settings.profile.as_deref()))
            .await;
        let mut checks: Vec<_> = ways.iter().map(way).collect();
        checks.push(match &chosen {
            Ok(words) => ok(AREA, "service", words.clone()),
            Err(problem) => failed(AREA, "service", problem),
        });
        if chosen.is_ok() {
            match client {
                Ok(client) => checks.extend(asked(&client, settings, limit).await),
                Err(problem) => checks.push(failed(AREA, "host", &problem)),
            }
        }
        checks
    }
}

fn way(way: &Way) -> v1::Check {
    match &way.skipped {
        None => ok(Area::SignIn, way.name, "it is used"),
        Some(why) => skipped(Area::SignIn, way.name, why.clone()),
    }
}

async fn asked(client: &Client, settings: Option<&Settings>, limit: usize) -> Vec<v1::Check> {
    let host = client.origin().to_string();
    let user = match client.me().await {
        Ok(user) => user.user_name,
        Err(error) => return not_in(&host, &error),
    };
    let mut checks = vec![
        ok(AREA, "host", format!("`{host}` answers")),
        ok(AREA, "sign-in", format!("you are `{user}`")),
    ];
    match settings {
        Some(settings) => checks.extend(project(client, settings, limit).await),
        None => checks.push(skipped(AREA, "project", "no configuration names one")),
    }
    checks
}

/// Somebody who is not let in was answered; whoever hears nothing, or a stranger, was not.
fn not_in(host: &str, error: &Error) -> Vec<v1::Check> {
    let (message, fix) = (chain(error), sign_in_fix(error));
    match error {
        Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => vec![
            ok(AREA, "host", format!("`{host}` answers")),
            failure(AREA, "sign-in", message, &fix),
        ],
        Error::SignIn { source, .. } if !source.is_transient() => vec![
            skipped(AREA, "host", "not asked, for want of a sign-in"),
            failure(AREA, "sign-in", message, &fix),
        ],
        _ => vec![
            failure(AREA, "host", message, &fix),
            skipped(
                AREA,
                "sign-in",
                "not tried, because the host does not answer as it should",
            ),
        ],
    }
}

async fn project(client: &Client, settings: &Settings, limit: usize) -> Vec<v1::Check> {
    let name = match ProjectName::new(settings.project.as_str()) {
        Ok(name) => name,
        Err(error) => {
            return vec![failure(
                AREA,
                "project",
                error.to_string(),
                "mend lakebase.config",
            )];
        }
    };
    if let Err(error) = client.project(&name).await {
        let fix = match &error {
            Error::NotFound { .. } => gone_fix(name.id()),
            other => service_fix(other),
        };
        return vec![failure(AREA, "project", chain(&error), &fix)];
    }
    let there = ok(AREA, "project", format!("`{name}` is there"));
    match client.list_branches(&name).await {
        Ok(branches) => vec![
            there,
            ok(AREA, "rights", "its branches can be listed"),
            room(&branches, limit),
        ],
        Err(error) => vec![
            there,
            failure(AREA, "rights", chain(&error), &service_fix(&error)),
        ],
    }
}

/// How full the project is. Branches that are archived or deleted do not count.
fn room(branches: &[Branch], limit: usize) -> v1::Check {
    let counts =
        |branch: &&Branch| !branch.is_deleted() && branch.status.current_state != Some(BranchState::Archived);
    let used = branches.iter().filter(counts).count();
    let message = format!("{used} of {limit} unarchived branches in use");
    if used < limit {
        return ok(AREA, "room", message);
    }
    let message = format!("{message}, so there is no room for another worktree");
    warning(AREA, "room", message, MAKE_ROOM)
}
