//! What happens when an execution has ended: record, deliver, release.

use std::sync::Arc;

use super::Run;
use super::state::{Delivery, Failed, Handled, Leaf};
use crate::key::LoopStep;
use crate::outcome::{Failure, failure, port_value};
use crate::plan::region::Firing;
use crate::prepare::{bounded, error_output};
use crate::value::Value;

/// What a firing achieved.
#[derive(Default)]
pub(super) struct Fired {
    /// Something was delivered to somebody.
    pub any: bool,
    /// The failure's message was delivered to a handler.
    pub handler: Option<Arc<Handled>>,
}

impl Run {
    /// Ends an execution with its output.
    pub(super) fn finish(&mut self, scope: u32, place: u32, round: u32, output: Option<Value>) {
        let output = match output {
            None | Some(Value::Null) => error_output("component returned no output"),
            Some(output) => bounded(output, self.options.limits.output_bytes),
        };
        let kind = failure(&output).map(|(_, kind)| kind);
        let plan = self.plan.clone();
        let region = &plan.entries[self.entry].regions[self.scopes[scope as usize].region as usize];
        let spot = &region.places[place as usize];
        let fired = self.fire(scope, &spot.firings, spot.node, &output, round);
        if self.scopes[scope as usize].parent.is_some() {
            self.record_in_loop(scope, Leaf { round, node: spot.node, output }, fired);
        } else {
            self.record_at_top(spot.leaf, round, spot.node, output, kind, fired);
        }
        self.released(scope, place, round);
    }

    /// Delivers an output over some connections; `scope` is the one the connections are seen from.
    pub(super) fn fire(
        &mut self,
        scope: u32,
        firings: &[Firing],
        node: u32,
        output: &Value,
        round: u32,
    ) -> Fired {
        let plan = self.plan.clone();
        let node = &plan.nodes[node as usize];
        let hard = failure(output).is_some_and(|(_, kind)| kind == Failure::Hard);
        let mut fired = Fired::default();
        for firing in firings {
            let port = &node.outputs[firing.output as usize];
            let is_error = port.name.as_ref() == "_error";
            if hard && !is_error {
                continue;
            }
            let Some(value) = port_value(node, port, output) else { continue };
            let error = is_error.then(|| fired.handler.get_or_insert_default().clone());
            fired.any = true;
            let target = self.outer(scope, firing.up);
            let from = self.element(scope, firing.up);
            let delivery = Delivery {
                round: round + 1,
                order: firing.order,
                serial: 0,
                input: firing.input,
                value,
                error,
                from,
            };
            self.deliver(target, firing.target, delivery);
        }
        fired
    }

    /// The scope `up` steps outwards.
    pub(super) fn outer(&self, scope: u32, up: u32) -> u32 {
        let parent = |at: u32| self.scopes[at as usize].parent.map_or(at, |(outer, _)| outer);
        (0..up).fold(scope, |at, _| parent(at))
    }

    /// The element that a value comes from which goes `up` scopes outwards, if it comes out of a Map: elements of
    /// other loops deliver in their order anyway.
    fn element(&self, scope: u32, up: u32) -> Option<Arc<[LoopStep]>> {
        let mut at = scope;
        for _ in 0..up {
            let (outer, place) = self.scopes[at as usize].parent?;
            let looping = self.scopes[outer as usize].slots[place as usize].looping.as_ref();
            if looping.is_some_and(|looping| looping.kind.is_map()) {
                return Some(self.scopes[scope as usize].path.clone());
            }
            at = outer;
        }
        None
    }

    fn record_at_top(
        &mut self,
        leaf: bool,
        round: u32,
        node: u32,
        output: Value,
        kind: Option<Failure>,
        fired: Fired,
    ) {
        if let Some(kind) = kind {
            self.failed.push(Failed { round, node, output: output.clone(), kind, handled: fired.handler });
        }
        if leaf && kind != Some(Failure::Hard) && output.truthy() {
            self.leaves.push(Leaf { round, node, output });
        }
    }

    fn record_in_loop(&mut self, scope: u32, leaf: Leaf, fired: Fired) {
        let state = &mut self.scopes[scope as usize];
        match fired.handler {
            Some(handled) => state.failures.push((leaf, handled)),
            None if !fired.any => state.leaves.push(leaf),
            None => {}
        }
    }
}
