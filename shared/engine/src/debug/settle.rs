//! Ending a cycle: outputs are delivered, components reset, results collected.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::context::{FailureRecord, Held, LeafRecord, LoopLeaf, Standing};
use super::cycle::{Cycle, Done};
use super::report::{Executed, Next, StepReport, Target};
use super::{DebugError, DebugRun};
use crate::merge::merge_into;
use crate::outcome::{Failure, failure, port_value};
use crate::plan::compile::flow;
use crate::plan::region::Link;
use crate::prepare::{bounded, error_output};
use crate::run::Aborted;
use crate::run::answer::{Answer, Ended, MAX_STARVED, Starved, assemble};
use crate::value::{Map, Value};

impl DebugRun {
    /// Ends the cycle and tells what it did.
    ///
    /// # Errors
    /// [`DebugError::Unfinished`] if something of it is under way, [`DebugError::NoCycle`] if none was begun.
    pub fn finish_cycle(&mut self) -> Result<StepReport, DebugError> {
        let cycle = self.cycle.as_ref().ok_or(DebugError::NoCycle)?;
        if let Some(open) = cycle.order.iter().find(|at| !cycle.done.contains_key(at)) {
            return Err(DebugError::Unfinished(self.plan.nodes[*open as usize].id.to_string()));
        }
        let Cycle { order, mut done, over, .. } = self.cycle.take().unwrap_or_default();
        let mut executed = Vec::with_capacity(order.len());
        for at in order {
            let Some(done) = done.remove(&at) else { continue };
            if matches!(done, Done::Circular) {
                self.session.circular = Some(self.plan.nodes[at as usize].id.clone());
                self.stop();
                break;
            }
            executed.push(self.settle(at, done));
        }
        self.end_iterations();
        let mut active = self.contexts.iter().filter(|context| context.active).peekable();
        let none_active = active.peek().is_none();
        self.session.all_waiting = active.all(|context| context.standing != Standing::Ready);
        // Injecting nothing that runs into a session that has not begun does not end it.
        if over || (none_active && !executed.is_empty()) {
            self.session.closed = true;
        }
        Ok(StepReport {
            step: self.session.step,
            executed,
            all_waiting: self.session.all_waiting,
            closed: self.session.closed,
            answer: self.session.closed.then(|| self.answer()),
        })
    }

    fn settle(&mut self, at: u32, done: Done) -> Executed {
        match done {
            Done::Output { output, mocked } => self.settle_output(at, output, mocked),
            Done::Missing(missing) => self.settle_missing(at, &missing),
            Done::Loop | Done::Circular => self.settle_loop(at),
        }
    }

    fn settle_missing(&mut self, at: u32, missing: &[Arc<str>]) -> Executed {
        let names: Vec<Value> = missing.iter().map(|name| Value::String(name.clone())).collect();
        let names = Value::array(names);
        let message = format!("Missing inputs : {}", names.to_json_text());
        let output: Map = [("_error".into(), Value::from(message)), ("_missing_inputs".into(), names)].into();
        let output = Value::object(output);
        let context = &mut self.contexts[at as usize];
        context.standing = Standing::Waiting;
        context.output = Some(output.clone());
        let in_loop = context.within.is_some();
        self.note_failure(at, &output, in_loop);
        self.executed(at, output, Next::Targets(Vec::new()), false)
    }

