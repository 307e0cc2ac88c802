//! The rules of projects.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lakebase_api::{BranchName, DefaultEndpointSettings, EndpointSpec, ProjectName, ProjectSpec};

use super::branch::Family;
use super::endpoint::{self, Suspension};
use super::record::{BranchRecord, PRODUCTION, ProjectRecord};
use super::{Limits, delta, mask};
use crate::error::ApiError;

/// The fields of a project that a PATCH may name.
pub(crate) const MASK: &[&str] = &[
    "spec.budget_policy_id",
    "spec.custom_tags",
    "spec.default_branch",
    "spec.default_endpoint_settings",
    "spec.default_endpoint_settings.autoscaling_limit_max_cu",
    "spec.default_endpoint_settings.autoscaling_limit_min_cu",
    "spec.default_endpoint_settings.no_suspension",
    "spec.default_endpoint_settings.suspend_timeout_duration",
    "spec.default_endpoint_settings.suspension",
    "spec.display_name",
    "spec.enable_pg_native_login",
    "spec.history_retention_duration",
];

const SHORTEST_RETENTION: Duration = Duration::from_hours(2 * 24);
const LONGEST_RETENTION: Duration = Duration::from_hours(35 * 24);
const RETENTION_SECONDS: i64 = 604_800;
const SUSPEND_SECONDS: i64 = 86_400;

/// What a new project needs besides what the caller says.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) name: ProjectName,
    pub(crate) uid: String,
    pub(crate) owner: String,
    pub(crate) pg_version: u16,
    pub(crate) now: DateTime<Utc>,
}

/// Reads the id of a project to be.
pub(crate) fn new_name(id: Option<&str>) -> Result<ProjectName, ApiError> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::required("project_id"))?;
    ProjectName::new(id)
        .map_err(|error| ApiError::invalid(format!("Field 'project_id' is invalid: {}", error.reason)))
}

pub(crate) fn already_exists() -> ApiError {
    let text = "project with such id already exists in the workspace";
    ApiError::new(409, "ALREADY_EXISTS", text)
}

/// Decides what a new project is like. The version of PostgreSQL is the one this machine has, whatever was asked.
pub(crate) fn create(birth: Birth, spec: &ProjectSpec) -> Result<ProjectRecord, ApiError> {
    let display_name = display_name(spec)?.unwrap_or_else(|| birth.name.id().to_owned());
    let settings = spec.default_endpoint_settings.clone().unwrap_or_default();
    let suspension = suspension(&settings)?;
    let min_cu = settings.autoscaling_limit_min_cu.unwrap_or(1.0);
    let max_cu = settings.autoscaling_limit_max_cu.unwrap_or(min_cu.max(1.0));
    endpoint::check_units(min_cu, max_cu)?;
    Ok(ProjectRecord {
        default_branch: BranchName::new(&birth.name, PRODUCTION)
            .map_err(|error| ApiError::invalid(error.to_string()))?,
        name: birth.name,
        uid: birth.uid,
        display_name,
        owner: birth.owner,
        pg_version: birth.pg_version,
        retention_seconds: retention(spec)?,
        suspend_seconds: suspension.map_or(Some(SUSPEND_SECONDS), Suspension::seconds),
        min_cu,
        max_cu,
        create_time: birth.now,
        update_time: birth.now,
        enable_pg_native_login: spec.enable_pg_native_login.unwrap_or(false),
        custom_tags: tags(spec)?.unwrap_or_else(|| "[]".to_owned()),
        budget_policy_id: spec.budget_policy_id.clone(),
        delete_time: None,
        purge_time: None,
    })
}

/// Decides what a PATCH makes of a project.
pub(crate) fn update(
    family: &Family<'_>,
    spec: &ProjectSpec,
    mask: &[&str],
    now: DateTime<Utc>,
) -> Result<ProjectRecord, ApiError> {
    let mut project = family.project.clone();
    for path in mask {
        let masked = only(path, spec);
        // Clients cannot send an empty list; a mask that names it means that.
        let is_set = masked != ProjectSpec::default() || *path == "spec.custom_tags";
        mask::populated(path, is_set)?;
        apply(&mut project, family, path, &masked)?;
    }
    endpoint::check_units(project.min_cu, project.max_cu)?;
    project.update_time = now;
    Ok(project)
}

