//! What can happen: to git, to the project, to the clock, and to the daemon in the middle of a pass. Events are values that
//! name things by small numbers, so that a history stays meaningful when some of its events are taken out.

use crate::dice::Dice;

/// How many repositories there are; both work in one project.
pub(crate) const REPOSITORIES: usize = 2;
/// How many services there are; each has a project of the same name.
pub(crate) const ORIGINS: usize = 2;

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The daemon looks at a repository and does what the plan says. Perhaps somebody asked for something.
    Pass {
        repository: usize,
        weather: Weather,
        wish: Option<Wish>,
    },
    /// The ledger has to be confirmed by a person, or has been.
    Unconfirmed(bool),
    /// So many seconds go by; the machine may sleep.
    Wait(i64),
    /// The machine's wall clock is set, by so many seconds.
    SetClock(i64),
    /// The daemon is killed and started again.
    Restart,
    /// Somebody works with git.
    Git { repository: usize, change: Change },
    /// Somebody else works with the project.
    Project { origin: usize, mischief: Mischief },
    /// The repository is set to the other service.
    OtherProfile { repository: usize },
    /// Somebody writes a record into the ledger that names a branch which must not go.
    Plant { repository: usize, branch: u32 },
}

/// What happens during a pass, by the number of the sub-step (a request or a write) that it happens to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) faults: Vec<(u32, Fault)>,
    /// Just before that sub-step.
    pub(crate) mischief: Vec<(u32, Mischief)>,
}

/// What a person asks for. Numbers name records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// `lakebase branch delete`.
    Delete(u32),
    /// `lakebase branch reset`.
    Reset(u32),
    /// `lakebase branch keep`.
    Keep(u32),
    /// `lakebase branch keep --release`.
    GiveBack(u32),
    /// `lakebase gc --yes`.
    Collect,
    /// `lakebase forget --delete-branches`.
    Leave,
}

/// What happens to one sub-step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, and has no effect.
    Fails,
    /// It takes effect, and the answer is lost. A list breaks off in the middle.
    AnswerLost,
    /// The daemon dies before it.
    CrashBefore,
    /// The daemon dies after it.
    CrashAfter,
}

/// What a developer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// `git worktree add --detach`, or on a git branch.
    Add {
        tree: u32,
        on: Option<u32>,
    },
    /// `git worktree remove`.
    Remove {
        tree: u32,
    },
    /// The entry is pruned while the disk is away.
    Prune {
        tree: u32,
    },
    Lock {
        tree: u32,
    },
    Unlock {
        tree: u32,
    },
    Move {
        tree: u32,
    },
    /// `git switch`, or `git checkout --detach`.
    Switch {
        tree: u32,
        on: Option<u32>,
    },
    /// The worktree's HEAD can no longer be read, or again.
    BreakHead {
        tree: u32,
    },
    /// `git switch` in the main worktree, or a detached HEAD there.
    SwitchMain {
        on: Option<u32>,
    },
    /// `git branch -m`.
    RenameRef {
        from: u32,
        to: u32,
    },
    /// `git branch -D`.
    DeleteRef {
        name: u32,
    },
    /// The repository cannot be read any more, or again.
    BreakRepository,
}

/// What others do to the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    Delete(u32),
    /// Deletes a branch and makes another one of the same name.
    Replace(u32),
    Protect(u32),
    Unprotect(u32),
    MakeDefault(u32),
    /// Forks a branch from it.
    Fork(u32),
    /// Deletes what others forked.
    DropForks,
    /// Takes the expiration off.
    Open(u32),
    /// Moves the expiration further out.
    Lengthen(u32),
    /// The branch is busy for a minute.
    Busy(u32),
    /// Makes a branch of a name that the daemon would choose.
    TakeName(u32),
    /// Brings a deleted branch back.
    Undelete(u32),
    /// The project takes no more branches, or again.
    Quota,
}

/// Chooses the events of one history.
pub(crate) fn history(dice: &mut Dice, length: usize) -> Vec<Event> {
    let jumps = dice.one_in(3);
    (0..length).map(|_| event(dice, jumps)).collect()
}

fn event(dice: &mut Dice, jumps: bool) -> Event {
    let repository = usize::from(dice.one_in(3));
    match dice.below(100) {
        0..45 => Event::Pass {
            repository,
            weather: weather(dice),
            wish: dice.one_in(12).then(|| wish(dice)),
        },
        45..62 => Event::Wait(dice.pick(&[1, 20, 61, 301, 301, 1000, 1000, 3601, 12_000, 12_000])),
        62..80 => Event::Git {
            repository,
            change: change(dice),
        },
        80..93 => Event::Project {
            origin: usize::from(dice.one_in(8)),
            mischief: mischief(dice),
        },
        93 => Event::Restart,
        94 => Event::Wait(80 * 3600),
        95..97 if jumps => Event::SetClock(dice.pick(&[-YEAR, -3600, -30, 30, 3600, YEAR])),
        97 if dice.one_in(3) => Event::OtherProfile { repository },
        97 => Event::Unconfirmed(dice.one_in(3)),
        98 => Event::Plant {
            repository,
            branch: dice.below(8),
        },
        _ => Event::Wait(1),
    }
}

const YEAR: i64 = 365 * 86_400;

fn weather(dice: &mut Dice) -> Weather {
    let mut weather = Weather::default();
    if dice.one_in(3) {
        let fault = dice.pick(&[
            Fault::Fails,
            Fault::AnswerLost,
            Fault::CrashBefore,
            Fault::CrashAfter,
        ]);
        weather.faults.push((dice.below(10), fault));
    }
    if dice.one_in(4) {
        weather.mischief.push((dice.below(6), mischief(dice)));
    }
    weather
}

fn wish(dice: &mut Dice) -> Wish {
    let n = dice.below(16);
    match dice.below(12) {
        0..3 => Wish::Delete(n),
        3..5 => Wish::Reset(n),
        5..8 => Wish::Keep(n),
        8..10 => Wish::GiveBack(n),
        10 => Wish::Collect,
        _ => Wish::Leave,
    }
}

fn change(dice: &mut Dice) -> Change {
    let tree = dice.below(3);
    let on = if dice.one_in(3) { Some(dice.below(5)) } else { None };
    match dice.below(24) {
        0..6 => Change::Add { tree, on },
        6..9 => Change::Remove { tree },
        9..11 => Change::Prune { tree },
        11 => Change::Lock { tree },
        12 => Change::Unlock { tree },
        13 => Change::Move { tree },
        14..16 => Change::Switch { tree, on },
        16 => Change::BreakHead { tree },
        17..19 => Change::SwitchMain {
            on: (!dice.one_in(6)).then(|| dice.below(3)),
        },
        19..21 => Change::RenameRef {
            from: dice.below(5),
            to: dice.below(5),
        },
        21..23 => Change::DeleteRef { name: dice.below(5) },
        _ => Change::BreakRepository,
    }
}

fn mischief(dice: &mut Dice) -> Mischief {
    let n = dice.below(16);
    match dice.below(22) {
        0..2 => Mischief::Delete(n),
        2..5 => Mischief::Replace(n),
        5 => Mischief::Protect(n),
        6 => Mischief::Unprotect(n),
        7 => Mischief::MakeDefault(n),
        8..11 => Mischief::Fork(n),
        11..13 => Mischief::DropForks,
        13 => Mischief::Open(n),
        14..16 => Mischief::Lengthen(n),
        16 => Mischief::Busy(n),
        17..20 => Mischief::TakeName(n),
        20 => Mischief::Undelete(n),
        _ => Mischief::Quota,
    }
}
