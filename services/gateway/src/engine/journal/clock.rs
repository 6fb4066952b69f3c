//! The store's clock, as this engine sees it: moments in the journal are the store's, and a run that waits until
//! one of them must not wait longer or shorter because engines disagree about the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the store's clock is ahead of this process's. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StoreClock {
    ahead_ms: Arc<AtomicI64>,
}

impl StoreClock {
    /// The store said that it was `there` at some moment between `sent` and now here. Clocks that may agree are
    /// taken to agree: a call takes long at one end only, and a guess would wake runs too early.
    pub fn learn(&self, there: SystemTime, sent: SystemTime) {
        let there = since_1970(there);
        let (least, most) = (there - since_1970(SystemTime::now()), there - since_1970(sent));
        let agree = least <= 1 && most >= -1;
        self.ahead_ms.store(if agree { 0 } else { i64::midpoint(least, most) }, Ordering::Relaxed);
    }

    /// Now, by the store's clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        let now = since_1970(SystemTime::now()) + self.ahead_ms.load(Ordering::Relaxed);
        u64::try_from(now).unwrap_or_default()
    }

    /// Now, by the store's clock.
    pub fn now(&self) -> SystemTime {
        moment(self.now_ms())
    }

    /// How long it is until a moment of the store's; nothing where it has passed.
    pub fn until(&self, moment_ms: u64) -> Duration {
        Duration::from_millis(moment_ms.saturating_sub(self.now_ms()))
    }
}

/// A moment in milliseconds since 1970.
pub fn moment(moment_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(moment_ms)
}

fn since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_may_agree_do() {
        let clock = StoreClock::default();
        let now = SystemTime::now();
        clock.learn(now - Duration::from_millis(15), now - Duration::from_millis(20));
        assert_eq!(clock.ahead_ms.load(Ordering::Relaxed), 0);
        clock.learn(now - Duration::from_secs(15), now - Duration::from_millis(20));
        assert!(clock.ahead_ms.load(Ordering::Relaxed) < -14_000);
    }

    #[test]
    fn moments_are_the_stores() {
        let clock = StoreClock::default();
        let here = SystemTime::now();
        clock.learn(here + Duration::from_secs(100), here);
        let ahead = clock.now().duration_since(here).unwrap();
        assert!((99..=101).contains(&ahead.as_secs()), "{ahead:?}");
        let now = clock.now_ms();
        assert!(clock.until(now + 5_000) <= Duration::from_secs(5));
        assert!(clock.until(now + 5_000) > Duration::from_secs(4));
        assert_eq!(clock.until(now - 1), Duration::ZERO);
    }
}
