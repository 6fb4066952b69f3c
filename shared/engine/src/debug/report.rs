//! What a cycle did.

use std::sync::Arc;

use crate::run::Answer;
use crate::value::{Map, Value};

/// What a cycle did.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// How many cycles ran.
    pub step: u64,
    /// The components that ran, in document order.
    pub executed: Vec<Executed>,
    /// Every component that is still active waits for something.
    pub all_waiting: bool,
    /// Nothing can run any more.
    pub closed: bool,
    /// The final answer, once closed.
    pub answer: Option<Answer>,
}

/// A component that ran in a cycle.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Component id.
    pub component: Arc<str>,
    /// Component type.
    pub type_name: Arc<str>,
    /// Label of the type.
    pub display_name: Arc<str>,
    /// Its output, with `_debug`.
    pub output: Value,
    /// Its failure's message.
    pub error: Option<Value>,
    /// What it led to.
    pub next: Next,
    /// The output was injected or mocked.
    pub mocked: bool,
    /// Its failure went to a handler.
    pub handled: bool,
    pub(super) hard: bool,
    /// Counts for the session's results.
    pub(super) leaf: bool,
    pub(super) in_loop: bool,
}

/// What an execution led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// It delivered to these, in the order of their connections.
    Targets(Vec<Target>),
    /// It delivered to nobody: the end of its branch.
    Leaf,
}

/// A component that got something.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Component id.
    pub component: Arc<str>,
    /// Component type.
    pub type_name: Arc<str>,
    /// What it got, merged.
    pub inputs: Map,
}

impl Executed {
    /// The ids of the components it activated.
    pub fn activated(&self) -> Vec<Arc<str>> {
        match &self.next {
            Next::Targets(targets) => targets.iter().map(|target| target.component.clone()).collect(),
            Next::Leaf => Vec::new(),
        }
    }
}
