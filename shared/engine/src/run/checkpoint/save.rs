//! Writing a checkpoint.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::Checkpoint;
use super::saved::{
    Ref, Refs, SavedDelivery, SavedEarly, SavedFailed, SavedHole, SavedLeaf, SavedLoop, SavedPending,
    SavedRun, SavedRunning, SavedScope, SavedShape, SavedSide, SavedSlot, SavedThen, path,
};
use crate::data::binary::{NeedsIo, Recognised};
use crate::outcome::Failure;
use crate::plan::Plan;
use crate::plan::region::Region;
use crate::prepare::pending::{Pending, Side, Then};
use crate::run::loops::{Early, Looping};
use crate::run::state::{Handled, Leaf, Scope, Slot};
use crate::run::{Run, Running};
use crate::value::{Binary, Map, Value};

/// From so many bytes on a value is written once and named by number from then on.
const BIG_BYTES: usize = 1024;

/// What the checkpoints so far hold.
#[derive(Debug, Default)]
pub struct Saver {
    pub(super) number: u32,
    pub(super) next: Ref,
    /// Big values by address. An address is not used again as long as the weak reference is there.
    known: HashMap<usize, (Ref, Known)>,
    /// Leaves of the run that are written.
    pub(super) leaves: usize,
    // Of the checkpoint under way.
    values: Vec<Value>,
    remembered: Vec<Ref>,
    /// Failures by address, numbered through all checkpoints: what an earlier one wrote is not written again.
    handled: HashMap<usize, (u32, Weak<Handled>)>,
    next_handled: u32,
}

#[derive(Debug)]
enum Known {
    Text(Weak<str>),
    List(Weak<Vec<Value>>),
    Object(Weak<Map>),
    Binary(Weak<Binary>),
}

impl Known {
    fn of(value: &Value) -> Option<(usize, Self)> {
        Some(match value {
            Value::String(it) => (Arc::as_ptr(it).cast::<u8>() as usize, Self::Text(Arc::downgrade(it))),
            Value::Array(it) => (Arc::as_ptr(it) as usize, Self::List(Arc::downgrade(it))),
            Value::Object(it) => (Arc::as_ptr(it) as usize, Self::Object(Arc::downgrade(it))),
            Value::Binary(it) => (Arc::as_ptr(it) as usize, Self::Binary(Arc::downgrade(it))),
            _ => return None,
        })
    }

    fn is_alive(&self) -> bool {
        let holders = match self {
            Self::Text(it) => it.strong_count(),
            Self::List(it) => it.strong_count(),
            Self::Object(it) => it.strong_count(),
            Self::Binary(it) => it.strong_count(),
        };
        holders > 0
    }
}

/// Whether a value is big; looks no further than it takes to know.
fn is_big(value: &Value) -> bool {
    fn count(value: &Value, left: &mut usize) {
        let own = match value {
            Value::String(text) => text.len(),
            Value::Binary(binary) => binary.data.len(),
            _ => 8,
        };
        *left = left.saturating_sub(own);
        match value {
            Value::Array(items) => {
                for item in items.iter() {
                    if *left == 0 {
                        return;
                    }
                    count(item, left);
                }
            }
            Value::Object(map) => {
                for (key, item) in map.iter() {
                    *left = left.saturating_sub(key.len());
                    if *left == 0 {
                        return;
                    }
                    count(item, left);
                }
            }
            _ => {}
        }
    }
    let mut left = BIG_BYTES;
    count(value, &mut left);
    left == 0
}

impl Saver {
    /// Notes a value of an earlier checkpoint that later ones may name.
    pub(super) fn know(&mut self, number: Ref, value: &Value) {
        if let Some((address, known)) = Known::of(value) {
            self.known.insert(address, (number, known));
        }
    }

