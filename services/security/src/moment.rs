//! A point in time as the store keeps it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use sre_store::sql::{FromValue, ToValue, Value};

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// The wall clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// From whole seconds, as tokens carry them.
    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole seconds, rounded down.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Later.
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier.
    pub fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from here to `end`; nothing where that is past.
    pub fn until(self, end: Self) -> Duration {
        Duration::from_micros(u64::try_from(end.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        let nanos = moment.0.rem_euclid(1_000_000) * 1_000;
        Self { seconds: moment.secs(), nanos: i32::try_from(nanos).unwrap_or_default() }
    }
}

impl From<&Timestamp> for Moment {
    fn from(time: &Timestamp) -> Self {
        Self(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000))
    }
}

impl ToValue for Moment {
    fn to_value(&self) -> Value<'_> {
        self.0.to_value()
    }
}

impl FromValue for Moment {
    fn from_value(value: Value<'_>) -> sre_store::sql::Result<Self> {
        i64::from_value(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_round_trips_to_the_microsecond() {
        for us in [-1_500_000, -1, 0, 1, 1_700_000_000_123_456] {
            let time = Timestamp::from(Moment(us));
            assert!((0..1_000_000_000).contains(&time.nanos), "{us}");
            assert_eq!(Moment::from(&time), Moment(us));
        }
    }

    #[test]
    fn the_past_is_no_time_away() {
        assert_eq!(Moment(5).until(Moment(3)), Duration::ZERO);
        assert_eq!(Moment(3).until(Moment(5)), Duration::from_micros(2));
    }
}
