//! Chooses the one place that host and token come from. They always come from the same place: a token is never sent
//! to a host that some other place named.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::config_file::{ConfigFile, Profile, ProfileError};
use super::env::AuthEnv;
use super::origin::Origin;
use super::pat::{self, Settings};
use super::{AuthError, TokenSource, Workspace};

/// The keys of a profile that choose a way of signing in other than a token.
const OTHER_METHODS: [&str; 6] = [
    "client_id",
    "client_secret",
    "username",
    "password",
    "metadata_service_url",
    "azure_workspace_resource_id",
];

/// Finds the workspace to talk to: the named profile, else the environment, else the default profile.
pub fn load(profile: Option<&str>, env: &AuthEnv) -> Result<Workspace, AuthError> {
    if let Some(name) = profile {
        return from_file(Some(name), env);
    }
    let in_env = env.host.is_some() || env.token.is_some() || !env.other_methods.is_empty();
    match (&env.profile, in_env) {
        (Some(name), true) => agree(from_file(Some(name), env)?, env),
        (Some(name), false) => from_file(Some(name), env),
        (None, true) => from_env(env),
        (None, false) => from_file(None, env),
    }
}

fn from_env(env: &AuthEnv) -> Result<Workspace, AuthError> {
    let settings = Settings {
        source: TokenSource::Environment,
        token: env.token.clone(),
        auth_type: env.auth_type.clone(),
        others: env.other_methods.iter().map(ToString::to_string).collect(),
    };
    workspace(env.host.as_deref(), settings)
}

/// Accepts a profile beside variables only if they say the same.
fn agree(workspace: Workspace, env: &AuthEnv) -> Result<Workspace, AuthError> {
    let ambiguous = |second: &str| AuthError::Ambiguous {
        first: workspace.source.to_string(),
        second: format!("`{second}`"),
    };
    if env
        .host
        .as_ref()
        .is_some_and(|host| host.parse::<Origin>().as_ref() != Ok(&workspace.origin))
    {
        return Err(ambiguous("DATABRICKS_HOST"));
    }
    if env
        .token
        .as_ref()
        .is_some_and(|token| token.expose_secret() != workspace.token.expose_secret())
    {
        return Err(ambiguous("DATABRICKS_TOKEN"));
    }
    if let Some(other) = env.other_methods.first() {
        return Err(ambiguous(other));
    }
    Ok(workspace)
}

