//! Beginning a cycle: what runs, with what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::context::{LoopState, Standing};
use super::{DebugError, DebugRun};
use crate::key::{ActivationKey, LoopStep};
use crate::looping::{Begin, Kind};
use crate::node::Node;
use crate::outcome::Outcome;
use crate::prepare::pending::Pending;
use crate::prepare::{Preparation, Prepared, Role};
use crate::run::{Activation, ActivationKind};
use crate::value::{Map, Value};

/// A cycle under way.
#[derive(Debug, Default)]
pub(super) struct Cycle {
    /// What runs, in document order.
    pub order: Vec<u32>,
    pub done: BTreeMap<u32, Done>,
    under_way: BTreeMap<u32, Option<Pending>>,
    queue: VecDeque<Activation>,
    /// Nothing ran because nothing can any more.
    pub over: bool,
}

/// How a component of the cycle ended.
#[derive(Debug)]
pub(super) enum Done {
    /// With an output; `mocked` if it stands for an execution.
    Output { output: Option<Value>, mocked: bool },
    /// It lacks inputs.
    Missing(Vec<Arc<str>>),
    /// A loop goes on: its next element, or its end.
    Loop,
    /// It ran too often.
    Circular,
}

impl DebugRun {
    /// The components that the next cycle runs, in document order.
    pub fn due(&self) -> Vec<Arc<str>> {
        self.due_indexes().into_iter().map(|at| self.plan.nodes[at as usize].id.clone()).collect()
    }

    fn due_indexes(&self) -> Vec<u32> {
        if self.session.closed {
            return Vec::new();
        }
        let chosen = |node: &Node| self.session.only.as_ref().is_none_or(|only| only.contains(&node.id));
        let contexts = (0u32..).zip(self.plan.nodes.iter().zip(&self.contexts));
        contexts.filter(|(_, (node, it))| it.is_ready() && chosen(node)).map(|(at, _)| at).collect()
    }

    /// Begins a cycle and gives what is to be executed. A cycle that was begun goes on.
    pub fn cycle(&mut self) -> Vec<Activation> {
        if self.cycle.is_none() {
            self.begin_cycle();
        }
        self.ready()
    }

    fn begin_cycle(&mut self) {
        let order = self.due_indexes();
        let injected_nothing = self.session.only.take().is_some() && order.is_empty();
        let over = order.is_empty() && !injected_nothing;
        self.cycle = Some(Cycle { order: order.clone(), over, ..Cycle::default() });
        if order.is_empty() {
            return;
        }
        self.session.step += 1;
        for node in order {
            self.contexts[node as usize].step = self.session.step;
            self.run_component(node);
        }
    }

    /// What is to be executed since the last call.
    pub fn ready(&mut self) -> Vec<Activation> {
        self.cycle.as_mut().map(|cycle| cycle.queue.drain(..).collect()).unwrap_or_default()
    }

    /// Takes in how an execution ended.
    ///
    /// # Errors
    /// [`DebugError::NotUnderWay`] if the cycle executes nothing of that name.
    pub fn complete(&mut self, key: &ActivationKey, outcome: Outcome) -> Result<(), DebugError> {
        let at = self.under_way(key, |pending| pending.is_none())?;
        if let Some(cycle) = &mut self.cycle {
            cycle.under_way.remove(&at);
            cycle.done.insert(at, Done::Output { output: outcome.output, mocked: false });
        }
        Ok(())
    }

    /// Takes in what the driver resolved; what follows is in [`ready`](DebugRun::ready).
    ///
    /// # Errors
    /// [`DebugError::NotUnderWay`] if nothing of that name waits for it.
    pub fn resolve(
        &mut self,
        key: &ActivationKey,
        values: Vec<Result<Value, String>>,
    ) -> Result<(), DebugError> {
        let at = self.under_way(key, Option::is_some)?;
        let pending = self.cycle.as_mut().and_then(|cycle| cycle.under_way.remove(&at)).flatten();
        if let Some(pending) = pending {
            let node = self.plan.nodes[at as usize].clone();
            self.go_on(at, pending.resolved(&node, values));
        }
        Ok(())
    }

    fn under_way(
        &self,
        key: &ActivationKey,
        fits: impl Fn(&Option<Pending>) -> bool,
    ) -> Result<u32, DebugError> {
        let find = || {
            let at = self.plan.index(&key.component)?;
            let pending = self.cycle.as_ref()?.under_way.get(&at)?;
            (fits(pending) && *key == self.key(at)).then_some(at)
        };
        find().ok_or_else(|| DebugError::NotUnderWay(key.component.to_string()))
    }

    fn run_component(&mut self, at: u32) {
        let node = self.plan.nodes[at as usize].clone();
        let limit = self.options.limits.circular;
        let context = &mut self.contexts[at as usize];
        // The rounds of a loop are bounded by its elements.
        if context.looping.is_none() {
            context.executions += 1;
            if context.executions > limit {
                self.done(at, Done::Circular);
                return;
            }
        }
        let injected = context.injected.take().or_else(|| self.session.mocks.get(&node.id).cloned());
        if let Some(output) = injected {
            self.take_inputs(at);
            self.done(at, Done::Output { output: Some(output), mocked: true });
            return;
        }
        if self.contexts[at as usize].looping.is_some() {
            self.done(at, Done::Loop);
            return;
        }
        let missing = self.missing(at);
        if !missing.is_empty() {
            self.done(at, Done::Missing(missing));
            return;
        }
        let held = self.take_inputs(at);
        let prepared = self.prepare(at, &node, held);
        self.go_on(at, prepared);
    }

