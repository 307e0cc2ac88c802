//! The daemon's decisions against an adversary. Histories of passes, faults, crashes, git commands and strangers' doings are
//! played with the real core (plan, permit, names, leases) between a true repository and a true control plane, which know what
//! the daemon cannot: who made each branch, and which slots are really there. They judge every delete, every lease, every
//! record; and in the calm at the end every worktree must have its branch.
//!
//! An ordinary run plays some 100,000 steps from a fixed seed. For more, and others:
//!
//! ```sh
//! LAKEBASE_TEST_STEPS=10000000 cargo test --release --workspace --test model -- --nocapture histories
//! LAKEBASE_TEST_SEED=4711 cargo test --workspace --test model histories
//! ```
//!
//! A history that breaks something is made as short as it can be and printed with its seed.

#![expect(
    clippy::print_stdout,
    reason = "a test tells how far it went, and from which seed"
)]

mod daemon;
mod dice;
mod event;
mod git;
mod history;
mod ledger;
mod mutant;
mod service;
mod world;

use mutant::Mutant;

const STEPS: u64 = 100_000;
/// Enough for each planted bug; most are caught long before.
const STEPS_PER_MUTANT: u64 = 4 * STEPS;
const SEED: u64 = 1;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
    )
}

#[test]
fn histories_of_faults_and_mischief_break_nothing() {
    let steps = number("LAKEBASE_TEST_STEPS").unwrap_or(STEPS);
    let seed = number("LAKEBASE_TEST_SEED").unwrap_or(SEED);
    match history::play(seed, steps, None) {
        Ok(done) => println!("{done} steps from seed {seed} broke nothing"),
        Err(broken) => panic!("{broken}"),
    }
}

macro_rules! every_planted_bug_is_caught {
    ($($name:ident: $mutant:ident,)*) => {
        $(
            #[test]
            fn $name() {
                match history::play(SEED, STEPS_PER_MUTANT, Some(Mutant::$mutant)) {
                    Ok(steps) => panic!("{steps} steps did not find it"),
                    Err(broken) => println!("seed {}: {}", broken.seed, broken.breach),
                }
            }
        )*
    };
}

every_planted_bug_is_caught! {
    a_daemon_that_trusts_any_uid_is_caught: AnyUid,
    a_daemon_that_takes_a_failed_list_for_an_empty_one_is_caught: FailedListIsEmpty,
    a_daemon_that_takes_half_a_list_for_the_whole_is_caught: HalfListIsWhole,
    a_daemon_that_takes_an_unreadable_repository_for_an_empty_one_is_caught: UnreadableIsEmpty,
    a_daemon_that_looks_once_is_caught: OneLook,
    a_daemon_that_gives_no_grace_is_caught: NoGrace,
    a_daemon_that_believes_any_clock_is_caught: AnyClock,
    a_daemon_that_does_not_read_again_before_a_delete_is_caught: NoSecondRead,
    a_daemon_that_does_not_read_again_before_a_lease_moves_is_caught: BlindRenewal,
    a_daemon_that_reaps_what_it_adopted_is_caught: AdoptedIsOwned,
    a_daemon_that_writes_no_intent_is_caught: NoIntent,
    a_daemon_that_sees_no_children_is_caught: NoChildren,
    a_daemon_that_sees_no_default_and_no_protection_is_caught: NothingIsSpecial,
    a_daemon_that_ignores_locks_is_caught: NoLocks,
    a_daemon_that_renews_by_half_a_lease_is_caught: HalfLease,
    a_daemon_that_forgets_which_leases_it_holds_is_caught: HeldUnwritten,
    a_daemon_that_shares_names_between_repositories_is_caught: NothingTaken,
    a_daemon_that_mixes_services_up_is_caught: AnyOrigin,
    a_daemon_that_takes_a_word_for_everything_is_caught: WordForAll,
    a_daemon_that_trusts_a_lost_ledger_is_caught: Confirmed,
    a_daemon_that_reaps_what_is_kept_is_caught: NothingIsKept,
    a_daemon_that_takes_what_it_knew_for_what_it_asked_for_is_caught: KnownIsAsked,
    a_daemon_that_forgets_a_refusal_is_caught: RefusalIsForgotten,
}
