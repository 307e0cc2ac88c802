//! The marked block that the daemon keeps in a worktree's `.env`: text in, text out. Every line outside the block stays
//! as it is.

use std::fmt::Write;

const BEGIN: &str = "# >>> lakebase: kept by lakebased, edits in here are lost >>>";
const END: &str = "# <<< lakebase <<<";

/// The text has one marker without the other, so it is not clear what is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot find both ends of the lakebase block; delete what is left of it")]
pub struct BrokenBlock;

/// What a PostgreSQL client needs, to be written down. Holds a secret, so it has no `Debug`.
pub struct Connection<'a> {
    /// Host name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: &'a str,
    /// User name.
    pub user: &'a str,
    /// The secret.
    pub password: &'a str,
    /// A libpq sslmode.
    pub sslmode: &'a str,
    /// Path of the certificate authority; empty: the system's.
    pub ssl_root_cert: &'a str,
}

/// Returns the variables of the block, in order: libpq's, `DATABASE_URL`, and `{prefix}DB_*` when there is a prefix.
pub fn variables(connection: &Connection<'_>, prefix: &str) -> Vec<(String, String)> {
    let port = connection.port.to_string();
    let mut vars: Vec<(String, String)> = vec![
        ("DATABASE_URL".into(), url(connection)),
        ("PGHOST".into(), connection.host.into()),
        ("PGPORT".into(), port.clone()),
        ("PGDATABASE".into(), connection.database.into()),
        ("PGUSER".into(), connection.user.into()),
        ("PGPASSWORD".into(), connection.password.into()),
        ("PGSSLMODE".into(), connection.sslmode.into()),
    ];
    if !connection.ssl_root_cert.is_empty() {
        vars.push(("PGSSLROOTCERT".into(), connection.ssl_root_cert.into()));
    }
    if !prefix.is_empty() {
        let values = [
            ("HOST", connection.host),
            ("PORT", &port),
            ("NAME", connection.database),
            ("USER", connection.user),
            ("PASSWORD", connection.password),
            ("SSLMODE", connection.sslmode),
            ("SSLROOTCERT", connection.ssl_root_cert),
        ];
        let values = values.into_iter().filter(|(_, value)| !value.is_empty());
        vars.extend(values.map(|(name, value)| (format!("{prefix}DB_{name}"), value.to_owned())));
    }
    vars
}

fn url(connection: &Connection<'_>) -> String {
    let enc = percent_encode;
    let mut url = format!(
        "postgresql://{}:{}@{}:{}/{}?sslmode={}",
        enc(connection.user),
        enc(connection.password),
        connection.host,
        connection.port,
        enc(connection.database),
        connection.sslmode,
    );
    if !connection.ssl_root_cert.is_empty() {
        url.push_str("&sslrootcert=");
        url.push_str(&enc(connection.ssl_root_cert));
    }
    url
}

/// Encodes everything but the unreserved characters of [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-2.3), and
/// `~` too: after a `:` in an assignment a shell takes that for a home directory.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    out
}

/// Returns the text with our block in it: in the place of the old one, or at the end.
///
/// # Errors
/// [`BrokenBlock`] when the old block has lost one of its ends.
pub fn with_block(text: &str, variables: &[(String, String)]) -> Result<String, BrokenBlock> {
    let block = block(variables);
    Ok(match find(text)? {
        Some((start, end)) => format!("{}{block}{}", &text[..start], &text[end..]),
        None if text.is_empty() || text.ends_with('\n') => format!("{text}{block}"),
        None => format!("{text}\n{block}"),
    })
}

/// Returns the text without our block.
///
/// # Errors
/// [`BrokenBlock`] when the block has lost one of its ends.
pub fn without_block(text: &str) -> Result<String, BrokenBlock> {
    Ok(match find(text)? {
        Some((start, end)) => format!("{}{}", &text[..start], &text[end..]),
        None => text.to_owned(),
    })
}

/// A file that an unfinished write left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// Everything in it is ours, or in the file as well.
    Redundant,
    /// It has lines that are nowhere else: this text, which is all of it but our block.
    Unique(String),
}

/// Compares a leftover with the file that it was to replace, or that it was.
pub fn leftover(text: &str, file: &str) -> Leftover {
    // A write that was cut off may have left the beginning of a block.
    let whole = || format!("{}\n{END}\n", text.trim_end_matches('\n'));
    let rest = without_block(text).or_else(|_| without_block(&whole()));
    let rest = rest.unwrap_or_else(|BrokenBlock| text.to_owned());
    let known: Vec<&str> = file.lines().chain([BEGIN, END]).collect();
    let is_known = |line: &str| match line.strip_suffix('\n') {
        Some(line) => line.trim().is_empty() || known.contains(&line.trim_end_matches('\r')),
        None => known.iter().any(|known| known.starts_with(line)),
    };
    if rest.split_inclusive('\n').all(is_known) {
        return Leftover::Redundant;
    }
    Leftover::Unique(rest)
}

fn block(variables: &[(String, String)]) -> String {
    let lines = variables
        .iter()
        .fold(String::new(), |all, (key, value)| all + &line(key, value));
    format!("{BEGIN}\n{lines}{END}\n")
}

/// Returns the line of a variable, in the only spellings that bash, python-dotenv, dotenv for Node.js and `node --env-file` read
/// alike: the plain value, or single quotes around it. Docker's `--env-file` knows the plain one alone. A value that none of
/// them can hold is left out, and a comment names it.
pub fn line(key: &str, value: &str) -> String {
    // An empty value and `=` at its start are plain, too; `~` is not: a shell expands it.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./?-".contains(c);
    // python-dotenv expands `${` in single quotes as well.
    let is_readable =
        !value.contains(['\'', '\\']) && !value.contains("${") && !value.contains(char::is_control);
    match () {
        () if value.chars().all(is_plain) => format!("{key}={value}\n"),
        () if is_readable => format!("{key}='{value}'\n"),
        () => format!("# {key} is left out: readers of this file do not agree on its value\n"),
    }
}

