//! Functions, views, operators, casts and triggers of a user, under the names that a session of the service might use. Each
//! springs a trap: with the rights of a superuser it runs a program of the server, which leaves a file.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::lake::{Lake, USER};

/// The trap. A transaction that is rolled back does not take the file away again.
fn trap(dir: &Path) -> String {
    format!(
        "CREATE SCHEMA hostile; GRANT ALL ON SCHEMA hostile TO PUBLIC;
         CREATE FUNCTION hostile.trap(name text) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN
            EXECUTE pg_catalog.format('COPY (SELECT 1) TO PROGRAM %L', 'touch {}/' || name);
            RETURN true; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $f$;",
        dir.display()
    )
}

/// What the owner puts in place, and a statement that an unprotected superuser steps on it with.
const OBJECTS: &[(&str, &str, &str)] = &[
    (
        "function",
        "CREATE FUNCTION hostile.pg_terminate_backend(int, bigint DEFAULT 0) RETURNS bool LANGUAGE sql
         AS $f$ SELECT hostile.trap('function') $f$",
        "SELECT pg_terminate_backend(0, 5000::bigint)",
    ),
    (
        "exact_function",
        "CREATE FUNCTION public.pg_terminate_backend(int, int) RETURNS bool LANGUAGE sql
         AS $f$ SELECT hostile.trap('exact_function') $f$",
        "SET search_path = public; SELECT pg_terminate_backend(0, 5000)",
    ),
    (
        "name_of_owner",
        "CREATE FUNCTION hostile.pg_get_userbyid(oid) RETURNS name LANGUAGE sql
         AS $f$ SELECT 'x'::name WHERE hostile.trap('name_of_owner') $f$",
        "SELECT pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database",
    ),
    (
        "activity",
        "CREATE VIEW hostile.pg_stat_activity AS SELECT 0 AS pid, 10::oid AS usesysid, 'shop' AS datname,
         'client backend' AS backend_type WHERE hostile.trap('activity')",
        "SELECT pid FROM pg_stat_activity WHERE usesysid::bigint = 10",
    ),
    (
        "roles",
        "CREATE VIEW hostile.pg_roles AS SELECT 10::oid AS oid, 'x'::name AS rolname WHERE hostile.trap('roles')",
        "SELECT oid::bigint FROM pg_roles WHERE rolname = 'x'",
    ),
    (
        "databases",
        "CREATE VIEW hostile.pg_database AS SELECT 'x'::name AS datname, true AS datallowconn
         WHERE hostile.trap('databases')",
        "SELECT datname::text FROM pg_database WHERE datallowconn",
    ),
    (
        "settings",
        "CREATE VIEW hostile.pg_settings AS SELECT 'role' AS name, 'app' AS reset_val WHERE hostile.trap('settings')",
        "SELECT name, reset_val FROM pg_settings",
    ),
    (
        "operator",
        "CREATE FUNCTION hostile.equal(name, text) RETURNS bool LANGUAGE sql
         AS $f$ SELECT hostile.trap('operator') $f$;
         CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = name, RIGHTARG = text)",
        "SELECT 'a'::name = 'a'::text",
    ),
    (
        "operator_of_numbers",
        "CREATE FUNCTION hostile.equal(bigint, bigint) RETURNS bool LANGUAGE sql
         AS $f$ SELECT hostile.trap('operator_of_numbers') $f$;
         CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = bigint, RIGHTARG = bigint)",
        "SELECT 1::bigint = 1::bigint",
    ),
    (
        "cast",
        "CREATE TYPE hostile.oid AS (n int);
         CREATE FUNCTION hostile.to_text(hostile.oid) RETURNS text LANGUAGE sql
         AS $f$ SELECT 'x' WHERE hostile.trap('cast') $f$;
         CREATE CAST (hostile.oid AS text) WITH FUNCTION hostile.to_text(hostile.oid) AS IMPLICIT",
        "SELECT pg_catalog.upper(ROW(1)::oid)",
    ),
    (
        "domain",
        "CREATE DOMAIN hostile.regrole AS text CHECK (hostile.trap('domain'))",
        "SELECT 'cloud_admin'::regrole",
    ),
    (
        "aggregate",
        "CREATE FUNCTION hostile.step(bigint, bigint) RETURNS bigint LANGUAGE sql
         AS $f$ SELECT 1::bigint WHERE hostile.trap('aggregate') $f$;
         CREATE AGGREGATE hostile.sum(bigint) (SFUNC = hostile.step, STYPE = bigint, INITCOND = '0')",
        "SELECT sum(1::bigint)",
    ),
    (
        "trigger",
        "CREATE FUNCTION hostile.fire() RETURNS trigger LANGUAGE plpgsql
         AS $f$ BEGIN PERFORM hostile.trap('trigger'); RETURN NEW; END $f$;
         CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.bait_of_first
         EXECUTE FUNCTION hostile.fire()",
        "INSERT INTO public.bait_of_first VALUES (1)",
    ),
    (
        "default",
        "ALTER TABLE public.bait_of_first ADD COLUMN b bool DEFAULT hostile.trap('default')",
        "INSERT INTO public.bait_of_first (n) VALUES (2)",
    ),
    (
        "constraint",
        "ALTER TABLE public.bait_of_first ADD CHECK (hostile.trap('constraint'))",
        "INSERT INTO public.bait_of_first (n) VALUES (3)",
    ),
    (
        "index",
        "CREATE FUNCTION hostile.entry(int) RETURNS int LANGUAGE sql IMMUTABLE
         AS $f$ SELECT 1 WHERE hostile.trap('index') $f$;
         CREATE INDEX ON public.bait_of_first (hostile.entry(n))",
        "INSERT INTO public.bait_of_first (n) VALUES (4)",
    ),
    (
        "rule",
        "CREATE RULE r AS ON DELETE TO public.bait_of_first DO ALSO SELECT hostile.trap('rule')",
        "DELETE FROM public.bait_of_first",
    ),
    (
        "view",
        "CREATE VIEW public.seen AS SELECT hostile.trap('view')",
        "SELECT * FROM public.seen",
    ),
];

