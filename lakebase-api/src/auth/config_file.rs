//! The file of profiles (`~/.databrickscfg`): text in, profiles out. It reads values as the service's own tools do:
//! quotes and backslashes are part of a value, a space and a `#` begin a comment, and nothing is inherited from
//! `[DEFAULT]`.

use ini::{Ini, ParseOption};

/// A section that is about the tools and never a profile.
const SETTINGS: &str = "__settings__";
const DEFAULT: &str = "DEFAULT";

/// The profiles of one file.
pub(super) struct ConfigFile(Ini);

/// One profile: its name and values.
#[derive(Debug)]
pub(super) struct Profile<'a> {
    pub(super) name: String,
    values: &'a ini::Properties,
}

/// Why there is no such profile to use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProfileError {
    Unknown,
    Repeated,
}

impl ConfigFile {
    pub(super) fn parse(text: &str) -> Result<Self, ini::ParseError> {
        let raw = ParseOption {
            enabled_quote: false,
            enabled_escape: false,
            ..ParseOption::default()
        };
        Ini::load_from_str_opt(text.trim_start_matches('\u{feff}'), raw).map(Self)
    }

    /// Returns the profile of that name.
    pub(super) fn profile(&self, name: &str) -> Result<Profile<'_>, ProfileError> {
        if name == SETTINGS {
            return Err(ProfileError::Unknown);
        }
        let mut sections = self.0.section_all(Some(name));
        match (sections.next(), sections.next()) {
            (Some(values), None) => Ok(Profile {
                name: name.to_owned(),
                values,
            }),
            (Some(_), Some(_)) => Err(ProfileError::Repeated),
            (None, _) => Err(ProfileError::Unknown),
        }
    }

    /// Returns the name of the profile to use when nobody names one.
    pub(super) fn default_profile(&self) -> Option<String> {
        let chosen = self
            .0
            .section(Some(SETTINGS))
            .and_then(|settings| value(settings, "default_profile"));
        let default = || {
            self.0
                .section(Some(DEFAULT))
                .filter(|values| !values.is_empty())
                .map(|_| DEFAULT.to_owned())
        };
        chosen.or_else(default)
    }

    /// Returns the names of all profiles, for messages.
    pub(super) fn names(&self) -> Vec<String> {
        self.0
            .sections()
            .flatten()
            .filter(|name| *name != SETTINGS)
            .map(str::to_owned)
            .collect()
    }
}

impl Profile<'_> {
    pub(super) fn value(&self, key: &str) -> Option<String> {
        value(self.values, key)
    }
}

fn value(section: &ini::Properties, key: &str) -> Option<String> {
    let raw = section.get(key)?;
    let end = [" #", "\t#", " ;", "\t;"]
        .iter()
        .filter_map(|mark| raw.find(mark))
        .min()
        .unwrap_or(raw.len());
    let value = raw[..end].trim();
    let comment = value.starts_with(['#', ';']);
    (!value.is_empty() && !comment).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(line: &str) -> Option<String> {
        ConfigFile::parse(&format!("[p]\n{line}\n"))
            .unwrap()
            .profile("p")
            .unwrap()
            .value("token")
    }

    #[test]
    fn values_are_read_raw() {
        let cases = [
            (r"token = da\npi", Some(r"da\npi")),
            (r#"token = "dapi""#, Some(r#""dapi""#)),
            ("token = da#pi;x", Some("da#pi;x")),
            ("token = dapi # mine", Some("dapi")),
            ("token=dapi\t; mine", Some("dapi")),
            ("token: dapi", Some("dapi")),
            ("token = a=b:c", Some("a=b:c")),
            ("token = dapi\r", Some("dapi")),
            ("token =", None),
            ("token = # none", None),
            ("# token = dapi", None),
        ];
        for (line, expected) in cases {
            assert_eq!(value_of(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn profiles_inherit_nothing() {
        let file = ConfigFile::parse("[DEFAULT]\nhost = a\n[p]\ntoken = t\n").unwrap();
        assert_eq!(file.profile("p").unwrap().value("host"), None);
        assert_eq!(file.names(), ["DEFAULT", "p"]);
    }

    #[test]
    fn the_default_profile_is_chosen_or_has_keys() {
        let default = |text: &str| ConfigFile::parse(text).unwrap().default_profile();
        assert_eq!(
            default("[__settings__]\ndefault_profile = p\n[DEFAULT]\nhost = a\n").as_deref(),
            Some("p")
        );
        assert_eq!(
            default("\u{feff}[DEFAULT]\nhost = a\n").as_deref(),
            Some("DEFAULT")
        );
        assert_eq!(default("[DEFAULT]\n[p]\nhost = a\n"), None);
        assert_eq!(default(""), None);
    }

    #[test]
    fn the_settings_are_not_a_profile() {
        let file = ConfigFile::parse("[__settings__]\nhost = a\n").unwrap();
        assert_eq!(file.profile("__settings__").unwrap_err(), ProfileError::Unknown);
        assert!(file.names().is_empty());
    }

    #[test]
    fn two_profiles_of_one_name_are_none() {
        let file = ConfigFile::parse("[p]\nhost = a\n[p]\nhost = b\n").unwrap();
        assert_eq!(file.profile("p").unwrap_err(), ProfileError::Repeated);
    }
}
