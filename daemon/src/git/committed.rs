//! A file of the commit that HEAD names, for repositories without a main worktree.

use super::command::{ask, run};
use super::process::Start;
use std::ffi::OsStr;
use std::path::Path;

/// Reads a file at the root of HEAD's commit; `None` when the commit has no such file, or HEAD names no commit yet. Blocking.
///
/// # Errors
/// Why it cannot be read: it is a link or a directory, larger than `limit` bytes, or not in this clone.
pub(crate) fn committed(git_dir: &Path, name: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let start = Start::At(git_dir);
    let args = ["ls-tree", "-l", "-z", "HEAD", "--", name];
    let finished = run(start, &args.map(OsStr::new))?;
    if !finished.status.success() {
        let complaint = finished
            .complaint()
            .unwrap_or_else(|| finished.status.to_string());
        let is_unborn = complaint.ends_with("Not a valid object name HEAD");
        return if is_unborn { Ok(None) } else { Err(complaint) };
    }
    let Some(blob) = entry(&finished.output)? else {
        return Ok(None);
    };
    if blob.size > limit {
        return Err(format!("it is larger than {limit} bytes"));
    }
    ask(start, &["cat-file", "blob", blob.id].map(OsStr::new)).map(Some)
}

#[derive(Debug, PartialEq, Eq)]
struct Blob<'a> {
    id: &'a str,
    size: usize,
}

/// Parses `<mode> SP <type> SP <object> SP <size> TAB <file>` of git-ls-tree(1).
fn entry(line: &[u8]) -> Result<Option<Blob<'_>>, String> {
    let line = str::from_utf8(line).map_err(|error| error.to_string())?;
    let Some((facts, _)) = line.split_once('\t') else {
        return Ok(None);
    };
    let facts: Vec<&str> = facts.split_ascii_whitespace().collect();
    match facts[..] {
        ["100644" | "100755", "blob", id, size] => {
            let size = size.parse().map_err(|_| "its blob is not in this clone")?;
            Ok(Some(Blob { id, size }))
        }
        _ => Err("it is not a plain file".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_read() {
        assert_eq!(entry(b""), Ok(None));
        let found = entry(b"100644 blob 5716ca5987cbf97d6bb54920bea6adde242d87e6       4\tname\0");
        let id = "5716ca5987cbf97d6bb54920bea6adde242d87e6";
        assert_eq!(found, Ok(Some(Blob { id, size: 4 })));
        for other in [
            "120000 blob a 4\tn",
            "040000 tree a -\tn",
            "160000 commit a -\tn",
            "100644 blob a BAD\tn",
        ] {
            assert!(entry(other.as_bytes()).is_err(), "{other}");
        }
    }
}
