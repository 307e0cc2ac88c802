//! The daemon around the core, as small as it can be and in the shape of `daemon/src/reconcile.rs` and `apply.rs`: look, plan, then
//! one sub-step after the other. Before and after each sub-step the weather may strike.

use crate::event::{Fault, Mischief, Weather, Wish};
use crate::mutant::Mutant;
use crate::service::{Got, Maker, Refused};
use crate::world::{USER, World, origin_name, project, repository_id};
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::backoff;
use daemon_core::ids::{BranchId, BranchUid, Slot, WorktreeId};
use daemon_core::lease;
use daemon_core::permit::DeletePermit;
use daemon_core::plan::{Action, Plan, Step, plan};
use daemon_core::state::{
    Ask, Asks, GitView, Look, Observed, Reaped, Record, RecordState, RemoteBranch, Seen,
};
use daemon_core::why::Why;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a full project is left alone.
const QUOTA_PAUSE: Duration = Duration::from_mins(5);
const NAME_HELD: TimeDelta = TimeDelta::days(7);
/// How long a name that is given out and not to be seen may still be our own branch's.
const UNSEEN: Duration = Duration::from_mins(10);

/// What the daemon keeps of a repository from pass to pass, and loses when it dies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// What the clocks showed at the last look.
    clocks: Option<(Timestamp, Duration)>,
    seen: BTreeSet<WorktreeId>,
    removed_live: BTreeSet<WorktreeId>,
    /// Names that are given out and not to be seen, and since when.
    unseen: BTreeMap<BranchId, Duration>,
    /// Failures in a row, and until when the slot is left alone.
    attempts: BTreeMap<Slot, (u32, Duration)>,
}

/// Why a pass, or a step of it, ends early.
#[derive(Debug)]
enum Stop {
    Crash,
    Ledger,
    Service(Refused),
}

/// One pass, killed or not.
pub(crate) fn pass(world: &mut World, repository: usize, weather: &Weather, wish: Option<Wish>) {
    let origin = world.profiles[repository];
    let mut pass = Pass {
        world,
        repository,
        origin,
        weather,
        sub_step: 0,
        records: vec![],
        locked: BTreeSet::new(),
        is_still: false,
        planned: Observed::default(),
        wish,
        asks: Asks::default(),
    };
    if let Err(Stop::Crash) = pass.run() {
        world.restart();
    }
}

