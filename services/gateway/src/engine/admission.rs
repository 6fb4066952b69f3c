//! How much this engine does at a time. Runs without effects are admitted here alone, and refused when it is
//! full; journalled runs wait in the store until an engine has a slot.

use std::sync::Arc;

use parking_lot::Mutex;
use sre_proto::error::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

/// The slots of this engine.
#[derive(Clone)]
pub struct Admission {
    light: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Admission {
    /// So many runs without effects, and so many journalled ones.
    pub fn new(light: usize, running: usize) -> Self {
        let slots = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Self { light: slots(light), running: slots(running) }
    }

    /// A slot for a run without effects, now or not at all.
    pub fn light(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.light.clone().try_acquire_owned().map_err(|_| {
            sre_proto::error::status(
                Code::ResourceExhausted,
                Reason::Overloaded,
                "this engine runs as many skills as it may: try again, or use StartRun",
            )
        })
    }

    /// A slot for a journalled run, if one is free.
    pub fn slot(&self) -> Option<Slot> {
        let permit = self.running.clone().try_acquire_owned().ok()?;
        Some(Slot {
            all: self.running.clone(),
            held: Arc::new(Mutex::new(Held { permit: Some(permit), waits: 0 })),
        })
    }

    /// Slots that are free for journalled runs.
    pub fn free(&self) -> usize {
        self.running.available_permits()
    }

    /// Ready when a slot is free.
    pub async fn freed(&self) {
        // Taken and given back at once: whoever waits here only asks.
        drop(self.running.acquire().await);
    }
}

/// The slot of a journalled run. While the run waits for something it gives the slot back.
#[derive(Clone)]
pub struct Slot {
    all: Arc<Semaphore>,
    held: Arc<Mutex<Held>>,
}

struct Held {
    permit: Option<OwnedSemaphorePermit>,
    waits: usize,
}

impl Slot {
    /// Waits for something without holding the slot, and takes one again before it goes on. Several waits of
    /// one run at a time count once.
    pub async fn lend<T>(&self, wait: impl Future<Output = T>) -> T {
        let lent = Lent::new(self);
        let done = wait.await;
        let last = lent.finish();
        if last && let Ok(permit) = self.all.clone().acquire_owned().await {
            let mut held = self.held.lock();
            if held.waits == 0 {
                held.permit = Some(permit);
            }
        }
        done
    }
}

/// Counts a wait, also one that is dropped.
struct Lent<'a> {
    slot: &'a Slot,
    counted: bool,
}

impl<'a> Lent<'a> {
    fn new(slot: &'a Slot) -> Self {
        let mut held = slot.held.lock();
        held.waits += 1;
        held.permit = None;
        Self { slot, counted: true }
    }

    fn finish(mut self) -> bool {
        self.counted = false;
        let mut held = self.slot.held.lock();
        held.waits -= 1;
        held.waits == 0 && held.permit.is_none()
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.slot.held.lock().waits -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[test]
    fn runs_without_effects_are_refused_when_it_is_full() {
        let admission = Admission::new(2, 1);
        let first = admission.light().unwrap();
        let _second = admission.light().unwrap();
        let refused = admission.light().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(sre_proto::error::reason(&refused), Some(Reason::Overloaded));
        drop(first);
        assert!(admission.light().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_waits_gives_its_slot_back_and_takes_it_again() {
        let admission = Admission::new(1, 1);
        let parent = admission.slot().unwrap();
        assert!(admission.slot().is_none());
        let (end, ended) = oneshot::channel::<()>();
        let waiting = parent.lend(async { ended.await.unwrap() });
        let child = async {
            let child = admission.slot().expect("the parent gave its slot back");
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(child);
            end.send(()).unwrap();
        };
        tokio::join!(waiting, child);
        assert!(admission.slot().is_none(), "the parent has it again");
        drop(parent);
        assert!(admission.slot().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn two_waits_of_one_run_hold_one_slot() {
        let admission = Admission::new(1, 1);
        let run = admission.slot().unwrap();
        let short = run.lend(tokio::time::sleep(Duration::from_secs(1)));
        let long = run.lend(tokio::time::sleep(Duration::from_secs(2)));
        tokio::join!(short, long);
        assert_eq!(admission.free(), 0);
        {
            let dropped = run.lend(std::future::pending::<()>());
            let _ = tokio::time::timeout(Duration::from_secs(1), dropped).await;
        }
        run.lend(std::future::ready(())).await;
        assert_eq!(admission.free(), 0);
        drop(run);
        assert_eq!(admission.free(), 1);
    }
}
