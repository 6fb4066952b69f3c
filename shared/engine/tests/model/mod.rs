//! A simple sequential model of a run, written from the spec (`agent-execution.md` §4, §5; architecture §5) and
//! sharing nothing with the engine: it reads the document itself, works on JSON values, and does one component
//! after the other.
//!
//! At any time some components have received values, each value with the round it belongs to. The model picks the
//! earliest component that nothing unfinished of an earlier round can still reach, gives it its values in the
//! order of the connections, and executes it at once. A loop is executed as a whole: one sub-run of its body per
//! element. Everything is looked up by walking the whole graph each time, which is slow and easy to believe.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod answer;
pub mod document;
mod graph;
mod loops;
mod scope;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use document::{Document, Entry, Kind, Link, Node};
use scope::{Delivery, Ended, Scope};

/// What a run comes to.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub legacy: Json,
    /// Components that waited in vain, with what they lacked.
    pub starved: BTreeSet<(String, Vec<String>)>,
    /// The jobs that were started: component and input.
    pub jobs: Vec<(String, Json)>,
}

pub struct Model<'a> {
    doc: &'a Document,
    links: Vec<Link>,
    reachable: BTreeSet<usize>,
    entry: Entry,
    limit: u32,
    scopes: Vec<Scope>,
    /// The earliest component that ran too often: round, component.
    circular: Option<(u32, usize)>,
    ended: Vec<Ended>,
    starved: BTreeSet<(String, Vec<String>)>,
    jobs: Vec<(String, Json)>,
}

/// Runs an entry of a document to its end.
pub fn run(doc: &Document, entry: Entry, limit: u32) -> Answer {
    let links = doc.live_links(&entry);
    let reachable = doc.reach(&links, [entry.node], |_| true, |_| true);
    let mut model = Model {
        doc,
        links,
        entry: entry.clone(),
        limit,
        scopes: Vec::new(),
        circular: None,
        ended: Vec::new(),
        starved: BTreeSet::new(),
        jobs: Vec::new(),
        reachable: reachable.clone(),
    };
    let top = model.open(reachable, BTreeSet::from([entry.node]), None, String::new());
    model.start(top, entry.node, 0, Map::new());
    model.run_scope(top);
    model.note_starved(top);
    model.answer()
}

