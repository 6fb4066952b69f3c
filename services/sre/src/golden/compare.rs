//! Compares an answer with the right one: placeholders, volatile parts, and texts whose wording is free.

use std::collections::HashMap;

use serde_json::Value;

use super::vectors::Vector;

/// Every settings error begins so; what follows is informative.
const VALIDATION_PREFIX: &str = "Schema Validation error:";

/// Type errors of inputs: the recorded text is a prefix of what may be said. A minimal output answers with the
/// bare text, so the place does not tell.
const TYPE_ERRORS: [&str; 7] = [
    "Invalid Number value",
    "Invalid Integer value",
    "Invalid Boolean value",
    "Invalid Array value",
    "Invalid Object value",
    "Invalid Date value",
    "Invalid Binary value",
];

/// Texts of the reference's host: the kind is in their beginning, the rest names host types.
const HOST_ERRORS: [&str; 3] =
    ["The first argument must be of type", "The \"data\" argument must be", "The \"key\" argument must be"];

/// Where and how an answer differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer into the result.
    pub path: String,
    /// What is there and what should be.
    pub text: String,
}

/// Compares with what the vector recorded.
pub fn with_recorded(vector: &Vector, actual: &Value) -> Result<(), Difference> {
    match &vector.normalized {
        Some(normalized) => Comparison::default().run(normalized, actual),
        None => Comparison { ignored: &vector.volatile_paths, ..Comparison::default() }
            .run(&vector.result, actual),
    }
}

/// Compares with a full right answer, which may hold placeholders.
pub fn with_right(right: &Value, actual: &Value) -> Result<(), Difference> {
    Comparison::default().run(right, actual)
}

#[derive(Default)]
struct Comparison<'a> {
    ignored: &'a [String],
    /// What each numbered placeholder stands for so far.
    bound: HashMap<String, String>,
}

impl Comparison<'_> {
    fn run(mut self, expected: &Value, actual: &Value) -> Result<(), Difference> {
        self.value("", expected, actual)
    }

    fn value(&mut self, path: &str, expected: &Value, actual: &Value) -> Result<(), Difference> {
        if self.ignored.iter().any(|p| p == path) {
            return Ok(());
        }
        match (expected, actual) {
            (Value::Object(e), Value::Object(a)) => self.object(path, e, a),
            (Value::Array(e), Value::Array(a)) => {
                if e.len() != a.len() {
                    return Err(differs(path, expected, actual));
                }
                e.iter()
                    .zip(a)
                    .enumerate()
                    .try_for_each(|(i, (e, a))| self.value(&format!("{path}/{i}"), e, a))
            }
            (Value::Number(e), Value::Number(a)) if e.as_f64() == a.as_f64() => Ok(()),
            (Value::String(e), _) if e == "<MS>" => match actual.as_f64() {
                Some(ms) if ms > 1.6e12 => Ok(()),
                _ => Err(differs(path, expected, actual)),
            },
            (Value::String(e), Value::String(a)) => {
                if free_wording(e, a) || self.text(e, a) {
                    Ok(())
                } else {
                    Err(differs(path, expected, actual))
                }
            }
            _ if expected == actual => Ok(()),
            _ => Err(differs(path, expected, actual)),
        }
    }

    fn object(
        &mut self,
        path: &str,
        expected: &serde_json::Map<String, Value>,
        actual: &serde_json::Map<String, Value>,
    ) -> Result<(), Difference> {
        let mut used = Vec::new();
        for (key, value) in expected {
            let here = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
            let found = if key.contains('<') {
                // A key with a placeholder: the first one, in order, that fits and is not taken.
                actual.iter().find(|(k, _)| !used.contains(k) && self.text(key, k))
            } else {
                actual.get_key_value(key)
            };
            let Some((found_key, found_value)) = found else {
                if self.ignored.contains(&here) {
                    continue;
                }
                return Err(Difference { path: here, text: format!("absent, expected {value}") });
            };
            used.push(found_key);
            self.value(&here, value, found_value)?;
        }
        match actual.iter().find(|(k, _)| !used.contains(k)) {
            Some((key, value)) => {
                Err(Difference { path: format!("{path}/{key}"), text: format!("{value}, expected nothing") })
            }
            None => Ok(()),
        }
    }

    /// Whether a text fits an expected one with placeholders.
    fn text(&mut self, expected: &str, actual: &str) -> bool {
        let Some(start) = expected.find('<') else { return expected == actual };
        let Some(length) = expected[start..].find('>') else { return expected == actual };
        let name = &expected[start..=start + length];
        let known = name.starts_with("<UID") || name == "<DATE>";
        if !known {
            return expected == actual;
        }
        let (before, after) = (&expected[..start], &expected[start + length + 1..]);
        let Some(rest) = actual.strip_prefix(before) else { return false };
        if let Some(bound) = self.bound.get(name).cloned() {
            return rest.strip_prefix(bound.as_str()).is_some_and(|rest| self.text(after, rest));
        }
        // The shortest run of id characters after which the rest fits.
        let id =
            |c: char| c.is_ascii_alphanumeric() || "-_:.+ TZ/,".contains(c) && name == "<DATE>" || c == '-';
        let longest = rest.find(|c: char| !id(c)).unwrap_or(rest.len());
        for end in (1..=longest).rev() {
            if self.text(after, &rest[end..]) {
                if name.contains('#') {
                    self.bound.insert(name.to_owned(), rest[..end].to_owned());
                }
                return true;
            }
        }
        false
    }
}

