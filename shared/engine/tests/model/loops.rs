//! A component with a body, executed as a whole: one sub-run of its body per element, round or attempt.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::document::{Kind, Link};
use super::scope::Ended;
use super::{Model, failure, truthy};

/// A loop at its place.
struct Body {
    scope: usize,
    node: usize,
    links: Vec<Link>,
    universe: BTreeSet<usize>,
    from: BTreeSet<usize>,
}

impl Model<'_> {
    pub(super) fn run_loop(&mut self, scope: usize, node: usize, round: u32, input: &Map<String, Json>) {
        let links: Vec<Link> =
            self.from(node).into_iter().filter(|link| !self.doc.with_result(link)).collect();
        let universe = self.body(node, &self.scopes[scope].universe);
        let from = links.iter().map(|l| l.target).filter(|at| universe.contains(at)).collect();
        let body = Body { scope, node, links, universe, from };
        let given = input.get("Input").cloned().unwrap_or_default();
        let (now, output) = match self.node(node).type_name.as_str() {
            "ForEach" | "Map" => self.each(&body, round, input.get("Input")),
            "Loop" => self.repeat(&body, round, given),
            "Retry" => self.attempts(&body, round, &given),
            _ => self.catch(&body, round, &given),
        };
        self.scopes[scope].not_before.insert(node, now + 1);
        self.finish(scope, node, now, output);
    }

    /// Runs the body once; gives the round after it, and what its ends came to in document order.
    fn once(&mut self, body: &Body, index: usize, output: &Json, round: u32) -> (u32, Vec<Ended>) {
        let path = format!("{}{}:{index}/", self.scopes[body.scope].path, self.node(body.node).id);
        let child = self.open(body.universe.clone(), body.from.clone(), Some(body.scope), path);
        self.scopes[child].last_round = round;
        self.fire(child, body.node, output, round, &body.links);
        self.run_scope(child);
        self.note_starved(child);
        let mut ended = std::mem::take(&mut self.scopes[child].ended);
        ended.retain(|end| !end.handled.as_ref().is_some_and(|handled| handled.get()));
        ended.sort_by_key(|end| (end.node, end.round));
        ended.dedup_by_key(|end| end.node);
        (self.scopes[child].last_round + 1, ended)
    }

    fn each(&mut self, body: &Body, round: u32, input: Option<&Json>) -> (u32, Json) {
        let elements = match input {
            None => Vec::new(),
            Some(Json::Array(items)) => items.clone(),
            Some(Json::String(text)) => text.split(',').map(Json::from).collect(),
            Some(other) => vec![other.clone()],
        };
        let is_map = self.node(body.node).type_name == "Map";
        let stops = self.node(body.node).data["onError"] == "stop";
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        let mut after = round;
        if body.links.is_empty() {
            results = elements.clone();
        }
        for (index, element) in elements.into_iter().enumerate() {
            // The elements of a Map do not wait for each other: all start at once.
            let starts = if is_map { round } else { after };
            if self.is_void(starts) || body.links.is_empty() {
                break;
            }
            let output =
                if is_map { json!({"Item": element, "Index": index}) } else { json!({"Loop": element}) };
            let (ends, ended) = self.once(body, index, &output, starts);
            after = after.max(ends);
            match self.node(body.node).format.as_str() {
                "value" => results.push(self.value(&ended)),
                _ => ended.iter().for_each(|end| self.contribute(body.node, end, &mut results)),
            }
            let before = errors.len();
            for end in &ended {
                if let Some((message, _)) = failure(&end.output) {
                    let component = &self.node(end.node).id;
                    errors.push(json!({"index": index, "message": message, "component": component}));
                }
            }
            if is_map && stops && errors.len() > before {
                let message = errors.last().unwrap()["message"].as_str().unwrap().to_owned();
                let why = format!("element {index}: {message}");
                return (after, json!({"_error": why, "Result": results, "Errors": errors}));
            }
        }
        let output =
            if is_map { json!({"Result": results, "Errors": errors}) } else { json!({"Result": results}) };
        (after, output)
    }

    fn repeat(&mut self, body: &Body, round: u32, given: Json) -> (u32, Json) {
        let data = self.node(body.node).data.clone();
        let holds = |state: &Json| match data["operator"].as_str() {
            Some("falsy") => !truthy(state),
            Some("exists") => true,
            _ => truthy(state),
        };
        let most = data["maxIterations"].as_u64().unwrap();
        let ended = |state: Json, rounds: u64| json!({"Result": state, "Iterations": rounds});
        let (mut state, mut now) = (given, round);
        if body.links.is_empty() || (data["test"] != "after" && !holds(&state)) {
            return (now, ended(state, 0));
        }
        for index in 0..most {
            if self.is_void(now) {
                return (now, json!({}));
            }
            let output = json!({"State": state, "Index": index});
            let (ends, leaves) = self.once(body, index as usize, &output, now);
            now = ends;
            let failed = leaves.iter().find_map(|end| failure(&end.output));
            match failed {
                Some((message, _)) if data["onError"] != "continue" => {
                    let why = format!("round {}: {}", index + 1, message.as_str().unwrap());
                    return (now, json!({"_error": why, "Result": state, "Iterations": index + 1}));
                }
                None if !leaves.is_empty() => state = self.value(&leaves),
                _ => {}
            }
            if !holds(&state) {
                return (now, ended(state, index + 1));
            }
        }
        if data["onLimit"] == "stop" {
            return (now, ended(state, most));
        }
        let why = format!("the loop's condition still holds after {most} rounds, the most it may take");
        (now, json!({"_error": why, "Result": state, "Iterations": most}))
    }

    fn attempts(&mut self, body: &Body, round: u32, given: &Json) -> (u32, Json) {
        if body.links.is_empty() {
            return (round, json!({ "Result": given }));
        }
        let data = self.node(body.node).data.clone();
        let most = data["maxAttempts"].as_u64().unwrap();
        let (mut now, mut errors) = (round, Vec::new());
        for index in 0..most {
            if self.is_void(now) {
                break;
            }
            let output = json!({"Attempt": given, "Number": index + 1});
            let (ends, leaves) = self.once(body, index as usize, &output, now);
            now = ends;
            let Some((message, _)) = leaves.iter().find_map(|end| failure(&end.output)) else {
                let result = self.value(&leaves);
                return (now, json!({"Result": result, "Attempts": index + 1, "Errors": errors}));
            };
            errors.push(message.clone());
            if index + 1 == most {
                return (now, json!({"_error": message, "Attempts": index + 1, "Errors": errors}));
            }
            // A pause is an execution of its own.
            now += u32::from(data["delay"] != 0);
        }
        (now, json!({}))
    }

    fn catch(&mut self, body: &Body, round: u32, given: &Json) -> (u32, Json) {
        if body.links.is_empty() {
            return (round, json!({ "Result": given }));
        }
        let fallback = self.node(body.node).data.get("fallback").cloned();
        let (now, leaves) = self.once(body, 0, &json!({ "Try": given }), round);
        let failed = leaves.iter().find_map(|end| Some((failure(&end.output)?.0, self.node(end.node))));
        let Some((message, node)) = failed else { return (now, json!({"Result": self.value(&leaves)})) };
        let error =
            json!({"message": message, "component": node.id, "type": node.type_name, "title": node.title});
        let mut output = json!({"Error": error, "Message": message});
        if let Some(fallback) = fallback {
            output["Result"] = fallback;
        }
        (now, output)
    }

    /// What the ends of a body come to as one value.
    fn value(&self, ended: &[Ended]) -> Json {
        let of = |end: &Ended| {
            let node = self.node(end.node);
            let whole = without_hard(&end.output);
            if failure(&end.output).is_some() {
                return whole;
            }
            if node.kind == Kind::Loop {
                return whole.get("Result").cloned().unwrap_or_default();
            }
            let native: Vec<_> =
                node.outputs.iter().filter(|it| it.default && !it.name.starts_with('_')).collect();
            match native.as_slice() {
                [only] => only.value(&whole).unwrap_or_default(),
                _ => whole,
            }
        };
        match ended {
            [] => Json::Null,
            [end] => of(end),
            several => several.iter().map(of).collect(),
        }
    }

    fn contribute(&self, of: usize, end: &Ended, results: &mut Vec<Json>) {
        let node = self.node(end.node);
        let value = without_hard(&end.output);
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

/// An output with its failure as `_error`.
fn without_hard(output: &Json) -> Json {
    let mut value = output.clone();
    if let (Some((message, _)), Some(map)) = (failure(output), value.as_object_mut()) {
        map.remove("error");
        map.insert("_error".into(), message);
    }
    value
}

fn flatten(value: &Json, out: &mut Vec<Json>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| flatten(item, out)),
        other => out.push(other.clone()),
    }
}
