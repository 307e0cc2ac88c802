//! Identities of branches and endpoints, in the shape the service gives them: two words one can say and eight
//! characters nobody can guess.

use rand::Rng;
use rand::seq::IndexedRandom;

const FIRST: &[&str] = &[
    "amber", "bold", "brisk", "calm", "clear", "cold", "crisp", "dark", "dawn", "deep", "dry", "early",
    "fair", "fresh", "gentle", "green", "late", "little", "long", "mild", "misty", "odd", "old", "pale",
    "plain", "proud", "quiet", "rapid", "round", "shy", "silent", "small", "snowy", "soft", "steep", "still",
    "sunny", "tall", "warm", "wide", "wild", "young",
];

const SECOND: &[&str] = &[
    "band", "bird", "brook", "bush", "cloud", "dew", "dune", "feather", "fern", "field", "fire", "fjord",
    "fog", "forest", "frog", "glade", "grass", "grove", "hill", "lake", "leaf", "meadow", "moon", "moss",
    "mountain", "oak", "pine", "pond", "rain", "reef", "river", "sea", "shape", "sky", "snow", "sound",
    "star", "stone", "sun", "tree", "water", "wave", "wind", "wood",
];

const CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Makes the identity of a branch.
pub(crate) fn branch() -> String {
    make("br", &mut rand::rng())
}

/// Makes the identity of an endpoint.
pub(crate) fn endpoint() -> String {
    make("ep", &mut rand::rng())
}

fn make(prefix: &str, random: &mut impl Rng) -> String {
    let first = FIRST.choose(random).unwrap_or(&"plain");
    let second = SECOND.choose(random).unwrap_or(&"stone");
    let tail: String = (0..8)
        .map(|_| char::from(CHARACTERS[random.random_range(0..CHARACTERS.len())]))
        .collect();
    format!("{prefix}-{first}-{second}-{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_two_words_and_eight_characters() {
        for uid in [branch(), endpoint()] {
            let parts: Vec<_> = uid.split('-').collect();
            assert_eq!((parts.len(), parts[3].len()), (4, 8), "{uid}");
        }
        assert_ne!(branch(), branch());
    }
}
