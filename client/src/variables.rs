//! A credential as environment variables: libpq's and `DATABASE_URL`, for shells, `.env` files, programs and children.
//! Knows where each value goes and how it is quoted there; prints nothing.

use lakebase_proto::v1::Credential;
use std::fmt::Write;
use std::process::Command;

/// Variables of libpq's that would send a client elsewhere than `PGHOST` says.
const MISLEADING: [&str; 2] = ["PGHOSTADDR", "PGSERVICE"];

/// The environment that leads to a branch. Holds a secret, so it has no `Debug`.
pub(crate) struct Variables {
    /// Name and value, in the order in which they are shown.
    pub(crate) set: Vec<(&'static str, String)>,
    /// Must not be set, or a stale value would win.
    pub(crate) unset: Vec<&'static str>,
}

/// Returns the variables of a credential.
pub(crate) fn of(credential: &Credential) -> Variables {
    let mut set = vec![
        ("DATABASE_URL", url(credential)),
        ("PGHOST", credential.host.clone()),
        ("PGPORT", credential.port.to_string()),
        ("PGDATABASE", credential.database.clone()),
        ("PGUSER", credential.user.clone()),
        ("PGPASSWORD", credential.password.clone()),
        ("PGSSLMODE", credential.sslmode.clone()),
    ];
    let mut unset = MISLEADING.to_vec();
    if credential.ssl_root_cert.is_empty() {
        unset.push("PGSSLROOTCERT");
    } else {
        set.push(("PGSSLROOTCERT", credential.ssl_root_cert.clone()));
    }
    Variables { set, unset }
}

impl Variables {
    /// Lines for `eval` in a POSIX shell.
    ///
    /// # Errors
    /// When a value holds a NUL, which no environment can.
    pub(crate) fn to_sh(&self) -> Result<String, shlex::QuoteError> {
        let line = |(name, value): &(&str, String)| {
            let value = shlex::try_quote(value)?;
            Ok(format!("export {name}={value}\n"))
        };
        let exports: String = self.set.iter().map(line).collect::<Result<_, _>>()?;
        Ok(format!("{exports}unset {}\n", self.unset.join(" ")))
    }

    /// Lines for a `.env` file, quoted as the daemon quotes its own.
    pub(crate) fn to_dotenv(&self) -> String {
        let lines = self.set.iter();
        lines.fold(String::new(), |out, (name, value)| {
            out + name + "=" + &in_double_quotes(value) + "\n"
        })
    }

    /// Gives them to a child.
    pub(crate) fn apply(&self, command: &mut Command) {
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.set.iter().map(|(name, value)| (name, value)));
    }
}

fn url(credential: &Credential) -> String {
    let mut url = format!(
        "postgresql://{}:{}@{}:{}/{}?sslmode={}",
        percent_encoded(&credential.user),
        percent_encoded(&credential.password),
        credential.host,
        credential.port,
        percent_encoded(&credential.database),
        percent_encoded(&credential.sslmode),
    );
    if !credential.ssl_root_cert.is_empty() {
        url += "&sslrootcert=";
        url += &percent_encoded(&credential.ssl_root_cert);
    }
    url
}

/// Encodes everything but RFC 3986's unreserved characters.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte));
                }
                _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
            }
            out
        })
}

fn in_double_quotes(value: &str) -> String {
    let quoted = value.chars().fold(String::from("\""), |mut out, c| {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
        out
    });
    quoted + "\""
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
    fn the_url_is_encoded() {
        assert_eq!(
            url(&credential("p/w:d@?%")),
            "postgresql://jane%40example.com:p%2Fw%3Ad%40%3F%25@127.0.1.5:5432/databricks_postgres\
             ?sslmode=verify-full&sslrootcert=%2Fhome%2Fj%20d%2Fca.crt"
        );
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let script = of(&credential(NASTY)).to_sh().expect("no NUL in it") + "printf %s \"$PGPASSWORD\"";
        let out = Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), NASTY);
    }

    #[test]
    fn a_dotenv_file_sourced_by_a_shell_reads_back() {
        let script = of(&credential(NASTY)).to_dotenv() + "printf %s \"$PGPASSWORD\"";
        let out = Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), NASTY);
    }

    #[test]
    fn a_stale_certificate_is_unset_when_the_systems_own_count() {
        let with = of(&credential("x"));
        assert!(!with.unset.contains(&"PGSSLROOTCERT"));
        let without = of(&Credential {
            ssl_root_cert: String::new(),
            ..credential("x")
        });
        assert!(without.unset.contains(&"PGSSLROOTCERT"));
        assert!(without.set.iter().all(|(name, _)| *name != "PGSSLROOTCERT"));
    }

    #[test]
    fn a_value_with_a_nul_is_refused() {
        assert!(of(&credential("a\0b")).to_sh().is_err());
    }
}
