//! What a session keeps of each component.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::merge::merge_into;
use crate::value::{Map, Value, wire};

/// A component in a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Context {
    /// Takes part in what happens.
    pub active: bool,
    /// Why it does not run although it is active.
    pub standing: Standing,
    /// What it has received and not run with yet, in order.
    pub held: Vec<Held>,
    /// What it ran with last.
    #[serde(with = "wire::map")]
    pub input: Map,
    /// What it gave last.
    #[serde(with = "wire::some")]
    pub output: Option<Value>,
    /// The cycle that touched it last.
    pub step: u64,
    /// The component that activated it last.
    pub source: Option<Arc<str>>,
    /// Of a loop under way.
    pub looping: Option<Box<LoopState>>,
    /// The loop whose element it takes part in.
    pub within: Option<Arc<str>>,
    /// Times it ran; for the circular limit.
    pub executions: u32,
    /// It is an endpoint that answers the request.
    pub called: bool,
    /// Somebody activated it by hand: all its connections count, and its body is what was given.
    pub forced: bool,
    /// Stands for its next execution.
    #[serde(with = "wire::some")]
    pub injected: Option<Value>,
}

/// Why an active component does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does run, in the next cycle.
    #[default]
    Ready,
    /// It waits for inputs, or for the next element of its loop.
    Waiting,
    /// A loop whose element is being worked on.
    InProgress,
}

impl Standing {
    /// The reference's `status`; `None` where it has none.
    pub fn status(self) -> Option<&'static str> {
        match self {
            Self::Ready => None,
            Self::Waiting => Some("waiting"),
            Self::InProgress => Some("in_progress"),
        }
    }
}

/// A value that an input has received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    pub input: Arc<str>,
    #[serde(with = "wire::one")]
    pub value: Value,
    /// The loop whose element it belongs to.
    #[serde(default)]
    pub within: Option<Arc<str>>,
    /// The failure whose message it is.
    #[serde(default)]
    pub failure: Option<usize>,
}

/// A loop under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LoopState {
    #[serde(with = "wire::list")]
    pub elements: Vec<Value>,
    pub next: usize,
    #[serde(with = "wire::list")]
    pub results: Vec<Value>,
    /// Failures of elements, or of attempts.
    #[serde(default, with = "wire::list", skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Value>,
    /// Its own output, once it is clear that no round follows.
    #[serde(default, with = "wire::some", skip_serializing_if = "Option::is_none")]
    pub ended: Option<Value>,
    /// What the leaves of the element at hand contribute.
    pub leaves: Vec<LoopLeaf>,
    /// How much of what the component holds was there when it started, kept for the next start.
    pub kept: usize,
}

/// The end of a branch in a loop's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LoopLeaf {
    pub component: Arc<str>,
    #[serde(with = "wire::one")]
    pub output: Value,
    /// Counts only if this failure is not handled.
    #[serde(default)]
    pub unless_handled: Option<usize>,
}

/// A result of the session as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LeafRecord {
    pub step: u64,
    pub component: Arc<str>,
    #[serde(with = "wire::one")]
    pub output: Value,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FailureRecord {
    pub step: u64,
    pub component: Arc<str>,
    #[serde(with = "wire::one")]
    pub output: Value,
    /// A handler has run with it.
    pub handled: bool,
    /// Happened in a loop's body, so that the loop tells it.
    pub in_loop: bool,
}

impl Context {
    /// What it holds, merged.
    pub fn merged(&self) -> Map {
        let mut inputs = Map::new();
        for held in &self.held {
            merge_into(&mut inputs, &held.input, held.value.clone());
        }
        inputs
    }

    pub fn holds(&self, input: &str) -> bool {
        self.held.iter().any(|held| held.input.as_ref() == input)
    }

    /// Runs in the next cycle.
    pub fn is_ready(&self) -> bool {
        self.active && self.standing == Standing::Ready
    }

    /// No longer active; what it ran with and gave is kept for readers.
    pub fn reset(&mut self) {
        self.active = false;
        self.standing = Standing::Ready;
        self.held.clear();
        self.within = None;
        self.called = false;
        self.forced = false;
    }

    /// Has never been touched.
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// All values, for what must look at each.
    pub fn each_value(&mut self, see: &mut dyn FnMut(&mut Value)) {
        self.held.iter_mut().for_each(|held| see(&mut held.value));
        self.input.values_mut().for_each(&mut *see);
        self.output.iter_mut().for_each(&mut *see);
        self.injected.iter_mut().for_each(&mut *see);
        if let Some(looping) = &mut self.looping {
            looping.elements.iter_mut().for_each(&mut *see);
            looping.results.iter_mut().for_each(&mut *see);
            looping.errors.iter_mut().for_each(&mut *see);
            looping.ended.iter_mut().for_each(&mut *see);
            looping.leaves.iter_mut().for_each(|leaf| see(&mut leaf.output));
        }
    }
}
