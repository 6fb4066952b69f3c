//! Loops of a session: an element is done when nothing of it can run any more (§5.1, rulings 19 and 20).

use std::sync::Arc;

use super::DebugRun;
use super::context::Standing;
use super::report::{Executed, Next};
use super::settle::with_debug;
use crate::looping::{Kind, Leaves, Next as Follows};
use crate::plan::region::Link;
use crate::value::{Map, Value};

impl DebugRun {
    /// Gives a loop its next element, or ends it.
    pub(super) fn settle_loop(&mut self, at: u32) -> Executed {
        let Some(looping) = self.contexts[at as usize].looping.as_mut() else {
            return self.settle_output(at, None, false);
        };
        let limit = self.options.limits.loop_iterations;
        let kind = Kind::of(&self.plan.nodes[at as usize], &self.variable_values, limit);
        if let Some(output) = looping.ended.take() {
            return self.end_loop(at, output);
        }
        let index = looping.next;
        let element = match &kind {
            Kind::Each(_) => looping.elements.get(index).cloned(),
            _ => looping.elements.first().cloned(),
        };
        let Some(element) = element else {
            let (results, errors) =
                (std::mem::take(&mut looping.results), std::mem::take(&mut looping.errors));
            let output = match &kind {
                Kind::Each(each) => each.ended(results, errors),
                _ => Value::object(Map::new()),
            };
            return self.end_loop(at, output);
        };
        looping.next += 1;
        self.contexts[at as usize].standing = Standing::InProgress;
        let mut output = kind.offer(index, element);
        let links: Vec<Link> =
            self.plan.links[at as usize].iter().filter(|link| !link.with_result).cloned().collect();
        let within = Some(self.plan.nodes[at as usize].id.clone());
        let (targets, _) = self.fire(at, links.iter(), &Value::object(output.clone()), within, None);
        output.insert("_in_progress".into(), Value::from(true));
        let shown = with_debug(Value::object(output));
        self.contexts[at as usize].output = Some(shown.clone());
        let mut executed = self.executed(at, shown, Next::Targets(targets), false);
        executed.leaf = false;
        executed
    }

    fn end_loop(&mut self, at: u32, output: Value) -> Executed {
        let context = &mut self.contexts[at as usize];
        let held = std::mem::take(&mut context.held);
        let kept = context.looping.take().map_or(0, |looping| looping.kept);
        let around = self.contexts[at as usize].within.clone();
        for member in self.members(at) {
            self.drop_fed_by(member, at);
            let context = &mut self.contexts[member as usize];
            context.active = false;
            context.standing = Standing::Ready;
            context.within.clone_from(&around);
        }
        let within = self.contexts[at as usize].within.clone();
        let executed = self.settle_output(at, Some(output), false);
        let context = &mut self.contexts[at as usize];
        let starts_anew = held.len() > kept;
        context.held = held;
        if starts_anew {
            // Something came while it ran.
            context.active = true;
            context.within = within;
            self.stand(at);
        }
        executed
    }

    /// The components that take part in the element of a loop, those of loops inside it included.
    fn members(&self, of: u32) -> Vec<u32> {
        (0..self.contexts.len() as u32).filter(|at| *at != of && self.is_inside(*at, of)).collect()
    }

    /// True if a component takes part in the element of a loop.
    fn is_inside(&self, at: u32, of: u32) -> bool {
        self.is_at_or_inside(self.contexts[at as usize].within.as_ref(), of)
    }

    pub(super) fn is_at_or_inside(&self, within: Option<&Arc<str>>, of: u32) -> bool {
        let mut next = within;
        // At most so many loops; a state from elsewhere may name them in a circle.
        for _ in 0..=self.contexts.len() {
            let Some(index) = next.and_then(|id| self.plan.index(id)) else { return false };
            if index == of {
                return true;
            }
            next = self.contexts[index as usize].within.as_ref();
        }
        false
    }

    /// Drops what a component has received from the element of a loop, and keeps what came from outside.
    pub(super) fn drop_fed_by(&mut self, at: u32, of: u32) {
        let held = std::mem::take(&mut self.contexts[at as usize].held);
        let kept = held.into_iter().filter(|it| !self.is_at_or_inside(it.within.as_ref(), of));
        self.contexts[at as usize].held = kept.collect();
    }