    /// What a component runs with. It keeps it until the cycle is over, when its own end drops it.
    fn take_inputs(&mut self, at: u32) -> Map {
        let context = &mut self.contexts[at as usize];
        let inputs = context.merged();
        context.input = inputs.clone();
        for failure in context.held.iter().filter_map(|held| held.failure) {
            if let Some(record) = self.session.failures.get_mut(failure) {
                record.handled = true;
            }
        }
        inputs
    }

    fn prepare(&self, at: u32, node: &Node, mut held: Map) -> Prepared {
        let context = &self.contexts[at as usize];
        let key = || self.key(at);
        let mut request = None;
        let role = if context.called {
            Role::Called
        } else if context.forced && node.entry.is_some_and(|it| it.spec.flow == crate::spec::Flow::Endpoint) {
            // What is put into an endpoint by hand is its query, or its body.
            let mut changed = self.session.request.clone();
            if node.text_setting("method").is_some_and(|method| method.eq_ignore_ascii_case("GET")) {
                changed.query.extend(std::mem::take(&mut held));
            } else {
                changed.body = Value::object(std::mem::take(&mut held));
            }
            request = Some(changed);
            Role::Called
        } else {
            Role::Fed
        };
        let preparation = Preparation {
            plan: &self.plan,
            variables: &self.options.variables,
            variable_values: &self.variable_values,
            run_id: &self.options.run_id,
            request: request.as_ref().unwrap_or(&self.session.request),
            overrides: None,
            key: &key,
        };
        preparation.prepare(at, held, role)
    }

    fn go_on(&mut self, at: u32, prepared: Prepared) {
        match prepared {
            Prepared::Settled(output) => self.done(at, Done::Output { output: Some(output), mocked: false }),
            Prepared::Loop(input) => self.start_loop(at, &input),
            Prepared::Execute(input) => self.hand_out(at, input, None),
            Prepared::Pending(pending) => self.hand_out(at, Map::new(), Some(pending)),
        }
    }

    fn start_loop(&mut self, at: u32, input: &Map) {
        let limit = self.options.limits.loop_iterations;
        let kind = Kind::of(&self.plan.nodes[at as usize], &self.variable_values, limit);
        let settled = |output| Done::Output { output: Some(output), mocked: false };
        let elements = match kind.begin(input.get("Input"), limit) {
            Begin::Elements(elements) => elements,
            Begin::Done(output) => return self.done(at, settled(output)),
        };
        let done = if self.plan.links[at as usize].iter().all(|link| link.with_result) {
            settled(kind.without_body(&elements))
        } else {
            match self.contexts[at as usize].within.as_ref().and_then(|id| self.plan.index(id)) {
                // What came from outside the loop around it is there for every element of that.
                Some(around) => self.drop_fed_by(at, around),
                None => self.contexts[at as usize].held.clear(),
            }
            let context = &mut self.contexts[at as usize];
            context.looping = Some(Box::new(LoopState {
                elements: elements.to_vec(),
                next: 0,
                results: Vec::new(),
                errors: Vec::new(),
                ended: None,
                leaves: Vec::new(),
                kept: context.held.len(),
            }));
            Done::Loop
        };
        self.done(at, done);
    }

    fn hand_out(&mut self, at: u32, input: Map, pending: Option<Pending>) {
        let node = self.plan.nodes[at as usize].clone();
        let effect = node.effect();
        let kind = match &pending {
            Some(pending) => ActivationKind::Resolve(pending.needs()),
            None => ActivationKind::Execute,
        };
        let key = self.key(at);
        if let Some(cycle) = &mut self.cycle {
            cycle.under_way.insert(at, pending);
            cycle.queue.push_back(Activation { key, node, input: Arc::new(input), effect, kind });
        }
    }

    fn done(&mut self, at: u32, done: Done) {
        if let Some(cycle) = &mut self.cycle {
            cycle.done.insert(at, done);
        }
    }

    /// The name of a component's execution in this cycle: the cycle is its round.
    pub(super) fn key(&self, at: u32) -> ActivationKey {
        let mut path = Vec::new();
        let mut within = self.contexts[at as usize].within.clone();
        while let Some(id) = within {
            // A state from elsewhere may name loops in a circle.
            if path.len() > self.contexts.len() {
                break;
            }
            let Some(index) = self.plan.index(&id) else { break };
            let context = &self.contexts[index as usize];
            let element = context.looping.as_ref().map_or(0, |looping| looping.next.saturating_sub(1));
            path.push(LoopStep { component: id, index: u32::try_from(element).unwrap_or(u32::MAX) });
            within = context.within.clone();
        }
        path.reverse();
        ActivationKey {
            component: self.plan.nodes[at as usize].id.clone(),
            path: path.into(),
            round: u32::try_from(self.session.step).unwrap_or(u32::MAX),
        }
    }

    /// Inputs that a component cannot run without and does not have.
    pub(super) fn missing(&self, at: u32) -> Vec<Arc<str>> {
        let context = &self.contexts[at as usize];
        if context.called {
            return Vec::new();
        }
        let node = &self.plan.nodes[at as usize];
        let counts = |source: u32| context.forced || self.reachable.contains(source);
        let links = &self.graph.incoming[at as usize];
        let fed = |input: usize| links.iter().any(|it| it.input as usize == input && counts(it.source));
        let ports = node.inputs.iter().enumerate();
        let lacks = ports.filter(|(input, port)| {
            !port.optional && port.default.is_none() && !context.holds(&port.name) && fed(*input)
        });
        lacks.map(|(_, port)| port.name.clone()).collect()
    }

    /// Puts a component into the state that follows from what it holds.
    pub(super) fn stand(&mut self, at: u32) {
        let missing = !self.missing(at).is_empty();
        self.contexts[at as usize].standing = if missing { Standing::Waiting } else { Standing::Ready };
    }
}
