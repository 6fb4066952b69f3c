//! Counts in the memory of this process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{Counting, Line, MeterError, Meters, Millis, Settled, Verdict};

/// Meters that are kept at most; those whose window ended go first.
const MOST_METERS: usize = 200_000;

#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Settings {}

/// Checks the settings.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    opening.check::<Settings>()
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn Meters>> {
    opening.check::<Settings>()?;
    Ok(Arc::new(Memory::default()))
}

/// Counts of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    windows: HashMap<String, Window>,
    /// Holders of places and the end of their leases.
    places: HashMap<String, BTreeMap<String, Millis>>,
    epochs: u64,
}

#[derive(Debug)]
struct Window {
    used: i64,
    ends: Millis,
    epoch: u64,
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

impl Memory {
    /// Forgets everything, as a server that was restarted has.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        let mut state = self.0.lock();
        state.windows.clear();
        state.places.clear();
    }
}

impl State {
    fn used(&mut self, key: &str, now: Millis) -> Option<i64> {
        if self.windows.get(key).is_some_and(|window| window.ends <= now) {
            self.windows.remove(key);
        }
        self.windows.get(key).map(|window| window.used)
    }

    fn held(&mut self, key: &str, now: Millis) -> i64 {
        let Some(holders) = self.places.get_mut(key) else { return 0 };
        holders.retain(|_, until| *until > now);
        i64::try_from(holders.len()).unwrap_or(i64::MAX)
    }

    fn make_room(&mut self, more: usize, now: Millis) -> Result<(), MeterError> {
        let full = |state: &Self| state.windows.len() + state.places.len() + more > MOST_METERS;
        if full(self) {
            self.windows.retain(|_, window| window.ends > now);
            self.places.retain(|_, holders| holders.values().any(|until| *until > now));
        }
        if full(self) { Err(MeterError::Full) } else { Ok(()) }
    }

    fn next_epoch(&mut self) -> u64 {
        self.epochs += 1;
        self.epochs
    }
}

#[async_trait]
impl Connector for Memory {
    async fn check(&self) -> Result<(), Unhealthy> {
        Ok(())
    }
}

#[async_trait]
impl Meters for Memory {
    async fn reserve(&self, scope: &str, holder: &str, lines: &[Line]) -> Result<Verdict, MeterError> {
        let now = now();
        let mut state = self.0.lock();
        state.make_room(lines.len(), now)?;
        let name = |line: &Line| format!("{scope}/{}", line.key);
        let unseeded: Vec<usize> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| {
                matches!(line.counting, Counting::Window { seeded: true, .. })
                    && state.used(&name(line), now).is_none()
            })
            .map(|(at, _)| at)
            .collect();
        if !unseeded.is_empty() {
            return Ok(Verdict::Unseeded(unseeded));
        }
        for (at, line) in lines.iter().enumerate() {
            let used = match line.counting {
                Counting::Window { .. } => state.used(&name(line), now).unwrap_or(0),
                Counting::Places { .. } => state.held(&name(line), now),
            };
            if line.limit.is_some_and(|limit| used.saturating_add(line.amount) > limit) {
                return Ok(Verdict::Refused { line: at, used });
            }
        }
        let mut epochs = Vec::with_capacity(lines.len());
        for line in lines {
            let epoch = match line.counting {
                Counting::Window { ends, .. } => {
                    let fresh = state.next_epoch();
                    let window =
                        state.windows.entry(name(line)).or_insert(Window { used: 0, ends, epoch: fresh });
                    window.used = window.used.saturating_add(line.amount);
                    window.ends = window.ends.max(ends);
                    window.epoch
                }
                Counting::Places { lease } => {
                    let holders = state.places.entry(name(line)).or_default();
                    holders.insert(holder.to_owned(), now.saturating_add(lease));
                    0
                }
            };
            epochs.push(epoch.to_string());
        }
        Ok(Verdict::Granted(epochs))
    }

    async fn settle(&self, scope: &str, holder: &str, lines: &[Settled]) -> Result<(), MeterError> {
        let now = now();
        let mut state = self.0.lock();
        for line in lines {
            let name = format!("{scope}/{}", line.key);
            if line.places {
                if let Some(holders) = state.places.get_mut(&name) {
                    holders.remove(holder);
                    if holders.is_empty() {
                        state.places.remove(&name);
                    }
                }
                continue;
            }
            if state.used(&name, now).is_none() {
                continue;
            }
            if let Some(window) = state.windows.get_mut(&name) {
                let lost = window.epoch.to_string() != line.epoch;
                let change = if lost { line.actual } else { line.actual - line.reserved };
                window.used = window.used.saturating_add(change).max(0);
            }
        }
        Ok(())
    }

    async fn seed(&self, scope: &str, key: &str, used: i64, ends: Millis) -> Result<(), MeterError> {
        let now = now();
        let mut state = self.0.lock();
        let name = format!("{scope}/{key}");
        if state.used(&name, now).is_none() {
            state.make_room(1, now)?;
            let epoch = state.next_epoch();
            state.windows.insert(name, Window { used, ends, epoch });
        }
        Ok(())
    }

    async fn renew(
        &self,
        scope: &str,
        holder: &str,
        keys: &[String],
        lease: Millis,
    ) -> Result<(), MeterError> {
        let until = now().saturating_add(lease);
        let mut state = self.0.lock();
        for key in keys {
            let holders = state.places.get_mut(&format!("{scope}/{key}"));
            if let Some(held) = holders.and_then(|holders| holders.get_mut(holder)) {
                *held = until;
            }
        }
        Ok(())
    }

    async fn used(&self, scope: &str, key: &str, places: bool) -> Result<Option<i64>, MeterError> {
        let now = now();
        let name = format!("{scope}/{key}");
        let mut state = self.0.lock();
        Ok(if places { Some(state.held(&name, now)) } else { state.used(&name, now) })
    }
}
