//! A body whose failures are handled: reported, or replaced by a value.

use regex::Regex;

use super::attempts::check_pattern;
use super::{Leaves, Problem, object};
use crate::node::Node;
use crate::template;
use crate::value::{Map, Value};

/// Rules of a handler at most.
const MOST_MAPPINGS: usize = 100;

/// A handler of failures.
#[derive(Debug)]
pub(crate) struct Catch {
    /// The first whose pattern a message matches gives the value.
    mappings: Vec<(Regex, Value)>,
    /// The value for all others.
    fallback: Option<Value>,
}

impl Catch {
    pub fn of(node: &Node) -> Self {
        let mappings = node.setting("mappings").map(read_mappings).and_then(Result::ok).unwrap_or_default();
        let fallback = node.setting("fallback").filter(|it| !it.is_null() && it.as_str() != Some(""));
        Self { mappings, fallback: fallback.map(as_json) }
    }

    /// Its output after the body ran with `input`.
    pub fn ended(&self, input: &Value, leaves: &Leaves<'_>) -> Value {
        let Some(problem) = leaves.problems().next() else { return object([("Result", leaves.value())]) };
        let Problem { message, component, type_name, title, details } = problem;
        let mapped = self.mappings.iter().find(|(pattern, _)| pattern.is_match(&message));
        let value = mapped.map(|(_, value)| value).or(self.fallback.as_ref());
        let mut error: Map = [
            ("message".into(), Value::from(message.as_str())),
            ("component".into(), Value::String(component)),
            ("type".into(), Value::String(type_name)),
            ("title".into(), Value::String(title)),
        ]
        .into();
        error.extend(details.map(|details| ("details".into(), details)));
        let value = value.map(|value| {
            let mut data: Map = leaves.variables().clone();
            data.extend(error.clone());
            data.insert("input".into(), input.clone());
            rendered(value, &data)
        });
        let mut output: Map =
            [("Error".into(), Value::object(error)), ("Message".into(), Value::from(message))].into();
        output.extend(value.map(|value| ("Result".into(), value)));
        Value::object(output)
    }
}

/// A setting that is JSON, or text that is JSON, or text.
fn as_json(setting: &Value) -> Value {
    let parsed = setting.as_str().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    parsed.map_or_else(|| setting.clone(), Value::from)
}

/// The texts in a value as templates; one that is a single placeholder becomes the value itself.
fn rendered(value: &Value, data: &Map) -> Value {
    match value {
        Value::String(text) => match template::parse_raw(text, data) {
            Some(raw)
                if text.starts_with("{{") && text.ends_with("}}") && text.matches("{{").count() == 1 =>
            {
                raw
            }
            _ => Value::from(template::parse(text, data)),
        },
        Value::Array(items) => Value::array(items.iter().map(|item| rendered(item, data)).collect()),
        Value::Object(map) => {
            Value::object(map.iter().map(|(key, item)| (key.clone(), rendered(item, data))).collect())
        }
        other => other.clone(),
    }
}

/// Refuses what is no list of rules.
pub(crate) fn check_mappings(value: &Value) -> Result<(), String> {
    read_mappings(value).map(|_| ())
}

fn read_mappings(setting: &Value) -> Result<Vec<(Regex, Value)>, String> {
    let wrong = || "\"Mappings\" must be a list of {\"match\": pattern, \"value\": anything}".to_owned();
    let list = match as_json(setting) {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) if text.is_empty() => return Ok(Vec::new()),
        Value::Array(list) if list.len() <= MOST_MAPPINGS => list,
        Value::Array(_) => return Err(format!("\"Mappings\" must be {MOST_MAPPINGS} at most")),
        _ => return Err(wrong()),
    };
    let rule = |rule: &Value| {
        let pattern = rule.get("match").ok_or_else(wrong)?;
        check_pattern(pattern)?;
        let pattern = Regex::new(&format!("(?i){}", pattern.to_text())).map_err(|_| wrong())?;
        Ok((pattern, rule.get("value").cloned().ok_or_else(wrong)?))
    };
    list.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_a_list_or_its_text() {
        let read = |setting: serde_json::Value| read_mappings(&Value::from(setting)).map(|list| list.len());
        let rule = json!({"match": "^4", "value": null});
        assert_eq!(read(json!([rule])), Ok(1));
        assert_eq!(read(json!(json!([rule, rule]).to_string())), Ok(2));
        assert_eq!(read(json!("")), Ok(0));
        for wrong in [json!(5), json!({"match": "x"}), json!([{"match": "("}]), json!([{"match": "x"}])] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(read(json!(vec![rule; MOST_MAPPINGS + 1])).is_err());
    }

    #[test]
    fn messages_stay_inside_the_value() {
        let data: Map =
            [("message".into(), Value::from("a\", \"b\": 1")), ("input".into(), Value::from(5))].into();
        let value = as_json(&Value::from(r#"{"told": "<{{message}}>", "input": "{{input}}", "n": 1}"#));
        let expected = json!({"told": "<a\", \"b\": 1>", "input": 5, "n": 1});
        let found: serde_json::Value = rendered(&value, &data).into();
        assert_eq!(found["input"], expected["input"]);
        assert_eq!(found.as_object().unwrap().len(), 3, "{found}");
    }
}
