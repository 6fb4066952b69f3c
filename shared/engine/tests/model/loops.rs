//! A loop, executed as a whole: one sub-run of its body per element.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::document::Link;
use super::scope::Ended;
use super::{Model, failure};

impl Model<'_> {
    pub(super) fn run_loop(&mut self, scope: usize, node: usize, round: u32, input: &Map<String, Json>) {
        let elements = match input.get("Input") {
            None => Vec::new(),
            Some(Json::Array(items)) => items.clone(),
            Some(Json::String(text)) => text.split(',').map(Json::from).collect(),
            Some(other) => vec![other.clone()],
        };
        let links: Vec<Link> =
            self.from(node).into_iter().filter(|link| !self.doc.with_result(link)).collect();
        if links.is_empty() {
            self.finish(scope, node, round, json!({ "Result": elements }));
            return;
        }
        let body = self.body(node, &self.scopes[scope].universe);
        let from: BTreeSet<usize> = links.iter().map(|l| l.target).filter(|at| body.contains(at)).collect();
        let (mut now, mut results) = (round, Vec::new());
        for (index, element) in elements.into_iter().enumerate() {
            if self.is_void(now) {
                break;
            }
            let path = format!("{}{}:{index}/", self.scopes[scope].path, self.node(node).id);
            let child = self.open(body.clone(), from.clone(), Some(scope), path);
            self.scopes[child].last_round = now;
            self.fire(child, node, &json!({ "Loop": element }), now, &links);
            self.run_scope(child);
            self.note_starved(child);
            now = self.scopes[child].last_round + 1;
            let mut ended = std::mem::take(&mut self.scopes[child].ended);
            ended.retain(|end| !end.handled.as_ref().is_some_and(|handled| handled.get()));
            ended.sort_by_key(|end| (end.node, end.round));
            ended.dedup_by_key(|end| end.node);
            for end in ended {
                self.contribute(node, &end, &mut results);
            }
        }
        self.scopes[scope].not_before.insert(node, now + 1);
        self.finish(scope, node, now, json!({ "Result": results }));
    }

    fn contribute(&self, of: usize, end: &Ended, results: &mut Vec<Json>) {
        let node = self.node(end.node);
        let mut value = end.output.clone();
        if let (Some((message, _)), Some(map)) = (failure(&end.output), value.as_object_mut()) {
            map.remove("error");
            map.insert("_error".into(), message);
        }
        match self.node(of).format.as_str() {
            "minimal" => results.push(value),
            "results-array" => match value {
                Json::Object(map) => {
                    map.iter()
                        .filter(|(key, _)| *key != "_error")
                        .for_each(|(_, value)| flatten(value, results));
                }
                other => flatten(&other, results),
            },
            _ => results.push(json!({"id": node.id, "name": node.type_name, "result": value})),
        }
    }
}

fn flatten(value: &Json, out: &mut Vec<Json>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| flatten(item, out)),
        other => out.push(other.clone()),
    }
}
