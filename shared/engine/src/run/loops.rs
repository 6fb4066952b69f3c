//! Components with a body: one sub-run of the body per round of it (§5.1, rulings 19 and 20). A Map has several
//! under way at a time; what they come to is taken in the order of the elements, whichever ends first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answer::Starved;
use super::state::{Scope, Work};
use super::{Run, activate::pause_input};
use crate::key::LoopStep;
use crate::looping::{Begin, Kind, Leaves, Next};
use crate::outcome::{Outcome, failure};
use crate::value::{Map, Value};

/// A loop under way.
#[derive(Debug)]
pub(super) struct Looping {
    pub kind: Kind,
    /// What the rounds of the body get; of all kinds but a loop over elements it is one value.
    pub elements: Arc<Vec<Value>>,
    pub next: usize,
    pub results: Vec<Value>,
    pub errors: Vec<Value>,
    /// Elements that ended before one ahead of them did.
    pub early: BTreeMap<u32, Early>,
    /// How many elements are in `results`.
    pub taken: u32,
    /// The first element that failed, where that ends the loop: what comes after it does not count.
    pub stopped: Option<u32>,
    /// Scopes of bodies, and those of them in which nothing is under way.
    pub children: Vec<u32>,
    pub idle: Vec<u32>,
    /// Round in which the next element starts.
    pub round: u32,
    /// Round it started in, which names it.
    pub started: u32,
    /// The first round after all elements so far.
    pub after: u32,
    /// Tells it from other loops at the same place.
    pub id: u64,
    /// Results and errors that the last checkpoint has.
    pub saved: usize,
    pub saved_errors: usize,
}

/// What an element came to whose turn is not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Early {
    pub results: Vec<Value>,
    pub errors: Vec<Value>,
    pub failed: bool,
    /// The first round after it.
    pub after: u32,
    /// Components of it that waited in vain.
    pub starved: BTreeSet<Starved>,
}

/// What a loop does next.
enum Step {
    Start { child: u32, index: usize, value: Value },
    End,
    Wait,
}

impl Run {
    pub(super) fn start_loop(&mut self, scope: u32, place: u32, round: u32, input: &Map) {
        let plan = self.plan.clone();
        let spot = self.place(scope, place);
        let node = &plan.nodes[spot.node as usize];
        let region = spot.body.as_ref().and_then(|body| body.region);
        let limit = self.options.limits.loop_iterations;
        let kind = Kind::of(node, &self.variable_values, limit);
        let elements = match kind.begin(input.get("Input"), limit) {
            Begin::Elements(elements) => elements,
            Begin::Done(output) => return self.settle(scope, place, round, output),
        };
        if region.is_none() {
            return self.settle(scope, place, round, kind.without_body(&elements));
        }
        self.serial += 1;
        self.scopes[scope as usize].slots[place as usize].looping = Some(Box::new(Looping {
            kind,
            elements,
            next: 0,
            results: Vec::new(),
            errors: Vec::new(),
            early: BTreeMap::new(),
            taken: 0,
            stopped: None,
            children: Vec::new(),
            idle: Vec::new(),
            round,
            started: round,
            after: round,
            id: self.serial,
            saved: 0,
            saved_errors: 0,
        }));
        self.work.push_back(Work::Advance { scope, place });
    }

    fn allocate(&mut self, region: u32, parent: (u32, u32)) -> u32 {
        let size = self.plan.entries[self.entry].regions[region as usize].nodes.len();
        match self.free_scopes.pop() {
            Some(free) => {
                let iteration = self.scopes[free as usize].iteration;
                self.scopes[free as usize] = Scope::new(region, size, Some(parent));
                self.scopes[free as usize].iteration = iteration;
                free
            }
            None => {
                self.scopes.push(Scope::new(region, size, Some(parent)));
                self.scopes.len() as u32 - 1
            }
        }
    }

    /// Starts as many rounds of the body as may be under way, or ends the loop.
    pub(super) fn advance_loop(&mut self, scope: u32, place: u32) {
        loop {
            match self.next_step(scope, place) {
                Step::Start { child, index, value } => self.start_element(scope, place, child, index, value),
                Step::End => return self.end_elements(scope, place),
                Step::Wait => return,
            }
        }
    }

    fn next_step(&mut self, scope: u32, place: u32) -> Step {
        let body = self.place(scope, place).body.as_ref();
        let Some(region) = body.and_then(|body| body.region) else { return Step::Wait };
        let is_dropped = self.is_dropped(scope);
        let circular = self.circular;
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.as_mut() else { return Step::Wait };
        let is_void = circular.is_some_and(|(last, _)| looping.round > last) || is_dropped;
        let index = looping.next;
        let value = match &looping.kind {
            _ if is_void || looping.stopped.is_some() => None,
            Kind::Each(_) => looping.elements.get(index).cloned(),
            _ => looping.elements.first().cloned(),
        };
        let Some(value) = value else {
            return if looping.idle.len() == looping.children.len() { Step::End } else { Step::Wait };
        };
        let child = match looping.idle.pop() {
            Some(idle) => idle,
            None if looping.children.len() >= looping.kind.at_a_time() => return Step::Wait,
            None => {
                let child = self.allocate(region, (scope, place));
                let slot = &mut self.scopes[scope as usize].slots[place as usize];
                let Some(looping) = slot.looping.as_mut() else { return Step::Wait };
                looping.children.push(child);
                looping.next += 1;
                return Step::Start { child, index, value };
            }
        };
        looping.next += 1;
        Step::Start { child, index, value }
    }

