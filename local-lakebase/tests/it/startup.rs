//! Startup packets that are made to become another user, and those of drivers, against a real compute.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::lake::{Lake, USER, until};
use crate::wire::{NoSession, ServerError, Session, Wire, socket_of, startup, startup_of};

/// The superuser of every compute.
const OWNER: &str = "cloud_admin";

/// The request of a server for SASL, which SCRAM is.
const SASL: u32 = 10;

/// Parameters of libpq that are no settings of a server.
const LIBPQ_ONLY: &str = "channel_binding connect_timeout fallback_application_name gssdelegation gssencmode gsslib \
    host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts \
    max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer oauth_scope passfile \
    password require_auth requirepeer scram_client_key scram_server_key service servicefile sslcert sslcertmode \
    sslcompression sslcrl sslcrldir sslkey sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni \
    target_session_attrs";

/// The production branch of a project, with a running compute and a password that opens it.
struct Place {
    lake: Lake,
    password: String,
    pgdata: PathBuf,
    socket: PathBuf,
}

impl Place {
    async fn start() -> Self {
        let lake = Lake::start().await;
        let spec = json!({"spec": {"display_name": "Shop", "enable_pg_native_login": true}});
        lake.ok("POST", "projects?project_id=shop", spec).await;
        lake.sql("production", "SELECT 1").await;
        let branch = "projects/shop/branches/production";
        let branch = lake.ok("GET", branch, Value::Null).await;
        let uid = branch["uid"].as_str().unwrap();
        let project = lake.local.data_dir().join("projects/shop");
        Self {
            password: lake.password("production").await,
            pgdata: project.join(uid).join("pgdata"),
            socket: socket_of(&lake, uid),
            lake,
        }
    }

    /// Sends a packet through the listener.
    async fn log_in(&self, packet: &[u8]) -> Result<Session, NoSession> {
        let wire = Wire::to(&self.lake, "production").await;
        wire.log_in(packet, &self.password).await
    }