fn free_wording(expected: &str, actual: &str) -> bool {
    if expected.starts_with(VALIDATION_PREFIX) {
        return actual.starts_with(VALIDATION_PREFIX);
    }
    TYPE_ERRORS.iter().any(|known| expected.starts_with(known) && actual.starts_with(expected))
        || HOST_ERRORS.iter().any(|known| expected.starts_with(known) && actual.starts_with(known))
}

fn differs(path: &str, expected: &Value, actual: &Value) -> Difference {
    Difference { path: path.to_owned(), text: format!("{}, expected {}", short(actual), short(expected)) }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_stand_for_ids_and_times() {
        let right = json!({"data": {"A-<UID#1>": {"status": "done"}, "A-<UID#2>": 1, "t": "<MS>"}});
        let good = json!({"data": {"A-0XB": {"status": "done"}, "A-1Y": 1.0, "t": 1_790_000_000_000_u64}});
        assert_eq!(with_right(&right, &good), Ok(()));
        let bad = json!({"data": {"B-0XB": {"status": "done"}, "A-1Y": 1, "t": 1_790_000_000_000_u64}});
        assert!(with_right(&right, &bad).is_err());
        let twice = json!({"url": "x/<UID#1>-f.", "name": "<UID#1>-f."});
        assert_eq!(with_right(&twice, &json!({"url": "x/AB-f.", "name": "AB-f."})), Ok(()));
        assert!(with_right(&twice, &json!({"url": "x/AB-f.", "name": "AC-f."})).is_err());
    }

    #[test]
    fn wording_is_free_only_where_it_is_informative() {
        let error = |text: &str| json!({"result": {"_error": text}});
        let same = |a: &str, b: &str| with_right(&error(a), &error(b)).is_ok();
        assert!(same("Schema Validation error: x on component a:b", "Schema Validation error: y"));
        assert!(same("Invalid Number value", "Invalid Number value: input `n`"));
        assert!(!same("Invalid Number value", "Invalid Integer value"));
        assert!(!same("Request failed with status code 404", "Request failed with status code 500"));
    }

    #[test]
    fn more_or_fewer_members_differ() {
        assert!(with_right(&json!({"a": 1}), &json!({"a": 1, "b": 2})).is_err());
        assert!(with_right(&json!({"a": 1, "b": 2}), &json!({"a": 1})).is_err());
        assert!(with_right(&json!([1]), &json!([1, 2])).is_err());
        assert!(with_right(&json!(null), &json!({})).is_err());
    }
}
