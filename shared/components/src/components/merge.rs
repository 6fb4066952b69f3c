//! Merge: brings branches together.

use std::collections::HashMap;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component};
use crate::outcome::{one, or_error};
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("Merge", "Brings branches together to one value")
    .effect(Effect::Pure)
    .settings(&[
        SettingSpec::one_of("mode", "Mode", &["all", "first", "append", "combine", ""]).default("all").describe(
            "`all`: an object of the inputs; `first`: the first input that has a value; `append`: one list of all \
             lists and values; `combine`: one object of all objects, or by `key` one list of all lists of objects",
        ),
        SettingSpec::text_or_empty("key", "Key", 255)
            .describe("for `combine`: objects in which this member (a path) is equal become one"),
    ])
    .inputs(&[PortSpec::new(
        "Input",
        "Any",
        "add an input for each branch, in the order that counts; optional where a branch may not run",
    )
    .optional()])
    .outputs(&[PortSpec::new("Output", "Any", "what the inputs come to")]);

/// The type.
pub struct Merge;

impl Component for Merge {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        let merged = merge(&settings::text(call, "mode"), &settings::text(call, "key"), call.declared());
        std::future::ready(or_error(merged.map(|value| one("Output", value)))).boxed()
    }
}

fn merge(mode: &str, key: &str, inputs: Map) -> Result<Value, String> {
    match mode {
        "first" => Ok(inputs.into_values().find(|value| !value.is_null()).unwrap_or_default()),
        "append" => Ok(appended(inputs)),
        "combine" if key.is_empty() => combined(inputs),
        "combine" => joined(inputs, key),
        _ => Ok(Value::object(inputs)),
    }
}

fn appended(inputs: Map) -> Value {
    let mut all = Vec::new();
    for value in inputs.into_values() {
        match value {
            Value::Null => {}
            Value::Array(items) => all.extend(items.iter().cloned()),
            other => all.push(other),
        }
    }
    Value::array(all)
}

/// One object; of members with one name the later input's counts.
fn combined(inputs: Map) -> Result<Value, String> {
    let mut all = Map::new();
    for (name, value) in inputs {
        match value {
            Value::Null => {}
            Value::Object(map) => all.extend(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
            other => return Err(not_objects(&name, &other, "an object")),
        }
    }
    Ok(Value::object(all))
}

/// One list, in which objects with an equal member are one, where the first of them stood.
fn joined(inputs: Map, key: &str) -> Result<Value, String> {
    let mut all: Vec<Map> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (name, value) in inputs {
        let items = match &value {
            Value::Null => continue,
            Value::Array(items) => items.to_vec(),
            Value::Object(_) => vec![value],
            other => return Err(not_objects(&name, other, "a list of objects")),
        };
        for item in items {
            let Value::Object(map) = &item else {
                return Err(not_objects(&name, &item, "a list of objects"));
            };
            // Objects without the member stay by themselves.
            let equal = item.path(key).filter(|member| !member.is_null()).map(|member| member.to_json_text());
            let members = map.iter().map(|(name, value)| (name.clone(), value.clone()));
            match equal.as_ref().and_then(|equal| places.get(equal)).and_then(|at| all.get_mut(*at)) {
                Some(known) => known.extend(members),
                None => {
                    if let Some(equal) = equal {
                        places.insert(equal, all.len());
                    }
                    all.push(members.collect());
                }
            }
        }
    }
    Ok(Value::array(all.into_iter().map(Value::object).collect()))
}

fn not_objects(name: &str, value: &Value, wanted: &str) -> String {
    format!("the input '{name}' is of type {}: to be combined it must be {wanted}", value.kind())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use sre_engine::value::map_from_json;

    use super::*;

    fn of(mode: &str, key: &str, inputs: Json) -> Result<Json, String> {
        let Json::Object(inputs) = inputs else { panic!("an object") };
        merge(mode, key, map_from_json(inputs)).map(|value| json!(value))
    }

    #[test]
    fn each_mode_merges_in_its_way() {
        let inputs = json!({"a": [1, 2], "b": null, "c": 3});
        assert_eq!(of("", "", inputs.clone()), Ok(inputs.clone()));
        assert_eq!(of("first", "", json!({"a": null, "b": 0, "c": 1})), Ok(json!(0)));
        assert_eq!(of("first", "", json!({})), Ok(json!(null)));
        assert_eq!(of("append", "", inputs), Ok(json!([1, 2, 3])));
        assert_eq!(
            of("combine", "", json!({"a": {"x": 1, "y": 1}, "b": {"y": 2}})),
            Ok(json!({"x": 1, "y": 2}))
        );
        let people =
            json!({"a": [{"id": 1, "n": "A"}, {"id": 2}, {"n": "?"}], "b": [{"id": "1"}, {"id": 1, "m": 5}]});
        assert_eq!(
            of("combine", "id", people),
            Ok(json!([{"id": 1, "n": "A", "m": 5}, {"id": 2}, {"n": "?"}, {"id": "1"}]))
        );
    }

    #[test]
    fn what_cannot_be_combined_is_named() {
        let wrong = of("combine", "", json!({"a": {}, "b": [1]})).unwrap_err();
        assert_eq!(wrong, "the input 'b' is of type array: to be combined it must be an object");
        assert!(of("combine", "id", json!({"a": [1]})).unwrap_err().contains("a list of objects"));
        assert!(of("combine", "id", json!({"a": "x"})).unwrap_err().contains("type string"));
    }
}
