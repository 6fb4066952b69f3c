//! Whether a condition holds. Values are compared with their types: `5` and `"5"` are one number, `"5"` and `"5.0"`
//! are where the condition says `number`. What is absent or `null` is neither greater nor less than anything.

use std::cmp::Ordering;

use regex::RegexBuilder;
use sre_engine::data::dates;
use sre_engine::value::Value;

use super::branch::{Kind, Operator, Test};

/// The largest compiled expression.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Whether a condition holds of a value.
///
/// # Errors
/// If the values cannot be compared so.
pub(super) fn holds(test: &Test, value: Option<&Value>, with: Option<&Value>) -> Result<bool, String> {
    use Operator::*;
    let value = value.unwrap_or(&Value::Null);
    let with = with.unwrap_or(&Value::Null);
    Ok(match test.operator {
        Equals => equal(test, value, with)?,
        NotEquals => !equal(test, value, with)?,
        Greater => order(test, value, with)?.is_some_and(Ordering::is_gt),
        GreaterOrEqual => order(test, value, with)?.is_some_and(Ordering::is_ge),
        Less => order(test, value, with)?.is_some_and(Ordering::is_lt),
        LessOrEqual => order(test, value, with)?.is_some_and(Ordering::is_le),
        Contains => contains(test, value, with)?,
        NotContains => !contains(test, value, with)?,
        StartsWith => !value.is_null() && text(test, value).starts_with(&text(test, with)),
        EndsWith => !value.is_null() && text(test, value).ends_with(&text(test, with)),
        Matches => matches(test, value, with)?,
        In => among(test, value, with)?,
        NotIn => !among(test, value, with)?,
        IsEmpty => is_empty(value),
        IsNotEmpty => !is_empty(value),
        Exists => !value.is_null(),
        NotExists => value.is_null(),
        IsTrue => flag(value) == Some(true),
        IsFalse => flag(value) == Some(false),
        HasType => {
            let wanted =
                with.as_str().ok_or("`compare` must name a type: text, number, boolean, array, object")?;
            let kind = if value.kind() == "string" { "text" } else { value.kind() };
            kind == wanted || value.kind() == wanted
        }
    })
}

/// The text of a value, in lower case where case is ignored.
fn text(test: &Test, value: &Value) -> String {
    let text = if value.is_null() { String::new() } else { value.to_text() };
    if test.ignore_case { text.to_lowercase() } else { text }
}

fn number(value: &Value) -> Result<f64, String> {
    value.to_f64_lenient().ok_or_else(|| format!("{} is no number", shown(value)))
}

fn date(value: &Value) -> Result<String, String> {
    let parsed = match value {
        Value::String(text) => dates::parse(text),
        Value::Number(_) => value.as_f64().and_then(dates::from_millis),
        _ => None,
    };
    parsed.ok_or_else(|| format!("{} is no date", shown(value)))
}

fn flag(value: &Value) -> Option<bool> {
    value.to_bool_lenient().or_else(|| match value.to_text().as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    })
}

/// A value for messages: not its content, which may be anything.
fn shown(value: &Value) -> String {
    format!("a value of type {}", value.kind())
}

fn equal(test: &Test, value: &Value, with: &Value) -> Result<bool, String> {
    if value.is_null() || with.is_null() {
        return Ok(value.is_null() == with.is_null());
    }
    Ok(match test.kind {
        Kind::Text => text(test, value) == text(test, with),
        #[expect(clippy::float_cmp, reason = "authors ask for equality")]
        Kind::Number => number(value)? == number(with)?,
        Kind::Boolean => {
            flag(value).ok_or_else(|| format!("{} is no boolean", shown(value)))?
                == flag(with).ok_or_else(|| format!("{} is no boolean", shown(with)))?
        }
        Kind::Date => date(value)? == date(with)?,
        Kind::Auto => alike(test, value, with),
    })
}

/// Equality where the condition names no type.
fn alike(test: &Test, value: &Value, with: &Value) -> bool {
    match (value, with) {
        (Value::String(_), Value::String(_)) => text(test, value) == text(test, with),
        (Value::Number(_), Value::String(_)) | (Value::String(_), Value::Number(_)) => {
            value.to_f64_lenient().is_some_and(|number| Some(number) == with.to_f64_lenient())
        }
        (Value::Bool(_), Value::String(_)) | (Value::String(_), Value::Bool(_)) => {
            value.to_bool_lenient().is_some_and(|flag| Some(flag) == with.to_bool_lenient())
        }
        _ => value == with,
    }
}

fn order(test: &Test, value: &Value, with: &Value) -> Result<Option<Ordering>, String> {
    if value.is_null() || with.is_null() {
        return Ok(None);
    }
    Ok(match test.kind {
        Kind::Number => number(value)?.partial_cmp(&number(with)?),
        Kind::Date => Some(date(value)?.cmp(&date(with)?)),
        Kind::Text => Some(text(test, value).cmp(&text(test, with))),
        Kind::Boolean => return Err("booleans have no order: use equals, is_true or is_false".to_owned()),
        Kind::Auto => match (value.to_f64_lenient(), with.to_f64_lenient()) {
            (Some(value), Some(with)) => value.partial_cmp(&with),
            _ if value.as_str().is_some() && with.as_str().is_some() => {
                Some(text(test, value).cmp(&text(test, with)))
            }
            _ => {
                let (value, with) = (shown(value), shown(with));
                return Err(format!("{value} and {with} have no order: set the condition's `type`"));
            }
        },
    })
}

