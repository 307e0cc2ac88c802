//! Resource names. A name is the path of its resource in the URL, so it is checked once, when it is parsed, and
//! nothing that could change the meaning of a URL gets past this file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MAX_ID: usize = 63;
const MAX_OPERATION: usize = 1024;

/// Says why some text is not the name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use `{given}` as {kind}: {reason}")]
pub struct NameError {
    /// What the text should have named, with its article: "a branch name".
    pub kind: &'static str,
    /// The text as given, cut to a readable length.
    pub given: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

impl NameError {
    fn new(kind: &'static str, given: &str, reason: &'static str) -> Self {
        Self {
            kind,
            given: given.chars().take(120).flat_map(char::escape_debug).collect(),
            reason,
        }
    }
}

/// Whether an id may begin with a digit.
#[derive(Clone, Copy)]
enum First {
    Letter,
    LetterOrDigit,
}

/// Checks the documented rule for ids: 1 to 63 of `[a-z0-9-]`, beginning with a letter (databases: or a digit).
fn check_id(id: &str, first: First) -> Result<(), &'static str> {
    let starts_well = |byte: u8| match first {
        First::Letter => byte.is_ascii_lowercase(),
        First::LetterOrDigit => byte.is_ascii_lowercase() || byte.is_ascii_digit(),
    };
    let Some(&head) = id.as_bytes().first() else {
        return Err("an id cannot be empty");
    };
    if id.len() > MAX_ID {
        return Err("an id has at most 63 characters");
    }
    if !id
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Err("an id has only lower-case letters, digits and hyphens");
    }
    if !starts_well(head) {
        return Err("an id begins with a lower-case letter");
    }
    Ok(())
}

macro_rules! text_name {
    ($name:ident) => {
        impl $name {
            /// Returns the whole name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! child_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $parent_type:ident . $parent:ident, $infix:literal, $first:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        text_name!($name);

        impl $name {
            /// Joins a parent and an id, after checking the id.
            pub fn new(parent: &$parent_type, id: &str) -> Result<Self, NameError> {
                check_id(id, First::$first).map_err(|reason| NameError::new($kind, id, reason))?;
                Ok(Self(format!(concat!("{}", $infix, "{}"), parent, id)))
            }

            /// Returns the name of the resource this one lies in.
            pub fn $parent(&self) -> $parent_type {
                $parent_type(self.split().0.to_owned())
            }

            /// Returns the last part of the name.
            pub fn id(&self) -> &str {
                self.split().1
            }

            fn split(&self) -> (&str, &str) {
                self.0.rsplit_once($infix).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let wrong = |reason| NameError::new($kind, text, reason);
                let Some((parent, id)) = text.rsplit_once($infix) else {
                    return Err(wrong(concat!("it has no `", $infix, "`")));
                };
                let parent = $parent_type::from_str(parent).map_err(|error| wrong(error.reason))?;
                Self::new(&parent, id).map_err(|error| wrong(error.reason))
            }
        }
    };
}

/// The name of a project: `projects/{p}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(String);

text_name!(ProjectName);

impl ProjectName {
    const KIND: &str = "a project name";
    const PREFIX: &str = "projects/";

    /// Makes the name of the project with this id, after checking the id.
    pub fn new(id: &str) -> Result<Self, NameError> {
        check_id(id, First::Letter).map_err(|reason| NameError::new(Self::KIND, id, reason))?;
        Ok(Self(format!("{}{id}", Self::PREFIX)))
    }

    /// Returns the last part of the name.
    pub fn id(&self) -> &str {
        self.0.strip_prefix(Self::PREFIX).unwrap_or_default()
    }
}

impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |reason| NameError::new(Self::KIND, text, reason);
        let id = text
            .strip_prefix(Self::PREFIX)
            .ok_or_else(|| wrong("it does not begin with `projects/`"))?;
        Self::new(id).map_err(|error| wrong(error.reason))
    }
}

child_name! {
    /// The name of a branch: `projects/{p}/branches/{b}`.
    BranchName, "a branch name", ProjectName.project, "/branches/", Letter
}

child_name! {
    /// The name of an endpoint: `projects/{p}/branches/{b}/endpoints/{e}`.
    EndpointName, "an endpoint name", BranchName.branch, "/endpoints/", Letter
}

child_name! {
    /// The name of a database: `projects/{p}/branches/{b}/databases/{d}`. Its id is not its name in PostgreSQL.
    DatabaseName, "a database name", BranchName.branch, "/databases/", LetterOrDigit
}

child_name! {
    /// The name of a role: `projects/{p}/branches/{b}/roles/{r}`. Its id is not its name in PostgreSQL.
    RoleName, "a role name", BranchName.branch, "/roles/", Letter
}

impl BranchName {
    /// Says whether the id has the shape of a uid (`br-…`), which the service accepts neither in paths nor as a source.
    pub fn looks_like_uid(&self) -> bool {
        self.id().starts_with("br-")
    }
}

/// The name of a long-running operation. Its shape is the service's affair; it is only checked to stay below the
/// API's base path when it becomes part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationName(String);

