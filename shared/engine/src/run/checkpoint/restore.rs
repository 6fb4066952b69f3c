//! Going on from checkpoints.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::Checkpoint;
use super::saved::{
    Ref, Refs, SavedDelivery, SavedEarly, SavedLeaf, SavedPath, SavedPending, SavedRun, SavedScope,
    SavedShape, SavedSide, SavedSlot, SavedThen,
};
use crate::data::binary::{NeedsIo, Recognised};
use crate::key::LoopStep;
use crate::looping::Kind;
use crate::outcome::Failure;
use crate::plan::{EntryId, Plan};
use crate::prepare::pending::{Hole, Pending, Side, Sides, Then};
use crate::request::RequestData;
use crate::run::loops::{Early, Looping};
use crate::run::state::{Delivery, Failed, Handled, Leaf, Scope, Slot};
use crate::run::{Run, RunOptions, Running};
use crate::value::{Map, Value};

/// Checkpoints that a run cannot go on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// There is none.
    #[error("there is no checkpoint to restore from")]
    None,
    /// One is missing, or they are not in order.
    #[error("checkpoint {expected} is missing, found {found}: all of a run are needed, in order")]
    Chain {
        /// Its place.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// It is about another plan, or damaged.
    #[error("the checkpoint does not fit the agent: {0}")]
    Misfit(String),
}

fn misfit(what: impl Into<String>) -> RestoreError {
    RestoreError::Misfit(what.into())
}

/// Region of a scope, and scope and place of its loop.
type Standing = (u32, Option<(u32, u32)>);

/// What the checkpoints before the last one add to it.
#[derive(Default)]
struct Chain {
    values: Vec<Value>,
    remembered: Vec<Ref>,
    leaves: Vec<SavedLeaf>,
    deliveries: HashMap<(usize, Arc<str>), Vec<SavedDelivery>>,
    results: HashMap<u64, Vec<Ref>>,
    errors: HashMap<u64, Vec<Ref>>,
    /// The elements that deliveries come from, by serial.
    from: HashMap<u64, SavedPath>,
    handled: HashMap<u32, Arc<Handled>>,
}

impl Run {
    /// Goes on from all checkpoints of a run, in order. What was under way is handed out again.
    ///
    /// # Errors
    /// [`RestoreError`] if one is missing or they are about another agent.
    pub fn restore(
        plan: Arc<Plan>,
        entry: EntryId,
        request: RequestData,
        options: RunOptions,
        checkpoints: Vec<Checkpoint>,
    ) -> Result<Self, RestoreError> {
        let mut chain = Chain::default();
        let mut last = None;
        for (expected, checkpoint) in (0u32..).zip(checkpoints) {
            let found = checkpoint.state.number;
            if found != expected || checkpoint.state.first as usize != chain.values.len() {
                return Err(RestoreError::Chain { expected, found });
            }
            last = Some(chain.take(checkpoint));
        }
        let last = last.ok_or(RestoreError::None)?;
        let mut run = Self::new(plan, entry, request, options);
        run.take_state(&mut chain, last)?;
        Ok(run)
    }