    pub(super) fn settle_output(&mut self, at: u32, output: Option<Value>, mocked: bool) -> Executed {
        let output = match output {
            None | Some(Value::Null) => error_output("component returned no output"),
            Some(output) => bounded(output, self.options.limits.output_bytes),
        };
        let kind = failure(&output).map(|(_, kind)| kind);
        let within = self.contexts[at as usize].within.clone();
        let failed = kind.map(|_| self.note_failure(at, &output, within.is_some()));
        let links: Vec<Link> = self.plan.links[at as usize].clone();
        let is_loop = flow(&self.plan.nodes[at as usize]).has_body();
        let links = links.iter().filter(|link| !is_loop || mocked || link.with_result);
        let (targets, handler) = self.fire(at, links, &output, within.clone(), failed);
        if let Some(parent) = within.as_ref().and_then(|id| self.plan.index(id)) {
            let leaf = LoopLeaf {
                component: self.plan.nodes[at as usize].id.clone(),
                output: output.clone(),
                unless_handled: failed.filter(|_| handler),
            };
            if let Some(looping) = self.contexts[parent as usize].looping.as_mut()
                && (handler || targets.is_empty())
            {
                looping.leaves.push(leaf);
            }
        } else if self.is_leaf(at) && kind != Some(Failure::Hard) && output.truthy() {
            self.session.leaves.push(LeafRecord {
                step: self.session.step,
                component: self.plan.nodes[at as usize].id.clone(),
                output: output.clone(),
            });
        }
        let shown = if mocked { output } else { with_debug(output) };
        self.contexts[at as usize].output = Some(shown.clone());
        self.release(at);
        let next = match targets.is_empty() {
            true if kind == Some(Failure::Hard) => Next::Targets(Vec::new()),
            true => Next::Leaf,
            false => Next::Targets(targets),
        };
        let mut executed = self.executed(at, shown, next, mocked);
        executed.handled = handler;
        executed
    }

    /// An execution has ended: the component is reset, or stands by for the next element of its loop.
    fn release(&mut self, at: u32) {
        let parent = self.contexts[at as usize].within.as_ref().and_then(|id| self.plan.index(id));
        let live = parent.filter(|parent| self.contexts[*parent as usize].looping.is_some());
        match live {
            None => self.contexts[at as usize].reset(),
            Some(parent) => {
                self.drop_fed_by(at, parent);
                let context = &mut self.contexts[at as usize];
                context.standing = Standing::Waiting;
                context.called = false;
                context.forced = false;
            }
        }
    }

    pub(super) fn note_failure(&mut self, at: u32, output: &Value, in_loop: bool) -> usize {
        self.session.failures.push(FailureRecord {
            step: self.session.step,
            component: self.plan.nodes[at as usize].id.clone(),
            // Its loop tells it: here only counts whether it is handled.
            output: if in_loop { Value::Null } else { output.clone() },
            handled: false,
            in_loop,
        });
        self.session.failures.len() - 1
    }

