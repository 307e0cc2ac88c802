//! Everything there is in one history: two repositories, two services, the ledger, the daemon's memory, two clocks; and what
//! must hold between them.

use crate::daemon::{Memory, pass};
use crate::dice::Dice;
use crate::event::{Event, Mischief, ORIGINS, REPOSITORIES, Weather, Wish};
use crate::git::Git;
use crate::ledger::Ledger;
use crate::mutant::Mutant;
use crate::service::{Maker, Manners, Service};
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, GitRef, ProjectId, RepositoryId, Slot};
use daemon_core::plan::{Action, Step};
use daemon_core::state::{OnExisting, Policy, Record, RecordState, WorktreeSource};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const USER: &str = "jane@example.com";
pub(crate) const GRACE: TimeDelta = TimeDelta::minutes(15);
/// The pauses between passes in the calm, in seconds: longer than a grace, a back-off, a lag.
const CALM: [i64; 12] = [61, 400, 61, 1, 1000, 61, 1, 400, 1000, 61, 400, 61];
/// How often these may be needed: a name that is held and not shown is given up only after minutes, and so may be the next.
const CALM_ROUNDS: u32 = 4;
/// How much a wall clock may move before the daemon must notice.
const TOLERANCE: TimeDelta = TimeDelta::minutes(2);

/// What one history is played with.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) manners: Manners,
}

impl Setup {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let seconds = |n| TimeDelta::seconds(n);
        Self {
            policy: Policy {
                source_branch: BranchId::new("production"),
                ttl: (!dice.one_in(8)).then(|| TimeDelta::hours(6)),
                reap_grace: GRACE,
                worktree_source: dice.pick(&[
                    WorktreeSource::Parent,
                    WorktreeSource::Parent,
                    WorktreeSource::Source,
                ]),
                on_existing: dice.pick(&[OnExisting::Adopt, OnExisting::Separate]),
            },
            manners: Manners {
                list_lag: seconds(dice.pick(&[0, 0, 45])),
                get_lag: seconds(dice.pick(&[0, 0, 30])),
                making: seconds(dice.pick(&[0, 0, 20])),
                holds_names: !dice.one_in(3),
                shows_deleted: !dice.one_in(3),
            },
        }
    }
}

