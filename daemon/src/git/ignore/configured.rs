//! The part of git's configuration that decides what git ignores, and every file that it comes from
//! or could come from.

use super::SecretPlace;
use super::stamp::Stamps;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The keys that can change which files are ignored or which files hold the rules, for `git config
/// --get-regexp`. A change of any other key, such as the upstream that `git push -u` writes,
/// changes no answer.
pub(super) const RELEVANT: &str = r"^(core|extensions|safe|include|includeif|index|feature|sparse)\.|^remote\..*\.(promisor|partialclonefilter)$";

/// What a configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Configured {
    /// Keys and values in git's order.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files that are included, or will be when their condition holds or when they are there.
    included: Vec<PathBuf>,
    /// `core.excludesFile`.
    excludes_file: Option<PathBuf>,
    /// There is a path in it that only git can expand.
    pub(super) is_unclear: bool,
}

/// Where git finds the user's own files: the part of the environment that is passed on to it.
#[derive(Debug, Clone, Default)]
pub(super) struct UserFiles(BTreeMap<&'static str, OsString>);

impl UserFiles {
    pub(super) fn new(env: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        Self(env.into_iter().collect())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.0.get(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value))
    }

    /// `$XDG_CONFIG_HOME/git`, or its default.
    fn config_home(&self) -> Option<PathBuf> {
        let xdg = self.path("XDG_CONFIG_HOME");
        let home = xdg.or_else(|| Some(self.path("HOME")?.join(".config")));
        home.map(|home| home.join("git"))
    }

    /// The user's configuration files, whether or not they are there.
    pub(super) fn configurations(&self) -> Vec<PathBuf> {
        let named = ["GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL"].map(|name| self.path(name));
        let of_home = self.path("HOME").map(|home| home.join(".gitconfig"));
        let of_xdg = self.config_home().map(|home| home.join("config"));
        named.into_iter().chain([of_xdg, of_home]).flatten().collect()
    }

    /// The file of rules that is used without `core.excludesFile`.
    pub(super) fn default_excludes(&self) -> Option<PathBuf> {
        Some(self.config_home()?.join("ignore"))
    }

    /// Expands a path as git does; `None` where only git can.
    fn expand(&self, value: &[u8], base: &Path) -> Option<PathBuf> {
        let value = value.strip_prefix(b":(optional)").unwrap_or(value);
        if let Some(rest) = value.strip_prefix(b"~/") {
            return Some(self.path("HOME")?.join(OsStr::from_bytes(rest)));
        }
        let is_gits_own = value.starts_with(b"~") || value.starts_with(b"%(prefix)");
        (!is_gits_own).then(|| base.join(OsStr::from_bytes(value)))
    }
}

impl Configured {
    /// Reads the output of `git config -z --show-origin --get-regexp`, asked in the root of a
    /// worktree.
    pub(super) fn parse(output: &[u8], root: &Path, user: &UserFiles) -> Self {
        let mut configured = Self::default();
        let mut parts = output.split(|byte| *byte == 0);
        while let (Some(origin), Some(entry)) = (parts.next(), parts.next()) {
            // What is not from a file is from the daemon's own options.
            if let Some(file) = origin.strip_prefix(b"file:") {
                let file = root.join(OsStr::from_bytes(file));
                let at = entry.iter().position(|byte| *byte == b'\n');
                let (key, value) = entry.split_at(at.unwrap_or(entry.len()));
                // A key without a value is a true one.
                let value = value.strip_prefix(b"\n").unwrap_or(b"true");
                configured.note(key, value, &file, root, user);
                configured.entries.push((key.to_owned(), value.to_owned()));
            }
        }
        configured
    }

    fn note(&mut self, key: &[u8], value: &[u8], file: &Path, root: &Path, user: &UserFiles) {
        if key == b"include.path" || is_conditional(key) {
            match user.expand(value, file.parent().unwrap_or(root)) {
                Some(included) => self.included.push(included),
                None => self.is_unclear = true,
            }
        } else if key == b"core.excludesfile" {
            self.excludes_file = user.expand(value, root);
            self.is_unclear |= self.excludes_file.is_none();
        }
    }

    fn values(&self, key: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
        let of_key = self.entries.iter().filter(move |(name, _)| name == key);
        of_key.map(|(_, value)| value.as_slice())
    }

    /// Returns whether it may differ between the worktrees of one repository.
    pub(super) fn is_of_one_worktree(&self) -> bool {
        let has_condition = self.entries.iter().any(|(key, _)| is_conditional(key));
        let excludes = self.values(b"core.excludesfile").next_back();
        let is_relative = |path: &[u8]| !path.starts_with(b"/") && !path.starts_with(b"~");
        has_condition || self.has_worktree_config() || excludes.is_some_and(is_relative)
    }

    /// Returns whether it may be another one on another git branch.
    pub(super) fn depends_on_head(&self) -> bool {
        let is_about_head = |key: &[u8]| key.starts_with(b"includeif.onbranch:");
        self.entries.iter().any(|(key, _)| is_about_head(key))
    }

    fn has_worktree_config(&self) -> bool {
        self.values(b"extensions.worktreeconfig").any(is_true)
    }

    /// Returns whether git takes names that differ in case for the same.
    pub(super) fn ignores_case(&self) -> bool {
        self.values(b"core.ignorecase").next_back().is_some_and(is_true)
    }

    /// Returns whether objects may be missing that git would fetch when it needs them.
    pub(super) fn is_partial(&self) -> bool {
        let is_promisor = |key: &[u8]| key.starts_with(b"remote.") || key == b"extensions.partialclone";
        self.entries.iter().any(|(key, _)| is_promisor(key))
    }