    fn take_state(&mut self, chain: &mut Chain, state: SavedRun) -> Result<(), RestoreError> {
        let plan = self.plan.clone();
        let entry = &plan.entries[self.entry];
        if plan.nodes[entry.node as usize].id != state.entry {
            return Err(misfit(format!("it is of a run that starts at '{}'", state.entry)));
        }
        let handled =
            state.handled.iter().map(|(number, handled)| (*number, Arc::new(Handled::with(*handled))));
        chain.handled = handled.collect();
        self.scopes = self.empty_scopes(&state)?;
        for (index, saved) in state.scopes.into_iter().enumerate() {
            self.take_scope(chain, index, saved)?;
        }
        self.free_scopes = state.free;
        if self.free_scopes.iter().any(|scope| *scope as usize >= self.scopes.len()) {
            return Err(misfit("it names a scope that is not there"));
        }
        for running in state.running {
            let place = self.place_named(running.scope, &running.component)?;
            let key = self.key(running.scope, place, running.round);
            self.queue.push_back(key.clone());
            let restored = Running {
                scope: running.scope,
                place,
                round: running.round,
                input: Arc::new(chain.map(&running.input)?),
                pending: running.pending.map(|pending| chain.pending(pending)).transpose()?,
                serial: running.serial,
                handed: false,
            };
            self.running.insert(key, restored);
        }
        for (round, scope, component) in state.starved_loops {
            let place = self.place_named(scope, &component)?;
            self.starved_loops.insert((round, scope, place));
        }
        let leaves = std::mem::take(&mut chain.leaves);
        self.leaves = leaves.iter().map(|leaf| chain.leaf(&plan, leaf)).collect::<Result<_, _>>()?;
        for failed in &state.failed {
            let leaf = chain.leaf(&plan, &failed.leaf)?;
            self.failed.push(Failed {
                round: leaf.round,
                node: leaf.node,
                output: leaf.output,
                kind: if failed.hard { Failure::Hard } else { Failure::Soft },
                handled: failed.handled.map(|number| chain.handled(number)).transpose()?,
            });
        }
        self.serial = state.serial;
        self.starved = state.starved.into_iter().collect();
        if let Some((round, id)) = state.circular {
            self.circular = Some((round, node_named(&plan, &id)?));
        }
        self.cancelled = state.cancelled;
        self.saver.number = state.number + 1;
        self.saver.leaves = self.leaves.len();
        chain.handled.iter().for_each(|(number, handled)| self.saver.know_handled(*number, handled));
        self.saver.next = Ref::try_from(chain.values.len()).unwrap_or(Ref::MAX);
        for number in &chain.remembered {
            self.saver.know(*number, &chain.value(*number)?);
        }
        Ok(())
    }

    /// The scopes without their content: a child's region follows from its loop.
    fn empty_scopes(&self, state: &SavedRun) -> Result<Vec<Scope>, RestoreError> {
        let regions = &self.plan.entries[self.entry].regions;
        let mut found: Vec<Option<Standing>> = vec![None; state.scopes.len()];
        let top = found.first_mut().ok_or_else(|| misfit("it has no scope"))?;
        *top = Some((0, None));
        for free in &state.free {
            if let Some(slot) = found.get_mut(*free as usize) {
                *slot = Some((0, None));
            }
        }
        // A child may have a lower number than its parent; every round settles at least one level.
        while found.iter().any(Option::is_none) {
            let mut progress = false;
            for index in 0..found.len() {
                if found[index].is_some() {
                    continue;
                }
                let (scope, id) =
                    state.scopes[index].parent.as_ref().ok_or_else(|| misfit("a scope has no loop"))?;
                let Some(Some((region, _))) = found.get(*scope as usize) else { continue };
                let region = &regions[*region as usize];
                let place = region.place_of(node_named(&self.plan, id)?);
                let place = place.ok_or_else(|| misfit(format!("'{id}' does not stand in its scope")))?;
                let body = region.places[place as usize].body.as_ref().and_then(|body| body.region);
                let body = body.ok_or_else(|| misfit(format!("'{id}' is no loop with a body")))?;
                found[index] = Some((body, Some((*scope, place))));
                progress = true;
            }
            if !progress {
                return Err(misfit("its scopes belong to nothing"));
            }
        }
        let scope =
            |(region, parent): Standing| Scope::new(region, regions[region as usize].nodes.len(), parent);
        Ok(found.into_iter().flatten().map(scope).collect())
    }

    fn take_scope(&mut self, chain: &mut Chain, index: usize, saved: SavedScope) -> Result<(), RestoreError> {
        let plan = self.plan.clone();
        let at = index as u32;
        for slot in &saved.slots {
            let place = self.place_named(at, &slot.component)?;
            let restored = self.slot(chain, index, slot)?;
            self.scopes[index].slots[place as usize] = restored;
        }
        for id in &saved.active {
            let place = self.place_named(at, id)?;
            let state = &mut self.scopes[index];
            if state.active.insert(place) {
                state.active_count += 1;
            }
        }
        let leaves: Result<_, _> = saved.leaves.iter().map(|leaf| chain.leaf(&plan, leaf)).collect();
        let failures = saved.failures.iter();
        let failures: Result<_, RestoreError> = failures
            .map(|(leaf, handled)| Ok((chain.leaf(&plan, leaf)?, chain.handled(*handled)?)))
            .collect();
        let state = &mut self.scopes[index];
        state.path = steps(&saved.path);
        state.last_round = saved.last_round;
        state.iteration = saved.iteration;
        state.leaves = leaves?;
        state.failures = failures?;
        state.starved = saved.starved.into_iter().collect();
        Ok(())
    }