/// The operators of `pg_catalog` are found first unless the path says otherwise.
const PATH: &str = "hostile, public, pg_catalog";

/// An empty directory in which the programs of a server can create files.
fn files(lake: &Lake) -> PathBuf {
    let dir = lake.dir.path().join("files");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

fn sprung(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn pg_24_nothing_of_a_user_is_executed_with_our_rights() {
    let lake = Lake::start().await;
    lake.shop().await;
    let databases = ["databricks_postgres", "shop"];
    lake.role_with_tables("first", &databases).await;
    let socket = lake.socket_dir().await;
    let dir = files(&lake);
    for database in databases {
        // The tables become the owner's for as long as objects are attached to them.
        let sql = format!("ALTER TABLE public.bait_of_first OWNER TO \"{USER}\"");
        assert!(lake.unprotected(&socket, database, &sql).await.ok);
        let objects = OBJECTS.iter().map(|(_, create, _)| *create);
        let all: Vec<_> = objects.collect();
        lake.as_owner(database, &format!("{} {}", trap(&dir), all.join(";")))
            .await;
        let sql = "ALTER TABLE public.bait_of_first OWNER TO first; GRANT ALL ON SCHEMA hostile TO first";
        assert!(lake.unprotected(&socket, database, sql).await.ok);
        lake.as_owner(
            "postgres",
            &format!("ALTER DATABASE {database} SET search_path = {PATH}"),
        )
        .await;
    }
    assert_eq!(sprung(&dir), BTreeSet::new());

    for (name, _, step) in OBJECTS {
        let said = lake.unprotected(&socket, "shop", step).await;
        assert!(sprung(&dir).contains(*name), "the control of {name}: {said:?}");
    }
    for name in sprung(&dir) {
        std::fs::remove_file(dir.join(name)).unwrap();
    }

    lake.call_all("first").await;
    assert_eq!(sprung(&dir), BTreeSet::new(), "these were executed");
    lake.stop().await;
}
