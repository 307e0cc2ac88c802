//! What is wrong with the data of a Local Lakebase that is served, in words for the user.

use std::path::Path;

use lakebase_api::BranchName;

/// Something about the data that the user has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalProblem {
    /// What is wrong.
    pub message: String,
    /// What the user can do about it.
    pub fix: String,
}

pub(super) fn without_data(branch: &BranchName) -> LocalProblem {
    LocalProblem {
        message: format!("the data of `{branch}` are missing, and it is not served"),
        fix: "put them back, or run `lakebased local recover`, which drops it".to_owned(),
    }
}

pub(super) fn unmoved(path: &Path, lost: &Path) -> LocalProblem {
    LocalProblem {
        message: format!(
            "no branch has `{}`, and it cannot be moved to `{}`",
            path.display(),
            lost.display()
        ),
        fix: "move it away, or remove it if you do not need it; the log has the reason".to_owned(),
    }
}

pub(super) fn lost(count: usize, place: &Path) -> LocalProblem {
    let directories = if count == 1 {
        "data directory"
    } else {
        "data directories"
    };
    LocalProblem {
        message: format!(
            "{count} {directories} that no branch has are in `{}`",
            place.display()
        ),
        fix: "run `lakebased local recover` to see which can be taken back; remove what you do not need"
            .to_owned(),
    }
}