    /// Returns whether refs are in a reftable, so that no file shows where HEAD points.
    pub(super) fn is_reftable(&self) -> bool {
        self.values(b"extensions.refstorage")
            .any(|storage| storage == b"reftable")
    }

    /// `core.worktree`, as it is written.
    pub(super) fn work_tree(&self) -> Option<&Path> {
        let value = self.values(b"core.worktree").next_back()?;
        Some(Path::new(OsStr::from_bytes(value)))
    }

    /// The files that it comes from or could come from, besides those that git reads for every
    /// worktree.
    pub(super) fn included(&self, place: SecretPlace<'_>) -> Vec<PathBuf> {
        let of_worktree = self
            .has_worktree_config()
            .then(|| place.admin_dir.join("config.worktree"));
        self.included.iter().cloned().chain(of_worktree).collect()
    }

    /// The files with rules for every worktree.
    pub(super) fn excludes(&self, common_dir: &Path, user: &UserFiles) -> Stamps {
        let of_repository = common_dir.join("info/exclude");
        let others = [self.excludes_file.clone(), user.default_excludes()];
        Stamps::of([of_repository].into_iter().chain(others.into_iter().flatten()))
    }
}

fn is_conditional(key: &[u8]) -> bool {
    key.starts_with(b"includeif.") && key.ends_with(b".path")
}

/// Returns whether git takes a value for true. Of a value that is neither, git itself complains.
fn is_true(value: &[u8]) -> bool {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    let is_zero = value.iter().all(|digit| *digit == b'0');
    !(is_zero || is("false") || is("no") || is("off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserFiles {
        UserFiles::new([("HOME", "/home/jane".into())])
    }

    fn parse(entries: &[(&str, &str)]) -> Configured {
        let bytes = entries
            .iter()
            .flat_map(|(origin, entry)| format!("{origin}\0{entry}\0").into_bytes());
        Configured::parse(&bytes.collect::<Vec<_>>(), Path::new("/r"), &user())
    }

    fn included(entries: &[(&str, &str)]) -> Vec<PathBuf> {
        let place = SecretPlace {
            root: Path::new("/r"),
            relative: Path::new(".env"),
            admin_dir: Path::new("/r/.git"),
            common_dir: Path::new("/r/.git"),
            is_local: true,
        };
        parse(entries).included(place)
    }

    #[test]
    fn sec_33_included_files_are_found_whether_their_condition_holds_or_not() {
        let global = "file:/home/jane/.gitconfig";
        let entries = [
            (global, "include.path\nmore/config"),
            (global, "includeif.gitdir:~/x/.path\n~/x/config"),
            ("file:.git/config", "includeif.onbranch:old.path\n../old"),
            ("command line:", "include.path\n/not/a/file/of/the/user"),
        ];
        let wanted = ["/home/jane/more/config", "/home/jane/x/config", "/r/.git/../old"];
        assert_eq!(included(&entries), wanted.map(PathBuf::from));
        let configured = parse(&entries);
        assert!(configured.is_of_one_worktree() && configured.depends_on_head());
        assert!(!parse(&entries[..1]).is_of_one_worktree());
        assert!(!parse(&entries[..2]).depends_on_head());
    }

    #[test]
    fn sec_33_the_last_file_of_rules_counts_and_one_that_only_git_can_expand_is_unclear() {
        let global = "file:/home/jane/.gitconfig";
        let excludes = |value: &str| parse(&[(global, &format!("core.excludesfile\n{value}"))]);
        assert_eq!(
            excludes("~/ignore").excludes_file,
            Some("/home/jane/ignore".into())
        );
        assert_eq!(excludes("/etc/ignore").excludes_file, Some("/etc/ignore".into()));
        assert!(!excludes("/etc/ignore").is_of_one_worktree());
        assert!(
            excludes("rules").is_of_one_worktree(),
            "it is relative to the worktree"
        );
        for unclear in ["~root/ignore", "%(prefix)/ignore"] {
            assert!(excludes(unclear).is_unclear, "{unclear}");
        }
        let twice = parse(&[
            (global, "core.excludesfile\n/a"),
            (global, "core.excludesfile\n/b"),
        ]);
        assert_eq!(twice.excludes_file, Some("/b".into()));
    }

    #[test]
    fn sec_33_what_does_not_concern_ignored_files_changes_nothing() {
        let entries = [("file:.git/config", "core.ignorecase")];
        assert!(parse(&entries).ignores_case(), "a key without a value is true");
        assert_eq!(parse(&entries), parse(&entries));
        let other = [("file:.git/config", "core.ignorecase\nfalse")];
        assert_ne!(parse(&entries), parse(&other));
        assert!(!parse(&other).ignores_case());
    }

    #[test]
    fn the_users_files_follow_the_environment() {
        let xdg = UserFiles::new([
            ("HOME", "/h".into()),
            ("XDG_CONFIG_HOME", "/x".into()),
            ("GIT_CONFIG_GLOBAL", "/g".into()),
        ]);
        assert_eq!(
            xdg.configurations(),
            ["/g", "/x/git/config", "/h/.gitconfig"].map(PathBuf::from)
        );
        assert_eq!(xdg.default_excludes(), Some("/x/git/ignore".into()));
        let plain = UserFiles::new([("HOME", "/h".into()), ("XDG_CONFIG_HOME", "".into())]);
        assert_eq!(plain.default_excludes(), Some("/h/.config/git/ignore".into()));
        assert!(UserFiles::default().configurations().is_empty());
    }
}
