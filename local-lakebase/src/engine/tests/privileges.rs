//! Privileges: a role of a user stays in the database, and may do what the service lets it do.

use super::*;
use std::path::Path;

/// Runs a statement of a user.
async fn try_as(session: &Session, user: &str, database: &str, sql: &str) -> Result<(), String> {
    let mut connection = log_in(session, user, database).await;
    let ran = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await;
    connection.close().await.expect("closed");
    ran.map(drop).map_err(|error| error.to_string())
}

/// Suspends and wakes a branch, as its next connection does.
async fn restart(engine: &Engine, key: &BranchKey) -> Session {
    engine.shutdown().await;
    engine.connect(key).await.expect("it wakes")
}

/// Makes a branch what one of an older release is.
async fn forget_marks(engine: &Engine, key: &BranchKey) {
    execute(
        engine,
        key,
        "UPDATE pg_authid SET rolsuper = false WHERE rolname LIKE 'pg\\_%'",
    )
    .await;
}

const PROGRAM_ROLES: [&str; 3] = [
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
];

/// Statements that lead, or would lead on, to programs, files or the rights of a superuser.
fn ways_out(marker: &Path) -> Vec<String> {
    let marker = marker.display();
    let mut ways: Vec<String> = [
        "ALTER GROUP pg_execute_server_program ADD USER CURRENT_USER",
        "CREATE ROLE intruder IN ROLE pg_execute_server_program",
        "ALTER ROLE pg_execute_server_program NOSUPERUSER",
        "ALTER ROLE pg_execute_server_program RENAME TO mine",
        "DROP ROLE pg_execute_server_program",
        "SET ROLE pg_execute_server_program",
        "SET ROLE cloud_admin",
        "SET SESSION AUTHORIZATION cloud_admin",
        "GRANT cloud_admin TO CURRENT_USER",
        "ALTER ROLE cloud_admin PASSWORD NULL",
        "ALTER ROLE cloud_admin SET search_path = public",
        "ALTER ROLE ALL SET search_path = public",
        "CREATE ROLE intruder SUPERUSER",
        "CREATE ROLE intruder REPLICATION",
        "UPDATE pg_authid SET rolsuper = true",
        "DELETE FROM pg_auth_members",
        "ALTER SYSTEM SET log_statement = 'all'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/lakebase-out'",
        "CREATE TEMP TABLE t (line text); COPY t FROM '/etc/passwd'",
        "CREATE EXTENSION file_fdw",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
        "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=postgres' PUBLICATION p",
    ]
    .map(str::to_owned)
    .to_vec();
    ways.extend(PROGRAM_ROLES.map(|role| format!("GRANT {role} TO CURRENT_USER")));
    ways.extend(PROGRAM_ROLES.map(|role| format!("GRANT {role} TO databricks_superuser WITH ADMIN OPTION")));
    ways.push(format!("COPY (SELECT 1) TO PROGRAM 'touch {marker}'"));
    ways
}

/// A file that a program of the server could create.
fn marker(scratch: &Scratch) -> PathBuf {
    let dir = scratch.dir.path().join("open");
    fs::create_dir(&dir).expect("made");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("changed");
    dir.join("marker")
}

