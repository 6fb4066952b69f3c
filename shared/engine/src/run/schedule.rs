//! When a component may run (architecture §5).
//!
//! A component takes what it received round by round. It may take the deliveries of a round once nothing
//! that acts in an earlier round has a path to it: then no earlier value can still arrive, so the order in
//! which executions end in real time has no influence. A place that has to wait is noted at one of the
//! places it waits for and looked at again when that one has moved on.

use std::cmp::Reverse;

use super::Run;
use super::state::{Delivery, Work};
use crate::merge::merge_into;
use crate::plan::region::{Place, Region};

impl Run {
    pub(super) fn region(&self, scope: u32) -> &Region {
        let entry = &self.plan.entries[self.entry];
        &entry.regions[self.scopes[scope as usize].region as usize]
    }

    pub(super) fn place(&self, scope: u32, place: u32) -> &Place {
        &self.region(scope).places[place as usize]
    }

    /// Hands a value to a place.
    pub(super) fn deliver(&mut self, scope: u32, place: u32, mut delivery: Delivery) {
        self.serial += 1;
        delivery.serial = self.serial;
        let state = &mut self.scopes[scope as usize];
        let slot = &mut state.slots[place as usize];
        let earlier = slot.next_round().is_none_or(|next| delivery.round < next);
        slot.deliveries.push(Reverse(delivery));
        if state.active.insert(place) {
            state.active_count += 1;
        }
        if earlier {
            self.work.push_back(Work::Digest { scope, place });
        }
    }

    /// Takes what a place has received as far as it may be taken.
    pub(super) fn digest(&mut self, scope: u32, place: u32) {
        loop {
            let Some(slot) = self.scopes[scope as usize].slots.get(place as usize) else { return };
            if slot.running.is_some() {
                return;
            }
            let Some(round) = slot.next_round() else {
                self.deactivate(scope, place);
                return;
            };
            if self.is_void(round) {
                self.scopes[scope as usize].slots[place as usize].deliveries.clear();
                self.scopes[scope as usize].slots[place as usize].saved_deliveries = None;
                continue;
            }
            if let Some(blocker) = self.blocker(scope, place, round) {
                self.watch(scope, place, blocker);
                return;
            }
            if let Some(feeder) = self.feeder(scope, place, round) {
                self.starved_loops.insert((round, scope, place));
                self.watch(scope, place, feeder);
                return;
            }
            self.starved_loops.remove(&(round, scope, place));
            if self.take(scope, place, round) {
                self.start_component(scope, place, round);
                return;
            }
            // It waits for more: others that waited for it may go on.
            self.wake(scope, place);
        }
    }

    /// Merges the deliveries of a round; true if nothing is missing any more.
    pub(super) fn take(&mut self, scope: u32, place: u32, round: u32) -> bool {
        let plan = self.plan.clone();
        let region = &plan.entries[self.entry].regions[self.scopes[scope as usize].region as usize];
        let spot = &region.places[place as usize];
        let node = &plan.nodes[spot.node as usize];
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        while slot.next_round() == Some(round) {
            let Some(Reverse(delivery)) = slot.deliveries.pop() else { break };
            slot.saved_deliveries = None;
            merge_into(&mut slot.held, &node.inputs[delivery.input as usize].name, delivery.value);
            slot.handling.extend(delivery.error);
        }
        let complete = spot.required.iter().all(|input| {
            let port = &node.inputs[*input as usize];
            port.default.is_some() || slot.held.contains_key(&port.name)
        });
        slot.waiting = !complete;
        complete
    }

    /// A place that acts before `round` and has a path to this one.
    fn blocker(&self, scope: u32, place: u32, round: u32) -> Option<u32> {
        let state = &self.scopes[scope as usize];
        if state.active_count <= 1 {
            return None;
        }
        let acts_before = |other: &u32| {
            *other != place
                && state.slots[*other as usize].active_round().is_some_and(|theirs| theirs < round)
        };
        self.place(scope, place).ancestors.common(&state.active).find(acts_before)
    }

