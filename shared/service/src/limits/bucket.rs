//! A token bucket.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// What a call is told to wait where its bucket is never filled.
const NEVER: Duration = Duration::from_secs(60);

/// Lets so many calls a second through. One atomic number; a check costs some tens of nanoseconds.
#[derive(Debug)]
pub(super) struct Bucket {
    calls_per_second: u64,
    /// None where nothing is let through.
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Bucket {
    /// A full bucket. It holds `burst_ms` worth of calls, at least one.
    pub(super) fn new(calls_per_second: u64, burst_ms: u32) -> Self {
        let number = |calls: u64| NonZeroU32::new(u32::try_from(calls).unwrap_or(u32::MAX));
        let burst = number(calls_per_second.saturating_mul(burst_ms.into()) / 1_000);
        let limiter = number(calls_per_second).map(|rate| {
            let quota = Quota::per_second(rate).allow_burst(burst.unwrap_or(NonZeroU32::MIN));
            RateLimiter::direct(quota)
        });
        Self { calls_per_second, limiter }
    }

    pub(super) fn calls_per_second(&self) -> u64 {
        self.calls_per_second
    }

    /// Takes a token, or says how long until there is one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let limiter = self.limiter.as_ref().ok_or(NEVER)?;
        limiter.check().map_err(|until| until.wait_time_from(limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_call_is_told_when() {
        // So slow that no test run is long enough for another token.
        let bucket = Bucket::new(1, 5_000);
        for call in 0..5 {
            assert!(bucket.take().is_ok(), "{call}");
        }
        let wait = bucket.take().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn nothing_passes_a_limit_of_nothing() {
        assert_eq!(Bucket::new(0, 1_000).take(), Err(NEVER));
        // A burst shorter than a call still lets one through at a time.
        assert!(Bucket::new(1, 1).take().is_ok());
    }
}
