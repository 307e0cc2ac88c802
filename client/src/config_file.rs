//! `lakebase.config`, as far as `lakebase init` goes: a first one is written, one that is there is left alone. What the keys
//! mean is the daemon's business.

use crate::failure::{Exit, Failure};
use lakebase_proto::v1::Repository;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const EXAMPLE: &str = include_str!("../../lakebase.config.example");
const KEY: &str = "LAKEBASE_PROJECT_ID";
const EXAMPLE_ID: &str = "my-project";
/// The length of a project id on the service.
const LONGEST_ID: usize = 63;
const SHORTEST_ID: usize = 3;

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Written,
    Kept,
    /// There is no file, and the confirmed configuration is in force.
    InForce,
}

/// Says whether the service would take this as the id of a project.
///
/// # Errors
/// A usage error that names the nearest id that it would take.
pub(crate) fn check_id(id: &str) -> Result<(), Failure> {
    let nearest = sanitised(id);
    if nearest == id {
        return Ok(());
    }
    let text = format!(
        "cannot name a project `{id}`: lower-case letters, digits and single hyphens, 3 to 63 of them"
    );
    Err(Failure::new(Exit::Usage, text).hint(format!("try `--project {nearest}`")))
}

/// Makes the repository's configuration unless it is there.
///
/// # Errors
/// When it cannot be written, or the one that is there names another project than was asked for.
pub(crate) fn ensure(repository: &Repository, asked: Option<&str>) -> anyhow::Result<Outcome> {
    let path = Path::new(&repository.config_path);
    let id = asked.map_or_else(|| default_id(repository), str::to_owned);
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            let written = file.write_all(with_project(&id).as_bytes());
            written.map_err(|error| cannot_write(path, error))?;
            Ok(Outcome::Written)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => keep(path, asked),
        Err(error) => Err(cannot_write(path, error).into()),
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write `{}`", path.display())).source(error)
}

fn keep(path: &Path, asked: Option<&str>) -> anyhow::Result<Outcome> {
    let Some(asked) = asked else {
        return Ok(Outcome::Kept);
    };
    let text = fs::read_to_string(path)?;
    match project_in(&text) {
        Some(named) if named != asked => {
            let text = format!(
                "cannot use project `{asked}`: `{}` names `{named}`",
                path.display()
            );
            Err(Failure::new(Exit::Failed, text)
                .hint(format!("change {KEY} there"))
                .into())
        }
        _ => Ok(Outcome::Kept),
    }
}

fn project_in(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(KEY))?;
    let value = line.trim_start().strip_prefix('=')?;
    shlex::split(value)?.pop()
}

fn with_project(id: &str) -> String {
    EXAMPLE.replace(&format!("{KEY}=\"{EXAMPLE_ID}\""), &format!("{KEY}=\"{id}\""))
}

/// The id of a repository that nobody named: after the directory it lives in.
fn default_id(repository: &Repository) -> String {
    let dir = Some(&repository.main_worktree).filter(|path| !path.is_empty());
    let dir = Path::new(dir.unwrap_or(&repository.common_dir));
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    sanitised(name.strip_suffix(".git").unwrap_or(&name))
}

/// Bends any text into a project id.
fn sanitised(text: &str) -> String {
    let mut id = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            id.push(c);
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) || id.trim_end_matches('-').len() < SHORTEST_ID {
        id.insert_str(0, "project-");
    }
    id.truncate(LONGEST_ID);
    id.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_directory_name_gives_a_project_id() {
        assert_eq!(sanitised("shop"), "shop");
        assert_eq!(sanitised("My Shop_2"), "my-shop-2");
        assert_eq!(sanitised(".dotfiles"), "dotfiles");
        assert_eq!(sanitised("2048"), "project-2048");
        assert_eq!(sanitised("x"), "project-x");
        assert_eq!(sanitised("店"), "project");
        assert_eq!(sanitised(&"a-".repeat(60)).len(), 63);
        assert!(!sanitised(&format!("{}-b", "a".repeat(62))).ends_with('-'));
    }

    #[test]
    fn an_id_that_the_service_would_refuse_is_refused_here() {
        assert!(check_id("shop").is_ok());
        for bad in ["", "Shop", "a", "1shop", "my--shop", "shop-", "my_shop"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_example_takes_the_project() {
        let text = with_project("shop");
        assert_eq!(project_in(&text).as_deref(), Some("shop"));
        assert!(!text.contains(EXAMPLE_ID));
    }

    #[test]
    fn a_bare_repository_is_named_after_its_directory() {
        let named = |main_worktree: &str, common_dir: &str| {
            default_id(&Repository {
                main_worktree: main_worktree.into(),
                common_dir: common_dir.into(),
                ..Repository::default()
            })
        };
        assert_eq!(named("/home/jane/Shop", "/home/jane/Shop/.git"), "shop");
        assert_eq!(named("", "/srv/shop.git"), "shop");
    }
}