fn contains(test: &Test, value: &Value, with: &Value) -> Result<bool, String> {
    Ok(match value {
        Value::Null => false,
        Value::Array(items) => {
            for item in items.iter() {
                if equal(test, item, with)? {
                    return Ok(true);
                }
            }
            false
        }
        Value::Object(map) => with.as_str().is_some_and(|key| map.contains_key(key)),
        other => text(test, other).contains(&text(test, with)),
    })
}

/// Whether a value is in a list, or between the commas of a text.
fn among(test: &Test, value: &Value, with: &Value) -> Result<bool, String> {
    let parts: Vec<Value> = match with {
        Value::Array(items) => items.to_vec(),
        Value::String(text) => text.split(',').map(|part| Value::from(part.trim())).collect(),
        _ => return Err("`compare` must be a list, or a text with commas".to_owned()),
    };
    for part in &parts {
        if equal(test, value, part)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Expressions take time in proportion to the text, whatever they are.
fn matches(test: &Test, value: &Value, with: &Value) -> Result<bool, String> {
    let pattern = with.as_str().ok_or("`compare` must be a regular expression")?;
    let expression = RegexBuilder::new(pattern)
        .case_insensitive(test.ignore_case)
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| format!("`compare` is no regular expression: {error}"))?;
    Ok(!value.is_null() && expression.is_match(&value.to_text()))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Binary(binary) => binary.data.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::branch;
    use super::*;

    fn test(operator: &str, more: &Json) -> Test {
        let mut record = json!({"output": "A", "operator": operator});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        branch::read(&Value::from(json!([record]))).unwrap().remove(0).tests.remove(0)
    }

    fn ask(operator: &str, more: Json, value: Json, with: Json) -> Result<bool, String> {
        holds(&test(operator, &more), Some(&Value::from(value)), Some(&Value::from(with)))
    }

    #[test]
    fn values_are_compared_with_their_types() {
        let plain = json!({});
        for (operator, more, value, with, expected) in [
            ("equals", &plain, json!(5), json!("5"), true),
            ("equals", &plain, json!("5"), json!("5.0"), false),
            ("equals", &json!({"type": "number"}), json!("5"), json!("5.0"), true),
            ("equals", &plain, json!(true), json!("TRUE"), true),
            ("equals", &plain, json!({"a": 1}), json!({"a": 1}), true),
            ("equals", &plain, json!(null), json!(null), true),
            ("equals", &plain, json!(0), json!(null), false),
            ("equals", &json!({"ignoreCase": true}), json!("Yes"), json!("yes"), true),
            ("not_equals", &plain, json!("a"), json!("b"), true),
            ("greater", &plain, json!("10"), json!(9), true),
            ("greater", &json!({"type": "text"}), json!("10"), json!("9"), false),
            ("less", &plain, json!("a"), json!("b"), true),
            ("less", &plain, json!(null), json!(1), false),
            ("greater_or_equal", &plain, json!(2), json!(2), true),
            (
                "less_or_equal",
                &json!({"type": "date"}),
                json!("2024-01-01"),
                json!("2024-01-01T00:00:01Z"),
                true,
            ),
            ("contains", &plain, json!("hello"), json!("ell"), true),
            ("contains", &plain, json!([1, "2"]), json!(2), true),
            ("contains", &plain, json!({"k": 1}), json!("k"), true),
            ("not_contains", &plain, json!(null), json!("x"), true),
            ("starts_with", &plain, json!("hello"), json!("he"), true),
            ("ends_with", &json!({"ignoreCase": true}), json!("FILE.PDF"), json!(".pdf"), true),
            ("matches", &plain, json!("a-12"), json!("^[a-z]-\\d+$"), true),
            ("in", &plain, json!("b"), json!("a, b"), true),
            ("not_in", &plain, json!(3), json!([1, 2]), true),
            ("is_empty", &plain, json!([]), json!(null), true),
            ("is_not_empty", &plain, json!(0), json!(null), true),
            ("exists", &plain, json!(""), json!(null), true),
            ("not_exists", &plain, json!(null), json!(null), true),
            ("is_true", &plain, json!("1"), json!(null), true),
            ("is_false", &plain, json!("false"), json!(null), true),
            ("has_type", &plain, json!("x"), json!("text"), true),
            ("has_type", &plain, json!([]), json!("object"), false),
        ] {
            assert_eq!(
                ask(operator, more.clone(), value.clone(), with.clone()),
                Ok(expected),
                "{value} {operator} {with} {more}"
            );
        }
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert!(
            ask("greater", json!({"type": "number"}), json!("x"), json!(1))
                .unwrap_err()
                .contains("no number")
        );
        assert!(
            ask("less", json!({"type": "date"}), json!("soon"), json!("2024-01-01"))
                .unwrap_err()
                .contains("no date")
        );
        assert!(ask("greater", json!({}), json!({}), json!(1)).unwrap_err().contains("no order"));
        assert!(
            ask("greater", json!({"type": "boolean"}), json!(true), json!(false))
                .unwrap_err()
                .contains("no order")
        );
        assert!(
            ask("matches", json!({}), json!("x"), json!("(")).unwrap_err().contains("no regular expression")
        );
        assert!(
            ask("matches", json!({}), json!("x"), json!("(a{1000}){1000}"))
                .unwrap_err()
                .contains("expression")
        );
        assert!(ask("in", json!({}), json!("x"), json!(5)).unwrap_err().contains("must be a list"));
    }
}
