//! A credential as environment variables: libpq's and `DATABASE_URL`, for shells, `.env` files, programs and children.
//! Knows where each value goes and how it is quoted there; prints nothing.

use daemon_core::env_file::{self, Connection};
use lakebase_proto::v1::Credential;
use std::ffi::{OsStr, OsString};
use std::process::Command;

/// Variables of libpq's that would send a client elsewhere than `PGHOST` says.
const MISLEADING: [&str; 2] = ["PGHOSTADDR", "PGSERVICE"];

/// The file of certificate authorities that Node.js trusts beside its own
/// (<https://nodejs.org/api/cli.html#node_extra_ca_certsfile>).
const NODE_CA: &str = "NODE_EXTRA_CA_CERTS";

/// The environment that leads to a branch. Holds a secret, so it has no `Debug`.
pub(crate) struct Variables {
    /// Name and value, in the order in which they are shown.
    pub(crate) set: Vec<(String, String)>,
    /// Must not be set, or a stale value would win.
    pub(crate) unset: Vec<&'static str>,
}

/// Returns the variables of a credential. `node_ca` is the value that `NODE_EXTRA_CA_CERTS` has in this process: drivers for
/// Node.js that take no certificate authority from the URL take that one, so it is set unless the user has set another.
pub(crate) fn of(credential: &Credential, node_ca: Option<&OsStr>) -> Variables {
    let connection = Connection {
        host: &credential.host,
        port: u16::try_from(credential.port).unwrap_or_default(),
        database: &credential.database,
        user: &credential.user,
        password: &credential.password,
        sslmode: &credential.sslmode,
        ssl_root_cert: &credential.ssl_root_cert,
    };
    let mut set = env_file::variables(&connection, "");
    let mut unset = MISLEADING.to_vec();
    let ca = &credential.ssl_root_cert;
    if ca.is_empty() {
        unset.push("PGSSLROOTCERT");
    } else if node_ca.is_none_or(|set| set.is_empty() || set == OsStr::new(ca)) {
        set.push((NODE_CA.to_owned(), ca.clone()));
    }
    Variables { set, unset }
}

/// Returns the value of `NODE_EXTRA_CA_CERTS` in this process.
pub(crate) fn node_ca() -> Option<OsString> {
    std::env::var_os(NODE_CA)
}

impl Variables {
    /// Lines for `eval` in a POSIX shell.
    ///
    /// # Errors
    /// When a value holds a NUL, which no environment can.
    pub(crate) fn to_sh(&self) -> Result<String, shlex::QuoteError> {
        let line = |(name, value): &(String, String)| {
            let value = shlex::try_quote(value)?;
            Ok(format!("export {name}={value}\n"))
        };
        let exports: String = self.set.iter().map(line).collect::<Result<_, _>>()?;
        Ok(format!("{exports}unset {}\n", self.unset.join(" ")))
    }

    /// Lines for a `.env` file, as the daemon writes its own.
    pub(crate) fn to_dotenv(&self) -> String {
        let lines = self.set.iter();
        lines.map(|(name, value)| env_file::line(name, value)).collect()
    }

    /// Gives them to a child.
    pub(crate) fn apply(&self, command: &mut Command) {
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.set.iter().map(|(name, value)| (name, value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a'b\"c $HOME `id` \\ é\n#&;";

    fn credential(password: &str) -> Credential {
        Credential {
            host: "127.0.1.5".into(),
            port: 5432,
            database: "databricks_postgres".into(),
            user: "jane@example.com".into(),
            password: password.into(),
            sslmode: "verify-full".into(),
            ssl_root_cert: "/home/j d/ca.crt".into(),
            ..Credential::default()
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let script =
            of(&credential(NASTY), None).to_sh().expect("no NUL in it") + "printf %s \"$PGPASSWORD\"";
        let out = Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), NASTY);
    }

    #[test]
    fn a_certificate_authority_of_the_users_own_stays_in_place() {
        let ca = |set: Option<&str>| {
            let variables = of(&credential("x"), set.map(OsStr::new));
            let found = variables.set.into_iter().find(|(name, _)| name == NODE_CA);
            found.map(|(_, value)| value)
        };
        assert_eq!(ca(None).as_deref(), Some("/home/j d/ca.crt"));
        assert_eq!(ca(Some("/home/j d/ca.crt")).as_deref(), Some("/home/j d/ca.crt"));
        assert_eq!(ca(Some("/etc/corporate.pem")), None);
    }

    #[test]
    fn a_stale_certificate_is_unset_when_the_systems_own_count() {
        let with = of(&credential("x"), None);
        assert!(!with.unset.contains(&"PGSSLROOTCERT"));
        let without = of(
            &Credential {
                ssl_root_cert: String::new(),
                ..credential("x")
            },
            None,
        );
        assert!(without.unset.contains(&"PGSSLROOTCERT"));
        assert!(without.set.iter().all(|(name, _)| name != "PGSSLROOTCERT"));
    }

    #[test]
    fn a_value_with_a_nul_is_refused() {
        assert!(of(&credential("a\0b"), None).to_sh().is_err());
    }
}