struct Pass<'a> {
    world: &'a mut World,
    repository: usize,
    origin: usize,
    weather: &'a Weather,
    /// Requests and writes so far.
    sub_step: u32,
    records: Vec<Record>,
    locked: BTreeSet<Slot>,
    /// Nobody else does anything just now.
    is_still: bool,
    /// The branches as the plan saw them.
    planned: Observed,
    wish: Option<Wish>,
    /// The wish as the plan takes it.
    asks: Asks,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        self.records = self.load();
        self.asks = self.asks();
        let git = self.look_at_git();
        if let Seen::Present(view) = &git {
            self.world.note_locks(self.repository, false);
            self.note_locks(view)?;
            self.world.note_locks(self.repository, true);
        }
        if !self.has(Mutant::AnyClock) && self.clock_was_set() {
            self.restart_graces()?;
        }
        // Not before every grace is written down as begun anew.
        let clocks = (self.world.wall(), self.world.uptime);
        self.memory().clocks = Some(clocks);
        let observed = self.observe()?;
        let Plan::Steps(steps) = self.plan(&git, observed) else {
            return Ok(());
        };
        self.world.note_look(self.repository);
        for step in steps.iter().filter(|step| step.action != Action::Keep) {
            let done = self.apply(step);
            self.world
                .tell(|| format!("    {} {:?}: {:?} -> {done:?}", step.slot, step.why, step.action));
            match done {
                Ok(()) => drop(self.memory().attempts.remove(&step.slot)),
                Err(Stop::Service(error)) => self.failed(&step.slot, error),
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    fn has(&self, mutant: Mutant) -> bool {
        self.world.mutant == Some(mutant)
    }

    fn memory(&mut self) -> &mut Memory {
        &mut self.world.memories[self.repository]
    }

    fn failed(&mut self, slot: &Slot, error: Refused) {
        let uptime = self.world.uptime;
        let (failures, until) = self.memory().attempts.entry(slot.clone()).or_default();
        *failures += 1;
        let asked = if error == Refused::Quota {
            QUOTA_PAUSE
        } else {
            Duration::ZERO
        };
        *until = uptime + backoff::pause(*failures, 0).max(asked);
    }

    // ---- sub-steps

    /// Sends one request, in whatever weather.
    fn ask<T>(&mut self, act: impl FnOnce(&mut World) -> Result<T, Refused>) -> Result<T, Stop> {
        self.ask_when(|_| true, act)
    }

    /// Sends a request right after the read that it rests on. Only what the service itself refuses can come between them.
    fn ask_at_once<T>(&mut self, act: impl FnOnce(&mut World) -> Result<T, Refused>) -> Result<T, Stop> {
        let is_refused = |mischief| {
            matches!(
                mischief,
                Mischief::Protect(_) | Mischief::MakeDefault(_) | Mischief::Fork(_)
            )
        };
        self.ask_when(is_refused, act)
    }

    fn ask_when<T>(
        &mut self,
        can_strike: impl Fn(Mischief) -> bool,
        act: impl FnOnce(&mut World) -> Result<T, Refused>,
    ) -> Result<T, Stop> {
        match self.strike(can_strike) {
            Some(Fault::CrashBefore) => Err(Stop::Crash),
            Some(Fault::Fails) => Err(Stop::Service(Refused::Offline)),
            Some(Fault::CrashAfter) => act(self.world).map_or(Err(Stop::Crash), |_| Err(Stop::Crash)),
            Some(Fault::AnswerLost) => {
                drop(act(self.world));
                Err(Stop::Service(Refused::Offline))
            }
            None => act(self.world).map_err(Stop::Service),
        }
    }

    /// Writes to the ledger, in whatever weather.
    fn write(&mut self, act: impl FnOnce(&mut World)) -> Result<(), Stop> {
        let fault = self.strike(|_| true);
        if matches!(fault, None | Some(Fault::CrashAfter | Fault::AnswerLost)) {
            act(self.world);
        }
        match fault {
            None => Ok(()),
            Some(Fault::CrashBefore | Fault::CrashAfter) => Err(Stop::Crash),
            Some(Fault::Fails | Fault::AnswerLost) => Err(Stop::Ledger),
        }
    }

    fn strike(&mut self, can_strike: impl Fn(Mischief) -> bool) -> Option<Fault> {
        let now = self.sub_step;
        self.sub_step += 1;
        for (at, mischief) in &self.weather.mischief {
            if *at == now && !self.is_still && can_strike(*mischief) {
                self.world.suffer(self.origin, *mischief);
            }
        }
        let mut faults = self.weather.faults.iter();
        faults.find(|(at, _)| *at == now).map(|(_, fault)| *fault)
    }

    // ---- looking

    fn load(&self) -> Vec<Record> {
        if !self.has(Mutant::AnyOrigin) {
            return self.world.ledger.records(self.repository, self.origin);
        }
        let mut records = self.world.ledger.records_of_any_origin(self.repository);
        for record in &mut records {
            record.origin = origin_name(self.origin);
        }
        records
    }

    fn look_at_git(&mut self) -> Seen<GitView> {
        let git = &self.world.gits[self.repository];
        let memory = &mut self.world.memories[self.repository];
        match git.look(&memory.seen, &memory.removed_live) {
            Seen::Present(view) => {
                memory.seen = view
                    .worktrees
                    .iter()
                    .map(|worktree| worktree.id.clone())
                    .collect();
                memory.removed_live.clone_from(&view.removed_live);
                Seen::Present(view)
            }
            Seen::Unknown(_) if self.has(Mutant::UnreadableIsEmpty) => Seen::Present(GitView::default()),
            unknown @ Seen::Unknown(_) => unknown,
        }
    }

    fn note_locks(&mut self, view: &GitView) -> Result<(), Stop> {
        for worktree in &view.worktrees {
            let slot = worktree.slot();
            self.locked.extend(slot.clone().filter(|_| worktree.is_locked));
            let record = self
                .records
                .iter()
                .find(|record| Some(&record.slot) == slot.as_ref());
            if let Some(record) = record.filter(|record| record.was_locked != worktree.is_locked) {
                let was_locked = worktree.is_locked;
                self.save(Record {
                    was_locked,
                    ..record.clone()
                })?;
            }
        }
        Ok(())
    }

    /// Says whether the wall clock may have been set since the last look; before the first one nobody watched it.
    fn clock_was_set(&mut self) -> bool {
        let (wall, uptime) = (self.world.wall(), self.world.uptime);
        let Some((wall_then, uptime_then)) = self.memory().clocks else {
            return true;
        };
        let passed = TimeDelta::from_std(uptime.saturating_sub(uptime_then)).expect("histories are short");
        (wall - wall_then - passed).abs() > TimeDelta::minutes(1)
    }

    fn restart_graces(&mut self) -> Result<(), Stop> {
        let marked = self.records.iter().filter(|record| record.reap_after.is_some());
        for record in marked.cloned().collect::<Vec<_>>() {
            self.save(Record {
                reap_after: None,
                ..record
            })?;
        }
        Ok(())
    }

    /// Every page, or nothing.
    fn observe(&mut self) -> Result<Seen<Observed>, Stop> {
        let (repository, half) = (self.repository, self.has(Mutant::HalfListIsWhole));
        let is_cut = self.weather.faults.contains(&(self.sub_step, Fault::AnswerLost));
        let answer = self.ask(|world| Ok(world.service(repository).list()));
        match answer {
            Ok([first, rest]) => {
                let branches = first.branches.into_iter().chain(rest.branches).collect();
                Ok(Seen::Present(Observed { branches }))
            }
            Err(Stop::Service(_)) if is_cut && half => {
                let [first, _] = self.world.service(repository).list();
                Ok(Seen::Present(first))
            }
            Err(Stop::Service(_)) if self.has(Mutant::FailedListIsEmpty) => {
                Ok(Seen::Present(Observed::default()))
            }
            Err(Stop::Service(_)) => Ok(Seen::Unknown("the list failed".into())),
            Err(stop) => Err(stop),
        }
    }

    fn plan(&mut self, git: &Seen<GitView>, mut observed: Seen<Observed>) -> Plan {
        let now = self.world.wall();
        let mut policy = self.world.setup.policy.clone();
        let mut taken = self.world.ledger.taken(self.repository, self.origin, now);
        let mut records = self.records.clone();
        if let (Some(mutant), Seen::Present(observed)) = (self.world.mutant, &mut observed) {
            mutant.bend(&mut records, observed, &mut policy, &mut taken);
        }
        if let Seen::Present(observed) = &observed {
            self.planned = observed.clone();
        }
        let reaped = self.reaped();
        let uptime = self.world.uptime;
        let attempts = self.memory().attempts.iter();
        let waiting = attempts.filter(|(_, (_, until))| *until > uptime);
        let backing_off = waiting.map(|(slot, _)| (slot.clone(), "failed".into())).collect();
        plan(&Look {
            repository: &repository_id(self.repository),
            project: &project(),
            origin: &origin_name(self.origin),
            git: git.as_ref(),
            observed: &observed,
            records: &records,
            taken: &taken,
            backing_off: &backing_off,
            asks: &self.asks,
            reaped,
            is_unconfirmed: self.world.is_unconfirmed && !self.has(Mutant::Confirmed),
            policy: &policy,
            user_name: USER,
            now,
        })
    }

    fn reaped(&self) -> Reaped {
        let ledger = &self.world.ledger;
        Reaped {
            owned: ledger.owned(self.origin),
            in_last_hour: ledger.condemned_since(self.origin, self.world.wall() - TimeDelta::hours(1)),
        }
    }

    fn asks(&self) -> Asks {
        let mut asks = Asks::default();
        let (n, ask) = match self.wish {
            Some(Wish::Delete(n)) if self.has(Mutant::WordForAll) => (n, Ask::Reset),
            Some(Wish::Delete(n)) => (n, Ask::Delete),
            Some(Wish::Reset(n)) => (n, Ask::Reset),
            Some(Wish::Keep(n)) => (n, Ask::Keep),
            Some(Wish::GiveBack(n)) => (n, Ask::GiveBack),
            Some(Wish::Collect | Wish::Leave) | None => {
                asks.collect_garbage = self.wish == Some(Wish::Collect);
                asks.is_leaving = self.wish == Some(Wish::Leave);
                return asks;
            }
        };
        if !self.records.is_empty() {
            let record = &self.records[n as usize % self.records.len()];
            asks.branches.insert(record.branch.clone(), ask);
        }
        asks
    }

    // ---- doing

    fn apply(&mut self, step: &Step) -> Result<(), Stop> {
        let slot = &step.slot;
        self.world.judge_step(step);
        match &step.action {
            Action::Keep => Ok(()),
            Action::Create { branch, source, ttl } => {
                if step.why == Why::Lapsed && self.bring_back(slot, branch)? {
                    return Ok(());
                }
                self.create(slot, branch, source, *ttl)
            }
            Action::Adopt { branch, uid } => {
                let record = self.new_record(slot, branch, RecordState::Adopted);
                self.save(Record {
                    uid: uid.clone(),
                    ..record
                })
            }
            Action::Own { uid } => self.change(slot, |record| {
                record.state = RecordState::Owned;
                record.uid = Some(uid.clone());
            }),
            Action::Renew { expire_time } => self.renew(slot, *expire_time),
            Action::Hold => self.hold(slot),
            Action::Release { expire_time } => {
                self.renew(slot, *expire_time)?;
                self.change(slot, |record| record.lease_held = false)
            }
            Action::MarkAbsent { reap_after } => {
                self.change(slot, |record| record.reap_after = Some(*reap_after))
            }
            Action::MarkPresent => self.change(slot, |record| record.reap_after = None),
            Action::Quarantine => self.change(slot, |record| record.state = RecordState::Quarantined),
            Action::Reap(permit) => {
                self.condemn(slot, true)?;
                let word = self.wish.filter(|_| step.why == Why::Asked);
                if let Err(stop) = self.delete(slot, permit, word) {
                    if matches!(stop, Stop::Service(Refused::Invalid(_))) {
                        self.condemn(slot, false)?;
                    }
                    return Err(stop);
                }
                self.forget(slot)
            }
            Action::Forget => {
                self.let_go(slot, &step.why);
                self.forget(slot)
            }
            Action::KeepForGood => self.keep(slot),
            Action::GiveBack => self.change(slot, |record| {
                record.is_kept = false;
                record.lease_held = true;
            }),
            Action::Rename { .. } => unreachable!("renames in this git leave no trace"),
        }
    }

    /// A person who gives up a branch that could not be told to be ours leaves it to others; whoever comes to the slot again
    /// is another.
    fn let_go(&mut self, slot: &Slot, why: &Why) {
        let is_adopted = |record: &&Record| &record.slot == slot && record.state == RecordState::Adopted;
        let adopted = self
            .records
            .iter()
            .find(is_adopted)
            .map(|record| record.branch.clone());
        if let (Why::Asked, Some(branch)) = (why, adopted) {
            self.world.service(self.repository).let_go(&branch);
        }
    }

    fn create(
        &mut self,
        slot: &Slot,
        branch: &BranchId,
        source: &BranchId,
        ttl: Option<TimeDelta>,
    ) -> Result<(), Stop> {
        let before = self.records.iter().find(|record| &record.slot == slot).cloned();
        let intent = Record {
            source: Some(source.clone()),
            ..self.new_record(slot, branch, RecordState::Intent)
        };
        if !self.has(Mutant::NoIntent)
            && let Err(stop) = self.save(intent.clone())
        {
            self.world.note_unanswered(self.origin, branch);
            return Err(stop);
        }
        let maker = Maker::Daemon {
            repository: self.repository,
            slot: slot.clone(),
            life: self.world.gits[self.repository].life(slot),
        };
        let repository = self.repository;
        let made = match self.ask(|world| world.service(repository).create(branch, source, ttl, maker)) {
            Err(stop @ (Stop::Crash | Stop::Service(Refused::Offline))) => {
                self.world.note_unanswered(self.origin, branch);
                self.memory().unseen.remove(branch);
                return Err(stop);
            }
            Err(Stop::Service(Refused::AlreadyExists)) => {
                // Whatever has the name, this request has not made it.
                self.put_back(slot, branch, before.clone())?;
                self.holder_of(&intent, before.as_ref().filter(|record| &record.branch == branch))?
            }
            made => {
                // From here on it may be our own again that is not to be seen.
                self.memory().unseen.remove(branch);
                if made.is_err() && !self.has(Mutant::RefusalIsForgotten) {
                    self.put_back(slot, branch, before)?;
                }
                if matches!(made, Ok(None)) {
                    // It is being made, and which one it is only a later look can tell.
                    self.world.note_unanswered(self.origin, branch);
                }
                made?
            }
        };
        let Some(made) = made else { return Ok(()) };
        let owned = self.save(Record {
            state: RecordState::Owned,
            uid: made.uid,
            ..intent
        });
        if owned.is_err() {
            // Which one was made is nowhere written.
            self.world.note_unanswered(self.origin, branch);
        }
        owned
    }

    /// Finds out who has the name that we cannot have. Returns the branch if it is ours.
    fn holder_of(&mut self, intent: &Record, named: Option<&Record>) -> Result<Option<RemoteBranch>, Stop> {
        let asked = if self.has(Mutant::KnownIsAsked) {
            named.map(|_| intent)
        } else {
            named.filter(|record| record.state == RecordState::Intent)
        };
        match self.get(&intent.branch)? {
            Some(Got::Living(remote)) if asked.is_some_and(|asked| asked.is_met_by(&remote)) => {
                return Ok(Some(remote));
            }
            Some(Got::Living(_)) => {}
            None if named.is_some() && !self.is_unseen_for_long(&intent.branch) => {}
            Some(Got::Deleted { .. }) | None => {
                self.give_up_name(&intent.slot, &intent.branch)?;
                return Ok(None);
            }
        }
        Err(Stop::Service(Refused::AlreadyExists))
    }

    fn put_back(&mut self, slot: &Slot, branch: &BranchId, before: Option<Record>) -> Result<(), Stop> {
        let done = match before {
            Some(record) => self.save(record),
            None => self.forget(slot),
        };
        if done.is_err() {
            // That it was answered is nowhere written.
            self.world.note_unanswered(self.origin, branch);
        }
        done
    }

    fn is_unseen_for_long(&mut self, branch: &BranchId) -> bool {
        let uptime = self.world.uptime;
        let first = *self.memory().unseen.entry(branch.clone()).or_insert(uptime);
        uptime.saturating_sub(first) > UNSEEN
    }

    /// Brings back a branch of ours whose lease ran out. Says whether there is nothing more to do.
    fn bring_back(&mut self, slot: &Slot, branch: &BranchId) -> Result<bool, Stop> {
        let record = self.record(slot)?;
        let Some(ours) = record.uid.filter(|_| record.state == RecordState::Owned) else {
            return Ok(false);
        };
        match self.get(branch)? {
            Some(Got::Living(remote)) => Ok(remote.uid.as_ref() == Some(&ours)),
            Some(Got::Deleted { uid, has_lapsed }) if has_lapsed && uid.as_ref() == Some(&ours) => {
                if self.world.ledger.condemned.contains_key(&(self.origin, ours)) {
                    return Ok(false);
                }
                self.change(slot, |record| record.lease_held = true)?;
                let repository = self.repository;
                match self.ask_at_once(|world| world.service(repository).undelete(branch)) {
                    // Its parent may expire by now. Then it has to be made anew, under another name.
                    Err(Stop::Service(Refused::Invalid(_))) => Ok(false),
                    done => done.map(|()| true),
                }
            }
            Some(Got::Deleted { .. }) | None => Ok(false),
        }
    }

    fn get(&mut self, branch: &BranchId) -> Result<Option<Got>, Stop> {
        let repository = self.repository;
        match self.ask(|world| world.service(repository).get(branch)) {
            Ok(got) => Ok(Some(got)),
            Err(Stop::Service(Refused::NotFound)) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    fn condemn(&mut self, slot: &Slot, is_condemned: bool) -> Result<(), Stop> {
        let origin = self.origin;
        let Some(uid) = self.record(slot)?.uid else {
            return Ok(());
        };
        self.write(|world| {
            if is_condemned {
                let at = world.wall();
                world.ledger.condemned.insert((origin, uid), at);
            } else {
                world.ledger.condemned.remove(&(origin, uid));
            }
        })
    }

    fn give_up_name(&mut self, slot: &Slot, branch: &BranchId) -> Result<(), Stop> {
        let (origin, until) = (self.origin, self.world.wall() + NAME_HELD);
        self.write(|world| world.ledger.hold_name(origin, branch, until))?;
        self.forget(slot)
    }

    fn renew(&mut self, slot: &Slot, mut expire_time: Timestamp) -> Result<(), Stop> {
        let (repository, record) = (self.repository, self.record(slot)?);
        self.read_before_move(&record, Some(expire_time))?;
        if self.has(Mutant::HalfLease) {
            expire_time -= TimeDelta::hours(4);
        }
        self.ask_at_once(|world| world.service(repository).renew(&record.branch, expire_time))
    }

    fn hold(&mut self, slot: &Slot) -> Result<(), Stop> {
        let record = self.record(slot)?;
        self.read_before_move(&record, None)?;
        // Whoever takes the expiration off in this very moment cannot be told from us.
        self.is_still = true;
        let held = self.hold_now(slot, &record.branch);
        self.is_still = false;
        held
    }

    fn hold_now(&mut self, slot: &Slot, branch: &BranchId) -> Result<(), Stop> {
        let repository = self.repository;
        if !self.has(Mutant::HeldUnwritten) {
            self.change(slot, |record| record.lease_held = true)?;
        }
        self.ask(|world| world.service(repository).hold(branch))
    }

    /// For good, as somebody asked: whoever took the expiration off before, from here on it is off by that word.
    fn keep(&mut self, slot: &Slot) -> Result<(), Stop> {
        let (repository, record) = (self.repository, self.record(slot)?);
        self.read_before_move(&record, None)?;
        self.is_still = true;
        let kept = self.change(slot, |record| record.is_kept = true);
        let kept = kept.and_then(|()| self.ask(|world| world.service(repository).keep(&record.branch)));
        self.is_still = false;
        kept
    }

    fn read_before_move(&mut self, record: &Record, to: Option<Timestamp>) -> Result<(), Stop> {
        if self.has(Mutant::BlindRenewal) {
            return Ok(());
        }
        match self.get(&record.branch)? {
            Some(Got::Living(fresh)) if lease::may_move(record, &fresh, to) => Ok(()),
            Some(_) | None => Err(Stop::Service(Refused::Invalid("it changed meanwhile"))),
        }
    }

    fn delete(&mut self, slot: &Slot, permit: &DeletePermit, word: Option<Wish>) -> Result<(), Stop> {
        let (repository, branch) = (self.repository, permit.branch());
        if !self.has(Mutant::NoSecondRead) {
            let mut fresh = match self.get(branch)? {
                Some(Got::Living(fresh)) => fresh,
                Some(Got::Deleted { .. }) => return Ok(()),
                // It was listed, so perhaps it is only not to be read yet.
                None => return Err(Stop::Service(Refused::NotFound)),
            };
            if let Some(mutant) = self.world.mutant {
                mutant.bend_read(&mut fresh, self.planned_uid(branch));
            }
            let refused = Stop::Service(Refused::Invalid("it must stay"));
            permit.still_holds(&fresh).map_err(|_| refused)?;
        }
        match self.ask_at_once(|world| {
            world.judge_delete(repository, slot, word);
            world.service(repository).delete(branch)
        }) {
            Err(Stop::Service(Refused::NotFound)) => Ok(()),
            answer => answer,
        }
    }

    fn planned_uid(&self, branch: &BranchId) -> Option<&BranchUid> {
        self.planned.branches.get(branch)?.uid.as_ref()
    }

    // ---- records

    fn new_record(&self, slot: &Slot, branch: &BranchId, state: RecordState) -> Record {
        Record {
            slot: slot.clone(),
            project: project(),
            origin: origin_name(self.origin),
            branch: branch.clone(),
            state,
            uid: None,
            source: None,
            since: self.world.wall(),
            lease_held: false,
            reap_after: None,
            was_locked: self.locked.contains(slot),
            is_kept: false,
        }
    }

    fn record(&self, slot: &Slot) -> Result<Record, Stop> {
        let record = self.records.iter().find(|record| &record.slot == slot);
        record
            .cloned()
            .ok_or(Stop::Service(Refused::Invalid("no record")))
    }

    fn save(&mut self, record: Record) -> Result<(), Stop> {
        let (repository, origin) = (self.repository, self.origin);
        self.write(|world| world.ledger.save(repository, origin, &record))?;
        self.records.retain(|old| old.slot != record.slot);
        self.records.push(record);
        Ok(())
    }

    fn change(&mut self, slot: &Slot, change: impl FnOnce(&mut Record)) -> Result<(), Stop> {
        let mut record = self.record(slot)?;
        change(&mut record);
        self.save(record)
    }

    fn forget(&mut self, slot: &Slot) -> Result<(), Stop> {
        let (repository, origin) = (self.repository, self.origin);
        self.write(|world| world.forget(repository, origin, slot))?;
        self.records.retain(|record| &record.slot != slot);
        Ok(())
    }
}
