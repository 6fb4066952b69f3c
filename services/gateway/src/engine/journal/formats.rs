//! The formats of records. A run says which one a reader needs, and an engine claims runs of the formats that it reads:
//! so older engines still claim what they do right, and nothing else.
//!
//! Format 1 knows records that readers may pass over: whoever does not know one executes at most a component again that
//! it may execute again. A run that could go wrong so is of a newer format from its first record on.

use sre_engine::spec::{OnUncertain, Waits};
use sre_engine::{Effect, Node, Plan};

/// Runs that neither wait nor have effects which must not be repeated.
pub const PLAIN: i32 = 1;
/// Runs that may wait, which a reader of format 1 would begin anew; runs with an effect that must not simply be
/// repeated; forks; debug sessions.
pub const WAITS: i32 = 2;
/// Turns of conversations, which have records of their own.
pub const TURN: i32 = 3;
/// Turns without a conversation, which a component began: their messages are in their own records.
pub const SUB_TURN: i32 = 4;
/// Runs of plans with types that readers of the formats before do not execute. Their bodies and attempts are in names of
/// activations and in checkpoints too.
pub const NEWER_TYPES: i32 = 5;
/// The newest format that this engine reads: runs of a newer one are left to others.
pub const NEWEST: i32 = NEWER_TYPES;

/// What readers of the formats up to [`SUB_TURN`] execute. Never add to it: a new type is a newer one.
const OLDER_TYPES: [&str; 23] = [
    "APICall",
    "APIEndpoint",
    "APIOutput",
    "Approval",
    "Async",
    "Await",
    "Component",
    "ECMASandbox",
    "FEncDec",
    "FHash",
    "FSign",
    "FSleep",
    "FTimestamp",
    "ForEach",
    "GenAILLM",
    "JSONFilter",
    "LogicAND",
    "LogicAtLeast",
    "LogicAtMost",
    "LogicOR",
    "LogicXOR",
    "Note",
    "PromptGenerator",
];

/// The format of runs of a plan.
pub fn of_plan(plan: &Plan) -> i32 {
    plan.nodes().iter().map(|node| of_node(node)).max().unwrap_or(PLAIN)
}

fn of_node(node: &Node) -> i32 {
    // Aliases are names of the same type.
    let known = node.entry.is_some_and(|entry| OLDER_TYPES.contains(&entry.spec.name));
    if !known {
        return NEWER_TYPES;
    }
    if is_special(node) { WAITS } else { PLAIN }
}

/// Whether an engine that does not know waits and policies would execute a component wrongly.
fn is_special(node: &Node) -> bool {
    let waits = node.entry.is_some_and(|entry| entry.spec.waits == Waits::Durably);
    let effect = node.entry.is_some_and(|entry| entry.spec.effect == Effect::Effect);
    waits || effect && OnUncertain::of(node) != OnUncertain::Retry
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sre_components::registry;

    use super::*;
    use crate::engine::plans;
    use crate::engine::tests::documents::{component, document, endpoint};

    fn of(type_name: &str, data: Value) -> i32 {
        let node = component("it", type_name, data, &["Input"], &["Output"]);
        let json = document("agent", vec![endpoint(), node], &[]);
        plans::compile(json.to_string().as_bytes(), registry()).unwrap().record_format()
    }

    #[test]
    fn runs_with_bodies_attempts_and_other_newer_types_are_left_to_engines_that_have_them() {
        for newer in ["Loop", "Map", "Retry", "ErrorHandler", "Condition", "Merge", "Fail"] {
            assert_eq!(of(newer, json!({})), NEWER_TYPES, "{newer}");
        }
        assert_eq!(of("FTimestamp", json!({})), PLAIN, "older engines go on with what they know");
        assert_eq!(of("LLMPrompt", json!({"model": "m", "prompt": "p"})), PLAIN, "an alias is the same type");
        assert_eq!(of("FSleep", json!({"delay": 1})), WAITS);
    }

    #[test]
    fn every_type_is_an_older_or_a_newer_one() {
        for spec in registry().specs() {
            let older = OLDER_TYPES.contains(&spec.name);
            let own = sre_components::registry::OWN_TYPES.contains(&spec.name) && spec.name != "Approval";
            assert!(!(older && own), "{}: engines of the reference's types alone do not have it", spec.name);
        }
        let built = |name: &&str| registry().built(name);
        assert!(OLDER_TYPES.iter().all(built), "an older type is no longer built");
    }
}
