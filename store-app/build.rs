//! Rebuilds the crate when what is embedded in the program changes: a migration, the built front end, or what is known of
//! the queries. Lets the queries be checked against that knowledge, not against a database.

fn main() {
    for input in ["../migrations", "dist", ".sqlx"] {
        println!("cargo:rerun-if-changed={input}");
    }
    for variable in ["SQLX_OFFLINE", "SQLX_OFFLINE_DIR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // Said here and not in cargo's configuration, which depends on the directory that the build is started in. A worktree's
    // `.env` names a database: a build must not ask it. Only scripts/prepare-queries does.
    if std::env::var("SQLX_OFFLINE").as_deref() != Ok("false") {
        println!("cargo:rustc-env=SQLX_OFFLINE=true");
    }
}
