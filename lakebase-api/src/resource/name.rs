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
