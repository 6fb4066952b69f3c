//! The answers of the reference's header protocol (§6.3).

use serde_json::{Map as JsonMap, Value as Json, json};

use super::report::{Executed, Next, StepReport};
use super::{DebugRun, Standing};
use crate::run::{Aborted, circular_message};

impl StepReport {
    /// The answer to a step; fields that are undefined are absent.
    pub fn legacy_step_json(&self, session: &str) -> Json {
        if let Some(Aborted::Circular { component, limit }) =
            self.answer.as_ref().and_then(|answer| answer.aborted.as_ref())
        {
            return json!({ "error": circular_message(component, *limit) });
        }
        let pairs: Vec<Json> = self.executed.iter().map(Executed::pair).collect();
        let state = match <[Json; 1]>::try_from(pairs) {
            Ok([single]) => single,
            Err(several) => Json::from(several),
        };
        let mut answer = JsonMap::new();
        answer.insert("state".into(), state);
        answer.insert("dbgSession".into(), session.into());
        if self.all_waiting {
            answer.insert("sessionResult".into(), true.into());
        }
        let entries = |counts: fn(&Executed, &Json) -> bool| -> Json {
            let told = self.executed.iter().flat_map(|it| it.entries().into_iter().map(move |e| (it, e)));
            told.filter(|(executed, entry)| counts(executed, entry)).map(|(_, entry)| entry).collect()
        };
        answer.insert("sessionResults".into(), entries(is_result));
        answer.insert("errorResults".into(), entries(is_error));
        answer.insert("sessionClosed".into(), self.closed.into());
        if let Some(result) = &self.answer {
            answer.insert("finalResult".into(), result.legacy_json());
        }
        Json::Object(answer)
    }
}

/// Truthy as JavaScript has it.
fn truthy(json: Option<&Json>) -> bool {
    json.is_some_and(|json| crate::value::Value::from(json).truthy())
}

fn is_result(executed: &Executed, entry: &Json) -> bool {
    let result = entry.get("result");
    executed.leaf && truthy(result) && result.is_some_and(|result| result.get("_missing_inputs").is_none())
}

fn is_error(executed: &Executed, entry: &Json) -> bool {
    let error = entry.get("result").and_then(|result| result.get("_error"));
    !executed.in_loop && (truthy(entry.get("error")) || truthy(error))
}

impl Executed {
    /// `[<next>, <entry>]`.
    fn pair(&self) -> Json {
        Json::Array(vec![self.next_json(), self.entry()])
    }

    /// What of the pair may be a result: the entry, and before it the same as the end of a branch.
    fn entries(&self) -> Vec<Json> {
        let leaf = (self.next == Next::Leaf).then(|| self.next_json());
        leaf.into_iter().chain([self.entry()]).collect()
    }

    fn next_json(&self) -> Json {
        let targets = match &self.next {
            Next::Leaf => {
                return json!({"id": &*self.component, "name": &*self.type_name, "result": self.result()});
            }
            Next::Targets(targets) => targets,
        };
        let describe = |target: &super::Target| json!({"id": &*target.component, "name": &*target.type_name, "inputs": members(&target.inputs)});
        match targets.as_slice() {
            [single] => describe(single),
            several => several.iter().map(describe).collect(),
        }
    }

    fn entry(&self) -> Json {
        if self.hard {
            let error = self.error.as_ref().map_or(Json::Null, Json::from);
            let debug = self.output.get("_debug").map_or(Json::Null, Json::from);
            return json!({"id": &*self.component, "name": &*self.display_name, "result": null,
                "error": error, "_debug": debug});
        }
        json!({"id": &*self.component, "name": &*self.display_name, "result": self.result()})
    }

    fn result(&self) -> Json {
        let mut result = Json::from(&self.output);
        if let (true, Some(members)) = (self.handled, result.as_object_mut()) {
            members.insert("_error_handled".into(), true.into());
        }
        result
    }
}

fn members(map: &crate::value::Map) -> Json {
    map.iter().map(|(key, value)| (key.to_string(), Json::from(value))).collect::<JsonMap<_, _>>().into()
}

impl DebugRun {
    /// The answer to a read: the components that the last cycle touched.
    pub fn legacy_read_json(&self, session: &str) -> Json {
        let step = self.session.step;
        let touched =
            self.plan.nodes.iter().zip(&self.contexts).filter(|(_, it)| it.step == step && !it.is_blank());
        let state: JsonMap<String, Json> =
            touched.map(|(node, context)| (node.id.to_string(), self.context_json(node, context))).collect();
        let mut answer = JsonMap::new();
        answer.insert("state".into(), state.into());
        answer.insert("dbgSession".into(), session.into());
        answer.insert("sessionClosed".into(), self.session.closed.into());
        answer.insert("step".into(), step.into());
        if let Some(component) = &self.session.circular {
            let message = circular_message(component, self.options.limits.circular);
            answer.insert("error".into(), message.into());
        }
        answer.into()
    }

    fn context_json(&self, node: &crate::node::Node, context: &super::Context) -> Json {
        let mut ctx = JsonMap::new();
        ctx.insert("active".into(), context.active.into());
        ctx.insert("name".into(), node.display_name.as_ref().into());
        if let Some(status) = context.standing.status() {
            ctx.insert("status".into(), status.into());
        }
        ctx.insert("input".into(), members(&super::view::inputs(context)));
        if let Some(output) = &context.output {
            ctx.insert("output".into(), output.into());
        }
        ctx.insert("sourceId".into(), context.source.as_deref().map_or(Json::Null, Json::from));
        ctx.insert("step".into(), context.step.into());
        let mut runtime = JsonMap::new();
        if !context.held.is_empty() {
            runtime.insert("input".into(), members(&context.merged()));
        }
        if let Some(looping) = &context.looping {
            runtime.insert("_LoopData".into(), loop_json(&node.id, looping, context.standing));
        }
        let parent = context.within.as_ref().and_then(|id| Some((id, self.plan.index(id)?)));
        if let Some((id, parent)) = parent
            && let outer = &self.contexts[parent as usize]
            && let Some(looping) = &outer.looping
        {
            runtime.insert("_ChildLoopData".into(), loop_json(id, looping, outer.standing));
        }
        ctx.insert("runtimeData".into(), runtime.into());
        ctx.into()
    }
}

fn loop_json(id: &str, looping: &super::context::LoopState, standing: Standing) -> Json {
    json!({"parentId": id, "loopIndex": looping.next, "loopLength": looping.elements.len(),
        "result": looping.results.iter().map(Json::from).collect::<Vec<_>>(),
        "_in_progress": standing == Standing::InProgress})
}

/// The answer about a session that is unknown or has expired.
pub fn legacy_expired_json(session: &str) -> Json {
    json!({"state": {"sessionClosed": true}, "dbgSession": null, "expiredDbgSession": session,
        "sessionClosed": true, "finalResult": []})
}

/// The answer to stopping a session.
pub fn legacy_stopped_json(session: &str) -> Json {
    json!({"sessionClosed": true, "dbgSession": null, "expiredDbgSession": session})
}