    fn slot(&self, chain: &mut Chain, scope: usize, saved: &SavedSlot) -> Result<Slot, RestoreError> {
        let node = node_named(&self.plan, &saved.component)?;
        let inputs = self.plan.nodes[node as usize].inputs.len();
        let all = chain.deliveries.remove(&(scope, saved.component.clone())).unwrap_or_default();
        let mut slot = Slot { saved_deliveries: Some(0), ..Slot::default() };
        for [round, order, serial, input, value, error] in all {
            let small = |number: u64| u32::try_from(number).map_err(|_| misfit("a number is too great"));
            if input as usize >= inputs {
                return Err(misfit(format!("'{}' has no such input", saved.component)));
            }
            slot.saved_deliveries = slot.saved_deliveries.max(Some(serial));
            slot.deliveries.push(Reverse(Delivery {
                round: small(round)?,
                order: small(order)?,
                serial,
                input: small(input)?,
                value: chain.value(small(value)?)?,
                error: match error.checked_sub(1) {
                    Some(number) => Some(chain.handled(small(number)?)?),
                    None => None,
                },
                from: chain.from.get(&serial).map(steps),
            }));
        }
        slot.held = chain.map(&saved.held)?;
        slot.handling = saved.handling.iter().map(|it| chain.handled(*it)).collect::<Result<_, _>>()?;
        slot.waiting = saved.waiting;
        slot.seed = saved.seed.as_ref().map(|seed| chain.map(seed).map(Arc::new)).transpose()?;
        slot.running = saved.running;
        slot.executions = saved.executions;
        slot.not_before = saved.not_before;
        let watchers = saved.watchers.iter().map(|id| self.place_named(scope as u32, id));
        slot.watchers = watchers.collect::<Result<_, _>>()?;
        slot.watching = saved.watching;
        if let Some(looping) = &saved.looping {
            let Value::Array(elements) = chain.value(looping.elements)? else {
                return Err(misfit("the elements of a loop are no list"));
            };
            let children: Vec<u32> =
                [looping.scope].into_iter().chain(looping.scopes.iter().copied()).collect();
            let is_there = |scope: &u32| (*scope as usize) < self.scopes.len();
            if !children.iter().all(is_there) || !looping.idle.iter().all(|it| children.contains(it)) {
                return Err(misfit("a loop has no scope"));
            }
            let results = chain.results.remove(&looping.id).unwrap_or_default();
            let results = chain.values(&results)?;
            let errors = chain.errors.remove(&looping.id).unwrap_or_default();
            let errors = chain.values(&errors)?;
            let early = looping.early.iter().map(|it| Ok((it.index, chain.early(it)?)));
            let limit = self.options.limits.loop_iterations;
            let in_turn = || u32::try_from(looping.next.saturating_sub(1)).unwrap_or(u32::MAX);
            slot.looping = Some(Box::new(Looping {
                kind: Kind::of(&self.plan.nodes[node as usize], &self.variable_values, limit),
                elements,
                next: looping.next,
                id: looping.id,
                saved: results.len(),
                results,
                saved_errors: errors.len(),
                errors,
                early: early.collect::<Result<_, RestoreError>>()?,
                taken: looping.taken.unwrap_or_else(in_turn),
                stopped: looping.stopped,
                children,
                idle: looping.idle.clone(),
                round: looping.round,
                started: looping.started,
                after: looping.after.unwrap_or(looping.round),
            }));
        }
        Ok(slot)
    }

    fn place_named(&self, scope: u32, id: &str) -> Result<u32, RestoreError> {
        let node = node_named(&self.plan, id)?;
        let state =
            self.scopes.get(scope as usize).ok_or_else(|| misfit("it names a scope that is not there"))?;
        let region = &self.plan.entries[self.entry].regions[state.region as usize];
        region.place_of(node).ok_or_else(|| misfit(format!("'{id}' does not stand in its scope")))
    }
}

/// Reads a loop path.
fn steps(path: &SavedPath) -> Arc<[LoopStep]> {
    path.iter().map(|(component, index)| LoopStep { component: component.clone(), index: *index }).collect()
}

fn node_named(plan: &Plan, id: &str) -> Result<u32, RestoreError> {
    plan.index(id).ok_or_else(|| misfit(format!("the agent has no component '{id}'")))
}