#[tokio::test]
async fn pg_26_a_role_that_creates_roles_stays_in_the_database() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let marker = marker(&scratch);
    let session = engine.connect(&root).await.expect("it runs");
    for way in ways_out(&marker) {
        let ran = try_as(&session, CREATOR, DATABASE, &way).await;
        assert!(ran.is_err(), "{way}");
    }
    for useful in [
        "CREATE ROLE app LOGIN CREATEDB; GRANT app TO CURRENT_USER",
        "GRANT pg_monitor, pg_signal_backend TO app",
        "ALTER ROLE app SET work_mem = '8MB'; CREATE EXTENSION hstore",
    ] {
        let ran = try_as(&session, CREATOR, DATABASE, useful).await;
        assert_eq!(ran, Ok(()), "{useful}");
    }
    drop(session);
    assert!(!marker.exists());

    // Control: without the marks, or with a grant from before, a program runs.
    forget_marks(&engine, &root).await;
    let session = engine.connect(&root).await.expect("it runs");
    let grant = "GRANT pg_execute_server_program TO CURRENT_USER";
    let granted = try_as(&session, CREATOR, DATABASE, grant).await;
    assert_eq!(granted.is_ok(), engine.postgres_major() < 16, "{granted:?}");
    execute(
        &engine,
        &root,
        "GRANT pg_execute_server_program TO databricks_superuser",
    )
    .await;
    let program = format!("COPY (SELECT 1) TO PROGRAM 'touch {}'", marker.display());
    let ran = try_as(&session, CREATOR, DATABASE, &program).await;
    assert_eq!((ran, marker.exists()), (Ok(()), true));
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_26_grants_and_superusers_of_before_are_gone_when_a_branch_wakes() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let marker = marker(&scratch);
    forget_marks(&engine, &root).await;
    for statement in [
        "CREATE ROLE middle IN ROLE pg_execute_server_program, pg_read_server_files",
        "GRANT middle TO databricks_superuser",
        "GRANT pg_write_server_files TO databricks_superuser WITH ADMIN OPTION",
        "CREATE ROLE mallory LOGIN SUPERUSER REPLICATION",
        "CREATE ROLE \"odd \"\"name'\" LOGIN IN ROLE cloud_admin",
        "GRANT TEMPORARY, CREATE ON DATABASE postgres TO PUBLIC",
    ] {
        execute(&engine, &root, statement).await;
    }
    let session = restart(&engine, &root).await;
    for way in ways_out(&marker) {
        for user in [CREATOR, "mallory", "odd \"name'"] {
            let ran = try_as(&session, user, DATABASE, &way).await;
            assert!(ran.is_err(), "{user}: {way}");
        }
    }
    assert!(!marker.exists());
    let superusers =
        "SELECT count(*) FROM pg_roles WHERE (rolsuper OR rolreplication) AND rolname NOT LIKE 'pg\\_%'";
    assert_eq!(number(&engine, &root, superusers).await, 1);
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_26_a_session_that_has_the_role_is_ended_before_the_role_is_marked() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    forget_marks(&engine, &root).await;
    execute(
        &engine,
        &root,
        "GRANT pg_execute_server_program TO databricks_superuser",
    )
    .await;
    let session = engine.connect(&root).await.expect("it runs");
    let mut before = log_in(&session, CREATOR, DATABASE).await;
    let set = sqlx::query("SET ROLE pg_execute_server_program");
    set.execute(&mut before).await.expect("granted");
    drop(session);
    drop(engine);
    let engine = scratch.open().await;
    let recovered = engine
        .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    assert_eq!(recovered.adopted, 1);
    let is_superuser: Result<String, _> = sqlx::query_scalar("SHOW is_superuser")
        .fetch_one(&mut before)
        .await;
    assert!(is_superuser.is_err(), "{is_superuser:?}");
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_27_the_owner_of_a_project_makes_others_members() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    // As a release before this one left it.
    let before = "REVOKE ADMIN OPTION FOR databricks_superuser FROM \"jane@localhost\"";
    execute(&engine, &root, before).await;
    let session = restart(&engine, &root).await;
    let create = "CREATE TABLE by_ann ()";
    let sql = "CREATE ROLE ann LOGIN";
    assert_eq!(try_as(&session, CREATOR, DATABASE, sql).await, Ok(()));
    let denied = try_as(&session, "ann", DATABASE, create)
        .await
        .expect_err("no member");
    assert!(denied.contains("permission denied for schema public"), "{denied}");
    let grant = "GRANT databricks_superuser TO ann";
    assert_eq!(
        try_as(&session, CREATOR, DATABASE, grant).await,
        Ok(()),
        "as the README says"
    );
    assert_eq!(try_as(&session, "ann", DATABASE, create).await, Ok(()));

    // What was granted with SQL is revoked by the API.
    let mut shape = RoleShape {
        name: "ann",
        can_log_in: true,
        is_superuser_member: false,
        attributes: RoleAttributes::default(),
    };
    engine.shape_role(&root, &shape).await.expect("shaped");
    let denied = try_as(&session, "ann", DATABASE, "CREATE TABLE t ()").await;
    assert!(denied.is_err_and(|denied| denied.contains("permission denied")));
    shape.is_superuser_member = true;
    engine.shape_role(&root, &shape).await.expect("shaped");
    let pass_on = "GRANT databricks_superuser TO app";
    assert_eq!(
        try_as(&session, CREATOR, DATABASE, "CREATE ROLE app").await,
        Ok(())
    );
    assert!(
        try_as(&session, "ann", DATABASE, pass_on).await.is_err(),
        "she creates no roles"
    );
    shape.attributes.createrole = true;
    engine.shape_role(&root, &shape).await.expect("shaped");
    assert_eq!(try_as(&session, "ann", DATABASE, pass_on).await, Ok(()));
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_25_users_change_nothing_in_the_database_of_our_own_sessions() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let session = engine.connect(&root).await.expect("it runs");
    let ways = [
        "CREATE TABLE public.t ()",
        "CREATE SCHEMA s",
        "CREATE TEMP TABLE t ()",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION hstore",
        "ALTER DATABASE postgres SET search_path = public",
        "ALTER ROLE ALL IN DATABASE postgres SET search_path = public",
        "ALTER DATABASE postgres CONNECTION LIMIT 0",
        "ALTER DATABASE postgres ALLOW_CONNECTIONS false",
        "ALTER DATABASE postgres IS_TEMPLATE true",
        "ALTER DATABASE postgres OWNER TO databricks_superuser",
        "GRANT CREATE ON DATABASE postgres TO PUBLIC",
        "ALTER SCHEMA public OWNER TO databricks_superuser",
        "CREATE TRIGGER t BEFORE INSERT ON information_schema.sql_features EXECUTE FUNCTION lo_manage()",
    ];
    for way in ways {
        // Where PostgreSQL only warns, nothing may have changed: it is tried again below.
        let ran = try_as(&session, CREATOR, "postgres", way).await;
        assert!(ran.is_err() || way.starts_with("GRANT"), "{way}");
    }
    for way in [
        "ALTER DATABASE postgres RENAME TO mine",
        "DROP DATABASE postgres WITH (FORCE)",
    ] {
        let ran = try_as(&session, CREATOR, DATABASE, way).await;
        assert!(ran.is_err(), "{way}");
    }
    let temporary = "CREATE TEMP TABLE t ()";
    execute(
        &engine,
        &root,
        "GRANT TEMPORARY, CREATE ON DATABASE postgres TO PUBLIC",
    )
    .await;
    assert_eq!(
        try_as(&session, CREATOR, "postgres", temporary).await,
        Ok(()),
        "as before"
    );
    drop(session);
    let session = restart(&engine, &root).await;
    for way in [temporary, "CREATE SCHEMA s"] {
        assert!(try_as(&session, CREATOR, "postgres", way).await.is_err(), "{way}");
    }
    engine.shutdown().await;
}