    fn value(&mut self, value: &Value) -> Ref {
        let big = is_big(value).then(|| Known::of(value)).flatten();
        if let Some((address, _)) = &big
            && let Some((number, _)) = self.known.get(address)
        {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.values.push(value.clone());
        if let Some((address, known)) = big {
            self.known.insert(address, (number, known));
            self.remembered.push(number);
        }
        number
    }

    fn map(&mut self, map: &Map) -> Refs {
        map.iter().map(|(name, value)| (name.clone(), self.value(value))).collect()
    }

    fn handled(&mut self, handled: &Arc<Handled>) -> u32 {
        let next = self.next_handled;
        let known = self.handled.entry(Arc::as_ptr(handled) as usize);
        let (number, _) = known.or_insert_with(|| {
            self.next_handled += 1;
            (next, Arc::downgrade(handled))
        });
        *number
    }

    /// Goes on with a failure that the checkpoints so far name.
    pub(super) fn know_handled(&mut self, number: u32, handled: &Arc<Handled>) {
        self.handled.insert(Arc::as_ptr(handled) as usize, (number, Arc::downgrade(handled)));
        self.next_handled = self.next_handled.max(number + 1);
    }

    /// The failures that anything still waits with.
    fn live_handled(&self) -> Vec<(u32, bool)> {
        let live = self.handled.values().filter_map(|(number, it)| Some((*number, it.upgrade()?.get())));
        let mut live: Vec<(u32, bool)> = live.collect();
        live.sort_unstable();
        live
    }

    fn leaf(&mut self, plan: &Plan, leaf: &Leaf) -> SavedLeaf {
        SavedLeaf {
            component: plan.nodes[leaf.node as usize].id.clone(),
            round: leaf.round,
            output: self.value(&leaf.output),
        }
    }

    fn scope(&mut self, plan: &Plan, region: &Region, scope: &mut Scope) -> SavedScope {
        let id = |place: u32| plan.nodes[region.places[place as usize].node as usize].id.clone();
        let mut slots = Vec::new();
        for (place, slot) in (0u32..).zip(&mut scope.slots).filter(|(_, slot)| !slot.is_blank()) {
            slots.push(self.slot(id(place), &id, slot));
        }
        SavedScope {
            parent: None,
            path: path(&scope.path),
            slots,
            active: scope.active.iter().map(id).collect(),
            last_round: scope.last_round,
            iteration: scope.iteration,
            leaves: scope.leaves.iter().map(|leaf| self.leaf(plan, leaf)).collect(),
            failures: scope
                .failures
                .iter()
                .map(|(leaf, handled)| (self.leaf(plan, leaf), self.handled(handled)))
                .collect(),
            starved: scope.starved.iter().cloned().collect(),
        }
    }

    fn slot(&mut self, component: Arc<str>, id: &dyn Fn(u32) -> Arc<str>, slot: &mut Slot) -> SavedSlot {
        let since = slot.saved_deliveries.unwrap_or(0);
        let mut new: Vec<_> = slot.deliveries.iter().map(|it| &it.0).filter(|it| it.serial > since).collect();
        new.sort_unstable_by_key(|delivery| delivery.serial);
        let latest = new.last().map_or(since, |delivery| delivery.serial);
        let from = new.iter().filter_map(|it| Some((it.serial, path(it.from.as_ref()?)))).collect();
        let deliveries = new.into_iter().map(|delivery| -> SavedDelivery {
            let value = self.value(&delivery.value);
            let error = delivery.error.as_ref().map_or(0, |handled| u64::from(self.handled(handled)) + 1);
            let (round, order) = (u64::from(delivery.round), u64::from(delivery.order));
            [round, order, delivery.serial, u64::from(delivery.input), u64::from(value), error]
        });
        let deliveries = deliveries.collect();
        let appends = slot.saved_deliveries.replace(latest).is_some();
        SavedSlot {
            component,
            appends,
            deliveries,
            from,
            held: self.map(&slot.held),
            handling: slot.handling.iter().map(|handled| self.handled(handled)).collect(),
            waiting: slot.waiting,
            seed: slot.seed.as_ref().map(|seed| self.map(seed)),
            running: slot.running,
            executions: slot.executions,
            not_before: slot.not_before,
            watchers: slot.watchers.iter().map(|place| id(*place)).collect(),
            watching: slot.watching,
            looping: slot.looping.as_mut().map(|looping| self.looping(looping)),
        }
    }

    fn looping(&mut self, looping: &mut Looping) -> SavedLoop {
        let new = looping.results.iter().skip(looping.saved);
        let results = new.map(|result| self.value(result)).collect();
        looping.saved = looping.results.len();
        let errors = looping.errors.iter().skip(looping.saved_errors);
        let errors = errors.map(|error| self.value(error)).collect();
        looping.saved_errors = looping.errors.len();
        let early = looping.early.iter().map(|(index, element)| self.early(*index, element)).collect();
        let in_turn = u32::try_from(looping.next).ok().and_then(|next| next.checked_sub(1));
        SavedLoop {
            id: looping.id,
            elements: self.value(&Value::Array(looping.elements.clone())),
            next: looping.next,
            results,
            scope: looping.children.first().copied().unwrap_or_default(),
            round: looping.round,
            started: looping.started,
            errors,
            scopes: looping.children.iter().skip(1).copied().collect(),
            idle: looping.idle.clone(),
            early,
            taken: Some(looping.taken).filter(|taken| Some(*taken) != in_turn),
            stopped: looping.stopped,
            after: Some(looping.after).filter(|after| *after != looping.round),
        }
    }

    fn early(&mut self, index: u32, element: &Early) -> SavedEarly {
        SavedEarly {
            index,
            results: element.results.iter().map(|it| self.value(it)).collect(),
            errors: element.errors.iter().map(|it| self.value(it)).collect(),
            failed: element.failed,
            after: element.after,
            starved: element.starved.iter().cloned().collect(),
        }
    }

    fn running(&mut self, component: Arc<str>, running: &Running) -> SavedRunning {
        SavedRunning {
            scope: running.scope,
            component,
            round: running.round,
            serial: running.serial,
            input: self.map(&running.input),
            pending: running.pending.as_ref().map(|pending| self.pending(pending)),
        }
    }

    fn pending(&mut self, pending: &Pending) -> SavedPending {
        let holes = pending.holes.iter().map(|hole| SavedHole {
            side: match hole.side {
                Side::Input => SavedSide::Input,
                Side::Body => SavedSide::Body,
                Side::Query => SavedSide::Query,
            },
            name: hole.name.clone(),
            shape: self.shape(&hole.shape),
        });
        let holes = holes.collect();
        let then = match &pending.then {
            Then::Inputs(inputs) => SavedThen::Inputs(self.map(inputs)),
            Then::Endpoint(sides) => SavedThen::Endpoint {
                headers: self.map(&sides.headers),
                body: self.map(&sides.body),
                query: self.map(&sides.query),
                params: self.map(&sides.params),
            },
        };
        SavedPending { holes, then }
    }

    fn shape(&mut self, shape: &Recognised) -> SavedShape {
        let text = |text: &str| Value::from(text);
        match shape {
            Recognised::Ready(value) => SavedShape::Ready(self.value(value)),
            Recognised::List(list) => SavedShape::List(list.iter().map(|it| self.shape(it)).collect()),
            Recognised::Needs(NeedsIo::Fetch { url, name }) => {
                SavedShape::Fetch { url: self.value(&text(url)), name: self.value(&text(name)) }
            }
            Recognised::Needs(NeedsIo::Stat { url }) => SavedShape::Stat { url: self.value(&text(url)) },
            Recognised::Needs(NeedsIo::DataUrl { file }) => SavedShape::DataUrl { file: self.value(file) },
            Recognised::Needs(NeedsIo::Store { binary }) => SavedShape::Store { binary: self.value(binary) },
        }
    }
}

impl Run {
    /// Where the run stands, as far as the checkpoints that it gave before do not say it. What
    /// [`take_settled`](Run::take_settled) would give is no part of it: take it first.
    pub fn checkpoint(&mut self) -> Checkpoint {
        let plan = self.plan.clone();
        let regions = &plan.entries[self.entry].regions;
        let mut saver = std::mem::take(&mut self.saver);
        saver.known.retain(|_, (_, known)| known.is_alive());
        saver.handled.retain(|_, (_, handled)| handled.strong_count() > 0);
        let first = saver.next;
        let mut scopes = Vec::with_capacity(self.scopes.len());
        for index in 0..self.scopes.len() {
            if self.free_scopes.contains(&(index as u32)) {
                // The scope around it may serve another loop by now: nothing of a free one is looked at.
                let iteration = self.scopes[index].iteration;
                scopes.push(SavedScope { iteration, ..SavedScope::default() });
                continue;
            }
            let parent = self.scopes[index].parent;
            let parent = parent.map(|(scope, place)| {
                let node = self.place(scope, place).node;
                (scope, plan.nodes[node as usize].id.clone())
            });
            let scope = &mut self.scopes[index];
            let saved = saver.scope(&plan, &regions[scope.region as usize], scope);
            scopes.push(SavedScope { parent, ..saved });
        }
        let id = |scope: u32, place: u32| plan.nodes[self.place(scope, place).node as usize].id.clone();
        let mut running: Vec<&Running> = self.running.values().collect();
        running.sort_unstable_by_key(|running| running.serial);
        let running = running.into_iter().map(|it| saver.running(id(it.scope, it.place), it)).collect();
        let failed = self.failed.iter().map(|failed| SavedFailed {
            leaf: SavedLeaf {
                component: plan.nodes[failed.node as usize].id.clone(),
                round: failed.round,
                output: saver.value(&failed.output),
            },
            hard: failed.kind == Failure::Hard,
            handled: failed.handled.as_ref().map(|handled| saver.handled(handled)),
        });
        let failed = failed.collect();
        let leaves = self.leaves.iter().skip(saver.leaves).map(|leaf| saver.leaf(&plan, leaf)).collect();
        saver.leaves = self.leaves.len();
        // Notes of loops whose scope serves another by now are left out: they are passed over anyway.
        let stands = |scope: u32, place: u32| {
            !self.free_scopes.contains(&scope) && (place as usize) < self.scopes[scope as usize].slots.len()
        };
        let loops = self.starved_loops.iter().filter(|(_, scope, place)| stands(*scope, *place));
        let state = SavedRun {
            entry: plan.nodes[plan.entries[self.entry].node as usize].id.clone(),
            number: saver.number,
            first,
            remembered: std::mem::take(&mut saver.remembered),
            serial: self.serial,
            scopes,
            free: self.free_scopes.clone(),
            running,
            starved_loops: loops.map(|(round, scope, place)| (*round, *scope, id(*scope, *place))).collect(),
            leaves,
            failed,
            starved: self.starved.iter().cloned().collect(),
            circular: self.circular.map(|(round, node)| (round, plan.nodes[node as usize].id.clone())),
            cancelled: self.cancelled.clone(),
            handled: saver.live_handled(),
        };
        saver.number += 1;
        let values = std::mem::take(&mut saver.values);
        self.saver = saver;
        Checkpoint { state, values }
    }
}
