//! What is remembered, as the API shows it. A status is shown and a spec never.

use std::collections::BTreeMap;
use std::time::Duration;

use lakebase_api::{
    Branch, BranchName, BranchState, BranchStatus, Database, DatabaseName, DatabaseStatus,
    DefaultEndpointSettings, Endpoint, EndpointGroup, EndpointHosts, EndpointState, EndpointStatus,
    EndpointType, MembershipRole, Project, ProjectStatus, ProtoDuration, Role, RoleName, RoleStatus,
};

use super::record::{BranchRecord, DatabaseRecord, EndpointRecord, Phase, ProjectRecord, RoleRecord};
use crate::engine::Sizes;
use crate::error::ApiError;

/// What the engine, rather than the catalog, knows of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Whether the compute runs.
    pub(crate) awake: bool,
    /// The port everybody shares, for an endpoint that has no address of its own.
    pub(crate) shared_port: Option<u16>,
}

pub(crate) fn project(record: &ProjectRecord) -> Project {
    Project {
        name: record.name.clone(),
        project_id: Some(record.name.id().to_owned()),
        uid: Some(record.uid.clone()),
        create_time: Some(record.create_time),
        update_time: Some(record.update_time),
        delete_time: record.delete_time,
        purge_time: record.purge_time,
        status: ProjectStatus {
            // Written by ourselves; a project is shown even if they cannot be read.
            custom_tags: serde_json::from_str(&record.custom_tags).unwrap_or_default(),
            budget_policy_id: record.budget_policy_id.clone(),
            project_id: Some(record.name.id().to_owned()),
            display_name: Some(record.display_name.clone()),
            owner: Some(record.owner.clone()),
            pg_version: Some(record.pg_version),
            default_branch: Some(record.default_branch.clone()),
            history_retention_duration: Some(seconds(record.retention_seconds)),
            default_endpoint_settings: Some(DefaultEndpointSettings {
                autoscaling_limit_max_cu: Some(record.max_cu),
                autoscaling_limit_min_cu: Some(record.min_cu),
                no_suspension: record.suspend_seconds.is_none().then_some(true),
                suspend_timeout_duration: record.suspend_seconds.map(seconds),
            }),
            enable_pg_native_login: Some(record.enable_pg_native_login),
            branch_logical_size_limit_bytes: Some(8 << 40),
            synthetic_storage_size_bytes: Some(0),
        },
    }
}

/// What is on the disk of a branch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnDisk {
    pub(crate) has_data: bool,
    /// None until they were measured.
    pub(crate) sizes: Option<Sizes>,
}

pub(crate) fn branch(record: &BranchRecord, default: &BranchName, disk: OnDisk) -> Branch {
    let id = Some(record.name.id().to_owned());
    Branch {
        name: record.name.clone(),
        branch_id: id.clone(),
        uid: Some(record.uid.clone()),
        parent: Some(record.name.project()),
        create_time: Some(record.create_time),
        update_time: Some(record.update_time),
        status: BranchStatus {
            branch_id: id,
            current_state: Some(state(record.phase, disk.has_data)),
            pending_state: None,
            default: record.name == *default,
            is_protected: record.is_protected,
            source_branch: record.source_name.as_ref().and_then(|name| name.parse().ok()),
            source_branch_lsn: record.source_lsn.clone(),
            source_branch_time: record.source_time,
            expire_time: record.expire_time,
            logical_size_bytes: disk.sizes.and_then(|sizes| i64::try_from(sizes.logical).ok()),
            own_size_bytes: disk.sizes.map(|sizes| sizes.own),
            state_change_time: Some(record.state_change_time),
            delete_time: record.delete_time,
            purge_time: record.purge_time,
        },
    }
}

fn state(phase: Phase, has_data: bool) -> BranchState {
    match phase {
        Phase::Creating => BranchState::Init,
        Phase::Ready if has_data => BranchState::Ready,
        Phase::Ready => BranchState::DataMissing,
        Phase::Deleted => BranchState::Deleted,
    }
}

pub(crate) fn endpoint(record: &EndpointRecord, seen: Seen) -> Endpoint {
    let id = Some(record.name.id().to_owned());
    Endpoint {
        name: record.name.clone(),
        endpoint_id: id.clone(),
        parent: Some(record.name.branch()),
        uid: Some(record.uid.clone()),
        create_time: Some(record.create_time),
        update_time: Some(record.update_time),
        status: EndpointStatus {
            endpoint_id: id,
            endpoint_type: Some(EndpointType::ReadWrite),
            current_state: Some(if seen.awake {
                EndpointState::Active
            } else {
                EndpointState::Idle
            }),
            pending_state: None,
            disabled: record.disabled,
            autoscaling_limit_min_cu: Some(record.min_cu),
            autoscaling_limit_max_cu: Some(record.max_cu),
            suspend_timeout_duration: record.suspend_seconds.map(seconds),
            settings: BTreeMap::new(),
            group: Some(EndpointGroup {
                min: 1,
                max: 1,
                enable_readable_secondaries: false,
            }),
            hosts: hosts(record, seen.shared_port),
        },
    }
}

