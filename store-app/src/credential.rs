//! What it takes to reach the database, read from the daemon's message or from the environment. Values only: opens
//! nothing, waits for nothing.

use crate::config::Environment;
use chrono::{DateTime, Utc};
use lakebase_api::EndpointName;
use lakebase_proto::v1;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use utoipa::ToSchema;

/// A login to one database, and what is known of the branch behind it.
#[derive(Clone)]
pub struct Credential {
    /// Holds the password; its own `Debug` would show it, so this type writes its own.
    login: PgConnectOptions,
    /// Where the tables are; `None`: where PostgreSQL puts them.
    schema: Option<Schema>,
    /// The password once more, for the options do not tell theirs; `None` from the environment.
    password: Option<SecretString>,
    /// Resource name of the endpoint; `None` from the environment.
    pub endpoint: Option<String>,
    /// When no new connection can be made with the password any more; `None` when nobody said.
    pub expires_at: Option<DateTime<Utc>>,
    /// The branch that answers there; `None` when nobody said.
    pub branch: Option<Branch>,
}

/// The Lakebase branch behind a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The name in its project, as in `jane-main`.
    pub name: String,
    /// Tells apart two branches that bore the same name one after the other; empty when nobody said.
    pub uid: String,
    /// The name of the branch it was forked from.
    pub source: Option<String>,
    /// When the service deletes it unless its lease is renewed.
    pub expires_at: Option<DateTime<Utc>>,
    /// Who made it.
    pub ownership: Ownership,
}

/// Who made a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// The daemon did, and deletes it when its worktree is gone.
    Owned,
    /// It was there before.
    Adopted,
    /// Nobody said.
    None,
}

/// How to log in to an endpoint of the workspace.
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: SecretString,
    pub(crate) ssl_mode: PgSslMode,
    pub(crate) ssl_root_cert: Option<&'a Path>,
    pub(crate) schema: Option<&'a Schema>,
}

/// The name of a schema that needs no quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(String);

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Schema {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let known = name.len() < 64
            && !name.starts_with("pg_")
            && !name.starts_with(|first: char| first.is_ascii_digit());
        if name.is_empty() || !plain || !known {
            return Err(Malformed::Part("a schema is lower-case letters, digits and `_`"));
        }
        Ok(Self(name.to_owned()))
    }
}

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A part that must be there is not, or is not what it should be.
    #[error("cannot use credential: {0}")]
    Part(&'static str),
    /// `DATABASE_URL` is not a PostgreSQL URL.
    #[error("cannot read `DATABASE_URL`")]
    Url(#[source] sqlx::Error),
}

impl Credential {
    /// How to connect. Carries the password: never log it.
    pub fn login(&self) -> &PgConnectOptions {
        &self.login
    }

    /// A schema that must be there before there can be tables.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// The host name or address.
    pub fn host(&self) -> &str {
        self.login.get_host()
    }

    /// The PostgreSQL user.
    pub fn user(&self) -> &str {
        self.login.get_username()
    }

    /// Returns whether both lead to the same data, so that connections opened with one may serve the other.
    pub fn same_database(&self, other: &Self) -> bool {
        self.target() == other.target()
    }

    /// Returns whether both are the same login to the same data: the daemon repeats itself when it is asked again.
    pub fn same_login(&self, other: &Self) -> bool {
        let password = |credential: &Self| credential.password.as_ref().map(|p| p.expose_secret().to_owned());
        self.same_database(other) && self.user() == other.user() && password(self) == password(other)
    }

    fn target(&self) -> impl PartialEq + '_ {
        (
            self.login.get_host(),
            self.login.get_port(),
            self.login.get_database(),
            self.endpoint.as_deref(),
            self.branch.as_ref().map(|branch| branch.uid.as_str()),
        )
    }

    /// Puts together what a workspace said.
    pub(crate) fn of_endpoint(login: Login<'_>, endpoint: &EndpointName, expires_at: DateTime<Utc>) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(login.host)
            .port(login.port)
            .database(login.database)
            .username(login.user)
            .password(login.password.expose_secret())
            .ssl_mode(login.ssl_mode);
        if let Some(path) = login.ssl_root_cert {
            options = options.ssl_root_cert(path);
        }
        if let Some(schema) = login.schema {
            options = options.options([("search_path", schema)]);
        }
        Self {
            login: named(options),
            schema: login.schema.cloned(),
            password: Some(login.password),
            endpoint: Some(endpoint.to_string()),
            expires_at: Some(expires_at),
            branch: Some(Branch {
                name: endpoint.branch().id().to_owned(),
                uid: String::new(),
                source: None,
                expires_at: None,
                ownership: Ownership::None,
            }),
        }
    }

    /// Reads the environment's variables; `None` if they name no database.
    ///
    /// # Errors
    /// [`Malformed`] when they name one in a way that cannot be understood.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, Malformed> {
        let login = match &environment.database_url {
            Some(url) => url.expose_secret().parse().map_err(Malformed::Url)?,
            None if environment.host.is_none() && environment.database.is_none() => return Ok(None),
            None => login_of_variables(environment)?,
        };
        Ok(Some(Self {
            login: named(login),
            schema: None,
            password: None,
            endpoint: None,
            expires_at: None,
            branch: None,
        }))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("host", &self.host())
            .field("port", &self.login.get_port())
            .field("database", &self.login.get_database())
            .field("user", &self.user())
            .field("endpoint", &self.endpoint)
            .field("branch", &self.branch)
            .finish_non_exhaustive()
    }
}