    fn start_element(&mut self, scope: u32, place: u32, child: u32, index: usize, value: Value) {
        let plan = self.plan.clone();
        let region = &plan.entries[self.entry].regions[self.scopes[scope as usize].region as usize];
        let spot = &region.places[place as usize];
        let outer_path = self.scopes[scope as usize].path.clone();
        let slot = &self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.as_ref() else { return };
        let (round, output) = (looping.round, Value::object(looping.kind.offer(index, value)));
        let step = LoopStep { component: plan.nodes[spot.node as usize].id.clone(), index: index as u32 };
        let path: Arc<[LoopStep]> = outer_path.iter().cloned().chain([step]).collect();
        self.scopes[child as usize].reset(path);
        self.scopes[child as usize].last_round = round;
        self.seed(child);
        if let Some(body) = &spot.body {
            self.fire(child, &body.firings, spot.node, &output, round);
        }
        let state = &self.scopes[child as usize];
        if state.active_count == 0 {
            self.work.push_back(Work::Iterated { scope: child, iteration: state.iteration });
        }
    }

    /// Gives the body what outer scopes have collected for it.
    fn seed(&mut self, child: u32) {
        let plan = self.plan.clone();
        let region = &plan.entries[self.entry].regions[self.scopes[child as usize].region as usize];
        for seed in &region.seeds {
            let from = self.outer(child, seed.up);
            let outer = &self.scopes[from as usize].slots[seed.from as usize];
            if outer.held.is_empty() {
                continue;
            }
            let (held, handling) = (outer.held.clone(), outer.handling.clone());
            let slot = &mut self.scopes[child as usize].slots[seed.place as usize];
            slot.held = held.clone();
            slot.seed = Some(Arc::new(held));
            // A component of the body may be the handler of a failure outside.
            slot.handling = handling;
        }
    }

    /// Nothing of the element can run any more: collect its leaves, go on.
    pub(super) fn iterated(&mut self, child: u32, iteration: u64) {
        let state = &mut self.scopes[child as usize];
        let Some((scope, place)) =
            state.parent.filter(|_| state.iteration == iteration && state.active_count == 0)
        else {
            return;
        };
        // A second notice of the same end must not advance the loop twice.
        state.iteration += 1;
        let after = state.last_round + 1;
        let index = state.path.last().map_or(0, |step| step.index);
        let mut leaves = std::mem::take(&mut state.leaves);
        let unhandled = std::mem::take(&mut state.failures).into_iter().filter(|(_, handled)| !handled.get());
        leaves.extend(unhandled.map(|(leaf, _)| leaf));
        let mut starved = std::mem::take(&mut state.starved);
        self.collect_starved(child, &mut starved);
        // Document order; of a leaf that ran more than once the first counts.
        leaves.sort_by_key(|leaf| (leaf.node, leaf.round));
        leaves.dedup_by_key(|leaf| leaf.node);
        let plan = self.plan.clone();
        let leaves = leaves.into_iter().map(|leaf| (leaf.node, leaf.output)).collect();
        let node = &plan.nodes[self.place(scope, place).node as usize];
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.as_mut() else { return };
        looping.idle.push(child);
        let leaves = Leaves::new(&plan, &self.variable_values, leaves);
        if let Kind::Each(each) = &looping.kind {
            let element = each.element(index, &leaves);
            let failed = element.failed && each.stops;
            let (results, errors) = (element.results, element.errors);
            let starved = looping.take_in(index, Early { results, errors, failed, after, starved });
            self.note_starved(scope, starved);
            self.work.push_back(Work::Advance { scope, place });
            return;
        }
        (looping.round, looping.after) = (after, after);
        let value = looping.elements.first().cloned().unwrap_or_default();
        let run_id = &self.options.run_id;
        let seed = || jitter(run_id, &node.id, after);
        let next = looping.kind.after(index as usize, &value, &mut looping.errors, &leaves, &seed);
        if let Next::Again(value) = &next {
            looping.elements = Arc::new(vec![value.clone()]);
        }
        self.note_starved(scope, starved);
        match next {
            Next::Again(_) | Next::Pause(0) => self.work.push_back(Work::Advance { scope, place }),
            Next::Pause(ms) if !self.is_void(after) && !self.is_dropped(scope) => {
                self.hand_out(scope, place, after, pause_input(ms, index + 1), None);
            }
            Next::Pause(_) => self.end_loop(scope, place, Value::object(Map::new())),
            Next::Done(output) => self.end_loop(scope, place, output),
        }
    }

