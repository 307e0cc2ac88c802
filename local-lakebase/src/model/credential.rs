//! How long a database credential opens connections.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use lakebase_api::ProtoDuration;

use super::{Limits, delta};
use crate::error::ApiError;

const SHORTEST: Duration = Duration::from_mins(5);
const LONGEST: Duration = Duration::from_hours(1);

/// Decides when a credential made now expires, in whole seconds as its token counts.
pub(crate) fn expire_time(
    ttl: Option<ProtoDuration>,
    expire_time: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<DateTime<Utc>, ApiError> {
    let time = match (ttl, expire_time) {
        (None, None) => now + delta(limits.credential_life),
        (Some(ttl), None) if (SHORTEST..=LONGEST).contains(&ttl.0) => now + delta(ttl.0),
        (None, Some(time)) if (now + SHORTEST..=now + LONGEST).contains(&time) => time,
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "Only one of ttl and expire_time can be specified",
            ));
        }
        (Some(_), None) => return Err(ApiError::invalid("ttl must be between 300s and 3600s")),
        (None, Some(_)) => {
            return Err(ApiError::invalid(
                "expire_time must be between 300s and 3600s from now",
            ));
        }
    };
    Ok(time.trunc_subsecs(0))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-08-01T10:00:00.75Z".parse().unwrap()
    }

    fn ttl(seconds: u64) -> ProtoDuration {
        ProtoDuration(Duration::from_secs(seconds))
    }

    #[test]
    fn an_hour_unless_the_caller_says_less() {
        assert_eq!(
            expire_time(None, None, now(), &Limits::default())
                .unwrap()
                .to_rfc3339(),
            "2026-08-01T11:00:00+00:00"
        );
        assert_eq!(
            expire_time(Some(ttl(300)), None, now(), &Limits::default())
                .unwrap()
                .to_rfc3339(),
            "2026-08-01T10:05:00+00:00"
        );
        let at = now() + TimeDelta::minutes(30);
        assert_eq!(
            expire_time(None, Some(at), now(), &Limits::default()).unwrap(),
            at.trunc_subsecs(0)
        );
    }

    #[test]
    fn the_life_is_the_limits_where_nobody_asks() {
        let limits = Limits {
            credential_life: Duration::from_secs(6),
            ..Limits::default()
        };
        let time = expire_time(None, None, now(), &limits).unwrap();
        assert_eq!(time.to_rfc3339(), "2026-08-01T10:00:06+00:00");
        assert!(expire_time(Some(ttl(6)), None, now(), &limits).is_err());
    }

    #[test]
    fn five_minutes_to_an_hour_and_one_way_to_say_it() {
        for seconds in [0, 299, 3601] {
            let error = expire_time(Some(ttl(seconds)), None, now(), &Limits::default()).unwrap_err();
            assert_eq!(error.message, "ttl must be between 300s and 3600s");
            let at = now() + TimeDelta::seconds(i64::try_from(seconds).unwrap());
            assert!(expire_time(None, Some(at), now(), &Limits::default()).is_err());
        }
        assert!(expire_time(Some(ttl(600)), Some(now() + LONGEST), now(), &Limits::default()).is_err());
    }
}