    /// Ends the elements of which nothing can run any more; their loops are ready again.
    pub(super) fn end_iterations(&mut self) {
        let mut loops: Vec<u32> = (0..self.contexts.len() as u32)
            .filter(|at| {
                let context = &self.contexts[*at as usize];
                context.looping.is_some() && context.standing == Standing::InProgress
            })
            .collect();
        // Inner ones first: an outer one waits for them.
        loops.sort_by_key(|at| std::cmp::Reverse(self.depth(*at)));
        for at in &loops {
            if self.iteration_is_over(*at) {
                self.end_iteration(*at);
            }
        }
        let stuck = loops.iter().all(|at| self.contexts[*at as usize].standing == Standing::InProgress)
            && !self.contexts.iter().any(|context| context.is_ready());
        // Loops that wait for each other's results: one goes ahead with what it has.
        if let (true, Some(first)) = (stuck, loops.first()) {
            self.end_iteration(*first);
        }
    }

    fn depth(&self, at: u32) -> usize {
        (0..self.contexts.len() as u32).filter(|of| self.is_inside(at, *of)).count()
    }

    fn iteration_is_over(&self, at: u32) -> bool {
        let members = self.members(at);
        let busy = |member: &u32| {
            let context = &self.contexts[*member as usize];
            context.active && context.standing != Standing::Waiting
        };
        if members.iter().any(busy) {
            return false;
        }
        // Those that have something of this element may still get the rest from outside.
        let hopeful = members.iter().copied().filter(|member| {
            let held = &self.contexts[*member as usize].held;
            held.iter().any(|it| self.is_at_or_inside(it.within.as_ref(), at))
        });
        let sources = self.graph.sources(hopeful, at);
        let acts = |source: &u32| {
            let context = &self.contexts[*source as usize];
            context.active && context.standing != Standing::Waiting && !self.is_inside(at, *source)
        };
        !sources.iter().any(|source| source != at && acts(&source))
    }

    fn end_iteration(&mut self, at: u32) {
        let members = self.members(at);
        let plan = self.plan.clone();
        let node = &plan.nodes[at as usize];
        let Some(looping) = self.contexts[at as usize].looping.as_mut() else { return };
        let failures = &self.session.failures;
        let is_handled = |failure: usize| failures.get(failure).is_some_and(|record| record.handled);
        let leaves = std::mem::take(&mut looping.leaves).into_iter();
        let mut leaves: Vec<(u32, Value)> = leaves
            .filter(|leaf| leaf.unless_handled.is_none_or(|failure| !is_handled(failure)))
            .filter_map(|leaf| Some((plan.index(&leaf.component)?, leaf.output)))
            .collect();
        // Document order; of a leaf that ran more than once the first counts.
        leaves.sort_by_key(|(node, _)| *node);
        leaves.dedup_by_key(|(node, _)| *node);
        let index = looping.next.saturating_sub(1);
        let kind = Kind::of(node, &self.variable_values, self.options.limits.loop_iterations);
        let leaves = Leaves::new(&plan, &self.variable_values, leaves);
        if let Kind::Each(each) = &kind {
            let mut element = each.element(u32::try_from(index).unwrap_or(u32::MAX), &leaves);
            looping.results.append(&mut element.results);
            looping.errors.append(&mut element.errors);
            if element.failed && each.stops {
                let (results, errors) =
                    (std::mem::take(&mut looping.results), std::mem::take(&mut looping.errors));
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                looping.ended = Some(each.stopped(index, results, errors));
            }
        } else {
            let value = looping.elements.first().cloned().unwrap_or_default();
            match kind.after(index, &value, &mut looping.errors, &leaves, &|| 0) {
                Follows::Again(value) => looping.elements = vec![value],
                // Whoever looks on step by step does not wait.
                Follows::Pause(_) => {}
                Follows::Done(output) => looping.ended = Some(output),
            }
        }
        self.contexts[at as usize].standing = Standing::Ready;
        for member in members {
            self.drop_fed_by(member, at);
            let context = &mut self.contexts[member as usize];
            context.executions = 0;
            context.standing = Standing::Waiting;
            context.looping = None;
        }
    }
}
