//! Spans of time, as they are typed and as they are told.

use std::time::Duration;

/// Parses `90s`, `15m`, `1h` or `2d`.
///
/// # Errors
/// What was expected instead.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let error = || {
        format!(
            "`{text}` is no span of time; expected a number with a unit, as in `90s`, `15m`, `1h` or `2d`"
        )
    };
    let unit = text.chars().last().ok_or_else(error)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(error()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| error())?;
    let total = number
        .checked_mul(seconds)
        .filter(|total| *total <= 10 * 365 * 86400);
    Ok(Duration::from_secs(total.ok_or_else(error)?))
}

/// Tells a span as people do.
pub(crate) fn tell(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1h"), Ok(Duration::from_hours(1)));
        for wrong in [
            "",
            "1",
            "h",
            "1w",
            "-1h",
            "1é",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_span_is_told_in_the_unit_that_fits() {
        assert_eq!(tell(Duration::from_secs(59)), "59 s");
        assert_eq!(tell(Duration::from_secs(3700)), "1 h 1 min");
    }
}
