//! Debug sessions: an agent run cycle by cycle, as the reference does (`agent-execution.md` §4, §5.1, §6.3).
//!
//! A cycle runs every component that is ready, at once, and what they deliver is there for the next one.
//! Between cycles a session is plain data ([`DebugRun::state`]) that any process can go on with. Where the
//! reference depends on which of two components of a cycle ends first, document order decides: a component
//! that is activated by one before it in the document, in the cycle in which it runs itself, loses that
//! activation; its own end resets it.
//!
//! Like [`Run`](crate::Run) a session does no input or output:
//!
//! 1. [`cycle`](DebugRun::cycle) begins a cycle and gives what is to be executed,
//! 2. [`complete`](DebugRun::complete) and [`resolve`](DebugRun::resolve) report how that ended, and
//!    [`ready`](DebugRun::ready) gives what follows from what was resolved,
//! 3. [`finish_cycle`](DebugRun::finish_cycle) delivers outputs and reports what the cycle did.

mod context;
mod cycle;
mod graph;
mod inject;
mod legacy;
mod loops;
mod report;
mod settle;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use context::Standing;
pub use inject::Injection;
pub use legacy::{legacy_expired_json, legacy_stopped_json};
pub use report::{Executed, Next, StepReport, Target};
pub use view::DebugComponent;

use crate::bits::Bits;
use crate::plan::{EntryId, Plan};
use crate::request::RequestData;
use crate::run::RunOptions;
use crate::value::{Map, Value, wire};
use context::{Context, FailureRecord, LeafRecord};
use cycle::Cycle;
use graph::Graph;

/// A debug session of a plan.
#[derive(Debug)]
pub struct DebugRun {
    plan: Arc<Plan>,
    graph: Graph,
    options: RunOptions,
    variable_values: Map,
    /// One per component, in document order.
    contexts: Vec<Context>,
    session: Session,
    /// What the started components can reach: connections from elsewhere hold nobody back.
    reachable: Bits,
    cycle: Option<Cycle>,
}

/// What a session keeps beside its components.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Session {
    request: RequestData,
    /// Components that were started rather than activated.
    origins: Vec<Arc<str>>,
    step: u64,
    /// Every active component waits.
    all_waiting: bool,
    closed: bool,
    leaves: Vec<LeafRecord>,
    failures: Vec<FailureRecord>,
    /// Outputs that stand for executions.
    #[serde(with = "wire::map")]
    mocks: Map,
    /// The component that ran too often.
    circular: Option<Arc<str>>,
    /// The next cycle runs only these.
    only: Option<Vec<Arc<str>>>,
}

/// A session as data, between cycles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DebugState {
    /// Of this form; a greater one is not read.
    format: u32,
    session: Session,
    /// Components that were touched, in document order.
    components: IndexMap<Arc<str>, Context>,
}

/// The form of [`DebugState`] that is written.
const FORMAT: u32 = 1;

impl DebugState {
    /// All values it holds, for what must look at each.
    pub fn each_value(&mut self, see: &mut dyn FnMut(&mut Value)) {
        self.components.values_mut().for_each(|context| context.each_value(see));
        let session = &mut self.session;
        session.leaves.iter_mut().for_each(|leaf| see(&mut leaf.output));
        session.failures.iter_mut().for_each(|failure| see(&mut failure.output));
        session.mocks.values_mut().for_each(&mut *see);
        see(&mut session.request.body);
        for map in [&mut session.request.headers, &mut session.request.query, &mut session.request.params] {
            map.values_mut().for_each(&mut *see);
        }
    }
}

/// Why a command of a session cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DebugError {
    /// The agent has no such component.
    #[error("the agent has no component '{0}'")]
    NoComponent(String),
    /// Notes do not run.
    #[error("component '{0}' is a note and never runs")]
    Inert(String),
    /// An injection has not the shape of one.
    #[error("{0}, expected a list of {{\"id\", \"ctx\": {{\"active\", \"input\", \"output\"}}}}")]
    Shape(String),
    /// A report about something that is not under way.
    #[error("component '{0}' is not under way in this cycle, or waits for another kind of report")]
    NotUnderWay(String),
    /// The cycle has components that did not end.
    #[error("component '{0}' has not ended yet")]
    Unfinished(String),
    /// No cycle was begun.
    #[error("no cycle was begun")]
    NoCycle,
    /// The state was written by a newer release.
    #[error("the session's state has the form {0}, this release reads up to {FORMAT}")]
    Format(u32),
}

