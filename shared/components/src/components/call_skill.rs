//! CallSkill: calls a skill of this agent, or of another one that lets it, as a run of its own. The run is found
//! again by an engine that goes on with this one, so a skill that was called runs once.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::calls::{
    CallError, CallFailure, Callee, SkillAnswer, SkillCalled, SkillResult, VersionOf,
};
use crate::context::{Call, Component};
use crate::outcome::{failed_with, values};
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("CallSkill", "Calls a skill and gives its answer")
    .effect(Effect::Effect)
    .waits()
    .settings(&[
        SettingSpec::text("skill", "Skill", 200).required().describe("the endpoint of the skill"),
        SettingSpec::text_or_empty("agentId", "Agent", 64)
            .default("")
            .describe("the agent whose skill it is, if not this one's; it must let this agent call it"),
        SettingSpec::text_or_empty("version", "Version", 64).default("same-as-parent").describe(
            "which version of another agent: `same-as-parent`, `dev-latest`, `prod-latest`, or a version's id",
        ),
        SettingSpec::integer("timeout", "Timeout", 1.0, 2_592_000.0)
            .describe("seconds that the skill may take; never longer than this run has left"),
    ])
    .inputs(&[PortSpec::new(INPUT, "Object", "inputs of the skill; inputs that are added go beside them").optional()])
    .outputs(&[
        PortSpec::new("Result", "Any", "what the skill's last component gave; a list where there are several"),
        PortSpec::new("Answer", "Any", "the answer as callers over HTTP get it"),
        PortSpec::new("Reason", "Text", "of a failure: what kind it is, in one word"),
    ])
    .scopes(&["sre.security.v1.Vault"]);

const INPUT: &str = "Input";

/// The type.
pub struct CallSkill;

impl Component for CallSkill {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            match run(call).await {
                Ok(answer) => values([("Result", result(answer.results)), ("Answer", answer.answer)]),
                Err(error) => failed_with([("Reason", Value::from(error.kind.word()))], &error.message),
            }
        }
        .boxed()
    }
}

async fn run(call: Call<'_>) -> Result<SkillAnswer, CallError> {
    let skill = settings::text(call, "skill").trim().trim_start_matches("/api/").to_owned();
    if skill.is_empty() {
        return Err(CallError::new(CallFailure::Invalid, "name the skill that is to be called"));
    }
    let agent = settings::text(call, "agentId").trim().to_owned();
    let version = match call.node.setting("version") {
        None => VersionOf::SameAsParent,
        Some(_) => VersionOf::parse(&settings::text(call, "version")),
    };
    let seconds = settings::number(call, "timeout").filter(|seconds| *seconds > 0.0);
    let called = SkillCalled {
        callee: Callee { name: agent.clone(), agent, version },
        skill,
        input: inputs(call)?,
        time: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    call.context.calls().call_skill(called).await
}

/// What the skill gets: the members of `Input`, and over them the inputs that the author added.
fn inputs(call: Call<'_>) -> Result<Map, CallError> {
    let mut declared = call.declared();
    let mut inputs = match declared.shift_remove(INPUT) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(members)) => members.as_ref().clone(),
        Some(other) => {
            let message = format!("Input must be an object, not {}", other.kind());
            return Err(CallError::new(CallFailure::Invalid, message));
        }
    };
    inputs.extend(declared);
    Ok(inputs)
}

/// One value where there is one. What an APIOutput wraps is taken out of its wrapping.
fn result(mut results: Vec<SkillResult>) -> Value {
    let plain = |result: SkillResult| match &result.value {
        Value::Object(members) if result.component_type == "APIOutput" && members.len() == 1 => {
            members.get("Output").cloned().unwrap_or(result.value)
        }
        _ => result.value,
    };
    match results.len() {
        0 => Value::Null,
        1 => results.pop().map_or(Value::Null, plain),
        _ => Value::Array(results.into_iter().map(plain).collect::<Vec<_>>().into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(component_type: &str, value: serde_json::Value) -> SkillResult {
        SkillResult { component_type: component_type.into(), value: value.into() }
    }

    #[test]
    fn one_leaf_is_the_result_and_several_are_a_list() {
        assert_eq!(result(Vec::new()), Value::Null);
        let one = vec![of("APIOutput", json!({"Output": {"a": 1}}))];
        assert_eq!(result(one), Value::from(json!({"a": 1})));
        let two = vec![of("FHash", json!({"Hash": "x"})), of("FHash", json!({"Output": 1}))];
        assert_eq!(result(two), Value::from(json!([{"Hash": "x"}, {"Output": 1}])));
    }
}
