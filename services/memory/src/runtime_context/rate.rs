//! The rate cap of summaries: a bucket per team.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::time::UnixMs;

/// Buckets kept before full ones are dropped; a full bucket is the same as none.
const BUCKETS: usize = 10_000;

/// Counts what each team may write. Each replica counts for itself: the cap protects the store, it is no
/// quota.
#[derive(Debug)]
pub struct RateCap {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: UnixMs,
}

impl RateCap {
    /// A cap of so many a second in the long run, and so many at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            burst: f64::from(burst),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one from the team's bucket; false where it is empty.
    pub fn take(&self, team: &str, now: UnixMs) -> bool {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= BUCKETS && !buckets.contains_key(team) {
            buckets.retain(|_, bucket| self.filled(*bucket, now).tokens < self.burst);
        }
        let full = Bucket { tokens: self.burst, at: now };
        let mut bucket = self.filled(buckets.get(team).copied().unwrap_or(full), now);
        let granted = bucket.tokens >= 1.0;
        if granted {
            bucket.tokens -= 1.0;
        }
        buckets.insert(team.to_owned(), bucket);
        granted
    }

    fn filled(&self, bucket: Bucket, now: UnixMs) -> Bucket {
        let tokens = bucket.tokens + bucket.at.until(now).as_secs_f64() * self.per_second;
        Bucket { tokens: tokens.min(self.burst), at: bucket.at.max(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_has_its_burst_and_then_its_rate() {
        let cap = RateCap::new(10, 3);
        let start = UnixMs(1_000_000);
        let granted = |team: &str, at: UnixMs| (0..10).filter(|_| cap.take(team, at)).count();
        assert_eq!(granted("a", start), 3);
        assert_eq!(granted("b", start), 3);
        assert_eq!(granted("a", start), 0);
        assert_eq!(granted("a", UnixMs(start.0 + 200)), 2);
        assert_eq!(granted("a", UnixMs(start.0 + 60_000)), 3);
    }
}