impl Model<'_> {
    fn node(&self, at: usize) -> &Node {
        &self.doc.nodes[at]
    }

    fn is_void(&self, round: u32) -> bool {
        self.circular.is_some_and(|(last, _)| round > last)
    }

    // ---- scopes

    fn open(
        &mut self,
        universe: BTreeSet<usize>,
        from: BTreeSet<usize>,
        parent: Option<usize>,
        path: String,
    ) -> usize {
        let mut own = from.clone();
        let mut queue: Vec<usize> = from.into_iter().collect();
        while let Some(at) = queue.pop() {
            queue.extend(self.next(at, &universe).into_iter().filter(|next| own.insert(*next)));
        }
        // What outer scopes have collected for a component is there for every element.
        let seed: BTreeMap<usize, Map<String, Json>> = match parent {
            Some(parent) => {
                let held = |at: &usize| self.held(parent, *at).map(|held| (*at, held));
                universe.iter().filter_map(held).filter(|(_, held)| !held.is_empty()).collect()
            }
            None => BTreeMap::new(),
        };
        // So are the failures whose messages are among it.
        let handling = match parent {
            Some(parent) => {
                let outer = &self.scopes[parent].handling;
                seed.keys().filter_map(|at| Some((*at, outer.get(at)?.clone()))).collect()
            }
            None => BTreeMap::new(),
        };
        let held = seed.clone();
        self.scopes.push(Scope { universe, own, parent, path, held, seed, handling, ..Scope::default() });
        self.scopes.len() - 1
    }

    fn held(&self, scope: usize, node: usize) -> Option<Map<String, Json>> {
        self.scopes[scope].held.get(&node).cloned()
    }

    /// The nearest scope outwards in which a component stands.
    fn nearest(&self, node: usize, from: usize) -> Option<usize> {
        let mut at = Some(from);
        while let Some(scope) = at {
            if self.scopes[scope].own.contains(&node) {
                return Some(scope);
            }
            at = self.scopes[scope].parent;
        }
        None
    }

    fn run_scope(&mut self, scope: usize) {
        while let Some((node, round)) = self.pick(scope) {
            let state = &mut self.scopes[scope];
            let mine = |d: &Delivery| d.node == node && d.round == round;
            let mut taken: Vec<Delivery> = state.pending.iter().filter(|d| mine(d)).cloned().collect();
            state.pending.retain(|d| !mine(d));
            if self.is_void(round) {
                continue;
            }
            taken.sort_by_key(|delivery| delivery.order);
            let mut held = self.scopes[scope].held.remove(&node).unwrap_or_default();
            for delivery in taken {
                let name = self.doc.nodes[node].inputs[delivery.input].name.clone();
                merge(&mut held, name, delivery.value);
                if let Some(handled) = delivery.handled {
                    self.scopes[scope].handling.entry(node).or_default().push(handled);
                }
            }
            if self.missing(node, &held).is_empty() {
                let seed = self.scopes[scope].seed.get(&node).cloned().unwrap_or_default();
                self.scopes[scope].held.insert(node, seed);
                self.scopes[scope].waiting.remove(&node);
                self.start(scope, node, round, held);
            } else {
                self.scopes[scope].held.insert(node, held);
                self.scopes[scope].waiting.insert(node);
            }
        }
    }

    /// The component that goes next: the earliest that nothing before it can still reach.
    fn pick(&self, scope: usize) -> Option<(usize, u32)> {
        let state = &self.scopes[scope];
        let mut earliest: BTreeMap<usize, u32> = BTreeMap::new();
        for delivery in &state.pending {
            let round = earliest.entry(delivery.node).or_insert(delivery.round);
            *round = delivery.round.min(*round);
        }
        let mut candidates: Vec<(u32, usize)> =
            earliest.iter().map(|(node, round)| (*round, *node)).collect();
        candidates.sort_unstable();
        candidates.retain(|(round, node)| {
            let blocks = |(other, theirs): (&usize, &u32)| {
                other != node && theirs < round && self.leads(*other, *node, &state.universe)
            };
            !earliest.iter().any(blocks)
        });
        // A loop that would start also waits for what adds to what its elements need.
        let fed = |node: usize, round: u32| {
            if self.node(node).kind != Kind::Loop || !self.would_start(scope, node, round) {
                return false;
            }
            let body = self.body(node, &state.universe);
            earliest.keys().any(|other| {
                let feeds = |at: &usize| other == at || self.leads(*other, *at, &state.universe);
                *other != node && body.iter().filter(|at| state.own.contains(at)).any(feeds)
            })
        };
        let free = candidates.iter().find(|(round, node)| !fed(*node, *round));
        // Loops that wait for each other: the earliest goes ahead.
        free.or(candidates.first()).map(|(round, node)| (*node, *round))
    }

    /// Whether the deliveries of a round are all that a component lacks.
    fn would_start(&self, scope: usize, node: usize, round: u32) -> bool {
        let mut held = self.held(scope, node).unwrap_or_default();
        for delivery in self.scopes[scope].pending.iter().filter(|d| d.node == node && d.round == round) {
            held.insert(self.node(node).inputs[delivery.input].name.clone(), Json::Null);
        }
        self.missing(node, &held).is_empty()
    }

    // ---- execution

    fn start(&mut self, scope: usize, node: usize, round: u32, held: Map<String, Json>) {
        let state = &mut self.scopes[scope];
        let round = round.max(state.not_before.get(&node).copied().unwrap_or_default());
        for handled in state.handling.remove(&node).unwrap_or_default() {
            handled.set(true);
        }
        let executions = state.executions.entry(node).or_default();
        *executions += 1;
        if *executions > self.limit {
            let found = (round, node);
            self.circular = Some(self.circular.map_or(found, |known| known.min(found)));
            return;
        }
        let mut input = held;
        for port in &self.doc.nodes[node].inputs {
            if let (Some(default), false) = (&port.default, input.contains_key(&port.name)) {
                input.insert(port.name.clone(), default.clone());
            }
        }
        if self.node(node).kind == Kind::Loop {
            self.run_loop(scope, node, round, &input);
            return;
        }
        let output = self.execute(node, &input);
        self.finish(scope, node, round, output);
    }

    fn execute(&mut self, node: usize, input: &Map<String, Json>) -> Json {
        if node == self.entry.node {
            return self.entry.output.clone();
        }
        if self.node(node).kind == Kind::Async {
            self.jobs.push((self.node(node).id.clone(), Json::Object(input.clone())));
        }
        document::double(self.node(node), input)
    }

    fn finish(&mut self, scope: usize, node: usize, round: u32, output: Json) {
        let links: Vec<Link> = self.from(node);
        let is_loop = self.node(node).kind == Kind::Loop;
        let links: Vec<Link> =
            links.into_iter().filter(|link| !is_loop || self.doc.with_result(link)).collect();
        let (any, handled) = self.fire(scope, node, &output, round, &links);
        let state = &mut self.scopes[scope];
        state.last_round = state.last_round.max(round);
        let end = Ended { node, round, output, handled };
        if state.parent.is_none() {
            self.ended.push(end);
        } else if end.handled.is_some() || !any {
            state.ended.push(end);
        }
    }

    /// Delivers an output; says whether anybody got anything, and which handler got a failure.
    fn fire(
        &mut self,
        scope: usize,
        node: usize,
        output: &Json,
        round: u32,
        links: &[Link],
    ) -> (bool, Option<Rc<Cell<bool>>>) {
        let hard = failure(output).is_some_and(|(_, hard)| hard);
        let (mut any, mut handler): (bool, Option<Rc<Cell<bool>>>) = (false, None);
        for link in links {
            let port = &self.doc.nodes[node].outputs[link.output];
            let is_error = port.name == "_error";
            if hard && !is_error {
                continue;
            }
            let value = match is_error {
                true => failure(output).map(|(message, _)| message),
                false => port.value(output),
            };
            let (Some(value), Some(to)) = (value, self.nearest(link.target, scope)) else { continue };
            let handled = is_error.then(|| handler.get_or_insert_with(Rc::default).clone());
            any = true;
            let (order, input) = (link.order, link.input);
            self.scopes[to].pending.push(Delivery {
                node: link.target,
                round: round + 1,
                order,
                input,
                value,
                handled,
            });
        }
        (any, handler)
    }
}

/// §4.6: the first value as it is, each further one appended; a list of one is that one.
fn merge(held: &mut Map<String, Json>, name: String, value: Json) {
    let Some(before) = held.remove(&name) else {
        held.insert(name, value);
        return;
    };
    let mut list = match before {
        Json::Array(items) => items,
        other => vec![other],
    };
    list.push(value);
    held.insert(name, if list.len() == 1 { list.remove(0) } else { Json::Array(list) });
}

/// The message of a failure, and whether it is a hard one.
fn failure(output: &Json) -> Option<(Json, bool)> {
    let of = |key: &str| output.get(key).filter(|value| truthy(value)).cloned();
    of("error").map(|message| (message, true)).or_else(|| of("_error").map(|message| (message, false)))
}

fn truthy(value: &Json) -> bool {
    !matches!(value, Json::Null | Json::Bool(false)) && value != &json!("") && value.as_f64() != Some(0.0)
}
