//! The rules of roles: what they are called, how they log in, and what of them can be changed.

use chrono::{DateTime, Utc};
use lakebase_api::{AuthMethod, IdentityType, MembershipRole, RoleAttributesSpec, RoleSpec};

use super::record::{Attributes, RoleRecord};
use super::{id, mask};
use crate::error::ApiError;

/// The fields of a role that a PATCH may name.
pub(crate) const MASK: &[&str] = &[
    MEMBERSHIP,
    "spec.attributes",
    "spec.attributes.createdb",
    "spec.attributes.createrole",
    "spec.attributes.bypassrls",
];

const MEMBERSHIP: &str = "spec.membership_roles";

/// The role that owns the default database, and its id.
pub(crate) const SUPERUSER: &str = "databricks_superuser";
pub(crate) const SUPERUSER_ID: &str = "databricks-superuser";

/// Roles of a branch.
const MOST: usize = 500;

/// PostgreSQL cuts longer names.
pub(crate) const LONGEST_NAME: usize = 63;

/// Names that PostgreSQL or the service keeps for itself.
const RESERVED: &[&str] = &["cloud_admin", "postgres", "public", "none", "current_user"];

/// What a new role needs besides what the caller says.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) branch_uid: String,
    pub(crate) password_nonce: String,
    pub(crate) now: DateTime<Utc>,
}

/// The roles that a project's first branch is born with.
pub(crate) fn born(
    branch_uid: &str,
    owner: &str,
    identity_type: IdentityType,
    now: DateTime<Utc>,
) -> [RoleRecord; 2] {
    let attributes = Attributes {
        createdb: true,
        createrole: true,
        bypassrls: true,
    };
    let role =
        |id: String, postgres_role: &str, identity_type, auth_method, is_superuser_member| RoleRecord {
            branch_uid: branch_uid.to_owned(),
            id,
            postgres_role: postgres_role.to_owned(),
            identity_type,
            auth_method,
            is_superuser_member,
            attributes,
            password_nonce: None,
            create_time: now,
            update_time: now,
        };
    let id = id::derive(owner, prefix(&identity_type), 1, |id| id == SUPERUSER_ID);
    let (nobody, no_login) = (IdentityType::Unspecified, AuthMethod::NoLogin);
    [
        role(SUPERUSER_ID.to_owned(), SUPERUSER, nobody, no_login, false),
        role(id, owner, identity_type, AuthMethod::LakebaseOauthV1, true),
    ]
}

/// Decides what a request to create a role comes to: a new one, or the one that is there with what may change of it.
pub(crate) fn create(
    roles: &[RoleRecord],
    birth: Birth,
    role_id: Option<&str>,
    spec: &RoleSpec,
    replace_existing: bool,
) -> Result<RoleRecord, ApiError> {
    let role_id = role_id.filter(|id| !id.is_empty()).map(id::role).transpose()?;
    let name = spec.postgres_role.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::required("role.spec.postgres_role"))?;
    let draft = draft(birth, role_id.unwrap_or_default(), name, spec)?;
    let same = |role: &&RoleRecord| role.id == draft.id || role.postgres_role == name;
    if let Some(existing) = roles.iter().find(same) {
        return replace(existing, &draft, spec, replace_existing);
    }
    check_name(name)?;
    if roles.len() >= MOST {
        return Err(ApiError::bad_request("roles limit exceeded"));
    }
    let id = if draft.id.is_empty() {
        let is_taken = |id: &str| roles.iter().any(|role| role.id == id);
        id::derive(name, prefix(&draft.identity_type), 1, is_taken)
    } else {
        draft.id.clone()
    };
    Ok(RoleRecord { id, ..draft })
}

/// Puts what the caller says, and what goes without saying, together.
fn draft(birth: Birth, id: String, name: &str, spec: &RoleSpec) -> Result<RoleRecord, ApiError> {
    let identity_type = spec.identity_type.clone().unwrap_or(IdentityType::Unspecified);
    let auth_method = auth_method(&identity_type, spec.auth_method.as_ref())?;
    let has_password = auth_method == AuthMethod::PgPasswordScramSha256;
    Ok(RoleRecord {
        branch_uid: birth.branch_uid,
        id,
        postgres_role: name.to_owned(),
        is_superuser_member: is_superuser_member(&spec.membership_roles)?,
        attributes: apply(Attributes::default(), spec.attributes.unwrap_or_default()),
        password_nonce: has_password.then_some(birth.password_nonce),
        identity_type,
        auth_method,
        create_time: birth.now,
        update_time: birth.now,
    })
}

