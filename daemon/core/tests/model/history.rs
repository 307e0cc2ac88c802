//! Plays histories, and makes the ones that break something as short as they can be.

use crate::dice::Dice;
use crate::event::{self, Event};
use crate::mutant::Mutant;
use crate::world::{Setup, World};
use std::fmt;

/// How many events a history has before the calm.
const LENGTH: usize = 120;

/// A history that breaks something.
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) breach: String,
    setup: Setup,
    events: Vec<Event>,
    mutant: Option<Mutant>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks the daemon: {}", self.seed, self.breach)?;
        writeln!(f, "{:?}", self.setup)?;
        let mut world = World::new(self.setup.clone(), self.mutant);
        world.story = Some(vec![]);
        // It breaks again, and that is known.
        drop(run_in(&mut world, &self.events));
        world
            .story
            .into_iter()
            .flatten()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Plays histories from a seed on until so many steps are done, or one breaks something. Returns the number of steps.
pub(crate) fn play(seed: u64, steps: u64, mutant: Option<Mutant>) -> Result<u64, Box<Broken>> {
    let (mut done, mut seed) = (0, seed);
    while done < steps {
        done += play_one(seed, mutant)?;
        seed += 1;
    }
    Ok(done)
}

fn play_one(seed: u64, mutant: Option<Mutant>) -> Result<u64, Box<Broken>> {
    let mut dice = Dice::new(seed);
    let setup = Setup::new(&mut dice);
    let events = event::history(&mut dice, LENGTH);
    run(&setup, &events, mutant).map_err(|(at, breach)| {
        let mut broken = Broken {
            seed,
            breach,
            setup,
            events: events[..at].to_vec(),
            mutant,
        };
        // A planted bug has only to be found.
        if mutant.is_none() {
            shorten(&mut broken);
        }
        Box::new(broken)
    })
}

/// Plays one history to its end. Fails with the number of events that it took, and with what they broke.
fn run(setup: &Setup, events: &[Event], mutant: Option<Mutant>) -> Result<u64, (usize, String)> {
    run_in(&mut World::new(setup.clone(), mutant), events)
}

fn run_in(world: &mut World, events: &[Event]) -> Result<u64, (usize, String)> {
    for (number, event) in events.iter().enumerate() {
        world.happen(event).map_err(|breach| (number + 1, breach))?;
    }
    let calm = world.calm_down().map_err(|breach| (events.len(), breach))?;
    Ok(events.len() as u64 + calm)
}

/// Takes out whatever is not needed for something to break: longer pieces first.
fn shorten(broken: &mut Broken) {
    let mut piece = broken.events.len().div_ceil(2);
    while piece > 0 {
        let mut start = 0;
        let mut has_shrunk = false;
        while start < broken.events.len() {
            let mut fewer = broken.events.clone();
            fewer.drain(start..(start + piece).min(fewer.len()));
            if let Err((at, breach)) = run(&broken.setup, &fewer, None) {
                fewer.truncate(at);
                (broken.events, broken.breach) = (fewer, breach);
                has_shrunk = true;
            } else {
                start += piece;
            }
        }
        if !has_shrunk || piece > 1 {
            piece /= 2;
        }
    }
}
