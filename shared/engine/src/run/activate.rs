//! Starting a component: what it gets, and what the engine settles itself.

use std::sync::Arc;

use super::{Run, Running};
use crate::key::ActivationKey;
use crate::plan::EntryKind;
use crate::prepare::pending::Pending;
use crate::prepare::{Preparation, Prepared, Role};
use crate::value::{Map, Value};

/// The input of a pause that says how long it is, in milliseconds.
pub const PAUSE_INPUT: &str = "delayMs";

/// What a pause is executed with: how long, and after which attempt.
pub(super) fn pause_input(ms: u64, attempt: u32) -> Map {
    [(PAUSE_INPUT.into(), Value::Number(ms.into())), ("attempt".into(), Value::Number(attempt.into()))].into()
}

impl Run {
    /// Starts a component with what it has received.
    pub(super) fn start_component(&mut self, scope: u32, place: u32, round: u32) {
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let round = round.max(slot.not_before);
        let seed = slot.seed.as_ref().map(|seed| (**seed).clone()).unwrap_or_default();
        let held = std::mem::replace(&mut slot.held, seed);
        slot.handling.drain(..).for_each(|handled| handled.set());
        slot.executions += 1;
        slot.waiting = false;
        slot.running = Some(round);
        if self.is_dropped(scope) {
            self.released(scope, place, round);
            return;
        }
        let executions = self.scopes[scope as usize].slots[place as usize].executions;
        let node = self.place(scope, place).node;
        if executions > self.options.limits.circular {
            self.went_in_circles(node, round);
            self.released(scope, place, round);
            return;
        }
        if self.hold_back(scope, place, round) {
            return;
        }
        let prepared = self.prepare(scope, place, round, node, held);
        self.go_on(scope, place, round, prepared);
    }

    fn prepare(&self, scope: u32, place: u32, round: u32, index: u32, held: Map) -> Prepared {
        let key = || self.key(scope, place, round);
        let overrides = &self.options.overrides;
        let entry = &self.plan.entries[self.entry];
        let role = match entry.kind {
            _ if scope != 0 || index != entry.node => Role::Fed,
            EntryKind::Endpoint | EntryKind::Trigger => Role::Called,
            EntryKind::Job => Role::Job { id: &self.options.job_id, input: &self.options.job_input },
        };
        let preparation = Preparation {
            plan: &self.plan,
            variables: &self.options.variables,
            variable_values: &self.variable_values,
            run_id: &self.options.run_id,
            request: &self.request,
            overrides: if overrides.is_empty() { None } else { overrides.get(&key()) },
            key: &key,
        };
        preparation.prepare(index, held, role)
    }

    /// Goes on with an activation whose values the driver has resolved.
    pub(super) fn resolved(&mut self, key: &ActivationKey, values: Vec<Result<Value, String>>) {
        let Some(running) = self.running.remove(key) else { return };
        let (scope, place, round) = (running.scope, running.place, running.round);
        let Some(pending) = running.pending else { return };
        let plan = self.plan.clone();
        let node = &plan.nodes[self.place(scope, place).node as usize];
        self.go_on(scope, place, round, pending.resolved(node, values));
    }

    fn go_on(&mut self, scope: u32, place: u32, round: u32, prepared: Prepared) {
        match prepared {
            Prepared::Settled(output) => self.settle(scope, place, round, output),
            Prepared::Loop(input) => self.start_loop(scope, place, round, &input),
            Prepared::Execute(input) => self.hand_out(scope, place, round, input, None),
            Prepared::Pending(pending) => self.hand_out(scope, place, round, Map::new(), Some(pending)),
        }
    }

    pub(super) fn hand_out(
        &mut self,
        scope: u32,
        place: u32,
        round: u32,
        input: Map,
        pending: Option<Pending>,
    ) {
        let key = self.key(scope, place, round);
        self.serial += 1;
        self.queue.push_back(key.clone());
        let running = Running {
            scope,
            place,
            round,
            input: Arc::new(input),
            pending,
            serial: self.serial,
            handed: false,
        };
        self.running.insert(key, running);
    }

    pub(super) fn key(&self, scope: u32, place: u32, round: u32) -> ActivationKey {
        let node = self.place(scope, place).node;
        ActivationKey {
            component: self.plan.nodes[node as usize].id.clone(),
            path: self.scopes[scope as usize].path.clone(),
            round,
        }
    }
}