impl Chain {
    /// Takes in a checkpoint; its state is complete but for the lists kept here.
    fn take(&mut self, checkpoint: Checkpoint) -> SavedRun {
        let Checkpoint { mut state, values } = checkpoint;
        self.values.extend(values);
        self.remembered.append(&mut state.remembered);
        self.leaves.append(&mut state.leaves);
        let (mut deliveries, mut results, mut errors) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (index, scope) in state.scopes.iter_mut().enumerate() {
            for slot in &mut scope.slots {
                let at = (index, slot.component.clone());
                let mut all = self.deliveries.remove(&at).filter(|_| slot.appends).unwrap_or_default();
                all.append(&mut slot.deliveries);
                deliveries.insert(at, all);
                self.from.extend(slot.from.drain(..));
                if let Some(looping) = &mut slot.looping {
                    let mut all = self.results.remove(&looping.id).unwrap_or_default();
                    all.append(&mut looping.results);
                    results.insert(looping.id, all);
                    let mut all = self.errors.remove(&looping.id).unwrap_or_default();
                    all.append(&mut looping.errors);
                    errors.insert(looping.id, all);
                }
            }
        }
        (self.deliveries, self.results, self.errors) = (deliveries, results, errors);
        state
    }

    fn value(&self, number: Ref) -> Result<Value, RestoreError> {
        let value = self.values.get(number as usize);
        value.cloned().ok_or_else(|| misfit("it names a value that is not there"))
    }

    fn values(&self, refs: &[Ref]) -> Result<Vec<Value>, RestoreError> {
        refs.iter().map(|number| self.value(*number)).collect()
    }

    fn early(&self, saved: &SavedEarly) -> Result<Early, RestoreError> {
        Ok(Early {
            results: self.values(&saved.results)?,
            errors: self.values(&saved.errors)?,
            failed: saved.failed,
            after: saved.after,
            starved: saved.starved.iter().cloned().collect(),
        })
    }

    fn map(&self, refs: &Refs) -> Result<Map, RestoreError> {
        refs.iter().map(|(name, number)| Ok((name.clone(), self.value(*number)?))).collect()
    }

    fn handled(&self, number: u32) -> Result<Arc<Handled>, RestoreError> {
        let handled = self.handled.get(&number);
        handled.cloned().ok_or_else(|| misfit("it names a failure that is not there"))
    }

    fn leaf(&self, plan: &Plan, leaf: &SavedLeaf) -> Result<Leaf, RestoreError> {
        let node = node_named(plan, &leaf.component)?;
        Ok(Leaf { round: leaf.round, node, output: self.value(leaf.output)? })
    }

    fn pending(&self, saved: SavedPending) -> Result<Pending, RestoreError> {
        let holes = saved.holes.into_iter().map(|hole| {
            let side = match hole.side {
                SavedSide::Input => Side::Input,
                SavedSide::Body => Side::Body,
                SavedSide::Query => Side::Query,
            };
            Ok(Hole { side, name: hole.name, shape: self.shape(hole.shape)? })
        });
        let then = match saved.then {
            SavedThen::Inputs(inputs) => Then::Inputs(self.map(&inputs)?),
            SavedThen::Endpoint { headers, body, query, params } => Then::Endpoint(Box::new(Sides {
                headers: self.map(&headers)?,
                body: self.map(&body)?,
                query: self.map(&query)?,
                params: self.map(&params)?,
            })),
        };
        Ok(Pending { holes: holes.collect::<Result<_, RestoreError>>()?, then })
    }

    fn shape(&self, shape: SavedShape) -> Result<Recognised, RestoreError> {
        let text = |number: Ref| Ok::<_, RestoreError>(self.value(number)?.to_text());
        Ok(match shape {
            SavedShape::Ready(value) => Recognised::Ready(self.value(value)?),
            SavedShape::List(list) => {
                Recognised::List(list.into_iter().map(|it| self.shape(it)).collect::<Result<_, _>>()?)
            }
            SavedShape::Fetch { url, name } => {
                Recognised::Needs(NeedsIo::Fetch { url: text(url)?, name: text(name)? })
            }
            SavedShape::Stat { url } => Recognised::Needs(NeedsIo::Stat { url: text(url)? }),
            SavedShape::DataUrl { file } => Recognised::Needs(NeedsIo::DataUrl { file: self.value(file)? }),
            SavedShape::Store { binary } => Recognised::Needs(NeedsIo::Store { binary: self.value(binary)? }),
        })
    }
}
