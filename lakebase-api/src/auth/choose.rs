//! Which way of signing in a place asks for, in the order in which the service's own libraries try them. Pure: nothing is run
//! or asked here.

use url::Url;

use super::env::AuthEnv;
use super::origin::Origin;
use super::settings::Settings;
use super::sign_in::{DatabricksCli, IdToken, SignIn};
use super::{AuthError, TokenSource};

/// A way of signing in that was thought of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its name, as in `auth_type`.
    pub method: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a way of signing in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is used; of several the first that gives a token.
    Chosen,
    /// It is not, for this reason.
    Skipped(String),
}

/// A way of signing in, or why it is not asked for.
type Configured = Result<SignIn, String>;

type Configure = fn(&Place<'_>) -> Configured;

/// What ways are made from.
struct Place<'a> {
    settings: &'a Settings,
    env: &'a AuthEnv,
    origin: &'a Origin,
}

/// The ways that are built in, in the order of the Python library.
const METHODS: [(&str, Configure); 7] = [
    ("pat", pat),
    ("oauth-m2m", machine),
    ("env-oidc", env_oidc),
    ("file-oidc", file_oidc),
    ("azure-client-secret", azure_secret),
    ("azure-cli", azure_cli),
    ("databricks-cli", databricks_cli),
];

/// Goes through all ways. The second value tells of each, also when the first is an error.
pub(super) fn choose(
    settings: &Settings,
    env: &AuthEnv,
    origin: &Origin,
) -> (Result<Vec<SignIn>, AuthError>, Vec<Attempt>) {
    let place = Place {
        settings,
        env,
        origin,
    };
    let wanted = settings.get("auth_type");
    let (mut chosen, mut chain) = (Vec::new(), Vec::new());
    for (method, configure) in METHODS {
        let configured = match wanted {
            Some(wanted) if wanted != method => Err(format!("`auth_type` is `{wanted}`")),
            // A program that is not there or has nobody signed in leaves it to the next.
            None if chosen.iter().any(|way| !matches!(way, SignIn::AzureCli { .. })) => {
                Err("an earlier one is used".to_owned())
            }
            _ => configure(&place),
        };
        let outcome = match configured {
            Ok(way) => {
                chosen.push(way);
                Outcome::Chosen
            }
            Err(reason) => Outcome::Skipped(reason),
        };
        chain.push(Attempt { method, outcome });
    }
    (verdict(settings, chosen), chain)
}

fn verdict(settings: &Settings, chosen: Vec<SignIn>) -> Result<Vec<SignIn>, AuthError> {
    let (kinds, wanted) = (settings.kinds(), settings.get("auth_type"));
    let source = || settings.source.clone();
    if kinds.len() > 1 && wanted.is_none() {
        let (methods, keys) = (kinds.keys().copied().collect(), kinds.values().copied().collect());
        return Err(AuthError::SeveralMethods {
            place: source(),
            methods,
            keys,
        });
    }
    let half = kinds.contains_key("oauth") && settings.get("client_secret").is_none();
    let unsupported = ["basic", "google", "metadata-service"]
        .into_iter()
        .find(|kind| kinds.contains_key(kind));
    match (chosen.is_empty(), wanted, unsupported) {
        (_, None, Some(kind)) => Err(unknown_method(source(), kind)),
        (false, None, None) if half && !has_exchange(&chosen) => Err(incomplete(source(), "client_secret")),
        (false, _, _) => Ok(chosen),
        (true, Some(wanted), _) if is_known(wanted) => Err(incomplete(source(), missing_for(wanted))),
        (true, Some(wanted), _) => Err(unknown_method(source(), wanted)),
        (true, None, None) => Err(incomplete(source(), "token")),
    }
}

fn has_exchange(chosen: &[SignIn]) -> bool {
    chosen.iter().any(|way| matches!(way, SignIn::Exchange { .. }))
}

fn is_known(method: &str) -> bool {
    METHODS.iter().any(|(known, _)| *known == method)
}

fn missing_for(method: &str) -> &'static str {
    match method {
        "oauth-m2m" => "client_id and client_secret",
        "azure-client-secret" => "azure_client_id and azure_client_secret",
        "env-oidc" => "token in the variable that oidc_token_env names",
        "file-oidc" => "oidc_token_filepath",
        _ => "token",
    }
}

