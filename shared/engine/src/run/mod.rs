//! A run: a deterministic state machine that says what to execute and takes in how it ended.

mod activate;
pub(crate) mod answer;
mod checkpoint;
mod fire;
mod fork;
mod loops;
pub(crate) mod output;
mod schedule;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use activate::PAUSE_INPUT;
pub use answer::{Answer, AnswerEntry, Starved, circular_message};
pub use checkpoint::{Checkpoint, CheckpointError, RestoreError};
pub use fork::{Fork, ForkError, Report};

use crate::data::binary::NeedsIo;
use crate::key::ActivationKey;
use crate::node::Node;
use crate::outcome::Outcome;
use crate::plan::{EntryId, Plan};
use crate::prepare::pending::Pending;
use crate::request::RequestData;
use crate::spec::Effect;
use crate::value::{Map, Value};
use crate::variables::Variables;
use checkpoint::Saver;
use fork::HoldBack;
use state::{Failed, Leaf, Scope, Work};

/// Bounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most executions of a component, loops not counted.
    pub circular: u32,
    /// Most elements of a loop.
    pub loop_iterations: usize,
    /// Most bytes that a component's output may take when it is written out.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { circular: 100, loop_iterations: 100_000, output_bytes: 64 << 20 }
    }
}

/// What a run needs beside plan and request.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Id of the run; names of files derive from it.
    pub run_id: String,
    /// Bounds.
    pub limits: Limits,
    /// The agent's variables with their vault keys resolved ([`Plan::resolve_variables`]).
    pub variables: Variables,
    /// What [`Run::take_settled`] tells.
    pub observe: Observe,
    /// Of a job's run: its id.
    pub job_id: String,
    /// Of a job's run: the inputs of its Async component, by value.
    pub job_input: Map,
    /// Inputs to set for single activations, over what they received: how a fork differs from its origin.
    pub overrides: BTreeMap<ActivationKey, Map>,
}

/// Whether a run keeps note of what it settles itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observe {
    /// No: nobody watches.
    #[default]
    Nothing,
    /// Yes, for whoever calls [`Run::take_settled`] after each report.
    Settled,
}

/// A component that the engine settled itself: an endpoint, an output, a loop, a failure before execution.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its name.
    pub key: ActivationKey,
    /// The component.
    pub node: Arc<Node>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A component to execute.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Its name.
    pub key: ActivationKey,
    /// The component.
    pub node: Arc<Node>,
    /// Variables and, over them, inputs in their declared types; empty for [`ActivationKind::Resolve`].
    pub input: Arc<Map>,
    /// What executing it does to the world.
    pub effect: Effect,
    /// What to do.
    pub kind: ActivationKind,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum ActivationKind {
    /// Execute the component and report with [`Run::complete`].
    Execute,
    /// Fetch, look up, read or store, and report with [`Run::resolve`]; the component follows.
    Resolve(Vec<NeedsIo>),
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Activations are under way or ready.
    Running {
        /// How many.
        waiting: usize,
    },
    /// The answer is final.
    Finished,
}

/// Why a run did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Aborted {
    /// A component ran too often.
    Circular {
        /// Its id.
        component: Arc<str>,
        /// The limit.
        limit: u32,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// A report about something that is not under way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The key names nothing that is under way.
    #[error("no activation {0} is under way")]
    Unknown(ActivationKey),
    /// The activation waits for [`Run::resolve`], or does not.
    #[error("activation {0} waits for another kind of report")]
    WrongReport(ActivationKey),
}

/// A run of a plan.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    entry: usize,
    request: RequestData,
    options: RunOptions,
    /// The variables by themselves, for defaults and post-processing.
    variable_values: Map,
    scopes: Vec<Scope>,
    free_scopes: Vec<u32>,
    work: VecDeque<Work>,
    serial: u64,
    running: HashMap<ActivationKey, Running>,
    queue: VecDeque<ActivationKey>,
    settled: Vec<Settled>,
    /// Loops that wait for others to add to what every element needs: round, scope, place.
    starved_loops: BTreeSet<(u32, u32, u32)>,
    leaves: Vec<Leaf>,
    failed: Vec<Failed>,
    starved: BTreeSet<Starved>,
    /// The earliest component that ran too often: round, number.
    circular: Option<(u32, u32)>,
    cancelled: Option<String>,
    /// What the checkpoints so far hold.
    saver: Saver,
    /// What is not to be started, and what of it came up: for [`Run::fork`].
    hold_back: Option<HoldBack>,
    held_back: Vec<ActivationKey>,
}

/// An activation that the driver works on.
#[derive(Debug)]
struct Running {
    scope: u32,
    place: u32,
    round: u32,
    /// Kept until the end: it is handed out again after a restore.
    input: Arc<Map>,
    pending: Option<Pending>,
    /// Place in the order of hand-out.
    serial: u64,
    /// Handed out already; a fold may leave its name in the queue twice.
    handed: bool,
}

impl Running {
    fn held(scope: u32, place: u32, round: u32) -> Self {
        Self { scope, place, round, input: Arc::default(), pending: None, serial: 0, handed: true }
    }
}

impl Run {
    /// Starts a run at an entry.
    pub fn start(plan: Arc<Plan>, entry: EntryId, request: RequestData, options: RunOptions) -> Self {
        let mut run = Self::new(plan, entry, request, options);
        run.begin();
        run
    }

