//! What a supervisor has running, on the disk, so that whoever comes after one that was killed can end it.

use crate::place::Place;
use crate::system::{self, Process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// The variable that every process of ours is started with, and its children inherit.
pub(crate) const MARK: &str = "LAKEBASE_DEV";

/// A run of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The supervisor's pid, which is its session, too.
    pub(crate) supervisor: i32,
    /// The supervisor's own start time.
    pub(crate) started: String,
    /// The value of [`MARK`], which no other run has.
    pub(crate) mark: String,
    pub(crate) groups: Vec<Group>,
}

/// A process group, by its leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) leader: i32,
    pub(crate) started: String,
}

impl Run {
    /// Writes it down so that it is there whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(&new, path)
    }

    pub(crate) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// The groups of this run that have members now, also those that went into a session of their own. A pid that another
    /// process got in the meantime is not one of them: somebody in the group must carry the run's mark, or be the leader
    /// that was recorded.
    fn groups_of(&self, processes: &[Process]) -> BTreeSet<i32> {
        let is_ours = |process: &&Process| {
            let leads = |group: &Group| group.leader == process.pid && group.started == process.started;
            self.groups.iter().any(leads) || system::carries(process.pid, &format!("{MARK}={}", self.mark))
        };
        let ours = processes.iter().filter(is_ours);
        ours.map(|process| process.group)
            .filter(|group| *group != self.supervisor)
            .collect()
    }

    /// Ends what the run has running, the supervisor itself excepted. Says how many groups there were.
    pub(crate) async fn end_groups(&self) -> usize {
        let groups = self.groups_of(&system::processes());
        system::end(&groups).await;
        groups.len()
    }
}

/// Ends what a killed supervisor of this place left. Only for one who has made sure that none runs.
pub(crate) async fn sweep(place: &Place) -> usize {
    let path = place.run_file();
    let Some(run) = Run::load(&path) else {
        return 0;
    };
    let ended = run.end_groups().await;
    fs::remove_file(path).ok();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, started: &str) -> Process {
        Process {
            pid,
            group: pid,
            session: None,
            started: started.into(),
        }
    }

    #[test]
    fn a_pid_that_another_process_got_is_left_alone() {
        let run = Run {
            supervisor: i32::MAX,
            started: "1".into(),
            mark: "x".into(),
            // No process has such pids, so none is looked into.
            groups: vec![Group {
                leader: i32::MAX - 1,
                started: "77".into(),
            }],
        };
        assert_eq!(
            run.groups_of(&[process(i32::MAX - 1, "77")]),
            BTreeSet::from([i32::MAX - 1])
        );
        assert_eq!(run.groups_of(&[process(i32::MAX - 1, "78")]), BTreeSet::new());
        assert_eq!(run.groups_of(&[process(i32::MAX - 2, "77")]), BTreeSet::new());
    }
}