impl TryFrom<v1::Credential> for Credential {
    type Error = Malformed;

    fn try_from(message: v1::Credential) -> Result<Self, Malformed> {
        let port = u16::try_from(message.port).ok().filter(|port| *port != 0);
        let filled = |text: &str, what| (!text.is_empty()).then_some(()).ok_or(Malformed::Part(what));
        filled(&message.host, "no host")?;
        filled(&message.database, "no database")?;
        filled(&message.user, "no user")?;
        let mode = ssl_mode(&message.sslmode, !message.ssl_root_cert.is_empty())?;
        let mut login = PgConnectOptions::new_without_pgpass()
            .host(&message.host)
            .port(port.ok_or(Malformed::Part("no such port"))?)
            .database(&message.database)
            .username(&message.user)
            .password(&message.password)
            .ssl_mode(mode);
        if !message.ssl_root_cert.is_empty() {
            login = login.ssl_root_cert(&message.ssl_root_cert);
        }
        Ok(Self {
            login: named(login),
            schema: None,
            password: Some(message.password.into()),
            endpoint: Some(message.endpoint).filter(|name| !name.is_empty()),
            expires_at: message
                .expire_time
                .and_then(|time| time_of(time.seconds, time.nanos)),
            branch: message.branch.map(Branch::from),
        })
    }
}

impl From<v1::Branch> for Branch {
    fn from(message: v1::Branch) -> Self {
        let ownership = match message.ownership() {
            v1::Ownership::Owned => Ownership::Owned,
            v1::Ownership::Adopted => Ownership::Adopted,
            v1::Ownership::Unspecified => Ownership::None,
        };
        Self {
            name: message.branch_id,
            uid: message.uid,
            source: last_segment(&message.source_branch).map(str::to_owned),
            expires_at: message
                .expire_time
                .and_then(|time| time_of(time.seconds, time.nanos)),
            ownership,
        }
    }
}

fn time_of(seconds: i64, nanos: i32) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, u32::try_from(nanos).ok()?)
}