impl DebugRun {
    /// A session that starts at an endpoint; its first cycle runs it.
    pub fn start(plan: Arc<Plan>, entry: EntryId, request: RequestData, options: RunOptions) -> Self {
        let mut run = Self::empty(plan, options);
        run.call_again(entry, request);
        run
    }

    /// A session in which nothing is active, to be injected into.
    pub fn empty(plan: Arc<Plan>, options: RunOptions) -> Self {
        let size = plan.nodes.len();
        Self {
            graph: Graph::of(&plan),
            variable_values: options.variables.values(),
            options,
            contexts: vec![Context::default(); size],
            session: Session::default(),
            reachable: Bits::new(size),
            cycle: None,
            plan,
        }
    }

    /// Goes on with a session.
    ///
    /// # Errors
    /// [`DebugError::Format`] if a newer release wrote it, [`DebugError::NoComponent`] if it is about
    /// another agent.
    pub fn restore(plan: Arc<Plan>, state: DebugState, options: RunOptions) -> Result<Self, DebugError> {
        if state.format > FORMAT {
            return Err(DebugError::Format(state.format));
        }
        let mut run = Self::empty(plan, options);
        for (id, context) in state.components {
            let index = run.index(&id)?;
            for other in context.within.iter().chain(context.held.iter().filter_map(|it| it.within.as_ref()))
            {
                run.index(other)?;
            }
            run.contexts[index as usize] = context;
        }
        run.session = state.session;
        let told = run.session.leaves.iter().map(|leaf| &leaf.component);
        let failed = run.session.failures.iter().map(|failure| &failure.component);
        for id in told.chain(failed).chain(&run.session.origins) {
            run.index(id)?;
        }
        run.find_reachable();
        Ok(run)
    }

    /// The session as data. A cycle that was begun and not finished is no part of it.
    pub fn state(&self) -> DebugState {
        let contexts = self.plan.nodes.iter().zip(&self.contexts);
        let touched = contexts.filter(|(_, context)| !context.is_blank());
        DebugState {
            format: FORMAT,
            session: self.session.clone(),
            components: touched.map(|(node, context)| (node.id.clone(), context.clone())).collect(),
        }
    }

    /// Calls an endpoint (again), with another request. It runs in the next cycle, beside what is active.
    pub fn call_again(&mut self, entry: EntryId, request: RequestData) {
        let node = self.plan.entries[entry.0 as usize].node;
        self.session.request = request;
        self.session.closed = false;
        let step = self.session.step;
        let context = &mut self.contexts[node as usize];
        context.active = true;
        context.called = true;
        context.standing = Standing::Ready;
        context.source = None;
        context.step = step;
        self.originate(node);
    }

    /// Replaces the outputs that stand for executions.
    ///
    /// # Errors
    /// [`DebugError::NoComponent`] for an id that the agent does not have.
    pub fn set_mocks(&mut self, mocks: Map) -> Result<(), DebugError> {
        for id in mocks.keys() {
            self.index(id)?;
        }
        self.session.mocks = mocks;
        Ok(())
    }

    /// The outputs that stand for executions.
    pub fn mocks(&self) -> &Map {
        &self.session.mocks
    }

    /// Ends the session: nothing runs any more.
    pub fn stop(&mut self) {
        self.session.closed = true;
        self.contexts.iter_mut().for_each(|context| context.active = false);
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How many cycles ran.
    pub fn step(&self) -> u64 {
        self.session.step
    }

    /// Nothing can run any more, or it was stopped.
    pub fn is_closed(&self) -> bool {
        self.session.closed
    }

    fn index(&self, id: &str) -> Result<u32, DebugError> {
        self.plan.index(id).ok_or_else(|| DebugError::NoComponent(id.to_owned()))
    }

    /// Notes a component that was started.
    fn originate(&mut self, node: u32) {
        let id = &self.plan.nodes[node as usize].id;
        if !self.session.origins.contains(id) {
            self.session.origins.push(id.clone());
            self.find_reachable();
        }
    }

    fn find_reachable(&mut self) {
        let origins = self.session.origins.iter().filter_map(|id| self.plan.index(id));
        self.reachable = graph::reach(&self.plan, origins, None);
    }
}