    /// For a loop that would start: a place that may still add to what every element needs.
    fn feeder(&self, scope: u32, place: u32, round: u32) -> Option<u32> {
        let body = self.place(scope, place).body.as_ref()?;
        let state = &self.scopes[scope as usize];
        let feeder = body.feeders.common(&state.active).find(|other| *other != place)?;
        self.would_start(scope, place, round).then_some(feeder)
    }

    /// True if the deliveries of a round complete what a place has.
    fn would_start(&self, scope: u32, place: u32, round: u32) -> bool {
        let spot = self.place(scope, place);
        let node = &self.plan.nodes[spot.node as usize];
        let slot = &self.scopes[scope as usize].slots[place as usize];
        let comes =
            |input: u32| slot.deliveries.iter().any(|Reverse(it)| it.round == round && it.input == input);
        spot.required.iter().all(|input| {
            let port = &node.inputs[*input as usize];
            port.default.is_some() || slot.held.contains_key(&port.name) || comes(*input)
        })
    }

    fn watch(&mut self, scope: u32, place: u32, at: u32) {
        let slots = &mut self.scopes[scope as usize].slots;
        if !std::mem::replace(&mut slots[place as usize].watching, true) {
            slots[at as usize].watchers.push(place);
        }
    }

    /// Has the places that wait for this one looked at again.
    pub(super) fn wake(&mut self, scope: u32, place: u32) {
        let slots = &mut self.scopes[scope as usize].slots;
        if slots[place as usize].watchers.is_empty() {
            return;
        }
        for watcher in std::mem::take(&mut slots[place as usize].watchers) {
            slots[watcher as usize].watching = false;
            self.work.push_back(Work::Digest { scope, place: watcher });
        }
    }

    fn deactivate(&mut self, scope: u32, place: u32) {
        let state = &mut self.scopes[scope as usize];
        if !state.active.contains(place) {
            return;
        }
        state.active.remove(place);
        state.active_count -= 1;
        self.wake(scope, place);
        // Last, so that no look at a place of this scope is left when its end is noticed.
        let state = &self.scopes[scope as usize];
        if state.active_count == 0 && state.parent.is_some() {
            let iteration = state.iteration;
            self.work.push_back(Work::Iterated { scope, iteration });
        }
    }

    /// After an execution ended: on to what arrived meanwhile.
    pub(super) fn released(&mut self, scope: u32, place: u32, round: u32) {
        let state = &mut self.scopes[scope as usize];
        state.last_round = state.last_round.max(round);
        let slot = &mut state.slots[place as usize];
        slot.running = None;
        if slot.deliveries.is_empty() {
            self.deactivate(scope, place);
        } else {
            self.wake(scope, place);
            self.work.push_back(Work::Digest { scope, place });
        }
    }

    /// Does everything that can be done without the driver.
    pub(super) fn pump(&mut self) {
        loop {
            while let Some(work) = self.work.pop_front() {
                match work {
                    Work::Digest { scope, place } => self.digest(scope, place),
                    Work::Advance { scope, place } => self.advance_loop(scope, place),
                    Work::Iterated { scope, iteration } => self.iterated(scope, iteration),
                }
            }
            if !self.running.is_empty() {
                return;
            }
            // Loops that wait for each other's results: the earliest goes ahead with what it has.
            let Some((round, scope, place)) = self.starved_loops.pop_first() else { return };
            let slots = &self.scopes[scope as usize].slots;
            let due = slots
                .get(place as usize)
                .is_some_and(|slot| slot.running.is_none() && slot.next_round() == Some(round));
            if !due {
                continue;
            }
            if self.take(scope, place, round) {
                self.start_component(scope, place, round);
            } else {
                self.work.push_back(Work::Digest { scope, place });
            }
        }
    }
}