/// Returns how to secure the connection. With a certificate authority at hand the server is always checked against it;
/// without one the connection is at least encrypted, unless the daemon says outright that there is nothing to encrypt.
fn ssl_mode(asked: &str, has_root_cert: bool) -> Result<PgSslMode, Malformed> {
    match (asked, has_root_cert) {
        ("verify-ca", _) => Ok(PgSslMode::VerifyCa),
        ("verify-full", _) | ("" | "disable" | "allow" | "prefer" | "require", true) => {
            Ok(PgSslMode::VerifyFull)
        }
        ("disable", false) => Ok(PgSslMode::Disable),
        ("" | "allow" | "prefer" | "require", false) => Ok(PgSslMode::Require),
        _ => Err(Malformed::Part("unknown sslmode")),
    }
}

/// The same for an endpoint of the workspace, to which a token is never sent in clear.
pub(crate) fn ssl_mode_of_workspace(
    asked: Option<&str>,
    has_root_cert: bool,
) -> Result<PgSslMode, Malformed> {
    match asked {
        Some("disable" | "allow" | "prefer") | None => ssl_mode("require", has_root_cert),
        Some(asked) => ssl_mode(asked, has_root_cert),
    }
}

fn login_of_variables(environment: &Environment) -> Result<PgConnectOptions, Malformed> {
    // Starts from what sqlx itself finds, as the password file and the name of the system's user.
    let mut login = PgConnectOptions::new();
    if let Some(host) = &environment.host {
        login = login.host(host);
    }
    if let Some(port) = &environment.port {
        let port = port.parse().map_err(|_| Malformed::Part("`PGPORT` is no port"))?;
        login = login.port(port);
    }
    if let Some(database) = &environment.database {
        login = login.database(database);
    }
    if let Some(user) = &environment.user {
        login = login.username(user);
    }
    if let Some(password) = &environment.password {
        login = login.password(password.expose_secret());
    }
    if let Some(mode) = &environment.sslmode {
        let mode = mode
            .parse()
            .map_err(|_| Malformed::Part("`PGSSLMODE` is no sslmode"))?;
        login = login.ssl_mode(mode);
    }
    if let Some(path) = &environment.ssl_root_cert {
        login = login.ssl_root_cert(path);
    }
    Ok(login)
}

/// Shows who is connected in `pg_stat_activity`.
fn named(login: PgConnectOptions) -> PgConnectOptions {
    login.application_name(env!("CARGO_PKG_NAME"))
}