    /// Sends a packet through the listener, which must refuse it.
    async fn refusal(&self, packet: &[u8]) -> ServerError {
        match self.log_in(packet).await {
            Err(NoSession::Refused(error)) => error,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(packet)),
        }
    }

    /// Sends a packet to the compute, past the listener.
    async fn log_in_directly(&self, parameters: &str) -> Result<Session, NoSession> {
        let wire = Wire::past_the_listener(&self.socket).await;
        wire.log_in(&startup(parameters), "").await
    }

    /// Changes how the compute authenticates users, from one of its next logins on.
    fn set_hba(&self, line: &str) {
        std::fs::write(self.pgdata.join("pg_hba.conf"), format!("{line}\n")).unwrap();
        let pid = std::fs::read_to_string(self.pgdata.join("postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        let reloaded = Command::new("kill").args(["-HUP", pid]).status();
        assert!(reloaded.unwrap().success());
    }

    /// Opens a session of the superuser, even if the compute would ask for a password.
    async fn owner(&self) -> Session {
        self.set_hba("local all all trust");
        let parameters = format!("user={OWNER};database=postgres");
        until("the compute trusts its superuser", || async {
            self.log_in_directly(&parameters).await.is_ok()
        })
        .await;
        self.log_in_directly(&parameters).await.unwrap()
    }
}

/// Parameters of an ordinary login, and more.
fn login(more: &str) -> String {
    let login = format!("user={USER};database=databricks_postgres");
    let more = Some(more).filter(|more| !more.is_empty());
    more.map_or(login.clone(), |more| format!("{login};{more}"))
}

/// Checks that a session is the user's and has no rights of a superuser.
async fn assert_ordinary(session: &mut Session, what: &str) {
    assert_eq!(session.setting("session_authorization"), USER, "{what}");
    assert_eq!(session.setting("is_superuser"), "off", "{what}");
    assert_eq!(session.value("SELECT session_user").await, USER, "{what}");
    for sql in [
        "SELECT pg_read_file('postmaster.pid')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ] {
        let denied = session.query(sql).await.unwrap_err();
        assert_eq!(denied.code, "42501", "{what}: {sql}");
    }
}

#[tokio::test]
async fn pg_07_a_second_user_in_the_startup_packet_opens_no_session() {
    let place = Place::start().await;
    let (user, owner) = (format!("user={USER}"), format!("user={OWNER}"));
    let database = "database=databricks_postgres";
    let repeated = [
        format!("{user};{owner}"),
        format!("{owner};{user}"),
        format!("{user};{database};{owner}"),
        format!("{owner};{database};{user}"),
        format!("{user};{owner};{database}"),
        format!("{database};{user};application_name=x;{owner}"),
        format!("user=;{user};{database}"),
        format!("{user};{database};database=postgres"),
        format!("{user};{database};options=-c a.b=c;options=-c a.b=d"),
    ];
    for parameters in repeated {
        let error = place.refusal(&startup(&parameters)).await;
        assert_eq!(
            (&*error.severity, &*error.code),
            ("FATAL", "08P01"),
            "{parameters}"
        );
        assert!(
            error.message.contains("more than once"),
            "{parameters}: {error:?}"
        );
    }
    let hidden = [&startup(&login(""))[4..], b"user\0cloud_admin\0\0"].concat();
    let length = u32::try_from(hidden.len() + 4).unwrap().to_be_bytes();
    let error = place.refusal(&[&length[..], &hidden].concat()).await;
    assert_eq!(error.code, "08P01", "behind the end of the list");
    // PostgreSQL would truncate these.
    let long = format!("{OWNER}{}", " ".repeat(60));
    for parameters in [
        format!("user={long};{database}"),
        format!("{user};database={long}"),
    ] {
        assert_eq!(place.refusal(&startup(&parameters)).await.code, "42622");
    }
    let mut session = place.log_in(&startup(&login(""))).await.unwrap();
    assert_ordinary(&mut session, "an ordinary login").await;
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_07_control_postgresql_takes_the_last_of_two_users() {
    let place = Place::start().await;
    let last = format!("user={OWNER};database=databricks_postgres;user={USER}");
    let mut session = place.log_in_directly(&last).await.unwrap();
    assert_eq!(session.value("SELECT session_user").await, USER);
    // In the other order a compute opens a session of its superuser, or asks that one for a password.
    match place.log_in_directly(&login(&format!("user={OWNER}"))).await {
        Ok(session) => assert_eq!(session.setting("is_superuser"), "on"),
        Err(refused) => assert!(matches!(refused, NoSession::Asks(_)), "{refused:?}"),
    }
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_07_no_setting_of_a_login_makes_another_session_user() {
    let place = Place::start().await;
    let attempts = [
        "options=-c session_authorization=cloud_admin",
        "options=--session_authorization=cloud_admin",
        "options=--session-authorization=cloud_admin -c role=cloud_admin",
        "options=-c is_superuser=on",
        "session_authorization=cloud_admin",
        "SESSION_AUTHORIZATION=cloud_admin",
        "is_superuser=on",
        "role=cloud_admin",
        "USER=cloud_admin",
        "_pq_.user=cloud_admin",
    ];
    for more in attempts {
        match place.log_in(&startup(&login(more))).await {
            Ok(mut session) => assert_ordinary(&mut session, more).await,
            Err(NoSession::Refused(error)) => assert_eq!(error.severity, "FATAL", "{more}"),
            Err(other) => panic!("{more}: {other:?}"),
        }
    }
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_08_a_login_for_replication_is_refused_and_one_that_is_off_is_ordinary() {
    let place = Place::start().await;
    for on in [
        "true", "on", "1", "database", "t", "tr", "yes", "TRUE", "", "maybe",
    ] {
        let error = place
            .refusal(&startup(&login(&format!("replication={on}"))))
            .await;
        assert_eq!(error.code, "0A000", "{on}");
    }
    for off in ["false", "off", "of", "0", "n", "F"] {
        let packet = startup(&login(&format!("replication={off}")));
        let mut session = place.log_in(&packet).await.unwrap();
        assert_ordinary(&mut session, off).await;
        // A command of replication connections.
        let error = session.query("IDENTIFY_SYSTEM").await.unwrap_err();
        assert_eq!(error.code, "42601", "{off}");
    }
    place.lake.stop().await;
}

/// Drivers, what they send besides the user and the database, and what PostgreSQL then shows.
const DRIVERS: [(&str, &str, &str); 6] = [
    (
        "asyncpg server_settings",
        "client_encoding='utf-8';search_path=tenant;jit=on",
        "search_path=tenant;jit=on;client_encoding=UTF8",
    ),
    (
        "pgjdbc currentSchema",
        "client_encoding=UTF8;DateStyle=ISO;TimeZone=Europe/Berlin;extra_float_digits=2;search_path=tenant",
        "search_path=tenant;TimeZone=Europe/Berlin;extra_float_digits=2",
    ),
    (
        "lib/pq extra_float_digits",
        "extra_float_digits=2;client_encoding=UTF8;datestyle=ISO, MDY",
        "extra_float_digits=2;DateStyle=ISO, MDY",
    ),
    (
        "postgres.js connection",
        "client_encoding=UTF8;application_name=postgres.js;statement_timeout=4321;channel_binding=require",
        "statement_timeout=4321ms;application_name=postgres.js",
    ),
    (
        "node-pg options",
        "replication=false;options=-c search_path=tenant -c work_mem=5MB;lock_timeout=77",
        "search_path=tenant;work_mem=5MB;lock_timeout=77ms",
    ),
    (
        "a role and a setting of an application",
        "role=databricks_superuser;shop.tenant=a b",
        "role=databricks_superuser;shop.tenant=a b",
    ),
];

#[tokio::test]
async fn pg_09_settings_that_drivers_send_are_applied() {
    let place = Place::start().await;
    for (driver, sent, shown) in DRIVERS {
        // Neither the user nor the database need come first.
        for parameters in [login(sent), format!("{sent};{}", login(""))] {
            let session = place.log_in(&startup(&parameters)).await;
            let mut session = session.expect(driver);
            assert_ordinary(&mut session, driver).await;
            for (name, value) in shown.split(';').filter_map(|setting| setting.split_once('=')) {
                let found = session.value(&format!("SHOW {name}")).await;
                assert_eq!(found, value, "{driver}: {name}");
            }
        }
    }
    let error = place.refusal(&startup(&login("no_such_setting=x"))).await;
    assert_eq!(error.code, "42704", "PostgreSQL judges the settings");
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_09_parameters_that_only_libpq_knows_do_not_reach_postgresql() {
    let place = Place::start().await;
    let all: Vec<_> = LIBPQ_ONLY.split(' ').map(|name| format!("{name}=x")).collect();
    let packet = startup(&login(&all.join(";")));
    let mut session = place.log_in(&packet).await.unwrap();
    assert_ordinary(&mut session, "all of them").await;
    // Control: PostgreSQL has no setting of any of these names and refuses the session.
    for parameter in all {
        let refused = place.log_in_directly(&login(&parameter)).await.unwrap_err();
        assert_eq!(refused.code(), "42704", "{parameter}: {refused:?}");
    }
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_09_newer_protocol_versions_are_negotiated_by_the_compute() {
    let place = Place::start().await;
    let packet = startup_of((3 << 16) + 9999, &login("_pq_.some_extension=on"));
    let mut session = place.log_in(&packet).await.unwrap();
    let negotiated = session.kinds.contains(&b'v');
    assert!(negotiated, "NegotiateProtocolVersion: {:?}", session.kinds);
    assert_ordinary(&mut session, "3.9999").await;
    let session = place.log_in(&startup(&login(""))).await.unwrap();
    assert!(!session.kinds.contains(&b'v'), "{:?}", session.kinds);
    let error = place.refusal(&startup_of(2 << 16, &login(""))).await;
    assert_eq!(error.code, "0A000");
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_09_a_database_defaults_to_the_users_name_and_may_be_called_like_a_parameter() {
    let place = Place::start().await;
    for name in [USER, "user"] {
        let sql = format!("CREATE DATABASE \"{name}\"");
        place.lake.sql("production", &sql).await;
    }
    for (parameters, database) in [
        (format!("user={USER}"), USER),
        (format!("database=;user={USER}"), USER),
        (format!("database=user;user={USER}"), "user"),
    ] {
        let mut session = place.log_in(&startup(&parameters)).await.unwrap();
        let found = session.value("SELECT current_database()").await;
        assert_eq!(found, database, "{parameters}");
    }
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_10_a_session_with_a_superusers_rights_is_not_handed_out() {
    let place = Place::start().await;
    let mut owner = place.owner().await;
    let alter = |rights: &str| format!("ALTER ROLE \"{USER}\" {rights}");
    owner.query(&alter("SUPERUSER")).await.unwrap();
    let direct = place.log_in_directly(&login("")).await.unwrap();
    assert_eq!(
        direct.setting("is_superuser"),
        "on",
        "control: the compute opens it"
    );
    drop(direct);
    let error = place.refusal(&startup(&login(""))).await;
    assert_eq!((&*error.severity, &*error.code), ("FATAL", "28000"), "{error:?}");
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'");
    let owner = tokio::sync::Mutex::new(owner);
    until("the listener has closed the session at the compute", || async {
        owner.lock().await.value(&sql).await == "0"
    })
    .await;
    owner.into_inner().query(&alter("NOSUPERUSER")).await.unwrap();
    let mut session = place.log_in(&startup(&login(""))).await.unwrap();
    assert_ordinary(&mut session, "without the rights").await;
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_10_a_compute_that_asks_for_a_password_gets_none() {
    let place = Place::start().await;
    place.set_hba("local all all scram-sha-256");
    until("the compute asks for a password", || async {
        matches!(
            place.log_in_directly(&login("")).await,
            Err(NoSession::Asks(SASL))
        )
    })
    .await;
    let error = place.refusal(&startup(&login(""))).await;
    assert_eq!(error.code, "28000", "{error:?}");
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_10_a_user_whose_logins_change_the_role_logs_in() {
    let place = Place::start().await;
    let sql = format!("ALTER ROLE \"{USER}\" SET role = 'databricks_superuser'");
    place.lake.sql("production", &sql).await;
    let mut session = place.log_in(&startup(&login(""))).await.unwrap();
    assert_eq!(session.value("SELECT current_user").await, "databricks_superuser");
    assert_ordinary(&mut session, "as its role").await;
    place.lake.stop().await;
}

#[tokio::test]
async fn pg_10_users_with_any_name_log_in_in_any_encoding() {
    let place = Place::start().await;
    let latin = "CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0";
    place.lake.sql("production", latin).await;
    let longest = "x".repeat(63);
    let names = [
        "Jürgen O'Neil",
        "UPPER \"quoted\"",
        "back\\slash",
        "ünï€",
        "none ",
        &longest,
    ];
    for (number, name) in names.into_iter().enumerate() {
        let id = format!("role-{number}");
        place.lake.role(&id, json!({"postgres_role": name})).await;
        let password = place.lake.role_password("production", &id).await;
        let log_in = async |database: &str, encoding: &str| {
            let parameters = format!("user={name};database={database};client_encoding={encoding}");
            let wire = Wire::to(&place.lake, "production").await;
            wire.log_in(&startup(&parameters), &password).await
        };
        for encoding in ["UTF8", "LATIN1", "WIN1252", "SQL_ASCII"] {
            match log_in("databricks_postgres", encoding).await {
                Ok(mut session) => {
                    let sql = format!("SELECT (session_user = U&'{}')::text", escaped(name));
                    assert_eq!(session.value(&sql).await, "true", "{name} {encoding}");
                }
                // PostgreSQL cannot report a euro sign in Latin 1.
                Err(refused) => {
                    let unreportable = (name, encoding, refused.code()) == ("ünï€", "LATIN1", "22P05");
                    assert!(unreportable, "{name} {encoding}: {refused:?}");
                }
            }
        }
        for encoding in ["UTF8", "LATIN1"] {
            let mut session = log_in("latin", encoding).await.unwrap();
            assert_eq!(session.value("SELECT 1").await, "1", "{name} {encoding}");
        }
    }
    place.lake.stop().await;
}

/// Writes a text in PostgreSQL's Unicode escapes, which are the same in every encoding.
fn escaped(text: &str) -> String {
    let escapes: Vec<_> = text
        .chars()
        .map(|char| format!("\\{:04X}", u32::from(char)))
        .collect();
    escapes.concat()
}
