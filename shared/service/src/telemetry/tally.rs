//! What calls count, apart from the recorder: each thread adds to a place of its own, and what was added is handed to
//! the recorder when somebody looks. A call then never waits for another one's cache line.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::Counter;
use parking_lot::Mutex;

/// How many places there are: threads beyond them share.
pub(crate) const PLACES: usize = 8;

/// One place, apart from its neighbours in memory.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// This thread's place.
pub(crate) fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    MINE.try_with(|mine| *mine).unwrap_or_default()
}

/// Something that has added up what the recorder does not know yet.
pub(crate) trait Collected: Sync {
    /// Hands it to the recorder.
    fn collect(&self);
}

static ALL: Mutex<Vec<&'static dyn Collected>> = Mutex::new(Vec::new());

/// From now on collected, to the end of the process.
pub(crate) fn register(collected: &'static dyn Collected) {
    ALL.lock().push(collected);
}

/// Hands everything to the recorder.
pub(crate) fn collect() {
    // One at a time: what two took apart, both would put together wrongly.
    let all = ALL.lock();
    for collected in all.iter() {
        collected.collect();
    }
}

/// A counter of calls.
#[derive(Debug)]
pub(crate) struct Tally {
    places: [Apart<AtomicU64>; PLACES],
    to: Counter,
}

impl Tally {
    /// One that lives as long as the process.
    pub(crate) fn leaked(to: Counter) -> &'static Self {
        let tally: &'static Self = Box::leak(Box::new(Self { places: Default::default(), to }));
        register(tally);
        tally
    }

    /// Adds one.
    pub(crate) fn one_more(&self) {
        self.places[place()].0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Collected for Tally {
    fn collect(&self) {
        let more: u64 = self.places.iter().map(|place| place.0.swap(0, Ordering::Relaxed)).sum();
        if more > 0 {
            self.to.increment(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_all_threads_counted_arrives_once() {
        let total = Arc::new(AtomicU64::new(0));
        let tally = Tally::leaked(Counter::from_arc(Arc::clone(&total)));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| (0..1_000).for_each(|_| tally.one_more()));
            }
        });
        collect();
        collect();
        assert_eq!(total.load(Ordering::Relaxed), 12_000);
    }
}