/// Changes what one path of a mask is about.
fn apply(
    project: &mut ProjectRecord,
    family: &Family<'_>,
    path: &str,
    masked: &ProjectSpec,
) -> Result<(), ApiError> {
    match path {
        "spec.display_name" => project.display_name = display_name(masked)?.unwrap_or_default(),
        "spec.default_branch" => project.default_branch = default_branch(family, masked)?,
        "spec.history_retention_duration" => project.retention_seconds = retention(masked)?,
        "spec.enable_pg_native_login" => {
            project.enable_pg_native_login = masked.enable_pg_native_login.unwrap_or(false);
        }
        "spec.custom_tags" => project.custom_tags = tags(masked)?.unwrap_or_else(|| "[]".to_owned()),
        "spec.budget_policy_id" => project.budget_policy_id.clone_from(&masked.budget_policy_id),
        _ => {
            let settings = masked.default_endpoint_settings.clone().unwrap_or_default();
            project.min_cu = settings.autoscaling_limit_min_cu.unwrap_or(project.min_cu);
            project.max_cu = settings.autoscaling_limit_max_cu.unwrap_or(project.max_cu);
            if let Some(suspension) = suspension(&settings)? {
                project.suspend_seconds = suspension.seconds();
            }
        }
    }
    Ok(())
}

/// The branch that becomes the default: one that stays.
fn default_branch(family: &Family<'_>, spec: &ProjectSpec) -> Result<BranchName, ApiError> {
    let name = spec.default_branch.clone();
    let name = name.ok_or_else(|| ApiError::required("project.spec.default_branch"))?;
    if name.project() != family.project.name {
        let text = "default_branch field must point to the branch from the same Project";
        return Err(ApiError::invalid(text));
    }
    let branch = family.branches.iter().find(|b| b.name == name && b.is_live());
    let branch = branch.ok_or_else(|| ApiError::not_found("branch"))?;
    if branch.expire_time.is_some() {
        let text = "a branch with an expiration date cannot be the default branch";
        return Err(ApiError::bad_request(text));
    }
    Ok(name)
}

/// Decides whether a project may be deleted.
pub(crate) fn delete(family: &Family<'_>) -> Result<(), ApiError> {
    let is_protected = |branch: &BranchRecord| branch.is_live() && branch.is_protected;
    if family.branches.iter().any(is_protected) {
        return Err(ApiError::bad_request(
            "cannot delete project with protected branch",
        ));
    }
    Ok(())
}

/// Turns a project into its tombstone.
pub(crate) fn tombstone(project: ProjectRecord, now: DateTime<Utc>, limits: &Limits) -> ProjectRecord {
    ProjectRecord {
        delete_time: Some(now),
        purge_time: Some(now + delta(limits.undelete_window)),
        update_time: now,
        ..project
    }
}

/// Decides whether a soft-deleted project may come back.
pub(crate) fn undelete(project: ProjectRecord, now: DateTime<Utc>) -> Result<ProjectRecord, ApiError> {
    if project.is_live() {
        return Err(ApiError::bad_request("project is not deleted"));
    }
    if is_due(&project, now) {
        return Err(ApiError::not_found("project"));
    }
    Ok(ProjectRecord {
        delete_time: None,
        purge_time: None,
        update_time: now,
        ..project
    })
}

/// Says whether a soft-deleted project is gone for ever by now.
pub(crate) fn is_due(project: &ProjectRecord, now: DateTime<Utc>) -> bool {
    project.purge_time.is_some_and(|at| at <= now)
}

/// The part of a spec that one path of a mask is about.
fn only(path: &str, spec: &ProjectSpec) -> ProjectSpec {
    let settings = spec.default_endpoint_settings.clone().and_then(|settings| {
        let leaf = path.strip_prefix("spec.default_endpoint_settings")?;
        let is = |name: &str| leaf.is_empty() || leaf == name;
        let only = DefaultEndpointSettings {
            autoscaling_limit_max_cu: settings
                .autoscaling_limit_max_cu
                .filter(|_| is(".autoscaling_limit_max_cu")),
            autoscaling_limit_min_cu: settings
                .autoscaling_limit_min_cu
                .filter(|_| is(".autoscaling_limit_min_cu")),
            no_suspension: settings
                .no_suspension
                .filter(|_| is(".no_suspension") || is(".suspension")),
            suspend_timeout_duration: settings
                .suspend_timeout_duration
                .filter(|_| is(".suspend_timeout_duration") || is(".suspension")),
        };
        Some(only).filter(|only| *only != DefaultEndpointSettings::default())
    });
    let is = |name: &str| path == name;
    ProjectSpec {
        default_endpoint_settings: settings,
        budget_policy_id: spec
            .budget_policy_id
            .clone()
            .filter(|_| is("spec.budget_policy_id")),
        custom_tags: spec.custom_tags.clone().filter(|_| is("spec.custom_tags")),
        default_branch: spec.default_branch.clone().filter(|_| is("spec.default_branch")),
        display_name: spec.display_name.clone().filter(|_| is("spec.display_name")),
        enable_pg_native_login: spec
            .enable_pg_native_login
            .filter(|_| is("spec.enable_pg_native_login")),
        history_retention_duration: spec
            .history_retention_duration
            .filter(|_| is("spec.history_retention_duration")),
        pg_version: None,
    }
}