    /// The pause between two attempts is over.
    pub(super) fn paused(&mut self, scope: u32, place: u32, round: u32, outcome: Outcome) {
        match outcome.output {
            Some(output) if failure(&output).is_some() => self.end_loop(scope, place, output),
            _ => {
                let slot = &mut self.scopes[scope as usize].slots[place as usize];
                if let Some(looping) = slot.looping.as_mut() {
                    looping.round = round + 1;
                    self.work.push_back(Work::Advance { scope, place });
                }
            }
        }
    }

    /// True if a component belongs to an element that does not count: one before it failed, and ended the loop.
    pub(super) fn is_dropped(&self, scope: u32) -> bool {
        let mut at = scope;
        while let Some((outer, place)) = self.scopes[at as usize].parent {
            let looping = self.scopes[outer as usize].slots[place as usize].looping.as_ref();
            let stopped = looping.and_then(|looping| looping.stopped);
            let step = self.scopes[at as usize].path.last();
            if stopped.zip(step).is_some_and(|(stopped, step)| step.index > stopped) {
                return true;
            }
            at = outer;
        }
        false
    }

    /// The innermost element around a scope, itself included, of a loop that a failure ends.
    pub(super) fn element_that_may_not_count(&self, scope: u32) -> Option<u32> {
        let mut at = scope;
        loop {
            let (outer, place) = self.scopes[at as usize].parent?;
            let looping = self.scopes[outer as usize].slots[place as usize].looping.as_ref();
            if looping.is_some_and(|looping| matches!(&looping.kind, Kind::Each(each) if each.stops)) {
                return Some(at);
            }
            at = outer;
        }
    }

    /// Ends a loop over elements.
    fn end_elements(&mut self, scope: u32, place: u32) {
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.as_mut() else { return };
        let Kind::Each(each) = &looping.kind else {
            // It went in circles: what it gives no longer matters.
            return self.end_loop(scope, place, Value::object(Map::new()));
        };
        let (results, errors) = (std::mem::take(&mut looping.results), std::mem::take(&mut looping.errors));
        let stopped = looping.stopped;
        let output = match stopped {
            Some(index) => each.stopped(index, results, errors),
            None => each.ended(results, errors),
        };
        if let Some(stopped) = stopped {
            self.forget_after(scope, place, stopped);
        }
        self.end_loop(scope, place, output);
    }

    /// Takes back what elements that do not count delivered outside the loop.
    fn forget_after(&mut self, scope: u32, place: u32, stopped: u32) {
        let path = self.scopes[scope as usize].path.clone();
        let id = self.plan.nodes[self.place(scope, place).node as usize].id.clone();
        let counts = |from: Option<&Arc<[LoopStep]>>| {
            let step = from.filter(|from| from.starts_with(&path)).and_then(|from| from.get(path.len()));
            step.is_none_or(|step| step.component != id || step.index <= stopped)
        };
        let mut at = Some(scope);
        while let Some(scope) = at {
            for (place, slot) in (0u32..).zip(&mut self.scopes[scope as usize].slots) {
                let before = slot.deliveries.len();
                slot.deliveries.retain(|Reverse(delivery)| counts(delivery.from.as_ref()));
                if slot.deliveries.len() < before {
                    slot.saved_deliveries = None;
                    self.work.push_back(Work::Digest { scope, place });
                }
            }
            at = self.scopes[scope as usize].parent.map(|(outer, _)| outer);
        }
    }

    fn end_loop(&mut self, scope: u32, place: u32, output: Value) {
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.take() else { return };
        slot.not_before = looping.after + 1;
        self.free_scopes.extend(looping.children);
        self.note_settled(scope, place, looping.started, &output);
        self.finish(scope, place, looping.after, Some(output));
    }
}

impl Looping {
    /// Takes an element, or keeps it until its turn comes; gives the components that waited in vain in all whose turn
    /// has come.
    fn take_in(&mut self, index: u32, element: Early) -> BTreeSet<Starved> {
        let mut starved = BTreeSet::new();
        if index != self.taken {
            self.early.insert(index, element);
            return starved;
        }
        let mut next = Some(element);
        while let Some(mut element) = next.filter(|_| self.stopped.is_none()) {
            self.results.append(&mut element.results);
            self.errors.append(&mut element.errors);
            self.after = self.after.max(element.after);
            starved.append(&mut element.starved);
            if element.failed {
                self.stopped = Some(self.taken);
            }
            self.taken += 1;
            next = self.early.remove(&self.taken);
        }
        if !self.kind.is_map() {
            self.round = self.after;
        }
        starved
    }
}

/// A number that is the same whenever the run is folded again.
fn jitter(run_id: &str, component: &str, round: u32) -> u64 {
    let digest = blake3::hash(format!("{run_id}\n{component}\n{round}").as_bytes());
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default())
}