    fn new(plan: Arc<Plan>, entry: EntryId, request: RequestData, options: RunOptions) -> Self {
        let entry = entry.0 as usize;
        let top = Scope::new(0, plan.entries[entry].regions[0].nodes.len(), None);
        Self {
            variable_values: options.variables.values(),
            scopes: vec![top],
            entry,
            request,
            options,
            plan,
            free_scopes: Vec::new(),
            work: VecDeque::new(),
            serial: 0,
            running: HashMap::new(),
            queue: VecDeque::new(),
            settled: Vec::new(),
            starved_loops: BTreeSet::new(),
            leaves: Vec::new(),
            failed: Vec::new(),
            starved: BTreeSet::new(),
            circular: None,
            cancelled: None,
            saver: Saver::default(),
            hold_back: None,
            held_back: Vec::new(),
        }
    }

    fn begin(&mut self) {
        let start = &self.plan.entries[self.entry];
        if let Some(place) = start.regions[0].place_of(start.node) {
            self.scopes[0].active.insert(place);
            self.scopes[0].active_count = 1;
            self.start_component(0, place, 0);
            self.pump();
        }
    }

    /// The activations that became ready since the last call, each handed out once.
    pub fn ready(&mut self) -> Vec<Activation> {
        let keys = std::mem::take(&mut self.queue);
        keys.into_iter().filter_map(|key| self.activation(key)).collect()
    }

    fn activation(&mut self, key: ActivationKey) -> Option<Activation> {
        let running = self.running.get_mut(&key).filter(|running| !running.handed)?;
        running.handed = true;
        let kind = match &running.pending {
            Some(pending) => ActivationKind::Resolve(pending.needs()),
            None => ActivationKind::Execute,
        };
        let input = running.input.clone();
        let (scope, place) = (running.scope, running.place);
        let node = self.plan.nodes[self.place(scope, place).node as usize].clone();
        let effect = node.effect();
        Some(Activation { key, node, input, effect, kind })
    }

    /// What the engine settled itself since the last call; see [`RunOptions::observe`].
    pub fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Ends an execution that never left the engine.
    fn settle(&mut self, scope: u32, place: u32, round: u32, output: Value) {
        self.note_settled(scope, place, round, &output);
        self.finish(scope, place, round, Some(output));
    }

    fn note_settled(&mut self, scope: u32, place: u32, round: u32, output: &Value) {
        if self.options.observe == Observe::Settled {
            let node = self.plan.nodes[self.place(scope, place).node as usize].clone();
            let outcome = Outcome::raw(output.clone());
            self.settled.push(Settled { key: self.key(scope, place, round), node, outcome });
        }
    }

    /// Takes in how an execution ended. It need not have been handed out: that is how a journal is folded.
    ///
    /// # Errors
    /// [`RunError`] if nothing of that name is under way.
    pub fn complete(&mut self, key: &ActivationKey, outcome: Outcome) -> Result<(), RunError> {
        if self.is_aborted() {
            return Ok(());
        }
        match self.running.get(key) {
            None => return Err(RunError::Unknown(key.clone())),
            Some(running) if running.pending.is_some() => return Err(RunError::WrongReport(key.clone())),
            Some(_) => {}
        }
        if let Some(running) = self.running.remove(key) {
            let (scope, place, round) = (running.scope, running.place, running.round);
            let slot = &self.scopes[scope as usize].slots[place as usize];
            // A loop executes nothing itself but the pauses between its attempts.
            if slot.looping.is_some() {
                self.paused(scope, place, round, outcome);
            } else {
                self.finish(scope, place, round, outcome.output);
            }
            self.pump();
        }
        Ok(())
    }

    /// Takes in what the driver resolved for [`ActivationKind::Resolve`], one result per need.
    ///
    /// # Errors
    /// [`RunError`] if nothing of that name waits for it.
    pub fn resolve(
        &mut self,
        key: &ActivationKey,
        values: Vec<Result<Value, String>>,
    ) -> Result<(), RunError> {
        if self.is_aborted() {
            return Ok(());
        }
        match self.running.get(key) {
            None => Err(RunError::Unknown(key.clone())),
            Some(running) if running.pending.is_none() => Err(RunError::WrongReport(key.clone())),
            Some(_) => {
                self.resolved(key, values);
                self.pump();
                Ok(())
            }
        }
    }

    /// Ends the run; what is under way no longer matters.
    pub fn cancel(&mut self, reason: impl Into<String>) {
        if self.status() != Status::Finished {
            self.cancelled = Some(reason.into());
            self.queue.clear();
            self.running.clear();
            self.work.clear();
        }
    }

    /// Where the run stands.
    pub fn status(&self) -> Status {
        match self.running.len() {
            0 => Status::Finished,
            waiting => Status::Running { waiting },
        }
    }

    /// The names of what is under way, in no particular order.
    pub fn under_way(&self) -> impl Iterator<Item = &ActivationKey> {
        self.running.keys()
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The request.
    pub fn request(&self) -> &RequestData {
        &self.request
    }

    fn is_aborted(&self) -> bool {
        self.cancelled.is_some()
    }

    fn aborted(&self) -> Option<Aborted> {
        if let Some(reason) = &self.cancelled {
            return Some(Aborted::Cancelled { reason: reason.clone() });
        }
        let (_, node) = self.circular?;
        let component = self.plan.nodes[node as usize].id.clone();
        Some(Aborted::Circular { component, limit: self.options.limits.circular })
    }

    /// Notes that a component ran too often. Of several the earliest is reported, whoever is noticed first.
    fn went_in_circles(&mut self, node: u32, round: u32) {
        let found = (round, node);
        if self.circular.is_none_or(|known| found < known) {
            self.circular = Some(found);
        }
    }

    /// True for rounds that no longer matter because an earlier component ran too often.
    fn is_void(&self, round: u32) -> bool {
        self.circular.is_some_and(|(last, _)| round > last)
    }
}