/// A group cannot log in, whatever was asked; only somebody of the workspace gets tokens.
fn auth_method(identity: &IdentityType, asked: Option<&AuthMethod>) -> Result<AuthMethod, ApiError> {
    match (identity, asked) {
        (IdentityType::Unknown(other), _) => {
            Err(ApiError::invalid(format!("unknown identity_type '{other}'")))
        }
        (_, Some(AuthMethod::Unknown(other))) => {
            Err(ApiError::invalid(format!("unknown auth_method '{other}'")))
        }
        (IdentityType::Group, _) => Ok(AuthMethod::NoLogin),
        (IdentityType::Unspecified, Some(AuthMethod::LakebaseOauthV1)) => {
            let text = "auth_method LAKEBASE_OAUTH_V1 requires identity_type USER or SERVICE_PRINCIPAL";
            Err(ApiError::invalid(text))
        }
        (IdentityType::Unspecified, None) => Ok(AuthMethod::PgPasswordScramSha256),
        (IdentityType::User | IdentityType::ServicePrincipal, None) => Ok(AuthMethod::LakebaseOauthV1),
        (_, Some(asked)) => Ok(asked.clone()),
    }
}

/// Lets a create change the role that is there, if that was asked for and it is the same one. Its memberships become
/// those of the request, named or not; an attribute that is not named stays.
fn replace(
    existing: &RoleRecord,
    draft: &RoleRecord,
    spec: &RoleSpec,
    replace_existing: bool,
) -> Result<RoleRecord, ApiError> {
    let same_id = draft.id.is_empty() || draft.id == existing.id;
    if !replace_existing || !same_id || draft.postgres_role != existing.postgres_role {
        return Err(ApiError::bad_request("role with that name already exists"));
    }
    let other_login =
        draft.identity_type != existing.identity_type || draft.auth_method != existing.auth_method;
    if other_login && (spec.identity_type.is_some() || spec.auth_method.is_some()) {
        let text = "identity_type and auth_method of an existing role cannot be changed";
        return Err(ApiError::bad_request(text));
    }
    check_changeable(existing)?;
    Ok(RoleRecord {
        is_superuser_member: draft.is_superuser_member,
        attributes: apply(existing.attributes, spec.attributes.unwrap_or_default()),
        update_time: draft.update_time,
        ..existing.clone()
    })
}

/// Decides what a PATCH makes of a role. Clients cannot send an empty list, so a mask that names the memberships while
/// the body has none clears them.
pub(crate) fn update(
    existing: &RoleRecord,
    spec: &RoleSpec,
    mask: &[&str],
    now: DateTime<Utc>,
) -> Result<RoleRecord, ApiError> {
    check_changeable(existing)?;
    let mut role = existing.clone();
    for path in mask {
        if *path == MEMBERSHIP {
            role.is_superuser_member = is_superuser_member(&spec.membership_roles)?;
            continue;
        }
        let masked = only(path, spec.attributes.unwrap_or_default());
        mask::populated(path, masked != RoleAttributesSpec::default())?;
        role.attributes = apply(role.attributes, masked);
    }
    role.update_time = now;
    Ok(role)
}

/// Decides whether a role may be deleted; what it owns is PostgreSQL's affair.
pub(crate) fn delete(role: &RoleRecord, heir: Option<&RoleRecord>) -> Result<(), ApiError> {
    check_changeable(role)?;
    if heir.is_some_and(|heir| heir.id == role.id) {
        return Err(ApiError::invalid("reassign_owned_to must be another role"));
    }
    Ok(())
}

/// The role that the service itself relies on stays as it is.
fn check_changeable(role: &RoleRecord) -> Result<(), ApiError> {
    if role.postgres_role == SUPERUSER {
        let text = format!("role \"{SUPERUSER}\" is managed by the service and cannot be changed");
        return Err(ApiError::bad_request(text));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(ApiError::invalid(
            "postgres_role must be a PostgreSQL identifier of at most 63 bytes",
        ));
    }
    if name.starts_with("pg_") || RESERVED.contains(&name) {
        return Err(ApiError::invalid(format!("role name \"{name}\" is reserved")));
    }
    Ok(())
}

fn is_superuser_member(roles: &[MembershipRole]) -> Result<bool, ApiError> {
    let unknown = roles
        .iter()
        .find(|role| matches!(role, MembershipRole::Unknown(_)));
    match unknown {
        Some(role) => Err(ApiError::invalid(format!("unknown membership role '{role}'"))),
        None => Ok(!roles.is_empty()),
    }
}

fn apply(attributes: Attributes, spec: RoleAttributesSpec) -> Attributes {
    Attributes {
        createdb: spec.createdb.unwrap_or(attributes.createdb),
        createrole: spec.createrole.unwrap_or(attributes.createrole),
        bypassrls: spec.bypassrls.unwrap_or(attributes.bypassrls),
    }
}

/// The part of the attributes that one path of a mask is about.
fn only(path: &str, spec: RoleAttributesSpec) -> RoleAttributesSpec {
    let all = path == "spec.attributes";
    RoleAttributesSpec {
        createdb: spec
            .createdb
            .filter(|_| all || path == "spec.attributes.createdb"),
        createrole: spec
            .createrole
            .filter(|_| all || path == "spec.attributes.createrole"),
        bypassrls: spec
            .bypassrls
            .filter(|_| all || path == "spec.attributes.bypassrls"),
    }
}