fn from_file(name: Option<&str>, env: &AuthEnv) -> Result<Workspace, AuthError> {
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
        Ok(profile) => from_profile(&profile, path),
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

fn from_profile(profile: &Profile<'_>, file: PathBuf) -> Result<Workspace, AuthError> {
    let settings = Settings {
        source: TokenSource::Profile {
            name: profile.name.clone(),
            file,
        },
        token: profile.value("token").map(SecretString::from),
        auth_type: profile.value("auth_type"),
        others: OTHER_METHODS
            .iter()
            .filter(|key| profile.value(key).is_some())
            .map(ToString::to_string)
            .collect(),
    };
    workspace(profile.value("host").as_deref(), settings)
}

fn workspace(host: Option<&str>, settings: Settings) -> Result<Workspace, AuthError> {
    let source = settings.source.clone();
    let Some(host) = host else {
        return Err(AuthError::Incomplete {
            place: source,
            missing: "host",
        });
    };
    let origin = host.parse().map_err(|cause| AuthError::BadHost {
        place: source.clone(),
        source: cause,
    })?;
    Ok(Workspace {
        origin,
        token: pat::token(settings)?,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[__settings__]
default_profile = team
[DEFAULT]
host = https://default.example.com
token = dapi-default
[team]
host = team.example.com/
token = dapi-team # rotated in June
[sso]
host = https://sso.example.com
auth_type = databricks-cli
[m2m]
host = https://m2m.example.com
client_id = app
client_secret = sec
[both]
host = https://both.example.com
token = dapi-both
client_id = app
[half]
host = https://half.example.com
[hostless]
token = dapi-hostless
[clear]
host = http://clear.example.com
token = dapi-clear
";

    struct Home {
        folder: tempfile::TempDir,
    }

    impl Home {
        fn with(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(".databrickscfg"), text).unwrap();
            Self { folder }
        }

        fn env(&self) -> AuthEnv {
            AuthEnv {
                home: Some(self.folder.path().to_owned()),
                ..AuthEnv::default()
            }
        }
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn found(profile: Option<&str>, env: &AuthEnv) -> (String, String) {
        let workspace = load(profile, env).unwrap();
        (
            workspace.origin.to_string(),
            workspace.token.expose_secret().to_owned(),
        )
    }

    fn pair(host: &str, token: &str) -> (String, String) {
        (host.to_owned(), token.to_owned())
    }

    #[test]
    fn a_named_profile_wins_over_the_environment_and_never_mixes_with_it() {
        let home = Home::with(FILE);
        let env = AuthEnv {
            host: Some("env.example.com".to_owned()),
            token: Some(secret("dapi-env")),
            ..home.env()
        };
        assert_eq!(
            found(Some("team"), &env),
            pair("https://team.example.com", "dapi-team")
        );
        assert!(matches!(
            load(Some("half"), &env),
            Err(AuthError::Incomplete { missing: "token", .. })
        ));
        assert!(matches!(
            load(Some("hostless"), &env),
            Err(AuthError::Incomplete { missing: "host", .. })
        ));
    }

    #[test]
    fn the_environment_wins_over_the_default_profile() {
        let home = Home::with(FILE);
        let env = AuthEnv {
            host: Some("env.example.com".to_owned()),
            token: Some(secret("dapi-env")),
            ..home.env()
        };
        assert_eq!(found(None, &env), pair("https://env.example.com", "dapi-env"));
        assert_eq!(load(None, &env).unwrap().source, TokenSource::Environment);
        let half = AuthEnv {
            token: Some(secret("dapi-env")),
            ..home.env()
        };
        let error = load(None, &half).unwrap_err();
        assert_eq!(error.to_string(), "cannot use the environment: it has no host");
    }

    #[test]
    fn the_default_profile_comes_last() {
        let home = Home::with(FILE);
        assert_eq!(
            found(None, &home.env()),
            pair("https://team.example.com", "dapi-team")
        );
        let home = Home::with(
            FILE.split_once("[DEFAULT]")
                .unwrap()
                .1
                .replacen("", "[DEFAULT]", 1)
                .as_str(),
        );
        assert_eq!(
            found(None, &home.env()),
            pair("https://default.example.com", "dapi-default")
        );
    }

    #[test]
    fn a_profile_of_the_environment_must_agree_with_its_other_variables() {
        let home = Home::with(FILE);
        let named = AuthEnv {
            profile: Some("team".to_owned()),
            ..home.env()
        };
        let same = AuthEnv {
            host: Some("https://team.example.com".to_owned()),
            token: Some(secret("dapi-team")),
            ..named.clone()
        };
        for env in [&named, &same] {
            assert_eq!(found(None, env), pair("https://team.example.com", "dapi-team"));
        }
        let contradictions = [
            AuthEnv {
                host: Some("other.example.com".to_owned()),
                ..named.clone()
            },
            AuthEnv {
                token: Some(secret("dapi-other")),
                ..named.clone()
            },
            AuthEnv {
                other_methods: vec!["DATABRICKS_CLIENT_ID"],
                ..named
            },
        ];
        for env in &contradictions {
            let error = load(None, env).unwrap_err();
            assert!(matches!(error, AuthError::Ambiguous { .. }), "{error:?}");
            assert!(error.to_string().contains("profile `team`"), "{error}");
        }
    }

    #[test]
    fn other_ways_of_signing_in_are_named() {
        let home = Home::with(FILE);
        for (profile, method) in [("sso", "databricks-cli"), ("m2m", "client_id")] {
            let error = load(Some(profile), &home.env()).unwrap_err();
            assert!(
                matches!(&error, AuthError::Unsupported { method: named, .. } if named == method),
                "{error:?}"
            );
        }
        assert!(matches!(
            load(Some("both"), &home.env()),
            Err(AuthError::Ambiguous { .. })
        ));
        let env = AuthEnv {
            other_methods: vec!["DATABRICKS_CLIENT_ID"],
            host: Some("h.example".to_owned()),
            ..home.env()
        };
        assert!(matches!(load(None, &env), Err(AuthError::Unsupported { .. })));
    }

    #[test]
    fn a_missing_profile_is_reported_with_those_there_are() {
        let home = Home::with("[a]\nhost = x\n[b]\nhost = y\n");
        let error = load(Some("c"), &home.env()).unwrap_err().to_string();
        assert!(error.starts_with("cannot find profile `c` in `"), "{error}");
        assert!(error.ends_with("which has `a`, `b`"), "{error}");
        assert!(matches!(
            load(Some("__settings__"), &home.env()),
            Err(AuthError::UnknownProfile { .. })
        ));
    }

    #[test]
    fn nothing_configured_is_its_own_error() {
        let empty = tempfile::tempdir().unwrap();
        let homes = [
            AuthEnv {
                home: Some(empty.path().to_owned()),
                ..AuthEnv::default()
            },
            AuthEnv::default(),
        ];
        for env in &homes {
            assert!(matches!(load(None, env), Err(AuthError::NotConfigured { .. })));
            assert!(matches!(
                load(Some("x"), env),
                Err(AuthError::UnknownProfile { .. })
            ));
        }
        let home = Home::with("[other]\nhost = https://x.example\ntoken = t\n");
        assert!(matches!(
            load(None, &home.env()),
            Err(AuthError::NotConfigured { .. })
        ));
    }

    #[test]
    fn the_file_may_be_elsewhere() {
        let home = Home::with("");
        let file = home.folder.path().join("mine.cfg");
        fs::write(&file, FILE).unwrap();
        for path in [file, PathBuf::from("~/mine.cfg")] {
            let env = AuthEnv {
                config_file: Some(path),
                ..home.env()
            };
            assert_eq!(found(Some("team"), &env).1, "dapi-team");
        }
    }

    #[test]
    fn tokens_do_not_go_to_http_hosts_and_are_not_in_messages() {
        let home = Home::with(FILE);
        let error = load(Some("clear"), &home.env()).unwrap_err();
        assert!(
            matches!(
                error,
                AuthError::BadHost {
                    source: super::super::OriginError::NotSecure,
                    ..
                }
            ),
            "{error:?}"
        );
        let broken = Home::with("[p]\ntoken = dapi-secret\ndapi-secret-on-its-own\n");
        let error = load(Some("p"), &broken.env()).unwrap_err();
        assert!(matches!(error, AuthError::Malformed { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("dapi"), "{error}");
        assert!(!format!("{:?}", load(Some("team"), &home.env()).unwrap()).contains("dapi"));
    }

    #[test]
    fn an_unreadable_file_is_not_an_absent_one() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".databrickscfg")).unwrap();
        let env = AuthEnv {
            home: Some(home.path().to_owned()),
            ..AuthEnv::default()
        };
        assert!(matches!(load(None, &env), Err(AuthError::Unreadable { .. })));
    }
}