fn hosts(record: &EndpointRecord, shared_port: Option<u16>) -> EndpointHosts {
    let (host, port) = match record.own_address() {
        Some(address) => (Some(address.to_string()), None),
        None => (shared_port.map(|_| "127.0.0.1".to_owned()), shared_port),
    };
    EndpointHosts {
        host,
        port,
        ..EndpointHosts::default()
    }
}

/// A database of a branch, whose name a row does not hold.
pub(crate) fn database(branch: &BranchName, record: &DatabaseRecord) -> Result<Database, ApiError> {
    let name = DatabaseName::new(branch, &record.id);
    Ok(Database {
        name: name.map_err(|error| ApiError::failed("show a database", &error))?,
        database_id: Some(record.id.clone()),
        parent: Some(branch.clone()),
        create_time: Some(record.create_time),
        update_time: Some(record.update_time),
        status: DatabaseStatus {
            database_id: Some(record.id.clone()),
            postgres_database: Some(record.postgres_database.clone()),
            role: Some(format!("{branch}/roles/{}", record.role_id)),
        },
    })
}

/// A role of a branch, whose name a row does not hold.
pub(crate) fn role(branch: &BranchName, record: &RoleRecord) -> Result<Role, ApiError> {
    let name = RoleName::new(branch, &record.id);
    let memberships = record
        .is_superuser_member
        .then_some(MembershipRole::DatabricksSuperuser);
    Ok(Role {
        name: name.map_err(|error| ApiError::failed("show a role", &error))?,
        role_id: Some(record.id.clone()),
        parent: Some(branch.clone()),
        create_time: Some(record.create_time),
        update_time: Some(record.update_time),
        status: RoleStatus {
            role_id: Some(record.id.clone()),
            postgres_role: Some(record.postgres_role.clone()),
            identity_type: Some(record.identity_type.clone()),
            auth_method: Some(record.auth_method.clone()),
            membership_roles: memberships.into_iter().collect(),
            attributes: record.attributes.into(),
        },
    })
}

fn seconds(seconds: i64) -> ProtoDuration {
    ProtoDuration(Duration::from_secs(seconds.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::model::endpoint::tests as endpoints;

    #[test]
    fn a_branch_shows_its_false_booleans_and_no_spec() {
        let now = DateTime::parse_from_rfc3339("2026-08-01T10:00:00Z")
            .unwrap()
            .to_utc();
        let name: BranchName = "projects/shop/branches/dev".parse().unwrap();
        let record = BranchRecord {
            phase: Phase::Ready,
            source_uid: Some("br-x".into()),
            source_name: Some("projects/shop/branches/production".into()),
            source_lsn: Some("0/1A2B3C8".into()),
            source_time: Some(now),
            ..BranchRecord::new(name, "br-quiet-moon-d2x8y1zz".into(), now)
        };
        let production = "projects/shop/branches/production".parse().unwrap();
        let disk = OnDisk {
            has_data: true,
            sizes: Some(Sizes { logical: 7, own: 3 }),
        };
        let shown = serde_json::to_value(branch(&record, &production, disk)).unwrap();
        let time = "2026-08-01T10:00:00Z";
        let expected = json!({
            "name": "projects/shop/branches/dev", "branch_id": "dev", "parent": "projects/shop",
            "uid": "br-quiet-moon-d2x8y1zz", "create_time": time, "update_time": time,
            "status": {
                "branch_id": "dev", "current_state": "READY", "default": false, "is_protected": false,
                "source_branch": "projects/shop/branches/production", "source_branch_lsn": "0/1A2B3C8",
                "source_branch_time": time, "logical_size_bytes": 7, "own_size_bytes": 3, "state_change_time": time,
            },
        });
        assert_eq!(shown, expected);
        let disk = OnDisk {
            has_data: false,
            sizes: None,
        };
        let shown = branch(&record, &production, disk);
        assert_eq!(shown.status.current_state, Some(BranchState::DataMissing));
    }

    #[test]
    fn an_endpoint_shows_its_own_address_or_the_shared_port() {
        let mut record = endpoints::record(
            "projects/shop/branches/dev/endpoints/primary",
            DateTime::UNIX_EPOCH,
        );
        let seen = Seen {
            awake: false,
            shared_port: Some(40_000),
        };
        let shown = endpoint(&record, seen);
        assert_eq!(shown.status.hosts.host.as_deref(), Some("127.0.0.1"));
        assert_eq!(shown.status.hosts.port(), 40_000);
        assert_eq!(shown.status.current_state, Some(EndpointState::Idle));
        record.address = Some("127.80.1.2".into());
        let shown = endpoint(&record, Seen { awake: true, ..seen });
        assert_eq!(shown.status.hosts.host.as_deref(), Some("127.80.1.2"));
        assert_eq!(shown.status.hosts.port(), 5432);
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json["status"]["hosts"], json!({"host": "127.80.1.2"}));
        assert_eq!(json["status"]["disabled"], json!(false));
    }
}
