//! JSONFilter: keeps listed members at every level.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component};
use crate::outcome::{failed_with, one};

static SPEC: ComponentSpec =
    ComponentSpec::new("JSONFilter", "Keeps the listed members of objects, at every level")
        .effect(Effect::Pure)
        .settings(&[
            SettingSpec::text_or_empty("fields", "Fields", 30_000).describe("member names between commas")
        ])
        .inputs(&[PortSpec::new("Input", "Any", "what to filter")])
        .outputs(&[PortSpec::new("Output", "Any", "what is left of it")]);

/// The type.
pub struct JsonFilter;

impl Component for JsonFilter {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        std::future::ready(filter(call)).boxed()
    }
}

fn filter(call: Call<'_>) -> Outcome {
    let Some(input) = call.get("Input") else { return Outcome::output(Map::new()) };
    match call.node.text_setting("fields") {
        Some(fields) => {
            let fields: Vec<&str> = fields.split(',').map(str::trim).collect();
            one("Output", kept(input, &fields))
        }
        None if holds_members(input) => failed_with(
            [("Output", Value::object(Map::new()))],
            "the setting `fields` is missing: list the members to keep",
        ),
        None => one("Output", input.clone()),
    }
}

fn kept(value: &Value, fields: &[&str]) -> Value {
    match value {
        Value::Array(items) => Value::array(items.iter().map(|item| kept(item, fields)).collect()),
        Value::Object(map) => {
            let listed = map.iter().filter(|(key, _)| fields.contains(&key.as_ref()));
            Value::object(listed.map(|(key, value)| (key.clone(), kept(value, fields))).collect())
        }
        scalar => scalar.clone(),
    }
}

/// True if some object in the value has a member, so that a filter is needed.
fn holds_members(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_members),
        Value::Object(map) => !map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filtered(value: serde_json::Value, fields: &[&str]) -> serde_json::Value {
        kept(&Value::from(value), fields).into()
    }

    #[test]
    fn a_member_needs_its_parents() {
        let person = json!({"name": "N", "profile": {"age": 1, "location": {"city": "C", "zip": 2}}, "x": {"name": 3}});
        assert_eq!(
            filtered(person, &["name", "profile", "location", "city"]),
            json!({"name": "N", "profile": {"location": {"city": "C"}}})
        );
        assert_eq!(filtered(json!({"profile": {"x": 1}}), &["profile"]), json!({"profile": {}}));
    }

    #[test]
    fn lists_are_filtered_item_by_item_and_scalars_stay() {
        assert_eq!(filtered(json!([[{"a": 1, "z": 2}], "s", null]), &["a"]), json!([[{"a": 1}], "s", null]));
        assert_eq!(filtered(json!({"a": 1}), &[""]), json!({}));
    }
}