    /// Delivers an output. Gives the components that got something, and whether a handler did.
    pub(super) fn fire<'a>(
        &mut self,
        at: u32,
        links: impl Iterator<Item = &'a Link>,
        output: &Value,
        within: Option<Arc<str>>,
        failed: Option<usize>,
    ) -> (Vec<Target>, bool) {
        let plan = self.plan.clone();
        let node = &plan.nodes[at as usize];
        let hard = failure(output).is_some_and(|(_, kind)| kind == Failure::Hard);
        let mut delivered: IndexMap<u32, Map> = IndexMap::new();
        let mut handler = false;
        for link in links {
            let port = &node.outputs[link.output as usize];
            let is_error = port.name.as_ref() == "_error";
            if hard && !is_error {
                continue;
            }
            let Some(value) = port_value(node, port, output) else { continue };
            handler |= is_error;
            let input = &plan.nodes[link.target as usize].inputs[link.input as usize].name;
            merge_into(delivered.entry(link.target).or_default(), input, value.clone());
            let held = Held {
                input: input.clone(),
                value,
                within: self.loop_around(link.target, within.clone()),
                failure: failed.filter(|_| is_error),
            };
            self.contexts[link.target as usize].held.push(held);
        }
        for target in delivered.keys() {
            self.activate(*target, &node.id, within.clone());
        }
        let describe = |(target, inputs): (u32, Map)| {
            let node = &plan.nodes[target as usize];
            Target { component: node.id.clone(), type_name: node.type_name.clone(), inputs }
        };
        (delivered.into_iter().map(describe).collect(), handler)
    }

    fn activate(&mut self, target: u32, source: &Arc<str>, within: Option<Arc<str>>) {
        let step = self.session.step;
        let mut around = self.loop_around(target, within);
        // A value from an outer element does not take it out of the inner one.
        let known = self.contexts[target as usize].within.as_ref();
        let outer = around.as_ref().and_then(|id| self.plan.index(id));
        if outer.is_none_or(|outer| self.is_at_or_inside(known, outer)) {
            around = known.cloned();
        }
        let context = &mut self.contexts[target as usize];
        context.active = true;
        context.source = Some(source.clone());
        context.step = step;
        context.within = around;
        if context.looping.is_none() {
            self.stand(target);
        }
    }

    /// The innermost of the loops around the source in whose body the target stands, too.
    fn loop_around(&self, target: u32, within: Option<Arc<str>>) -> Option<Arc<str>> {
        let mut at = within;
        for _ in 0..=self.contexts.len() {
            let id = at?;
            let index = self.plan.index(&id)?;
            if self.graph.is_in_body(index, target) {
                return Some(id);
            }
            at = self.contexts[index as usize].within.clone();
        }
        None
    }

    /// The end of a branch as the answer sees it.
    pub(super) fn is_leaf(&self, at: u32) -> bool {
        let node = &self.plan.nodes[at as usize];
        let result_leads_nowhere = || {
            let links = self.plan.links[at as usize].iter();
            let port = |link: &Link| node.outputs[link.output as usize].name.as_ref() == "_error";
            !links.filter(|link| link.with_result).any(|link| !port(link))
        };
        !self.plan.outgoing.contains(at) || (flow(node).has_body() && result_leads_nowhere())
    }

    pub(super) fn executed(&self, at: u32, output: Value, next: Next, mocked: bool) -> Executed {
        let node = &self.plan.nodes[at as usize];
        let in_loop = self.contexts[at as usize].within.is_some();
        Executed {
            component: node.id.clone(),
            type_name: node.type_name.clone(),
            display_name: node.display_name.clone(),
            error: failure(&output).map(|(message, _)| message.clone()),
            hard: failure(&output).is_some_and(|(_, kind)| kind == Failure::Hard),
            output,
            next,
            mocked,
            handled: false,
            leaf: self.is_leaf(at) && !in_loop,
            in_loop,
        }
    }

    /// The answer as it stands; final once the session is closed.
    pub fn answer(&self) -> Answer {
        if let Some(component) = &self.session.circular {
            let limit = self.options.limits.circular;
            let aborted = Some(Aborted::Circular { component: component.clone(), limit });
            return Answer { aborted, ..Answer::default() };
        }
        let ended = |component: &str, step, output| {
            Some(Ended { round: step, node: self.plan.index(component)?, output })
        };
        let failures = || self.session.failures.iter().filter(|failure| !failure.in_loop);
        let is_handled = |leaf: &&LeafRecord| {
            let same = |it: &FailureRecord| it.step == leaf.step && it.component == leaf.component;
            !failures().any(|failure| failure.handled && same(failure))
        };
        let leaves = self.session.leaves.iter().filter(is_handled);
        let failed = failures().filter(|failure| !failure.handled).filter_map(|it| {
            let kind = failure(&it.output).map_or(Failure::Soft, |(_, kind)| kind);
            Some((ended(&it.component, it.step, &it.output)?, kind))
        });
        assemble(
            &self.plan,
            &self.variable_values,
            leaves.filter_map(|it| ended(&it.component, it.step, &it.output)).collect(),
            failed.collect(),
            self.starved(),
        )
    }

    fn starved(&self) -> BTreeSet<Starved> {
        let waiting = (0u32..).zip(&self.contexts);
        let waiting = waiting.filter(|(_, it)| it.active && it.standing == Standing::Waiting);
        let starved = waiting.filter_map(|(at, _)| {
            let missing = self.missing(at);
            let node = &self.plan.nodes[at as usize];
            let (component, type_name) = (node.id.to_string(), node.type_name.clone());
            (!missing.is_empty()).then_some(Starved { component, type_name, missing })
        });
        starved.take(MAX_STARVED).collect()
    }
}

/// What is shown of an output: with the component's log, empty if it wrote none.
pub(super) fn with_debug(output: Value) -> Value {
    match output {
        Value::Object(map) if !map.contains_key("_debug") => {
            let mut map = (*map).clone();
            map.insert("_debug".into(), Value::from(""));
            Value::object(map)
        }
        other => other,
    }
}
