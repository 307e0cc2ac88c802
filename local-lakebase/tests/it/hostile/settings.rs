//! Settings that are stored for a database or a role, and applied to each session that begins there.

use crate::lake::{Lake, USER};

/// Gives each setting that the owner may store a value that no session expects, for one database or role. A setting that
/// may not be stored raises an error, which is what it should do.
///
/// `role` and `session_authorization` are not in `pg_settings`; `search_path` and the libraries need values that hurt.
const STORE: &str = "DO $$ DECLARE s record; BEGIN FOR s IN
    SELECT name, CASE
        WHEN name = 'search_path' THEN 'hostile, public, pg_catalog'
        WHEN name LIKE '%preload_libraries' THEN 'no_such_library'
        WHEN vartype = 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END
        WHEN vartype IN ('integer', 'real') THEN CASE
            WHEN name LIKE '%timeout' THEN '1'
            WHEN setting = min_val THEN max_val ELSE min_val END
        WHEN vartype = 'enum' THEN (SELECT v FROM unnest(enumvals) v WHERE v <> setting LIMIT 1)
        ELSE 'hostile' END AS value FROM pg_settings
    UNION ALL VALUES ('role', 'app'), ('session_authorization', 'app'), ('hostile.setting', 'x')
    LOOP BEGIN
        EXECUTE format('ALTER TARGET SET %s = %s', s.name,
            CASE s.name WHEN 'search_path' THEN s.value ELSE quote_literal(s.value) END);
    EXCEPTION WHEN OTHERS THEN NULL; END;
    END LOOP; END $$";

impl Lake {
    async fn store_hostile_settings(&self, target: &str) {
        self.as_owner("postgres", &STORE.replace("TARGET", target)).await;
    }
}

#[tokio::test]
async fn pg_23_settings_of_a_user_do_not_reach_our_sessions() {
    let lake = Lake::start().await;
    lake.shop().await;
    let databases = ["databricks_postgres", "shop"];
    for role in ["app", "first", "second"] {
        lake.role_with_tables(role, &databases).await;
    }
    for target in [
        "DATABASE databricks_postgres",
        "DATABASE shop",
        "ROLE app",
        "ROLE first",
    ] {
        lake.store_hostile_settings(target).await;
    }
    lake.store_hostile_settings("ROLE databricks_superuser").await;
    lake.store_hostile_settings("ROLE ALL IN DATABASE shop").await;
    let stored = "SELECT min(cardinality(setconfig)) > 120 AND count(*) >= 3 FROM pg_db_role_setting";
    assert_eq!(lake.as_owner("postgres", stored).await, "t");

    lake.call_all("first").await;
    lake.call_again_with_the_owner_hostile().await;
    lake.stop().await;
}

impl Lake {
    /// The same, once the owner cannot log in anywhere any more.
    async fn call_again_with_the_owner_hostile(&self) {
        self.store_hostile_settings(&format!("ROLE \"{USER}\"")).await;
        let password = self.password("production").await;
        let said = self
            .login_to("production", "postgres", USER, &password, "SELECT 1")
            .await;
        assert!(!said.ok, "{said:?}");
        self.call_roles("second").await;
        self.call_databases().await;
        self.call_branches().await;
    }
}

/// Settings of a database, and what a session of the superuser without the protection makes of them.
const CONTROLS: [(&str, &str, &str); 6] = [
    (
        "local_preload_libraries = 'no_such_library'",
        "SELECT 1",
        "no_such_library",
    ),
    ("statement_timeout = 1", "SELECT pg_sleep(1)", "statement timeout"),
    (
        "default_transaction_read_only = on",
        "CREATE TABLE public.t ()",
        "read-only transaction",
    ),
    ("role = 'app'", "SELECT current_user", "app"),
    ("search_path = hostile", "SHOW search_path", "hostile"),
    ("client_encoding = 'LATIN1'", "SHOW client_encoding", "LATIN1"),
];

#[tokio::test]
async fn pg_23_without_the_protection_settings_of_a_user_reach_a_superuser() {
    let lake = Lake::start().await;
    lake.shop().await;
    lake.role_with_tables("app", &[]).await;
    let socket = lake.socket_dir().await;
    for (setting, sql, seen) in CONTROLS {
        lake.as_owner("postgres", "ALTER DATABASE shop RESET ALL").await;
        lake.as_owner("postgres", &format!("ALTER DATABASE shop SET {setting}"))
            .await;
        let said = lake.unprotected(&socket, "shop", sql).await;
        assert!(
            format!("{}{}", said.out, said.err).contains(seen),
            "{setting}: {said:?}"
        );
    }
    lake.stop().await;
}
