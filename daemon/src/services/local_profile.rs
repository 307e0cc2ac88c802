//! Which configurations mean Local Lakebase: its port and its token may be others after each start, so what a profile of
//! it says is not used.

use super::LOCAL;
use lakebase_api::auth::profile::{self, Selected};
use lakebase_api::{AuthEnv, AuthError, Origin};
use std::fmt;
use std::path::{Path, PathBuf};

/// Reason for using Local Lakebase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// `LAKEBASE_PROFILE` is `local`.
    Named,
    /// The environment selects a profile of Local Lakebase.
    Profile(Selected),
    /// No workspace is configured.
    NoWorkspace,
}

/// Service that a configuration selects.
#[derive(Debug)]
pub(super) enum Selection {
    Local(Why),
    /// A workspace, if it is configured.
    Workspace,
}

/// Reason why a configuration selects no service.
#[derive(Debug, thiserror::Error)]
pub(super) enum SelectionError {
    #[error("`{}` is the file of Local Lakebase, which has no profile `{profile}`", .file.display())]
    NoSuchProfile { profile: String, file: PathBuf },
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl SelectionError {
    /// Returns the change that helps.
    pub(super) fn fix(&self) -> String {
        match self {
            Self::NoSuchProfile { profile, .. } => format!(
                "unset DATABRICKS_CONFIG_FILE to use `{profile}` of ~/.databrickscfg, or select the profile `{LOCAL}`, \
                 and run `lakebase down && lakebase up`"
            ),
            Self::Auth(error) => error.fix(),
        }
    }
}

/// Decides between Local Lakebase and a workspace. `named` is `LAKEBASE_PROFILE`; `ours` is the file that Local Lakebase
/// writes, which does not exist before its first start.
pub(super) fn select(named: Option<&str>, env: &AuthEnv, ours: &Path) -> Result<Selection, SelectionError> {
    if named == Some(LOCAL) {
        return Ok(Selection::Local(Why::Named));
    }
    let Some(selected) = profile::selected(named, env) else {
        return Ok(Selection::Workspace);
    };
    let name = selected.profile.as_deref();
    if is_same_file(&selected.file, ours) {
        if let Some(other) = name.filter(|name| !local_lakebase::PROFILE_NAMES.contains(name)) {
            return Err(SelectionError::NoSuchProfile {
                profile: other.to_owned(),
                file: selected.file,
            });
        }
    } else {
        // A profile `local` of the user's own is theirs if its host is another machine.
        let is_remote = |host: Option<Origin>| host.is_some_and(|host| !host.is_loopback());
        if name != Some(LOCAL) || is_remote(profile::host(name, env)?) {
            return Ok(Selection::Workspace);
        }
    }
    match profile::conflict(&selected, env).filter(|_| named.is_none()) {
        Some(error) => Err(error.into()),
        None => Ok(Selection::Local(Why::Profile(selected))),
    }
}

/// Compares files that may not exist.
fn is_same_file(one: &Path, other: &Path) -> bool {
    resolved(one) == resolved(other)
}

fn resolved(path: &Path) -> PathBuf {
    let in_directory = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize()
        .ok()
        .or_else(in_directory)
        .or_else(|| std::path::absolute(path).ok())
        .unwrap_or_else(|| path.to_owned())
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => f.write_str("because LAKEBASE_PROFILE says so"),
            Self::NoWorkspace => f.write_str("because no workspace is configured"),
            Self::Profile(Selected { profile, file }) => match profile {
                Some(name) => write!(f, "selected by profile `{name}` in `{}`", file.display()),
                None => write!(f, "selected by `{}`", file.display()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is selected in a home whose own file has this text; `<dir>` in it and in the variables is that home.
    fn selected(file: &str, variables: &[(&str, &str)]) -> String {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().to_str().expect("text");
        fs::write(home.path().join(".databrickscfg"), file).expect("written");
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.replace("<dir>", dir)));
        let env = AuthEnv::of(variables.chain([("HOME".to_owned(), dir.to_owned())]));
        let text = match select(None, &env, &home.path().join("local/databrickscfg")) {
            Ok(Selection::Local(why)) => format!("local, {why}"),
            Ok(Selection::Workspace) => "a workspace".to_owned(),
            Err(error) => format!("{error}; {}", error.fix()),
        };
        text.replace(dir, "<dir>")
    }

    const FILE: (&str, &str) = ("DATABRICKS_CONFIG_FILE", "<dir>/local/databrickscfg");
    const PROFILE: (&str, &str) = ("DATABRICKS_CONFIG_PROFILE", "local");

    #[test]
    fn its_own_file_and_the_profile_local_are_local_lakebase() {
        let here = "[local]\nhost = http://127.0.0.1:1\ntoken = t\n";
        for (file, variables, start) in [
            (
                "",
                &[FILE, PROFILE][..],
                "local, selected by profile `local` in `<dir>/local/",
            ),
            ("", &[FILE], "local, selected by `<dir>/local/"),
            (
                "",
                &[PROFILE],
                "local, selected by profile `local` in `<dir>/.databrickscfg`",
            ),
            (here, &[PROFILE], "local, "),
            ("[local]\ntoken = t\n", &[PROFILE], "local, "),
            ("", &[], "a workspace"),
            (here, &[], "a workspace"),
        ] {
            let seen = selected(file, variables);
            assert!(seen.starts_with(start), "{file} {variables:?}: {seen}");
        }
    }

    #[test]
    fn a_profile_local_of_another_machine_is_a_workspace() {
        let away = "[local]\nhost = https://dbc-1.cloud.databricks.com\n";
        assert_eq!(selected(away, &[PROFILE]), "a workspace");
        assert!(selected(away, &[PROFILE, FILE]).starts_with("local, "));
    }

    #[test]
    fn a_profile_that_its_own_file_has_not_and_other_variables_contradict_it() {
        let unknown = selected("", &[FILE, ("DATABRICKS_CONFIG_PROFILE", "work")]);
        assert!(
            unknown.contains("no profile `work`; unset DATABRICKS_CONFIG_FILE"),
            "{unknown}"
        );
        let host = ("DATABRICKS_HOST", "https://dbc-1.cloud.databricks.com");
        let ambiguous = selected("", &[FILE, PROFILE, host]);
        assert!(
            ambiguous.contains("`DATABRICKS_HOST`; unset one of"),
            "{ambiguous}"
        );
        // As for the service's own tools, variables come before a file.
        assert_eq!(selected("", &[FILE, host]), "a workspace");
    }
}
