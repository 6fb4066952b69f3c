//! What the components of a run wait for: times, jobs, people. A wait is a record in the journal; while all
//! that a run does is to wait, the run need not be in memory. Whoever goes on with it executes the components
//! again, and they find their waits here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use sre_engine::ActivationKey;
use sre_proto::memory::v1::RunApproval;
use sre_service::config::Gateway;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::journal::clock::StoreClock;
use super::journal::records::{WaitKind, Waiting};

/// Runs whose end may wake one run; the store takes no more.
const MOST_RUNS: usize = 1_000;

/// When a waiting run leaves memory.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Times that are further away than this.
    pub far: Duration,
    /// Jobs and people after this.
    pub grace: Duration,
}

impl Patience {
    /// While somebody listens, what a call passes through is heard: then a run waits in memory as long as a turn does.
    pub fn of(gateway: &Gateway, is_heard: bool) -> Self {
        let (far, grace) = (gateway.park_after(), gateway.park_grace());
        Self { far, grace: if is_heard { far.max(grace) } else { grace } }
    }
}

/// The waits of one run.
pub struct Waits {
    clock: StoreClock,
    inner: Mutex<Inner>,
    changed: Notify,
    /// Grows with each decision that came.
    decided: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    recorded: HashMap<ActivationKey, Vec<Waiting>>,
    current: BTreeMap<ActivationKey, Current>,
    unwritten: Vec<NewWait>,
}

struct Current {
    waiting: Waiting,
    since: Instant,
}

/// A wait that the journal does not know yet.
pub struct NewWait {
    /// Whose it is.
    pub key: ActivationKey,
    /// Its record.
    pub waiting: Waiting,
    /// What people are asked.
    pub approval: Option<RunApproval>,
}

/// All that a run does is to wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Idle {
    /// When it may leave memory.
    pub at: Instant,
    /// The earliest time that ends a wait, by the store's clock.
    pub until_ms: Option<u64>,
    /// The runs that are waited for.
    pub runs: Vec<String>,
}

impl Waits {
    /// The waits of a run whose journal holds these.
    pub fn new(clock: StoreClock, recorded: HashMap<ActivationKey, Vec<Waiting>>) -> Self {
        let inner = Mutex::new(Inner { recorded, ..Inner::default() });
        Self { clock, inner, changed: Notify::new(), decided: watch::Sender::new(0) }
    }

    /// A component waits from now on, or still. The journal's record of the wait counts where there is one.
    pub fn begin(
        &self,
        key: &ActivationKey,
        wanted: Waiting,
        approval: Option<RunApproval>,
    ) -> (Waiting, Wait<'_>) {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let known = inner.recorded.entry(key.clone()).or_default();
        let same = |known: &&Waiting| {
            known.kind == wanted.kind && known.place == wanted.place && known.approval == wanted.approval
        };
        let found = known.iter().find(same).cloned();
        let was_known = found.is_some();
        let waiting = found.unwrap_or_else(|| {
            known.push(wanted.clone());
            inner.unwritten.push(NewWait { key: key.clone(), waiting: wanted.clone(), approval });
            wanted
        });
        inner.current.insert(key.clone(), Current { waiting: waiting.clone(), since: Instant::now() });
        drop(guard);
        self.changed.notify_one();
        (waiting, Wait { waits: self, key: key.clone(), was_known })
    }

    /// The waits that are to be journalled.
    pub fn take_unwritten(&self) -> Vec<NewWait> {
        let mut inner = self.inner.lock();
        if inner.unwritten.is_empty() { Vec::new() } else { std::mem::take(&mut inner.unwritten) }
    }

    /// How many components wait.
    pub fn count(&self) -> usize {
        self.inner.lock().current.len()
    }

    /// Whether a component is known to wait.
    pub fn is_recorded(&self, key: &ActivationKey) -> bool {
        self.inner.lock().recorded.get(key).is_some_and(|waits| !waits.is_empty())
    }

    /// Waits under way, for a checkpoint.
    pub fn recorded(&self) -> Vec<(ActivationKey, Waiting)> {
        let inner = self.inner.lock();
        let each = inner
            .recorded
            .iter()
            .flat_map(|(key, waits)| waits.iter().map(|wait| (key.clone(), wait.clone())));
        each.collect()
    }

    /// An activation ended: its waits are history.
    pub fn forget(&self, key: &ActivationKey) {
        let mut inner = self.inner.lock();
        if !inner.recorded.is_empty() {
            inner.recorded.remove(key);
        }
    }

    /// Ready when a wait began or ended. For the one who works on the run.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A decision came.
    pub fn decide(&self) {
        self.decided.send_modify(|count| *count += 1);
    }

