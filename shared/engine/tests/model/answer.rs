//! What a run comes to.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::document::Kind;
use super::scope::Ended;
use super::{Answer, Model, failure, truthy};

impl Model<'_> {
    pub(super) fn note_starved(&mut self, scope: usize) {
        let state = &self.scopes[scope];
        // A component that stands here only to collect for a loop's body starves there, if anywhere.
        let loops = state.own.iter().filter(|at| self.node(**at).kind == Kind::Loop);
        let bodies: BTreeSet<usize> = loops.flat_map(|at| self.body(*at, &state.universe)).collect();
        for node in state.waiting.iter().filter(|at| !bodies.contains(at)) {
            let held = state.held.get(node).cloned().unwrap_or_default();
            let name = format!("{}{}", state.path, self.node(*node).id);
            self.starved.insert((name, self.missing(*node, &held)));
        }
    }

    pub(super) fn answer(self) -> Answer {
        if let Some((_, node)) = self.circular {
            let (id, limit) = (&self.node(node).id, self.limit);
            let error = format!("Circular Calls Limit Reached on {id}. Current circular limit is {limit}");
            return Answer { legacy: json!({ "error": error }), starved: BTreeSet::new(), jobs: Vec::new() };
        }
        let mut ended: Vec<&Ended> = self.ended.iter().collect();
        ended.retain(|end| !end.handled.as_ref().is_some_and(|handled| handled.get()));
        ended.sort_by_key(|end| (end.round, end.node));
        let is_leaf = |end: &&&Ended| {
            let node = self.node(end.node);
            let results = || {
                self.from(end.node)
                    .into_iter()
                    .any(|link| self.doc.with_result(&link) && node.outputs[link.output].name != "_error")
            };
            let last = !self.doc.links.iter().any(|link| link.source == end.node)
                || (node.kind == Kind::Loop && !results());
            last && !failure(&end.output).is_some_and(|(_, hard)| hard) && truthy(&end.output)
        };
        let leaves = ended.iter().filter(is_leaf);
        let failed = ended.iter().filter(|end| failure(&end.output).is_some());
        let mut seen = BTreeSet::new();
        let entries: Vec<Json> =
            leaves.chain(failed).filter(|end| seen.insert(end.node)).map(|end| self.entry(end)).collect();
        let legacy = if entries.len() == 1 { entries[0].clone() } else { Json::from(entries) };
        Answer { legacy, starved: self.starved, jobs: self.jobs }
    }

    fn entry(&self, end: &Ended) -> Json {
        let node = self.node(end.node);
        match failure(&end.output) {
            Some((message, true)) => {
                json!({"id": node.id, "name": node.display, "result": null, "error": message})
            }
            _ => json!({"id": node.id, "name": node.type_name, "result": end.output}),
        }
    }
}
