//! Roles of a branch. The id in the name is not the name PostgreSQL knows; that is `status.postgres_role`.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name::{BranchName, RoleName};
use super::wire_enum::wire_enum;

wire_enum! {
    /// Whom of the workspace a role belongs to.
    IdentityType {
        /// A person; the role is named after their e-mail address.
        User = "USER",
        /// A service principal; the role is named after its application id.
        ServicePrincipal = "SERVICE_PRINCIPAL",
        /// A group; the role is named after it.
        Group = "GROUP",
        /// Nobody: a role of PostgreSQL only.
        Unspecified = "IDENTITY_TYPE_UNSPECIFIED",
    }
}

wire_enum! {
    /// How a role shows that it is itself.
    AuthMethod {
        /// With the token of a credential.
        LakebaseOauthV1 = "LAKEBASE_OAUTH_V1",
        /// With a password that the service made.
        PgPasswordScramSha256 = "PG_PASSWORD_SCRAM_SHA_256",
        /// Not at all.
        NoLogin = "NO_LOGIN",
    }
}

wire_enum! {
    /// A role of the service that others can be members of.
    MembershipRole {
        /// May do nearly everything in the branch.
        DatabricksSuperuser = "DATABRICKS_SUPERUSER",
    }
}

/// A role, as the service answers it ("roles: get").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// `projects/{p}/branches/{b}/roles/{r}`.
    pub name: RoleName,
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// The branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BranchName>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<DateTime<Utc>>,
    /// Everything that can be read about it.
    #[serde(default)]
    pub status: RoleStatus,
}

/// What can be read about a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleStatus {
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// The name PostgreSQL knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_role: Option<String>,
    /// Whom it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_type: Option<IdentityType>,
    /// How it logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,
    /// What it is a member of; missing on the wire when there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub membership_roles: Vec<MembershipRole>,
    /// What it may do beside.
    #[serde(default)]
    pub attributes: RoleAttributes,
}

/// What a role may do, as it is read: all three are always said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAttributes {
    /// Whether it passes row-level security.
    #[serde(default)]
    pub bypassrls: bool,
    /// Whether it makes databases.
    #[serde(default)]
    pub createdb: bool,
    /// Whether it makes roles.
    #[serde(default)]
    pub createrole: bool,
}

/// What a caller sets on a role ("roles: create", "roles: update").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSpec {
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<RoleAttributesSpec>,
    /// How it is to log in; by default what suits its identity type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,
    /// Whom it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_type: Option<IdentityType>,
    /// What it is to be a member of. Clients leave an empty list out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub membership_roles: Vec<MembershipRole>,
    /// The name PostgreSQL is to know; required on create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_role: Option<String>,
}

/// What a caller says about a role's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAttributesSpec {
    /// Whether it passes row-level security.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypassrls: Option<bool>,
    /// Whether it makes databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub createdb: Option<bool>,
    /// Whether it makes roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub createrole: Option<bool>,
}

/// One page of "roles: list".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolePage {
    /// The roles of this page; missing on the wire when there are none.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// What to ask for next; missing or empty on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// The password of a role ("roles: password").
///
/// Serialising writes it in clear: that is what the server side of the API is for, and nothing else may do it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolePassword {
    /// The password, which does not expire.
    #[serde(serialize_with = "write_password", deserialize_with = "read_password")]
    pub password: SecretString,
}

fn write_password<S: Serializer>(password: &SecretString, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(password.expose_secret())
}

fn read_password<'de, D: Deserializer<'de>>(input: D) -> Result<SecretString, D::Error> {
    String::deserialize(input).map(SecretString::from)
}