/// What the id of a role begins with when its name cannot be the beginning of one.
fn prefix(identity_type: &IdentityType) -> &'static str {
    match identity_type {
        IdentityType::ServicePrincipal => "sp",
        IdentityType::User | IdentityType::Group | IdentityType::Unspecified | IdentityType::Unknown(_) => {
            "role"
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(json: serde_json::Value) -> RoleSpec {
        serde_json::from_value(json).unwrap()
    }

    fn birth() -> Birth {
        Birth {
            branch_uid: "br-1".into(),
            password_nonce: "nonce".into(),
            now: DateTime::UNIX_EPOCH,
        }
    }

    fn made(json: serde_json::Value) -> RoleRecord {
        create(&[], birth(), None, &spec(json), false).unwrap()
    }

    #[test]
    fn the_way_in_follows_from_who_it_is() {
        let plain = made(json!({"postgres_role": "app"}));
        assert_eq!(plain.auth_method, AuthMethod::PgPasswordScramSha256);
        assert_eq!(plain.identity_type, IdentityType::Unspecified);
        assert!(plain.password_nonce.is_some());
        let person = made(json!({"postgres_role": "a@b.c", "identity_type": "USER"}));
        assert_eq!(person.auth_method, AuthMethod::LakebaseOauthV1);
        assert_eq!((person.password_nonce, &*person.id), (None, "a-b-c"));
        let group =
            json!({"postgres_role": "ops", "identity_type": "GROUP", "auth_method": "LAKEBASE_OAUTH_V1"});
        assert_eq!(made(group).auth_method, AuthMethod::NoLogin);
        let quiet = made(json!({"postgres_role": "q", "auth_method": "NO_LOGIN"}));
        assert_eq!(
            (quiet.auth_method, quiet.password_nonce),
            (AuthMethod::NoLogin, None)
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong = [
            json!({}),
            json!({"postgres_role": "pg_mine"}),
            json!({"postgres_role": "cloud_admin"}),
            json!({"postgres_role": "x".repeat(64)}),
            json!({"postgres_role": "a", "identity_type": "MARTIAN"}),
            json!({"postgres_role": "a", "auth_method": "NONE"}),
            json!({"postgres_role": "a", "auth_method": "LAKEBASE_OAUTH_V1"}),
            json!({"postgres_role": "a", "membership_roles": ["ROOT"]}),
        ];
        for json in wrong {
            let refused = create(&[], birth(), None, &spec(json.clone()), false).unwrap_err();
            assert_eq!(refused.code, "INVALID_PARAMETER_VALUE", "{json}");
        }
    }

    #[test]
    fn a_name_is_taken_under_either_name_and_replacing_overwrites_memberships() {
        let app = made(
            json!({"postgres_role": "app", "membership_roles": ["DATABRICKS_SUPERUSER"],
            "attributes": {"createdb": true}}),
        );
        let roles = [app.clone()];
        let again = |id, json, replace| create(&roles, birth(), id, &spec(json), replace);
        for (id, json) in [
            (None, json!({"postgres_role": "app"})),
            (Some("app"), json!({"postgres_role": "other"})),
            (Some("other"), json!({"postgres_role": "app"})),
        ] {
            let refused = again(id, json, false).unwrap_err();
            assert_eq!(refused.message, "role with that name already exists");
            assert_eq!((refused.status, refused.code), (400, "BAD_REQUEST"));
        }
        let replaced = again(Some("app"), json!({"postgres_role": "app"}), true).unwrap();
        assert!(!replaced.is_superuser_member && replaced.attributes.createdb);
        assert!(again(Some("other"), json!({"postgres_role": "app"}), true).is_err());
        let other_login = json!({"postgres_role": "app", "auth_method": "NO_LOGIN"});
        assert!(again(None, other_login, true).is_err());
    }

    #[test]
    fn a_mask_reaches_its_leaf_and_an_absent_list_is_an_empty_one() {
        let app = made(
            json!({"postgres_role": "app", "membership_roles": ["DATABRICKS_SUPERUSER"],
            "attributes": {"createdb": true, "bypassrls": true}}),
        );
        let body = spec(json!({"attributes": {"createdb": false, "createrole": true}}));
        let mask = mask::parse(Some("spec.attributes.createdb"), MASK).unwrap();
        let changed = update(&app, &body, &mask, DateTime::UNIX_EPOCH).unwrap();
        let attributes = Attributes {
            bypassrls: true,
            ..Attributes::default()
        };
        assert_eq!(
            (changed.attributes, changed.is_superuser_member),
            (attributes, true)
        );
        let mask = mask::parse(Some("spec.membershipRoles"), MASK).unwrap();
        let cleared = update(&app, &RoleSpec::default(), &mask, DateTime::UNIX_EPOCH).unwrap();
        assert!(!cleared.is_superuser_member && cleared.attributes == app.attributes);
        let mask = mask::parse(Some("spec.attributes.createdb"), MASK).unwrap();
        assert!(update(&app, &RoleSpec::default(), &mask, DateTime::UNIX_EPOCH).is_err());
        for path in ["spec.postgres_role", "spec.authMethod", "spec.identity_type"] {
            assert!(mask::parse(Some(path), MASK).is_err(), "{path}");
        }
    }
}
