//! The rules of endpoints: one that reads and writes per branch, what of it can be changed, and within which bounds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lakebase_api::{EndpointSpec, EndpointType};

use super::mask;
use super::record::EndpointRecord;
use crate::error::ApiError;

/// The fields of an endpoint that a PATCH may name.
pub(crate) const MASK: &[&str] = &[
    "spec.suspension",
    "spec.suspend_timeout_duration",
    "spec.no_suspension",
    "spec.disabled",
    "spec.autoscaling_limit_min_cu",
    "spec.autoscaling_limit_max_cu",
];

const SHORTEST_SUSPEND: Duration = Duration::from_mins(1);
const LONGEST_SUSPEND: Duration = Duration::from_hours(7 * 24);

/// Decides what a request to create an endpoint comes to: every branch has the one it can have, so at best that one
/// is changed in place.
pub(crate) fn create(
    existing: &EndpointRecord,
    id: Option<&str>,
    spec: &EndpointSpec,
    replace_existing: bool,
    now: DateTime<Utc>,
) -> Result<EndpointRecord, ApiError> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::required("endpoint_id"))?;
    match &spec.endpoint_type {
        Some(EndpointType::ReadWrite) if replace_existing && id == existing.name.id() => Ok(EndpointRecord {
            update_time: now,
            ..born(existing, spec)?
        }),
        Some(EndpointType::ReadWrite) => Err(ApiError::bad_request("read_write endpoint already exists")),
        Some(EndpointType::ReadOnly) => Err(ApiError::not_implemented(
            "Local Lakebase has no read-only endpoints",
        )),
        Some(EndpointType::Unknown(other)) => {
            Err(ApiError::invalid(format!("unknown endpoint_type '{other}'")))
        }
        None => Err(ApiError::required("endpoint.spec.endpoint_type")),
    }
}

/// Decides what the endpoint that a project is born with is like.
pub(crate) fn born(draft: &EndpointRecord, spec: &EndpointSpec) -> Result<EndpointRecord, ApiError> {
    let set = MASK.iter().copied().filter(|path| *path != "spec.suspension");
    let set: Vec<_> = set
        .filter(|path| only(path, spec) != EndpointSpec::default())
        .collect();
    update(draft, spec, &set, draft.create_time)
}

/// Decides what a PATCH makes of an endpoint.
pub(crate) fn update(
    existing: &EndpointRecord,
    spec: &EndpointSpec,
    mask: &[&str],
    now: DateTime<Utc>,
) -> Result<EndpointRecord, ApiError> {
    let mut endpoint = existing.clone();
    for path in mask {
        let masked = only(path, spec);
        mask::populated(path, masked != EndpointSpec::default())?;
        if let Some(suspension) = suspension(&masked)? {
            endpoint.suspend_seconds = suspension.seconds();
        }
        endpoint.disabled = masked.disabled.unwrap_or(endpoint.disabled);
        endpoint.min_cu = masked.autoscaling_limit_min_cu.unwrap_or(endpoint.min_cu);
        endpoint.max_cu = masked.autoscaling_limit_max_cu.unwrap_or(endpoint.max_cu);
    }
    check_units(endpoint.min_cu, endpoint.max_cu)?;
    endpoint.update_time = now;
    Ok(endpoint)
}

/// The read-write endpoint goes only with its branch.
pub(crate) fn delete(endpoint: &EndpointRecord) -> ApiError {
    ApiError::bad_request(format!(
        "Cannot delete read-write endpoint '{}'. Read-write endpoints cannot be deleted.",
        endpoint.name
    ))
    .managed_by_parent()
}

/// When an idle compute is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspension {
    Never,
    After(Duration),
}

impl Suspension {
    /// Returns the seconds as they are remembered; none means never.
    pub(crate) fn seconds(self) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::After(timeout) => i64::try_from(timeout.as_secs()).ok(),
        }
    }
}

/// Reads when an idle compute is suspended; none if the spec says nothing.
pub(crate) fn suspension(spec: &EndpointSpec) -> Result<Option<Suspension>, ApiError> {
    match (spec.suspend_timeout_duration, spec.no_suspension) {
        (None, None) => Ok(None),
        (None, Some(true)) => Ok(Some(Suspension::Never)),
        (Some(timeout), None) if (SHORTEST_SUSPEND..=LONGEST_SUSPEND).contains(&timeout.0) => {
            Ok(Some(Suspension::After(timeout.0)))
        }
        (Some(_), None) => {
            let text = "suspend_timeout_duration must be between 60s and 604800s";
            Err(ApiError::invalid(text))
        }
        (None, Some(false)) => Err(ApiError::invalid("no_suspension must be true if it is set")),
        (Some(_), Some(_)) => {
            let text = "Only one of suspend_timeout_duration and no_suspension can be specified";
            Err(ApiError::invalid(text))
        }
    }
}

/// Checks compute units. They size nothing here, but what the service refuses is refused.
pub(crate) fn check_units(min: f64, max: f64) -> Result<(), ApiError> {
    let sizes = 0.5..=64.0;
    if !sizes.contains(&min) || !sizes.contains(&max) {
        return Err(ApiError::invalid(
            "autoscaling limits must be between 0.5 and 64 CU",
        ));
    }
    if min > max || max - min > 16.0 {
        let text = "autoscaling_limit_max_cu must be 0 to 16 CU above autoscaling_limit_min_cu";
        return Err(ApiError::invalid(text));
    }
    Ok(())
}