fn incomplete(place: TokenSource, missing: &'static str) -> AuthError {
    AuthError::Incomplete { place, missing }
}

fn unknown_method(place: TokenSource, method: &str) -> AuthError {
    AuthError::Unsupported {
        place,
        method: method.to_owned(),
        supported: METHODS.iter().map(|(method, _)| *method).collect(),
    }
}

fn need(settings: &Settings, key: &str) -> Result<String, String> {
    settings
        .get(key)
        .map(str::to_owned)
        .ok_or_else(|| format!("no `{key}`"))
}

fn pat(place: &Place<'_>) -> Configured {
    let token = place.settings.secret("token").ok_or("no `token`")?;
    Ok(SignIn::Token(token))
}

fn machine(place: &Place<'_>) -> Configured {
    let client_id = need(place.settings, "client_id")?;
    let client_secret = place
        .settings
        .secret("client_secret")
        .ok_or("no `client_secret`")?;
    Ok(SignIn::Machine {
        client_id,
        client_secret,
    })
}

fn env_oidc(place: &Place<'_>) -> Configured {
    let variable = place
        .settings
        .get("oidc_token_env")
        .unwrap_or("DATABRICKS_OIDC_TOKEN");
    let token = place
        .env
        .get(variable)
        .ok_or_else(|| format!("`{variable}` is not set"))?;
    Ok(SignIn::Exchange {
        token: IdToken::Value(token.into()),
        client_id: place.settings.get("client_id").map(str::to_owned),
    })
}

fn file_oidc(place: &Place<'_>) -> Configured {
    let path = need(place.settings, "oidc_token_filepath")?;
    Ok(SignIn::Exchange {
        token: IdToken::File(path.into()),
        client_id: place.settings.get("client_id").map(str::to_owned),
    })
}

fn azure_secret(place: &Place<'_>) -> Configured {
    let client_id = need(place.settings, "azure_client_id")?;
    let client_secret = place
        .settings
        .secret("azure_client_secret")
        .ok_or("no `azure_client_secret`")?;
    Ok(SignIn::AzureSecret {
        login: azure_login(place.settings.get("azure_environment"))?,
        tenant: place.settings.get("azure_tenant_id").map(str::to_owned),
        client_id,
        client_secret,
    })
}

/// Azure's own addresses, of which there are only these.
fn azure_login(environment: Option<&str>) -> Result<Url, String> {
    let name = environment.unwrap_or("PUBLIC").to_ascii_uppercase();
    let login = match name.as_str() {
        "PUBLIC" => "https://login.microsoftonline.com/",
        "USGOVERNMENT" => "https://login.microsoftonline.us/",
        "CHINA" => "https://login.chinacloudapi.cn/",
        _ => return Err(format!("there is no Azure environment `{name}`")),
    };
    Url::parse(login).map_err(|error| error.to_string())
}

fn azure_cli(place: &Place<'_>) -> Configured {
    let is_asked_for = place.settings.get("auth_type").is_some()
        || place.settings.get("azure_workspace_resource_id").is_some();
    if !is_asked_for && !place.origin.is_azure() {
        return Err("the host is not on Azure".to_owned());
    }
    Ok(SignIn::AzureCli {
        tenant: place.settings.get("azure_tenant_id").map(str::to_owned),
        variables: place.env.for_programs(),
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is one of several that may not be asked for"
)]
fn databricks_cli(place: &Place<'_>) -> Configured {
    let whose = match &place.settings.source {
        TokenSource::Profile { name, .. } => ["--profile".to_owned(), name.clone()],
        TokenSource::Environment | TokenSource::Given(_) => ["--host".to_owned(), place.origin.to_string()],
    };
    let mut variables = place.env.for_programs();
    if let TokenSource::Profile { file, .. } = &place.settings.source {
        let file = file.display().to_string();
        variables.0.insert("DATABRICKS_CONFIG_FILE".to_owned(), file);
    }
    let program = place.settings.get("databricks_cli_path").unwrap_or("databricks");
    let home = place.env.get("HOME").map(std::path::PathBuf::from);
    Ok(SignIn::DatabricksCli(Box::new(DatabricksCli {
        program: program.into(),
        whose,
        variables,
        lock: home.map(|home| home.join(".local/state/lakebase/sign-in.lock")),
    })))
}
