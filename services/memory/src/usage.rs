//! What each team has in the cache.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sre_proto::error::{Reason, with_metadata};
use sre_service::limits::{HolderQuota, Quota};
use tonic::{Code, Status};

/// Entries and bytes by team. A team without entries has no row, so there are no more rows than entries.
#[derive(Debug, Clone, Default)]
pub struct Usage(Arc<Mutex<HashMap<String, Held>>>);

/// What a team has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries.
    pub entries: u64,
    /// What they count for.
    pub bytes: u64,
}

impl Usage {
    /// Counts an entry that was put. One that it replaces is released by the cache like one that is removed.
    pub fn put(&self, name: &str, bytes: u32) {
        let mut teams = self.0.lock();
        let held = teams.entry(team_of(name).to_owned()).or_default();
        held.entries += 1;
        held.bytes += u64::from(bytes);
    }

    /// Counts an entry that is gone: deleted, replaced, expired or evicted.
    pub fn gone(&self, name: &str, bytes: u32) {
        let mut teams = self.0.lock();
        let Some(held) = teams.get_mut(team_of(name)) else { return };
        held.entries = held.entries.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(u64::from(bytes));
        if held.entries == 0 {
            teams.remove(team_of(name));
        }
    }

    /// What a team has now.
    pub fn of(&self, team: &str) -> Held {
        self.0.lock().get(team).copied().unwrap_or_default()
    }

    /// Refuses a set that takes a team beyond its quota. One that makes an entry smaller is always fine. Sets at the
    /// same moment may together go beyond it by what they add.
    pub fn check(&self, name: &str, quota: Quota, before: Option<u32>, after: u32) -> Result<(), Status> {
        let (team, held) = (team_of(name), self.of(team_of(name)));
        let (new, growth) = (u64::from(before.is_none()), after.saturating_sub(before.unwrap_or_default()));
        let refuse = |limit: &'static str, value: u64| {
            let message = format!(
                "the quota {limit} of team {team} is used up: delete entries, or let them end sooner"
            );
            let metadata =
                [("quota", limit.to_owned()), ("team", team.to_owned()), ("limit", value.to_string())];
            Err(with_metadata(Code::ResourceExhausted, Reason::QuotaExceeded, message, metadata))
        };
        if new > 0 && held.entries + new > quota.items {
            return refuse(HolderQuota::CACHE.items.name(), quota.items);
        }
        if growth > 0 && held.bytes + u64::from(growth) > quota.bytes {
            return refuse(HolderQuota::CACHE.bytes.name(), quota.bytes);
        }
        Ok(())
    }
}

/// `T` of `teams/T/...`: the names that the cache takes all begin so.
pub fn team_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { items: 2, bytes: 100 };

    #[test]
    fn what_is_gone_makes_room() {
        let usage = Usage::default();
        usage.put("teams/red/cache/a", 40);
        usage.put("teams/red/agents/x/cache/b", 40);
        assert_eq!(usage.of("red"), Held { entries: 2, bytes: 80 });
        assert_eq!(usage.of("blue"), Held::default());
        assert!(usage.check("teams/red/cache/c", QUOTA, None, 1).is_err());
        assert!(usage.check("teams/blue/cache/c", QUOTA, None, 1).is_ok());
        // A replaced entry: twenty more bytes fit, thirty do not, fewer always do.
        assert!(usage.check("teams/red/cache/a", QUOTA, Some(40), 60).is_ok());
        assert!(usage.check("teams/red/cache/a", QUOTA, Some(40), 70).is_err());
        let tight = Quota { items: 0, bytes: 0 };
        assert!(usage.check("teams/red/cache/a", tight, Some(40), 10).is_ok());
        usage.gone("teams/red/cache/a", 40);
        usage.gone("teams/red/agents/x/cache/b", 40);
        assert!(usage.0.lock().is_empty());
    }
}