/// What the daemon's complete looks have truly shown of a slot.
#[derive(Debug, Clone, Default)]
struct Sightings {
    /// Complete looks in a row that did not find it, and when the first was.
    absent: u32,
    first_absent: Option<Timestamp>,
    /// One of them fell after a removal. What came and went again between two looks nobody can tell from it.
    was_removed: bool,
    was_locked: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) services: Vec<Service>,
    pub(crate) gits: Vec<Git>,
    /// Which service each repository is set to.
    pub(crate) profiles: Vec<usize>,
    pub(crate) ledger: Ledger,
    /// What the daemon keeps of each repository until it dies.
    pub(crate) memories: Vec<Memory>,
    sightings: BTreeMap<(usize, usize, Slot), Sightings>,
    names: Vec<BranchId>,
    /// By service and name: when the daemon last asked for a branch and got no answer.
    unanswered: BTreeMap<(usize, BranchId), Timestamp>,
    /// True time.
    pub(crate) now: Timestamp,
    /// How far the machine's wall clock is from it.
    offset: TimeDelta,
    /// The machine's other clock, which nobody can set.
    pub(crate) uptime: Duration,
    /// A person has to look at the ledger before anything is deleted.
    pub(crate) is_unconfirmed: bool,
    pub(crate) breach: Option<String>,
    /// What happened and what the daemon did, if anybody wants to read it.
    pub(crate) story: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(setup: Setup, mutant: Option<Mutant>) -> Self {
        let now = Timestamp::from_timestamp(1_700_000_000, 0).expect("in range");
        Self {
            services: ["a", "b"]
                .map(|prefix| Service::new(setup.manners, prefix, now))
                .into(),
            setup,
            mutant,
            gits: vec![Git::new(); REPOSITORIES],
            profiles: vec![0; REPOSITORIES],
            ledger: Ledger::default(),
            memories: vec![Memory::default(); REPOSITORIES],
            sightings: BTreeMap::new(),
            names: wanted_names(),
            unanswered: BTreeMap::new(),
            now,
            offset: TimeDelta::zero(),
            uptime: Duration::ZERO,
            is_unconfirmed: false,
            breach: None,
            story: None,
        }
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    /// What the machine's wall clock shows.
    pub(crate) fn wall(&self) -> Timestamp {
        self.now + self.offset
    }

    pub(crate) fn service(&mut self, repository: usize) -> &mut Service {
        &mut self.services[self.profiles[repository]]
    }

    /// Lets one event happen.
    ///
    /// # Errors
    /// What was broken by it.
    pub(crate) fn happen(&mut self, event: &Event) -> Result<(), String> {
        self.tell(|| format!("{event:?}"));
        match event {
            Event::Pass {
                repository,
                weather,
                wish,
            } => pass(self, *repository, weather, *wish),
            Event::Unconfirmed(is_unconfirmed) => self.is_unconfirmed = *is_unconfirmed,
            Event::Wait(seconds) => self.wait(*seconds),
            Event::SetClock(seconds) => {
                // In the minute in which a new branch may not be listed, its age is all that tells that it is not gone. A
                // clock that is set right then may cost a second branch, which ends with its lease.
                self.wait(61);
                self.offset += TimeDelta::seconds(*seconds);
            }
            Event::Restart => self.restart(),
            Event::Git { repository, change } => self.gits[*repository].change(*change),
            Event::Project { origin, mischief } => self.suffer(*origin, *mischief),
            Event::OtherProfile { repository } => {
                self.profiles[*repository] = (self.profiles[*repository] + 1) % ORIGINS;
                self.memories[*repository] = Memory::default();
            }
            Event::Plant { repository, branch } => self.plant(*repository, *branch),
        }
        self.judge()
    }

    fn wait(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
        self.uptime += Duration::from_secs(seconds.unsigned_abs());

        for service in &mut self.services {
            service.advance(self.now);
        }
    }

    pub(crate) fn restart(&mut self) {
        self.memories.fill(Memory::default());
    }

    pub(crate) fn suffer(&mut self, origin: usize, mischief: Mischief) {
        let held = self.ledger.held_open(origin);
        let names = self.ledger.asked_for(origin).into_iter();
        let names: Vec<BranchId> = names.chain(self.names.iter().cloned()).collect();
        self.services[origin].suffer(mischief, &names, &held);
        for ((_, id), asked) in self.unanswered.iter().filter(|((at, _), _)| *at == origin) {
            self.services[origin].note_unanswered(id, *asked);
        }
    }

    /// The daemon asked for a branch, and does not know what came of it.
    pub(crate) fn note_unanswered(&mut self, origin: usize, id: &BranchId) {
        self.unanswered.insert((origin, id.clone()), self.now);
        self.services[origin].note_unanswered(id, self.now);
    }

    /// A record as the daemon would have written it, of a slot that is gone, about somebody else's branch: `production` with its right uid, or another
    /// one with a wrong uid.
    fn plant(&mut self, repository: usize, branch: u32) {
        let origin = self.profiles[repository];
        let branches = &self.services[origin].branches;
        let foreign = branches
            .values()
            .filter(|branch| branch.maker == Maker::Somebody)
            .map(|branch| &branch.remote)
            .filter(|remote| !remote.id.as_str().starts_with("fork-"));
        let foreign: Vec<_> = foreign.collect();
        let Some(remote) = foreign.get(branch as usize % foreign.len().max(1)) else {
            return;
        };
        let record = Record {
            slot: Slot::Ref(GitRef::new("refs/heads/gone")),
            project: project(),
            origin: origin_name(origin),
            branch: remote.id.clone(),
            state: RecordState::Owned,
            uid: if remote.source.is_none() {
                remote.uid.clone()
            } else {
                Some(BranchUid::new("br-planted"))
            },
            source: None,
            since: self.now,
            lease_held: false,
            reap_after: None,
            was_locked: false,
            is_kept: false,
        };
        self.ledger.plant(repository, origin, record);
    }

    /// Notes which worktrees are locked, or are not, as far as the daemon has it in its records.
    pub(crate) fn note_locks(&mut self, repository: usize, is_locked: bool) {
        let (git, origin) = (&self.gits[repository], self.profiles[repository]);
        for record in self.ledger.records(repository, origin) {
            if git.is_locked(&record.slot) == Some(is_locked) {
                let key = (repository, origin, record.slot);
                self.sightings.entry(key).or_default().was_locked = is_locked;
            }
        }
    }

    /// Notes what a complete look at a repository has truly shown. What was seen of a slot ends with its record.
    pub(crate) fn note_look(&mut self, repository: usize) {
        let (git, origin) = (&self.gits[repository], self.profiles[repository]);
        let records = self.ledger.records(repository, origin);
        self.sightings.retain(|(of, at, slot), _| {
            (*of, *at) != (repository, origin) || records.iter().any(|record| record.slot == *slot)
        });
        for record in records {
            let seen = self
                .sightings
                .entry((repository, origin, record.slot.clone()))
                .or_default();
            if git.has(&record.slot) {
                (seen.absent, seen.first_absent, seen.was_removed) = (0, None, false);
            } else {
                seen.absent += 1;
                seen.was_removed |= git.was_removed(&record.slot);
                seen.first_absent.get_or_insert(self.now);
            }
        }
    }

    /// Judges a step by whether the ledger is confirmed: until then nothing is created, taken over or given up.
    pub(crate) fn judge_step(&mut self, step: &Step) {
        let is_forbidden = matches!(
            step.action,
            Action::Create { .. }
                | Action::Adopt { .. }
                | Action::Hold
                | Action::Release { .. }
                | Action::Reap(_)
                | Action::Forget
        );
        if self.is_unconfirmed && is_forbidden {
            self.note(format!(
                "{:?} for {} by a ledger that was lost",
                step.action, step.slot
            ));
        }
    }

    /// Judges a delete of a slot's branch by what is true of the slot.
    pub(crate) fn judge_delete(&mut self, repository: usize, slot: &Slot, word: Option<Wish>) {
        let origin = self.profiles[repository];
        let git = &self.gits[repository];
        let records = self.ledger.records(repository, origin);
        let is_kept = records
            .iter()
            .any(|record| &record.slot == slot && record.is_kept);
        let breach = match word {
            _ if self.is_unconfirmed => Some("by a ledger that was lost"),
            _ if is_kept => Some("which is kept"),
            Some(Wish::Delete(_)) if git.in_use().contains(slot) => Some("which is in use"),
            Some(Wish::Collect) if git.has(slot) => Some("which is no garbage"),
            Some(Wish::Keep(_) | Wish::GiveBack(_)) => Some("which nobody asked to delete"),
            Some(_) => None,
            None => self.judge_unasked(repository, slot),
        };
        if let Some(breach) = breach {
            self.note(format!("a delete of the branch of {slot}, {breach}"));
        }
    }

    /// Judges a delete that nobody asked for.
    fn judge_unasked(&self, repository: usize, slot: &Slot) -> Option<&'static str> {
        let git = &self.gits[repository];
        let seen = self
            .sightings
            .get(&(repository, self.profiles[repository], slot.clone()))
            .cloned()
            .unwrap_or_default();
        let gone_for = seen.first_absent.map_or(TimeDelta::zero(), |at| self.now - at);
        if git.has(slot) {
            Some("which is there")
        } else if seen.absent < 2 {
            Some("which was found gone only once")
        } else if gone_for + TOLERANCE < GRACE && !seen.was_removed {
            Some("which is still in its grace")
        } else if seen.was_locked {
            Some("whose worktree was locked")
        } else {
            None
        }
    }

    /// Drops a record. One of a branch that is ours and alive must not be lost.
    pub(crate) fn forget(&mut self, repository: usize, origin: usize, slot: &Slot) {
        let Some(record) = self.ledger.forget(repository, origin, slot) else {
            return;
        };
        let branch = self.services[origin].branches.get(&record.branch);
        let is_its_own = record.state == RecordState::Owned
            && branch.is_some_and(|branch| {
                branch.remote.uid == record.uid && branch.is_listed(self.now) && !branch.is_touched
            });
        if is_its_own {
            self.note(format!("{} is forgotten, and lives", record.branch));
        }
    }

    fn note(&mut self, breach: String) {
        self.breach.get_or_insert(breach);
    }

    fn judge(&mut self) -> Result<(), String> {
        let by_services = self.services.iter_mut().find_map(|service| service.breach.take());
        let breach = self
            .breach
            .take()
            .or(by_services)
            .or_else(|| self.ledger.breach.take());
        breach.map_or(Ok(()), Err)
    }

    // ---- the end

    /// Nothing happens any more but passes, and people do what only they can do.
    ///
    /// # Errors
    /// What is not right even then.
    pub(crate) fn calm_down(&mut self) -> Result<u64, String> {
        self.gits.iter_mut().for_each(Git::mend);
        self.offset = TimeDelta::zero();
        self.is_unconfirmed = false;
        let mut steps = 0;
        for round in 1.. {
            for pause in CALM {
                self.tell(|| format!("calm, {pause} s"));
                self.wait(pause);
                self.clear_away();
                for repository in 0..REPOSITORIES {
                    pass(self, repository, &Weather::default(), None);
                    self.judge()?;
                    steps += 1;
                }
            }
            match self.check_all() {
                Err(_) if round < CALM_ROUNDS => {}
                checked => return checked.map(|()| steps),
            }
        }
        unreachable!("the last round returns")
    }

    /// People do what only people can.
    fn clear_away(&mut self) {
        let quarantined = self.ledger.quarantined();
        for (origin, service) in self.services.iter_mut().enumerate() {
            let here = quarantined.iter().filter(|(of, _)| *of == origin);
            service.calm(here.map(|(_, id)| id));
        }
    }

    fn check_all(&self) -> Result<(), String> {
        for repository in 0..REPOSITORIES {
            self.check_living(repository)?;
            self.check_held(repository)?;
        }
        (0..ORIGINS).try_for_each(|origin| self.check_leaks(origin))
    }

    /// Every worktree has a branch that it can use.
    fn check_living(&self, repository: usize) -> Result<(), String> {
        let origin = self.profiles[repository];
        let records = self.ledger.records(repository, origin);
        for slot in self.gits[repository].in_use() {
            let record = records.iter().find(|record| record.slot == slot);
            let Some(record) = record else {
                return Err(format!("{slot} has no record in the end"));
            };
            let branch = self.services[origin].branches.get(&record.branch);
            let is_right = |uid| record.state == RecordState::Adopted || record.uid == uid;
            if !branch.is_some_and(|branch| is_right(branch.remote.uid.clone())) {
                return Err(format!("{slot} has no branch in the end, but {record:?}"));
            }
        }
        Ok(())
    }

    /// No record says that a lease is held which runs.
    fn check_held(&self, repository: usize) -> Result<(), String> {
        let origin = self.profiles[repository];
        let is_running = |record: &Record| {
            let branch = self.services[origin].branches.get(&record.branch);
            branch.is_some_and(|b| b.remote.uid == record.uid && b.remote.expire_time.is_some())
        };
        let records = self.ledger.records(repository, origin);
        match records
            .iter()
            .find(|record| record.lease_held && is_running(record))
        {
            Some(record) => Err(format!(
                "the lease of {} runs and is recorded as held",
                record.branch
            )),
            None => Ok(()),
        }
    }

    /// Every branch that the daemon made ends some day, unless something needs it.
    fn check_leaks(&self, origin: usize) -> Result<(), String> {
        let Some(ttl) = self.setup.policy.ttl else {
            return Ok(());
        };
        let service = &self.services[origin];
        let longest = self.now + ttl + TimeDelta::days(1);
        for (id, branch) in &service.branches {
            let Maker::Daemon { repository, .. } = branch.maker else {
                continue;
            };
            let is_kept = |record: &Record| record.is_kept && &record.branch == id;
            let is_kept = self.ledger.records(repository, origin).iter().any(is_kept);
            let is_needed = service.has_children(id) || branch.is_touched || is_kept;
            if is_needed || self.profiles[repository] != origin {
                continue;
            }
            match branch.remote.expire_time {
                None => return Err(format!("{id} would never end")),
                Some(at) if at > longest => return Err(format!("{id} would end only at {at}")),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Names that the daemon may want, for somebody else to take.
fn wanted_names() -> Vec<BranchId> {
    let names = [
        "jane-main",
        "jane-feature-x",
        "jane-main-worktree-w0",
        "jane-main-worktree-w1",
    ];
    names.map(BranchId::new).into()
}

pub(crate) fn project() -> ProjectId {
    ProjectId::new("shop")
}

pub(crate) fn origin_name(origin: usize) -> String {
    ["https://a.example", "https://b.example"][origin].into()
}

pub(crate) fn repository_id(repository: usize) -> RepositoryId {
    RepositoryId::new(format!("r{repository}"))
}
