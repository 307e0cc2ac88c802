//! Durations as protobuf's JSON writes them: seconds with up to nine decimals and an `s`, such as `"21600s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The largest whole number of seconds `google.protobuf.Duration` allows, about 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

/// A duration that is text on the wire: `"21600s"`, `"1.500s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProtoDuration(pub Duration);

/// Says that some text is not a duration of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read duration `{given}`: it must be seconds followed by `s`, such as `21600s`")]
pub struct DurationError {
    /// The text as given, cut to a readable length.
    pub given: String,
}

impl fmt::Display for ProtoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        match nanos {
            0 => write!(f, "{seconds}s"),
            _ if nanos % 1_000_000 == 0 => write!(f, "{seconds}.{:03}s", nanos / 1_000_000),
            _ if nanos % 1_000 == 0 => write!(f, "{seconds}.{:06}s", nanos / 1_000),
            _ => write!(f, "{seconds}.{nanos:09}s"),
        }
    }
}

impl FromStr for ProtoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse(text).map(Self).ok_or_else(|| DurationError {
            given: text.chars().take(40).collect(),
        })
    }
}

impl TryFrom<String> for ProtoDuration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<ProtoDuration> for String {
    fn from(duration: ProtoDuration) -> Self {
        duration.to_string()
    }
}

impl From<Duration> for ProtoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<ProtoDuration> for Duration {
    fn from(duration: ProtoDuration) -> Self {
        duration.0
    }
}

fn parse(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number
        .split_once('.')
        .map_or((number, None), |(w, f)| (w, Some(f)));
    let seconds = digits(whole).filter(|seconds| *seconds <= MAX_SECONDS)?;
    let nanos = match fraction {
        None => 0,
        Some(fraction) if fraction.len() <= 9 => {
            let zeros = u32::try_from(9 - fraction.len()).ok()?;
            u32::try_from(digits(fraction)?).ok()? * 10_u32.pow(zeros)
        }
        Some(_) => return None,
    };
    Some(Duration::new(seconds, nanos))
}

/// Reads a number that is digits only, because `u64::from_str` would also accept a plus sign.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_read_back_as_it_was_written(seconds in 0..=MAX_SECONDS, nanos in 0..1_000_000_000_u32) {
            let duration = ProtoDuration(Duration::new(seconds, nanos));
            prop_assert_eq!(duration.to_string().parse::<ProtoDuration>().unwrap(), duration);
        }
    }

    #[test]
    fn fractions_have_three_six_or_nine_digits() {
        let cases = [
            (0, 0, "0s"),
            (21600, 0, "21600s"),
            (1, 500_000_000, "1.500s"),
            (0, 1_000, "0.000001s"),
            (7, 1, "7.000000001s"),
        ];
        for (seconds, nanos, text) in cases {
            assert_eq!(ProtoDuration(Duration::new(seconds, nanos)).to_string(), text);
        }
        assert_eq!(
            "1.5s".parse::<ProtoDuration>().unwrap().0,
            Duration::from_millis(1500)
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        let wrong = [
            "",
            "s",
            "6h",
            "300",
            "-1s",
            "+1s",
            "1.s",
            ".5s",
            "1.0000000000s",
            " 1s",
            "1 s",
            "1e3s",
            "315576000001s",
            "1.2.3s",
        ];
        for text in wrong {
            assert!(text.parse::<ProtoDuration>().is_err(), "{text}");
        }
        for json in ["300", r#"{"seconds":21600}"#, "null"] {
            assert!(serde_json::from_str::<ProtoDuration>(json).is_err(), "{json}");
        }
    }
}