    /// Hears of decisions that come from now on.
    pub fn decisions(&self) -> watch::Receiver<u64> {
        self.decided.subscribe()
    }

    /// Whether, and when, a run that waits for nothing else leaves memory. A sleep keeps it if it ends soon.
    pub fn idle(&self, patience: Patience) -> Option<Idle> {
        let inner = self.inner.lock();
        if inner.current.is_empty() {
            return None;
        }
        let mut idle = Idle { at: Instant::now(), until_ms: None, runs: Vec::new() };
        let mut runs = HashSet::new();
        for current in inner.current.values() {
            let waiting = &current.waiting;
            let ends = Some(waiting.until_ms).filter(|until| *until > 0);
            let left = ends.map(|until| self.clock.until(until));
            if waiting.kind() == WaitKind::Sleep {
                if left.is_some_and(|left| left <= patience.far) {
                    return None;
                }
            } else {
                if left.is_some_and(|left| left <= patience.grace) {
                    return None;
                }
                idle.at = idle.at.max(current.since + patience.grace);
            }
            idle.until_ms = match (idle.until_ms, ends) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            runs.extend(waiting.runs.iter().cloned());
        }
        if runs.len() > MOST_RUNS {
            return None;
        }
        idle.runs = runs.into_iter().collect();
        idle.runs.sort();
        Some(idle)
    }
}

/// A component waits as long as this lives.
pub struct Wait<'a> {
    waits: &'a Waits,
    key: ActivationKey,
    was_known: bool,
}

impl Wait<'_> {
    /// Whether the journal knew of it before.
    pub fn was_known(&self) -> bool {
        self.was_known
    }

    /// It waits for these runs only: others have ended.
    pub fn for_runs(&self, runs: Vec<String>) {
        if let Some(current) = self.waits.inner.lock().current.get_mut(&self.key) {
            current.waiting.runs = runs;
        }
        self.waits.changed.notify_one();
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.inner.lock().current.remove(&self.key);
        self.waits.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { far: Duration::from_secs(5), grace: Duration::from_millis(200) };

    fn key(text: &str) -> ActivationKey {
        text.parse().unwrap()
    }

    fn waiting(kind: WaitKind, clock: &StoreClock, seconds: u64) -> Waiting {
        Waiting { kind: kind.into(), until_ms: clock.now_ms() + seconds * 1000, ..Waiting::default() }
    }

    #[tokio::test]
    async fn the_first_record_of_a_wait_counts() {
        let clock = StoreClock::default();
        let first = Waiting { kind: WaitKind::Sleep.into(), until_ms: 5, ..Waiting::default() };
        let waits = Waits::new(clock.clone(), [(key("A@1"), vec![first.clone()])].into());
        let (known, wait) = waits.begin(&key("A@1"), waiting(WaitKind::Sleep, &clock, 60), None);
        assert_eq!(known, first);
        drop(wait);
        assert!(waits.take_unwritten().is_empty());
        // A second sleep of the same activation is another wait.
        let second = Waiting { place: 1, ..waiting(WaitKind::Sleep, &clock, 60) };
        let (known, _wait) = waits.begin(&key("A@1"), second.clone(), None);
        assert_eq!(known, second);
        assert_eq!(waits.take_unwritten().len(), 1);
        waits.forget(&key("A@1"));
        assert!(!waits.is_recorded(&key("A@1")));
    }

    #[tokio::test]
    async fn a_run_is_idle_when_no_wait_ends_soon() {
        let clock = StoreClock::default();
        let waits = Waits::new(clock.clone(), HashMap::new());
        assert_eq!(waits.idle(PATIENCE), None);
        let (_, _long) = waits.begin(&key("A@1"), waiting(WaitKind::Sleep, &clock, 60), None);
        let idle = waits.idle(PATIENCE).unwrap();
        assert!(idle.at <= Instant::now() && idle.until_ms.is_some());
        {
            let (_, _short) = waits.begin(&key("B@1"), waiting(WaitKind::Sleep, &clock, 4), None);
            assert_eq!(waits.idle(PATIENCE), None);
        }
        let jobs = Waiting { runs: vec!["r2".into(), "r1".into()], ..waiting(WaitKind::Jobs, &clock, 2) };
        let (_, wait) = waits.begin(&key("C@1"), jobs.clone(), None);
        let idle = waits.idle(PATIENCE).unwrap();
        assert!(idle.at > Instant::now(), "jobs have a moment to end");
        assert_eq!((idle.until_ms, idle.runs), (Some(jobs.until_ms), vec!["r1".to_owned(), "r2".to_owned()]));
        wait.for_runs(vec!["r2".into()]);
        assert_eq!(waits.idle(PATIENCE).unwrap().runs, ["r2"]);
    }
}
