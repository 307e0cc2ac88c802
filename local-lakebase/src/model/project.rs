//! The rules of projects.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lakebase_api::{BranchName, EndpointSpec, ProjectName, ProjectSpec};

use super::endpoint::{self, Suspension};
use super::record::{PRODUCTION, ProjectRecord};
use crate::error::ApiError;

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
    let display_name = spec
        .display_name
        .clone()
        .unwrap_or_else(|| birth.name.id().to_owned());
    if !(1..=256).contains(&display_name.chars().count()) {
        return Err(ApiError::invalid("display_name must have 1 to 256 characters"));
    }
    let settings = spec.default_endpoint_settings.clone().unwrap_or_default();
    let suspension = endpoint::suspension(&EndpointSpec {
        no_suspension: settings.no_suspension,
        suspend_timeout_duration: settings.suspend_timeout_duration,
        ..EndpointSpec::default()
    })?;
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
    use lakebase_api::{DefaultEndpointSettings, ProtoDuration};

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
