//! The mutable state of a run: a tree of scopes with a slot per component.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::answer::Starved;
use super::loops::Looping;
use crate::bits::Bits;
use crate::key::LoopStep;
use crate::outcome::Failure;
use crate::value::{Map, Value};

/// A value on its way to an input, ordered by round, then connection.
#[derive(Debug)]
pub(in crate::run) struct Delivery {
    pub round: u32,
    /// Position of the connection in the document.
    pub order: u32,
    /// Arrival, to keep two deliveries of one connection in order.
    pub serial: u64,
    pub input: u32,
    pub value: Value,
    /// Set when the value is the message of a failure.
    pub error: Option<Arc<Handled>>,
    /// Of a value that comes out of a Map: the element it comes from. Its elements may deliver in any order.
    pub from: Option<Arc<[LoopStep]>>,
}

impl Delivery {
    fn rank(&self) -> (u32, u32, Option<&[LoopStep]>, u64) {
        (self.round, self.order, self.from.as_deref(), self.serial)
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// Whether the handler of a failure has run.
#[derive(Debug, Default)]
pub(in crate::run) struct Handled(AtomicBool);

impl Handled {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn with(handled: bool) -> Self {
        Self(AtomicBool::new(handled))
    }

    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A component in a scope.
#[derive(Debug, Default)]
pub(in crate::run) struct Slot {
    /// Not merged yet, earliest first.
    pub deliveries: BinaryHeap<Reverse<Delivery>>,
    /// Merged, waiting for the rest.
    pub held: Map,
    /// Failures whose messages are in `held`.
    pub handling: Vec<Arc<Handled>>,
    /// Has received something and misses something.
    pub waiting: bool,
    /// What every execution starts with.
    pub seed: Option<Arc<Map>>,
    /// Round of the execution under way.
    pub running: Option<u32>,
    pub executions: u32,
    /// Rounds before this one are over for this component.
    pub not_before: u32,
    /// Places to look at again when this one has moved on.
    pub watchers: Vec<u32>,
    /// Waits in some place's `watchers`.
    pub watching: bool,
    pub looping: Option<Box<Looping>>,
    /// The last delivery that the last checkpoint has, if it has all that are here up to that one.
    pub saved_deliveries: Option<u64>,
}

impl Slot {
    /// Nothing has happened to it.
    pub fn is_blank(&self) -> bool {
        self.deliveries.is_empty()
            && self.held.is_empty()
            && self.handling.is_empty()
            && !self.waiting
            && self.seed.is_none()
            && self.running.is_none()
            && self.executions == 0
            && self.not_before == 0
            && self.watchers.is_empty()
            && !self.watching
            && self.looping.is_none()
    }

    /// The earliest round that this component may still act in.
    pub fn active_round(&self) -> Option<u32> {
        self.running.or_else(|| self.next_round())
    }

    /// The round of the earliest delivery.
    pub fn next_round(&self) -> Option<u32> {
        self.deliveries.peek().map(|Reverse(delivery)| delivery.round)
    }
}

/// A sub-run: the top of the run, or one element of a loop.
#[derive(Debug)]
pub(in crate::run) struct Scope {
    pub region: u32,
    /// The loop it belongs to: scope and place.
    pub parent: Option<(u32, u32)>,
    pub path: Arc<[LoopStep]>,
    pub slots: Vec<Slot>,
    /// Places that run or have deliveries.
    pub active: Bits,
    pub active_count: u32,
    /// Latest round in which anything ended.
    pub last_round: u32,
    /// Counts the elements, so that a late notice is told from a timely one.
    pub iteration: u64,
    /// Of an element: what its leaves contribute.
    pub leaves: Vec<Leaf>,
    /// Of an element: failures that wait for their handlers.
    pub failures: Vec<(Leaf, Arc<Handled>)>,
    /// Of an element that may not count in the end: components in loops inside it that waited in vain.
    pub starved: BTreeSet<Starved>,
}

/// The end of a branch.
#[derive(Debug)]
pub(in crate::run) struct Leaf {
    pub round: u32,
    pub node: u32,
    pub output: Value,
}

/// A failure at the top of a run.
#[derive(Debug)]
pub(in crate::run) struct Failed {
    pub round: u32,
    pub node: u32,
    pub output: Value,
    pub kind: Failure,
    /// Set if a handler is connected.
    pub handled: Option<Arc<Handled>>,
}

impl Scope {
    pub fn new(region: u32, size: usize, parent: Option<(u32, u32)>) -> Self {
        Self {
            region,
            parent,
            path: Arc::from([]),
            slots: (0..size).map(|_| Slot::default()).collect(),
            active: Bits::new(size),
            active_count: 0,
            last_round: 0,
            iteration: 0,
            leaves: Vec::new(),
            failures: Vec::new(),
            starved: BTreeSet::new(),
        }
    }

    /// Ready for the next element; nothing of the last one stays.
    pub fn reset(&mut self, path: Arc<[LoopStep]>) {
        self.slots.iter_mut().for_each(|slot| *slot = Slot::default());
        self.active.clear();
        self.active_count = 0;
        self.iteration += 1;
        self.path = path;
    }
}

/// Steps that are due.
#[derive(Debug)]
pub(in crate::run) enum Work {
    /// Look at what a place has received.
    Digest { scope: u32, place: u32 },
    /// Give a loop its next element.
    Advance { scope: u32, place: u32 },
    /// Nothing of an element can run any more.
    Iterated { scope: u32, iteration: u64 },
}
