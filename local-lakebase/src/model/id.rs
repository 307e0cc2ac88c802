//! Ids of roles and databases: what a caller may choose, and what is made of a PostgreSQL name when it chooses none.

use crate::error::ApiError;

const LONGEST: usize = 63;

/// Reads a role's id by the rule that the service states.
pub(crate) fn role(id: &str) -> Result<String, ApiError> {
    if is_slug(id) && id.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(id.to_owned());
    }
    let text = "Field 'role_id' must match the regular expression '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'";
    Err(ApiError::invalid(text))
}

/// Reads a database's id.
pub(crate) fn database(id: &str) -> Result<String, ApiError> {
    if id.len() < 4 {
        return Err(ApiError::invalid(
            "Field database_id must be at least 4 characters",
        ));
    }
    if is_slug(id) {
        return Ok(id.to_owned());
    }
    let text = "Field 'database_id' must match the regular expression '^[a-z0-9]([a-z0-9-]{2,61}[a-z0-9])$'";
    Err(ApiError::invalid(text))
}

fn is_slug(id: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=LONGEST).contains(&id.len())
        && id.chars().all(|c| is_edge(c) || c == '-')
        && id.starts_with(is_edge)
        && id.ends_with(is_edge)
}

/// Makes an id that is valid and not taken out of a PostgreSQL name. One that would be too short, or would begin with a
/// digit, gets the prefix.
pub(crate) fn derive(name: &str, prefix: &str, shortest: usize, is_taken: impl Fn(&str) -> bool) -> String {
    let mut slug = slug(name);
    if slug.len() < shortest || !slug.starts_with(|first: char| first.is_ascii_lowercase()) {
        slug = format!("{prefix}-{slug}");
    }
    let numbered = (1_u32..).map(|n| match n {
        1 => cut(&slug, LONGEST).to_owned(),
        n => format!("{}-{n}", cut(&slug, LONGEST - 6)),
    });
    let mut free = numbered.skip_while(|id| is_taken(id));
    free.next().unwrap_or_default()
}

fn slug(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// Slugs are ASCII, so any place is a place to cut.
fn cut(slug: &str, longest: usize) -> &str {
    slug.get(..longest).unwrap_or(slug).trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids_of_their_own() {
        let free = |_: &str| false;
        assert_eq!(
            derive("jane.doe@example.com", "role", 1, free),
            "jane-doe-example-com"
        );
        assert_eq!(derive("3f2c-ab", "sp", 1, free), "sp-3f2c-ab");
        assert_eq!(derive("app", "db", 4, free), "db-app");
        assert_eq!(derive("日本", "role", 1, free), "role");
        assert_eq!(derive("app", "role", 1, |id| id == "app"), "app-2");
        for name in ["_x_", &"é-".repeat(50), &"long-".repeat(30), "--"] {
            let id = derive(name, "role", 1, |id| id.len() == LONGEST);
            assert!(role(&id).is_ok(), "{name}: {id}");
        }
    }

    #[test]
    fn ids_are_checked() {
        let uuid = "7f9c2ba4-e88f-427d-ae67-d7c8a9f1b2c3";
        for wrong in ["", "-a", "a-", "A", "a_b", uuid, &"a".repeat(64)] {
            assert!(role(wrong).is_err(), "{wrong}");
        }
        for right in ["a", "app", "sp-7f9c", &"a".repeat(63)] {
            assert!(role(right).is_ok(), "{right}");
        }
        assert!(database(uuid).is_ok());
        for wrong in ["app", "a_db", "app-", &"a".repeat(64)] {
            assert!(database(wrong).is_err(), "{wrong}");
        }
    }
}