/// The byte range of the block, both marker lines and the last line's end included.
fn find(text: &str) -> Result<Option<(usize, usize)>, BrokenBlock> {
    let (mut start, mut end, mut offset) = (None, None, 0);
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        if content == BEGIN {
            if start.replace(offset).is_some() {
                return Err(BrokenBlock);
            }
        } else if content == END && (start.is_none() || end.replace(offset + line.len()).is_some()) {
            return Err(BrokenBlock);
        }
        offset += line.len();
    }
    match (start, end) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) if start < end => Ok(Some((start, end))),
        _ => Err(BrokenBlock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vars(value: &str) -> Vec<(String, String)> {
        vec![("PGPASSWORD".into(), value.into())]
    }

    #[test]
    fn a_second_block_takes_the_place_of_the_first() {
        let once = with_block("A=1\n", &vars("one")).expect("no block");
        let twice = with_block(&format!("{once}B=2\n"), &vars("two")).expect("one block");
        assert_eq!(twice, format!("A=1\n{BEGIN}\nPGPASSWORD=two\n{END}\nB=2\n"));
    }

    #[test]
    fn a_block_without_one_end_is_left_alone() {
        for text in [
            format!("{BEGIN}\nA=1\n"),
            format!("{END}\n"),
            format!("{END}\n{BEGIN}\n"),
        ] {
            assert_eq!(with_block(&text, &vars("x")), Err(BrokenBlock), "{text}");
        }
    }

    #[test]
    fn a_value_is_plain_where_it_can_be() {
        for (value, expected) in [
            ("", "A=\n"),
            ("127.64.0.1", "A=127.64.0.1\n"),
            (
                "postgresql://u:p@h:1/d?sslmode=require",
                "A=postgresql://u:p@h:1/d?sslmode=require\n",
            ),
            ("postgresql://h/d?a=b&c=d", "A='postgresql://h/d?a=b&c=d'\n"),
            ("~/ca.pem", "A='~/ca.pem'\n"),
            ("a b#c$d`e`\"f", "A='a b#c$d`e`\"f'\n"),
        ] {
            assert_eq!(line("A", value), expected);
        }
        for value in ["it's", "a\\b", "${HOME}", "a\nb"] {
            assert!(line("A", value).starts_with("# A is left out"), "{value}");
        }
    }

    #[test]
    fn ll_10_a_leftover_is_redundant_if_every_line_of_it_is_ours_or_in_the_file() {
        let file = with_block("A=1\nB=2\n", &vars("new")).expect("no block");
        let old = with_block("A=1\n", &vars("old")).expect("no block");
        for end in 0..=old.len() {
            assert_eq!(
                leftover(&old[..end], &file),
                Leftover::Redundant,
                "cut off after {end}"
            );
        }
        assert_eq!(leftover("\r\nA=1\r\n", &file), Leftover::Redundant);
        let theirs = with_block("A=1\nKEY=precious\n", &vars("old")).expect("no block");
        let rest = "A=1\nKEY=precious\n".to_owned();
        assert_eq!(leftover(&theirs, &file), Leftover::Unique(rest));
        let mixed = format!("{END}\nKEY=1\n");
        assert_eq!(leftover(&mixed, &file), Leftover::Unique(mixed.clone()));
        assert_eq!(
            leftover("PGPASSWORD=old", &file),
            Leftover::Unique("PGPASSWORD=old".into())
        );
    }

    #[test]
    fn the_url_escapes_what_an_email_and_a_token_hold() {
        let connection = Connection {
            host: "127.0.0.1",
            port: 5432,
            database: "databricks_postgres",
            user: "jane@example.com",
            password: "a/b+c=",
            sslmode: "require",
            ssl_root_cert: "/tmp/ca file.pem",
        };
        let vars = variables(&connection, "SHOP_");
        assert_eq!(
            vars[0].1,
            "postgresql://jane%40example.com:a%2Fb%2Bc%3D@127.0.0.1:5432/databricks_postgres?sslmode=require&sslrootcert=%2Ftmp%2Fca%20file.pem"
        );
        assert!(vars.contains(&("SHOP_DB_PASSWORD".into(), "a/b+c=".into())));
        assert!(vars.contains(&("SHOP_DB_SSLROOTCERT".into(), "/tmp/ca file.pem".into())));
        assert_eq!(vars.len(), 15);
    }

    proptest! {
        /// Whatever stands in the file, it is there again once the block is gone.
        #[test]
        fn other_lines_stay_to_the_byte(text in "([A-Z#= \"'\\r\\PC]{0,20}\n){0,6}", value in "\\PC{0,30}") {
            prop_assume!(find(&text) == Ok(None));
            let with = with_block(&text, &vars(&value)).expect("there was no block");
            prop_assert_eq!(without_block(&with).expect("there is one block"), text);
        }

        #[test]
        fn a_shell_reads_the_value_back_or_it_is_named(value in "[^\\x00-\\x1f]{0,40}") {
            let line = line("A", &value);
            let words = shlex::split(&line).expect("the quotes are closed");
            let is_left_out = line.starts_with("# A is left out");
            prop_assert_eq!(is_left_out, value.contains(['\'', '\\', '\u{7f}']) || value.contains("${") || value.contains(char::is_control));
            prop_assert!(is_left_out || words == [format!("A={value}")], "{}", line);
        }
    }
}
