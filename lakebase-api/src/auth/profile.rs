//! Chooses the one place that host and sign-in come from. They always come from the same place: a secret is never sent
//! to a host that some other place named.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::choose::{Attempt, choose};
use super::config_file::{ConfigFile, ProfileError};
use super::env::AuthEnv;
use super::origin::Origin;
use super::settings::Settings;
use super::{AuthError, TokenSource, Workspace};

/// Finds the workspace to talk to: the named profile, else the environment, else the default profile.
///
/// # Errors
/// [`AuthError`] when there is none, or more than one.
pub fn load(profile: Option<&str>, env: &AuthEnv) -> Result<Workspace, AuthError> {
    explain(profile, env).0
}

/// Does the same, and tells of every way of signing in why it is used or not, as far as one place was found to ask.
pub fn explain(profile: Option<&str>, env: &AuthEnv) -> (Result<Workspace, AuthError>, Vec<Attempt>) {
    match place(profile, env) {
        Ok((settings, origin)) => {
            let (sign_in, chain) = choose(&settings, env, &origin);
            let workspace_id = settings.get("workspace_id").map(str::to_owned);
            let workspace = sign_in.map(|sign_in| Workspace {
                origin,
                sign_in,
                source: settings.source,
                workspace_id,
            });
            (workspace, chain)
        }
        Err(error) => (Err(error), Vec::new()),
    }
}

/// A profile and its file, as chosen by a caller or the environment; neither needs to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The profile's name; none where the file decides.
    pub profile: Option<String>,
    /// The file of profiles.
    pub file: PathBuf,
}

/// Returns the profile and the file that [`load`] reads; none where it takes the variables of the environment instead.
pub fn selected(profile: Option<&str>, env: &AuthEnv) -> Option<Selected> {
    let profile = profile.or_else(|| env.get("DATABRICKS_CONFIG_PROFILE"));
    if profile.is_none() && Settings::of_environment(env).is_about_a_workspace() {
        return None;
    }
    Some(Selected {
        profile: profile.map(str::to_owned),
        file: env.config_path()?,
    })
}

/// Returns the host in the profile; none where the profile, the file or the host is missing.
///
/// # Errors
/// [`AuthError`] when the file cannot be read, or the host is not one.
pub fn host(profile: Option<&str>, env: &AuthEnv) -> Result<Option<Origin>, AuthError> {
    match from_file(profile, env) {
        Ok(settings) if settings.get("host").is_none() => Ok(None),
        Ok(settings) => origin(&settings).map(Some),
        Err(AuthError::UnknownProfile { .. } | AuthError::NotConfigured { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the variable that names another workspace than the selected profile, as an error.
///
/// A profile that does not exist agrees with no variable.
pub fn conflict(selected: &Selected, env: &AuthEnv) -> Option<AuthError> {
    let in_env = Settings::of_environment(env);
    let variable = in_env.workspace_variable()?;
    match from_file(selected.profile.as_deref(), env) {
        Ok(settings) => agree(settings, &in_env).err(),
        Err(_) => Some(AuthError::Ambiguous {
            first: format!("the profile in `{}`", selected.file.display()),
            second: format!("`{variable}`"),
        }),
    }
}

/// The settings of the one place, and its host.
fn place(profile: Option<&str>, env: &AuthEnv) -> Result<(Settings, Origin), AuthError> {
    let in_env = Settings::of_environment(env);
    let settings = match (profile, env.get("DATABRICKS_CONFIG_PROFILE")) {
        (Some(name), _) => from_file(Some(name), env)?,
        (None, Some(name)) => agree(from_file(Some(name), env)?, &in_env)?,
        (None, None) if in_env.is_about_a_workspace() => in_env,
        (None, None) => from_file(None, env)?,
    };
    let origin = origin(&settings)?;
    Ok((settings, origin))
}

/// Accepts a profile beside variables only if they say the same.
fn agree(settings: Settings, in_env: &Settings) -> Result<Settings, AuthError> {
    if !in_env.is_about_a_workspace() {
        return Ok(settings);
    }
    let ambiguous = |second: &str| AuthError::Ambiguous {
        first: settings.source.to_string(),
        second: format!("`{second}`"),
    };
    let host = |settings: &Settings| settings.get("host").and_then(|host| host.parse::<Origin>().ok());
    if in_env.get("host").is_some() && host(in_env) != host(&settings) {
        return Err(ambiguous("DATABRICKS_HOST"));
    }
    match in_env.differing(&settings) {
        Some(variable) => Err(ambiguous(variable)),
        None => Ok(settings),
    }
}

fn from_file(name: Option<&str>, env: &AuthEnv) -> Result<Settings, AuthError> {
    let Some(path) = env.config_path() else {
        return Err(absent(name, Path::new("~/.databrickscfg"), Vec::new()));
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent(name, &path, Vec::new())),
        Err(source) => return Err(AuthError::Unreadable { file: path, source }),
    };
    let file = ConfigFile::parse(&text).map_err(|error| AuthError::Malformed {
        file: path.clone(),
        line: error.line,
    })?;
    let Some(name) = name.map(str::to_owned).or_else(|| file.default_profile()) else {
        return Err(absent(None, &path, file.names()));
    };
    match file.profile(&name) {
        Ok(profile) => {
            let name = profile.name.clone();
            Ok(Settings::of_profile(
                &profile,
                TokenSource::Profile { name, file: path },
            ))
        }
        Err(ProfileError::Unknown) => Err(absent(Some(&name), &path, file.names())),
        Err(ProfileError::Repeated) => Err(AuthError::Ambiguous {
            first: format!("the first profile `{name}` in `{}`", path.display()),
            second: "the second one of that name".to_owned(),
        }),
    }
}

fn absent(name: Option<&str>, path: &Path, known: Vec<String>) -> AuthError {
    match name {
        Some(name) => AuthError::UnknownProfile {
            profile: name.to_owned(),
            file: path.to_owned(),
            known,
        },
        None => AuthError::NotConfigured {
            file: path.to_owned(),
        },
    }
}

fn origin(settings: &Settings) -> Result<Origin, AuthError> {
    let place = || settings.source.clone();
    let Some(host) = settings.get("host") else {
        return Err(AuthError::Incomplete {
            place: place(),
            missing: "host",
        });
    };
    host.parse().map_err(|source| AuthError::BadHost {
        place: place(),
        source,
    })
}

#[cfg(test)]
mod tests;
