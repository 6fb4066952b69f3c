//! Paths into values: `a.b[0].c`, `a.0`, `a[b][0]`.

use super::{Map, Value};

impl Value {
    /// The value at a path, own keys only; `None` where a step is missing or leads through `null`.
    ///
    /// A path without any step (`""`, `"."`) leads nowhere, never to the whole value.
    pub fn path(&self, expression: &str) -> Option<Value> {
        let mut steps = steps(expression);
        let first = step(self, steps.next()?)?;
        steps.try_fold(first, |value, name| step(&value, name))
    }
}

/// [`Value::path`] that starts at a map.
pub fn path_in_map(map: &Map, expression: &str) -> Option<Value> {
    let mut steps = steps(expression);
    let first = map.get(steps.next()?)?.clone();
    steps.try_fold(first, |value, name| step(&value, name))
}

fn steps(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(['.', '[', ']']).filter(|part| !part.is_empty())
}

fn step(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(map) => map.get(name).cloned(),
        Value::Array(items) if name == "length" => Some(Value::from(items.len() as u64)),
        Value::Array(items) => items.get(index(name)?).cloned(),
        Value::String(text) if name == "length" => Some(Value::from(text.encode_utf16().count() as u64)),
        Value::String(text) => text.chars().nth(index(name)?).map(|c| Value::from(c.to_string())),
        Value::Binary(binary) => binary.members().get(name).cloned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// An array index in its one canonical spelling (`0`, `12`, not `01`).
fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || (!name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit()));
    canonical.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        Value::from(serde_json::json!({"a": {"b": [{"c": 7}]}, "n": null, "x.y": 1, "t": "abc"}))
    }

    #[test]
    fn all_spellings_reach_the_value() {
        for path in ["a.b[0].c", "a.b.0.c", "a[b][0].c", ".a.b[0].c."] {
            assert_eq!(sample().path(path), Some(Value::from(7)), "{path}");
        }
        assert_eq!(sample().path("a.b.length"), Some(Value::from(1)));
        assert_eq!(sample().path("t.length"), Some(Value::from(3)));
        assert_eq!(sample().path("t[1]"), Some(Value::from("b")));
    }

    #[test]
    fn null_is_a_value_but_no_way_through() {
        assert_eq!(sample().path("n"), Some(Value::Null));
        assert_eq!(sample().path("n.a"), None);
    }

    #[test]
    fn nothing_but_own_keys() {
        for path in ["", ".", "[]", "constructor", "__proto__", "a.constructor.name", "a.b.01"] {
            assert_eq!(sample().path(path), None, "{path}");
        }
    }
}
