//! The login rules of a cluster, the second wall behind the listener: if a start-up packet of a client gets past it, the owner
//! of the cluster still needs a password that no client knows, and replication is closed.
//!
//! Every other role is trusted, because the listener has authenticated the client.

use super::layout::Layout;
use crate::engine::EngineError;
use std::fs;
use std::path::Path;

/// The rules, first match wins: <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>.
///
/// No rule has a map, so nothing in `pg_ident.conf` counts.
pub(crate) const RULES: &str = "\
local replication all reject
local all cloud_admin scram-sha-256
local all all trust
";

/// Writes the rules, unless they are in place. A postmaster reads them when it starts and on SIGHUP.
pub(crate) fn write_login_rules(layout: &Layout, pgdata: &Path) -> Result<(), EngineError> {
    let path = pgdata.join("pg_hba.conf");
    let write = || {
        if fs::read(&path).is_ok_and(|rules| rules == RULES.as_bytes()) {
            return Ok(());
        }
        // In one step: a postmaster must not read half of the rules.
        let mut new = tempfile::NamedTempFile::new_in(pgdata)?;
        std::io::Write::write_all(&mut new, RULES.as_bytes())?;
        layout.run_as().own(new.path())?;
        new.persist(&path)?;
        Ok(())
    };
    write().map_err(|source| EngineError::Io {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::RunAs;
    use crate::storage::OWNER;

    #[test]
    fn pg_20_the_rules_replace_all_that_was_there() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let layout = Layout::prepare(&dir.path().join("data"), RunAs::Us).expect("made");
        let file = dir.path().join("pg_hba.conf");
        for before in [None, Some("local all all trust\n"), Some(RULES)] {
            if let Some(before) = before {
                fs::write(&file, before).expect("written");
            }
            write_login_rules(&layout, dir.path()).expect("written");
            assert_eq!(fs::read_to_string(&file).expect("readable"), RULES);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2, "no debris");
        assert!(RULES.contains(&format!("local all {OWNER} scram-sha-256\n")));
    }
}