fn tags(spec: &ProjectSpec) -> Result<Option<String>, ApiError> {
    let text = spec.custom_tags.as_ref().map(serde_json::to_string).transpose();
    text.map_err(|error| ApiError::failed("write the tags", &error))
}

fn display_name(spec: &ProjectSpec) -> Result<Option<String>, ApiError> {
    match &spec.display_name {
        Some(name) if !(1..=256).contains(&name.chars().count()) => {
            Err(ApiError::invalid("display_name must have 1 to 256 characters"))
        }
        name => Ok(name.clone()),
    }
}

fn suspension(settings: &DefaultEndpointSettings) -> Result<Option<Suspension>, ApiError> {
    endpoint::suspension(&EndpointSpec {
        no_suspension: settings.no_suspension,
        suspend_timeout_duration: settings.suspend_timeout_duration,
        ..EndpointSpec::default()
    })
}

fn retention(spec: &ProjectSpec) -> Result<i64, ApiError> {
    let Some(retention) = spec.history_retention_duration else {
        return Ok(RETENTION_SECONDS);
    };
    if !(SHORTEST_RETENTION..=LONGEST_RETENTION).contains(&retention.0) {
        let text = "history_retention_duration must be between 172800s and 3024000s";
        return Err(ApiError::invalid(text));
    }
    Ok(i64::try_from(retention.0.as_secs()).unwrap_or(RETENTION_SECONDS))
}

#[cfg(test)]
pub(crate) mod tests {
    use lakebase_api::ProtoDuration;

    use super::*;

    pub(crate) fn record(id: &str, now: DateTime<Utc>) -> ProjectRecord {
        create(birth(id, now), &ProjectSpec::default()).unwrap()
    }

    fn birth(id: &str, now: DateTime<Utc>) -> Birth {
        Birth {
            name: ProjectName::new(id).unwrap(),
            uid: format!("uid-of-{id}"),
            owner: "jane@localhost".into(),
            pg_version: 17,
            now,
        }
    }

    #[test]
    fn a_project_gets_the_defaults_of_the_service() {
        let project = record("shop", DateTime::UNIX_EPOCH);
        assert_eq!(
            project.default_branch.as_str(),
            "projects/shop/branches/production"
        );
        assert_eq!(
            (project.retention_seconds, project.suspend_seconds),
            (604_800, Some(86_400))
        );
        assert_eq!(project.display_name, "shop");
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let seconds = |n| Some(ProtoDuration(Duration::from_secs(n)));
        let endpoints = |settings| ProjectSpec {
            default_endpoint_settings: Some(settings),
            ..ProjectSpec::default()
        };
        let wrong = [
            ProjectSpec {
                history_retention_duration: seconds(1),
                ..ProjectSpec::default()
            },
            ProjectSpec {
                display_name: Some(String::new()),
                ..ProjectSpec::default()
            },
            ProjectSpec {
                display_name: Some("x".repeat(257)),
                ..ProjectSpec::default()
            },
            endpoints(DefaultEndpointSettings {
                suspend_timeout_duration: seconds(1),
                ..Default::default()
            }),
            endpoints(DefaultEndpointSettings {
                autoscaling_limit_min_cu: Some(99.0),
                ..Default::default()
            }),
        ];
        for spec in wrong {
            assert!(
                create(birth("shop", DateTime::UNIX_EPOCH), &spec).is_err(),
                "{spec:?}"
            );
        }
    }

    #[test]
    fn ids_are_checked() {
        let text = "Field 'project_id' is required, expected non-default value (not \"\")!";
        assert_eq!(new_name(None).unwrap_err().message, text);
        assert!(new_name(Some("Shop")).is_err());
        assert_eq!(already_exists().status, 409);
    }
}