text_name!(OperationName);

impl FromStr for OperationName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |reason| Err(NameError::new("an operation name", text, reason));
        if text.len() > MAX_OPERATION {
            return wrong("it is too long");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~:@".contains(&byte);
        if !text.bytes().all(plain) {
            return wrong("it has characters that do not belong in a path");
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return wrong("it is not a plain relative path");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "[a-z][a-z0-9-]{0,62}";

    proptest! {
        #[test]
        fn a_name_is_read_back_as_it_was_written(project in ID, branch in ID, leaf in ID) {
            let project = ProjectName::new(&project).unwrap();
            let branch = BranchName::new(&project, &branch).unwrap();
            let endpoint = EndpointName::new(&branch, &leaf).unwrap();
            let database = DatabaseName::new(&branch, &leaf).unwrap();
            let role = RoleName::new(&branch, &leaf).unwrap();
            prop_assert_eq!(role.to_string().parse::<RoleName>().unwrap(), role);
            prop_assert_eq!(project.to_string().parse::<ProjectName>().unwrap(), project.clone());
            prop_assert_eq!(branch.to_string().parse::<BranchName>().unwrap(), branch.clone());
            prop_assert_eq!(endpoint.to_string().parse::<EndpointName>().unwrap(), endpoint.clone());
            prop_assert_eq!(database.to_string().parse::<DatabaseName>().unwrap(), database.clone());
            prop_assert_eq!(branch.project(), project);
            prop_assert_eq!(endpoint.branch(), branch.clone());
            prop_assert_eq!(database.branch(), branch);
            prop_assert_eq!(endpoint.id(), leaf);
        }

        #[test]
        fn whatever_is_read_is_written_the_same(text in "(projects/[a-z./-]{0,9})?(/branches/)?[a-z./%-]{0,9}") {
            if let Ok(name) = text.parse::<BranchName>() {
                prop_assert_eq!(name.to_string(), &*text);
                prop_assert_eq!(text.matches('/').count(), 3, "four parts and no more");
            }
            if let Ok(name) = text.parse::<OperationName>() {
                prop_assert_eq!(name.to_string(), &*text);
                prop_assert!(!text.split('/').any(|part| part == ".."));
            }
        }
    }

    #[test]
    fn names_that_would_change_a_url_are_refused() {
        let strange = [
            "",
            "projects",
            "projects/",
            "projects/Shop",
            "projects/1shop",
            "projects/-a",
            "projects/a/",
            "/projects/a",
            "projects/a?b",
            "projects/a#b",
            "projects/a%2f",
            "projects/..",
            "projects/a b",
            "projects/a\n",
            "shop",
            "projects/ä",
            "projects/a/branches/b",
        ];
        for text in strange {
            assert!(text.parse::<ProjectName>().is_err(), "{text}");
        }
        let strange = [
            "projects/a/branches/",
            "projects/a/branches/..",
            "projects/a/b/branches/c",
            "branches/b",
            "projects/a/branches/b/branches/c",
            "projects/a/branches/b/",
            "projects/a/branches/B",
        ];
        for text in strange {
            assert!(text.parse::<BranchName>().is_err(), "{text}");
        }
        let strange = [
            "", "/a", "a/", "a//b", "a/../b", "..", ".", "a?b", "a#b", "a b", "a\\b", "a%2e", "a\u{0}",
        ];
        for text in strange {
            assert!(text.parse::<OperationName>().is_err(), "{text}");
        }
        assert!(
            "projects/shop/operations/7d1c-OP_9"
                .parse::<OperationName>()
                .is_ok()
        );
    }

    #[test]
    fn ids_have_at_most_63_characters() {
        let project = ProjectName::new("shop").unwrap();
        assert!(BranchName::new(&project, &"a".repeat(63)).is_ok());
        assert!(BranchName::new(&project, &"a".repeat(64)).is_err());
        assert!(BranchName::new(&project, "a").is_ok());
    }

    #[test]
    fn an_error_says_what_is_wrong_without_breaking_the_line() {
        let error = "projects/a\nb".parse::<ProjectName>().unwrap_err();
        let expected = "cannot use `projects/a\\nb` as a project name: \
                        an id has only lower-case letters, digits and hyphens";
        assert_eq!(error.to_string(), expected);
        assert!(
            "x".repeat(9999)
                .parse::<BranchName>()
                .unwrap_err()
                .to_string()
                .len()
                < 300
        );
    }

    #[test]
    fn only_database_ids_may_begin_with_a_digit() {
        let branch: BranchName = "projects/a/branches/b".parse().unwrap();
        assert!(DatabaseName::new(&branch, "1st-db").is_ok());
        assert!(EndpointName::new(&branch, "1st").is_err());
    }

    #[test]
    fn uids_are_recognised() {
        let uid: BranchName = "projects/a/branches/br-quiet-moon-d2x8y1zz".parse().unwrap();
        let id: BranchName = "projects/a/branches/bread".parse().unwrap();
        assert!(uid.looks_like_uid() && !id.looks_like_uid());
    }
}