/// The part of a spec that one path of a mask is about.
fn only(path: &str, spec: &EndpointSpec) -> EndpointSpec {
    let all = path == "spec.suspension";
    EndpointSpec {
        suspend_timeout_duration: spec
            .suspend_timeout_duration
            .filter(|_| all || path == "spec.suspend_timeout_duration"),
        no_suspension: spec.no_suspension.filter(|_| all || path == "spec.no_suspension"),
        disabled: spec.disabled.filter(|_| path == "spec.disabled"),
        autoscaling_limit_min_cu: spec
            .autoscaling_limit_min_cu
            .filter(|_| path == "spec.autoscaling_limit_min_cu"),
        autoscaling_limit_max_cu: spec
            .autoscaling_limit_max_cu
            .filter(|_| path == "spec.autoscaling_limit_max_cu"),
        endpoint_type: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use lakebase_api::{EndpointName, ProtoDuration};

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-08-01T10:00:00Z".parse().unwrap()
    }

    pub(crate) fn record(name: &str, now: DateTime<Utc>) -> EndpointRecord {
        let name: EndpointName = name.parse().unwrap();
        EndpointRecord {
            uid: format!("ep-of-{}", name.branch().id()),
            branch_uid: format!("br-{}", name.branch().id()),
            name,
            address: None,
            disabled: false,
            suspend_seconds: Some(86_400),
            min_cu: 1.0,
            max_cu: 1.0,
            create_time: now,
            update_time: now,
        }
    }

    fn primary() -> EndpointRecord {
        record("projects/shop/branches/dev/endpoints/primary", now())
    }

    fn suspend(seconds: u64) -> EndpointSpec {
        let timeout = Some(ProtoDuration(Duration::from_secs(seconds)));
        EndpointSpec {
            suspend_timeout_duration: timeout,
            ..EndpointSpec::default()
        }
    }

    fn of_type(endpoint_type: EndpointType) -> EndpointSpec {
        EndpointSpec {
            endpoint_type: Some(endpoint_type),
            ..EndpointSpec::default()
        }
    }

    #[test]
    fn suspension_changes_by_the_name_of_the_choice_or_of_the_field() {
        for path in ["spec.suspension", "spec.suspend_timeout_duration"] {
            let changed = update(&primary(), &suspend(60), &[path], now()).unwrap();
            assert_eq!(changed.suspend_seconds, Some(60));
        }
        let never = EndpointSpec {
            no_suspension: Some(true),
            ..EndpointSpec::default()
        };
        let changed = update(&primary(), &never, &["spec.suspension"], now()).unwrap();
        assert_eq!(changed.suspend_seconds, None);
    }

    #[test]
    fn suspension_has_bounds() {
        for seconds in [0, 59, 604_801] {
            let error = update(&primary(), &suspend(seconds), &["spec.suspension"], now()).unwrap_err();
            assert_eq!(
                error.message,
                "suspend_timeout_duration must be between 60s and 604800s"
            );
        }
        let both = EndpointSpec {
            no_suspension: Some(true),
            ..suspend(60)
        };
        assert!(update(&primary(), &both, &["spec.suspension"], now()).is_err());
        let one = update(&primary(), &both, &["spec.no_suspension"], now()).unwrap();
        assert_eq!(one.suspend_seconds, None);
    }

    #[test]
    fn a_masked_field_must_be_in_the_body() {
        let error = update(&primary(), &suspend(60), &["spec.disabled"], now()).unwrap_err();
        let text = "Field 'spec.disabled' is named in update_mask but not set in the request body";
        assert_eq!(error.message, text);
    }

    #[test]
    fn units_have_bounds() {
        assert!(check_units(0.5, 16.5).is_ok());
        for (min, max) in [(0.25, 1.0), (1.0, 65.0), (2.0, 1.0), (1.0, 18.0), (f64::NAN, 1.0)] {
            assert!(check_units(min, max).is_err(), "{min} {max}");
        }
    }

    #[test]
    fn a_branch_has_one_endpoint_that_writes() {
        let read_write = of_type(EndpointType::ReadWrite);
        for (id, replace) in [("primary", false), ("second", false), ("second", true)] {
            let error = create(&primary(), Some(id), &read_write, replace, now()).unwrap_err();
            assert_eq!(error.message, "read_write endpoint already exists");
            assert_eq!((error.status, error.code), (400, "BAD_REQUEST"));
        }
        let spec = EndpointSpec {
            endpoint_type: Some(EndpointType::ReadWrite),
            ..suspend(120)
        };
        let replaced = create(&primary(), Some("primary"), &spec, true, now()).unwrap();
        assert_eq!(replaced.suspend_seconds, Some(120));
        let error = create(&primary(), None, &read_write, false, now()).unwrap_err();
        let text = "Field 'endpoint_id' is required, expected non-default value (not \"\")!";
        assert_eq!(error.message, text);
        let error = create(
            &primary(),
            Some("r"),
            &of_type(EndpointType::ReadOnly),
            false,
            now(),
        );
        assert_eq!(error.unwrap_err().status, 501);
    }

    #[test]
    fn the_read_write_endpoint_stays() {
        let error = delete(&primary());
        let text = "Cannot delete read-write endpoint 'projects/shop/branches/dev/endpoints/primary'. \
                    Read-write endpoints cannot be deleted.";
        assert_eq!(error.message, text);
        assert_eq!(
            error.details[0]["metadata"]["declarative_context"],
            "MANAGED_BY_PARENT"
        );
    }
}