fn last_segment(resource: &str) -> Option<&str> {
    resource.rsplit('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> v1::Credential {
        v1::Credential {
            host: "127.0.0.9".into(),
            port: 5432,
            database: "shop".into(),
            user: "jane@example.com".into(),
            password: "hunter2".into(),
            endpoint: "projects/p/branches/jane-main/endpoints/primary".into(),
            branch: Some(v1::Branch {
                branch_id: "jane-main".into(),
                uid: "br-1".into(),
                source_branch: "projects/p/branches/production".into(),
                ownership: v1::Ownership::Owned.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn read(message: v1::Credential) -> Credential {
        Credential::try_from(message).expect("readable")
    }

    #[test]
    fn the_password_does_not_show() {
        let shown = format!("{:?}", read(message()));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("jane-main"), "{shown}");
    }

    #[test]
    fn a_new_password_or_user_leads_to_the_same_data() {
        let (before, mut rotated) = (read(message()), message());
        rotated.password = "other".into();
        rotated.user = "joe@example.com".into();
        assert!(before.same_database(&read(rotated)));
    }

    #[test]
    fn only_another_password_or_user_is_another_login() {
        let first = read(message());
        let (mut password, mut user, mut later) = (message(), message(), message());
        password.password = "other".into();
        user.user = "joe@example.com".into();
        later.branch.as_mut().expect("set above").expire_time = Some(prost_types::Timestamp::default());
        assert!(first.same_login(&read(message())));
        assert!(first.same_login(&read(later)));
        assert!(!first.same_login(&read(password)));
        assert!(!first.same_login(&read(user)));
    }

    #[test]
    fn each_part_of_the_address_leads_elsewhere() {
        let changes: [fn(&mut v1::Credential); 5] = [
            |m| m.host = "127.0.0.10".into(),
            |m| m.port = 5433,
            |m| m.database = "other".into(),
            |m| m.endpoint = "projects/p/branches/b/endpoints/primary".into(),
            // Reset: same name, new data.
            |m| m.branch.as_mut().expect("set above").uid = "br-2".into(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut other = message();
            change(&mut other);
            assert!(!read(message()).same_database(&read(other)), "change {index}");
        }
    }

    #[test]
    fn the_branch_is_read_with_its_short_source() {
        let branch = read(message()).branch.expect("named");
        assert_eq!(branch.source.as_deref(), Some("production"));
        assert_eq!(branch.ownership, Ownership::Owned);
        assert_eq!(branch.expires_at, None);
    }

    #[test]
    fn a_message_without_an_address_is_refused() {
        let changes: [fn(&mut v1::Credential); 6] = [
            |m| m.host.clear(),
            |m| m.port = 0,
            |m| m.port = 65536,
            |m| m.database.clear(),
            |m| m.user.clear(),
            |m| m.sslmode = "verifyfull".into(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut broken = message();
            change(&mut broken);
            assert!(Credential::try_from(broken).is_err(), "change {index}");
        }
    }

    #[test]
    fn a_root_certificate_is_always_used_to_check_the_server() {
        let mode = |asked, root| format!("{:?}", ssl_mode(asked, root).expect("known"));
        for asked in ["", "disable", "allow", "prefer", "require", "verify-full"] {
            assert_eq!(mode(asked, true), "VerifyFull", "{asked}");
        }
        assert_eq!(mode("verify-ca", true), "VerifyCa");
        for asked in ["", "allow", "prefer", "require"] {
            assert_eq!(mode(asked, false), "Require", "{asked}");
        }
        assert_eq!(mode("verify-full", false), "VerifyFull");
        assert_eq!(mode("disable", false), "Disable");
    }

    #[test]
    fn a_schema_is_a_name_that_needs_no_quotes() {
        assert!("store_2".parse::<Schema>().is_ok());
        for wrong in [
            "",
            "Store",
            "a b",
            "2nd",
            "pg_mine",
            "a;b",
            "a\"",
            &"a".repeat(64),
        ] {
            assert!(wrong.parse::<Schema>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_environment_that_names_no_database_is_no_source() {
        let nothing = Environment {
            user: Some("jane".into()),
            ..Default::default()
        };
        assert!(matches!(Credential::from_environment(&nothing), Ok(None)));
    }

    #[test]
    fn the_url_wins_over_single_variables() {
        let both = Environment {
            database_url: Some("postgres://jane:pw@db.example:6000/shop".into()),
            host: Some("other.example".into()),
            ..Default::default()
        };
        let credential = Credential::from_environment(&both)
            .expect("readable")
            .expect("there");
        assert_eq!((credential.host(), credential.user()), ("db.example", "jane"));
        assert_eq!(credential.branch, None);
    }

    #[test]
    fn single_variables_are_read() {
        let single = Environment {
            host: Some("db.example".into()),
            port: Some("6000".into()),
            database: Some("shop".into()),
            user: Some("jane".into()),
            ..Default::default()
        };
        let credential = Credential::from_environment(&single)
            .expect("readable")
            .expect("there");
        let login = credential.login();
        assert_eq!((login.get_host(), login.get_port()), ("db.example", 6000));
        assert_eq!(
            (login.get_database(), login.get_username()),
            (Some("shop"), "jane")
        );
    }

    #[test]
    fn a_broken_environment_is_refused_without_showing_it() {
        for url in ["postgres://jane:hunter2@host:notaport/x", "hunter2"] {
            let broken = Environment {
                database_url: Some(url.into()),
                ..Default::default()
            };
            let error = anyhow::Error::from(Credential::from_environment(&broken).expect_err("refused"));
            assert!(!format!("{error:#}").contains("hunter2"), "{error:#}");
        }
    }
}
