//! The state of the model: where components hold what they have received.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Map, Value as Json};

/// A sub-run: the top of a run, or one element of a loop.
#[derive(Debug, Default)]
pub struct Scope {
    /// Components that can be reached here at all.
    pub universe: BTreeSet<usize>,
    /// Components that stand here, loops standing for their bodies.
    pub own: BTreeSet<usize>,
    pub parent: Option<usize>,
    /// The loops around it, as names of starved components show them.
    pub path: String,
    /// What components start with in this scope.
    pub seed: BTreeMap<usize, Map<String, Json>>,
    pub held: BTreeMap<usize, Map<String, Json>>,
    pub handling: BTreeMap<usize, Vec<Rc<Cell<bool>>>>,
    pub waiting: BTreeSet<usize>,
    pub executions: BTreeMap<usize, u32>,
    pub not_before: BTreeMap<usize, u32>,
    pub pending: Vec<Delivery>,
    pub last_round: u32,
    /// Of an element: what may contribute to the loop's result.
    pub ended: Vec<Ended>,
}

/// A value on its way.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub node: usize,
    pub round: u32,
    /// Place of the connection in the document.
    pub order: usize,
    pub input: usize,
    pub value: Json,
    /// Of a failure: set when its handler runs.
    pub handled: Option<Rc<Cell<bool>>>,
}

/// An execution that is over.
#[derive(Clone, Debug)]
pub struct Ended {
    pub node: usize,
    pub round: u32,
    pub output: Json,
    pub handled: Option<Rc<Cell<bool>>>,
}
