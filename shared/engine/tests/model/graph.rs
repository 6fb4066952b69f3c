//! The shape of the graph, looked up anew each time.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::Model;
use super::document::{Kind, Link};

impl Model<'_> {
    pub(super) fn from(&self, node: usize) -> Vec<Link> {
        self.links.iter().filter(|link| link.source == node).cloned().collect()
    }

    /// What a loop runs per element: what its elements reach and its result does not.
    pub(super) fn body(&self, node: usize, universe: &BTreeSet<usize>) -> BTreeSet<usize> {
        let side = |result: bool| {
            let first = self.from(node).into_iter().filter(|link| self.doc.with_result(link) == result);
            let first: Vec<usize> = first.map(|link| link.target).collect();
            self.doc.reach(&self.links, first, |at| at != node, |at| universe.contains(&at))
        };
        let after = side(true);
        side(false).into_iter().filter(|at| *at != node && !after.contains(at)).collect()
    }

    /// Who gets something from whom in a scope, a loop standing for its whole body.
    pub(super) fn next(&self, node: usize, universe: &BTreeSet<usize>) -> BTreeSet<usize> {
        let targets = |of: usize| self.from(of).into_iter().map(|link| link.target).collect::<Vec<_>>();
        let all: Vec<usize> = if self.node(node).kind == Kind::Loop {
            let body = self.body(node, universe);
            let inside = std::iter::once(node).chain(body.iter().copied());
            inside.flat_map(targets).filter(|target| !body.contains(target)).collect()
        } else {
            targets(node)
        };
        all.into_iter().filter(|target| universe.contains(target)).collect()
    }

    pub(super) fn leads(&self, from: usize, to: usize, universe: &BTreeSet<usize>) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(at) = queue.pop() {
            for next in self.next(at, universe) {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    queue.push(next);
                }
            }
        }
        false
    }

    pub(super) fn required(&self, node: usize) -> Vec<usize> {
        if node == self.entry.node {
            return Vec::new();
        }
        let fed = |input: usize| {
            self.links.iter().any(|link| {
                link.target == node && link.input == input && self.reachable.contains(&link.source)
            })
        };
        (0..self.node(node).inputs.len())
            .filter(|at| fed(*at) && !self.node(node).inputs[*at].optional)
            .collect()
    }

    pub(super) fn missing(&self, node: usize, held: &Map<String, Json>) -> Vec<String> {
        let ports = self.required(node).into_iter().map(|at| &self.node(node).inputs[at]);
        let lacks = ports.filter(|port| port.default.is_none() && !held.contains_key(&port.name));
        lacks.map(|port| port.name.clone()).collect()
    }
}
