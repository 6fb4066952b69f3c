//! A typed comparison of a value with another.

use std::cmp::Ordering;

use regex::Regex;

use crate::node::Node;
use crate::template;
use crate::value::{Map, Value};

/// The operators.
pub(crate) const OPERATORS: &[&str] = &[
    "truthy", "falsy", "eq", "ne", "lt", "lte", "gt", "gte", "contains", "matches", "empty", "notEmpty",
    "exists",
];

/// A condition.
#[derive(Debug)]
pub(crate) struct Condition {
    /// Where in the value to look; empty: at all of it.
    path: String,
    operator: String,
    value: Value,
    pattern: Option<Regex>,
}

impl Condition {
    /// What the settings `path`, `operator` and `value` say.
    pub fn of(node: &Node, variables: &Map) -> Self {
        let text = |name: &str| node.text_setting(name).unwrap_or_default().trim().to_owned();
        let value = match node.setting("value").cloned().unwrap_or_default() {
            Value::String(text) => Value::from(template::parse(&text, variables)),
            other => other,
        };
        let operator = text("operator");
        let pattern = (operator == "matches").then(|| Regex::new(&value.to_text()).ok()).flatten();
        Self { path: text("path"), operator, value, pattern }
    }

    /// Whether it holds for a value.
    pub fn holds(&self, of: &Value) -> bool {
        let found = if self.path.is_empty() { Some(of.clone()) } else { of.path(&self.path) };
        let is = |wanted: fn(Ordering) -> bool| {
            found.as_ref().and_then(|found| order(found, &self.value)).is_some_and(wanted)
        };
        match self.operator.as_str() {
            "falsy" => !found.as_ref().is_some_and(Value::truthy),
            "eq" => found.as_ref().is_some_and(|found| equal(found, &self.value)),
            "ne" => !found.as_ref().is_some_and(|found| equal(found, &self.value)),
            "lt" => is(Ordering::is_lt),
            "lte" => is(Ordering::is_le),
            "gt" => is(Ordering::is_gt),
            "gte" => is(Ordering::is_ge),
            "contains" => found.as_ref().is_some_and(|found| contains(found, &self.value)),
            "matches" => {
                let found = found.as_ref().map(Value::to_text);
                self.pattern.as_ref().zip(found).is_some_and(|(pattern, found)| pattern.is_match(&found))
            }
            "empty" => found.as_ref().is_none_or(is_empty),
            "notEmpty" => !found.as_ref().is_none_or(is_empty),
            "exists" => found.is_some(),
            _ => found.as_ref().is_some_and(Value::truthy),
        }
    }
}

/// The order of two values: of numbers where both are, else of texts where both are plain.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return a.partial_cmp(&b);
    }
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(_) | Value::String(_) => value.to_f64_lenient(),
        _ => None,
    }
}

/// Equal as numbers, as flags or as JSON, whichever way the setting was written.
fn equal(found: &Value, wanted: &Value) -> bool {
    if found == wanted || order(found, wanted) == Some(Ordering::Equal) {
        return true;
    }
    match (found, wanted.as_str()) {
        (Value::String(_), _) | (_, None) => false,
        (found, Some(text)) => {
            serde_json::from_str::<serde_json::Value>(text).is_ok_and(|wanted| *found == Value::from(wanted))
        }
    }
}

fn contains(found: &Value, wanted: &Value) -> bool {
    match found {
        Value::String(text) => text.contains(&wanted.to_text()),
        Value::Array(items) => items.iter().any(|item| equal(item, wanted)),
        Value::Object(map) => map.contains_key(wanted.to_text().as_str()),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comparisons_go_by_type() {
        let holds = |found: serde_json::Value, operator: &str, value: serde_json::Value| {
            let value = Value::from(value);
            let pattern = Regex::new(&value.to_text()).ok();
            Condition { path: "v".into(), operator: operator.into(), value, pattern }
                .holds(&Value::from(found))
        };
        for (found, operator, value, expected) in [
            (json!({"v": 9}), "lt", json!("10"), true),
            (json!({"v": "9"}), "lt", json!(10), true),
            (json!({"v": "b"}), "gt", json!("a"), true),
            (json!({"v": [1]}), "gt", json!(0), false),
            (json!({}), "lt", json!(5), false),
            (json!({"v": 5}), "eq", json!("5.0"), true),
            (json!({"v": true}), "eq", json!("true"), true),
            (json!({"v": "true"}), "eq", json!(true), false),
            (json!({"v": [1, 2]}), "eq", json!("[1,2]"), true),
            (json!({}), "ne", json!(1), true),
            (json!({"v": ["a", 2]}), "contains", json!("2"), true),
            (json!({"v": "haystack"}), "contains", json!("st"), true),
            (json!({"v": {"k": 1}}), "contains", json!("k"), true),
            (json!({"v": "run-17"}), "matches", json!(r"^run-\d+$"), true),
            (json!({"v": ""}), "empty", json!(null), true),
            (json!({"v": 0}), "empty", json!(null), false),
            (json!({"v": [0]}), "notEmpty", json!(null), true),
            (json!({"v": null}), "exists", json!(null), true),
            (json!({}), "exists", json!(null), false),
            (json!({"v": 0}), "truthy", json!(null), false),
            (json!({"v": 0}), "falsy", json!(null), true),
            (json!({"v": 1}), "", json!(null), true),
        ] {
            assert_eq!(holds(found.clone(), operator, value.clone()), expected, "{found} {operator} {value}");
        }
    }
}
