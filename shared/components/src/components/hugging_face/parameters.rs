//! The parameters of a task.

use sre_engine::data::permissive_json;
use sre_engine::template::{self, Escape, Secrets, WithSecrets};
use sre_engine::value::{Map, Value};

use crate::context::Call;
use crate::settings;

const WRONG: &str = "\"Parameters\" must be a JSON object, for example {\"top_k\": 3}";

/// Whether the setting is an object without empty keys.
pub(super) fn check(value: &Value) -> Result<(), String> {
    let members = match value {
        Value::Null => return Ok(()),
        Value::String(text) if text.trim().is_empty() => return Ok(()),
        Value::String(text) => permissive_json::parse(text).ok_or(WRONG)?,
        other => other.clone(),
    };
    match members.as_object() {
        None => Err(WRONG.to_owned()),
        Some(members) if members.keys().any(|key| key.trim().is_empty()) => {
            Err("\"Parameters\" has an empty key: name every parameter".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// The parameters: texts over the inputs, and what a text stands for.
pub(super) fn read(call: Call<'_>) -> Result<Map, String> {
    let text = settings::with_template_variables(call, &settings::text(call, "parameters"));
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let parsed = permissive_json::parse(&text).ok_or(WRONG)?;
    let members = parsed.as_object().ok_or(WRONG)?;
    let mut parameters = Map::with_capacity(members.len());
    for (name, value) in members {
        if let Some(value) = meant(value, call.input) {
            parameters.insert(name.clone(), value);
        }
    }
    Ok(parameters)
}

/// What a value stands for; none where it says that there is none.
fn meant(value: &Value, inputs: &Map) -> Option<Value> {
    let Value::String(text) = value else { return Some(value.clone()) };
    let data = WithSecrets { data: inputs, secrets: &Secrets::new() };
    let rendered = template::render(text, &data, Escape::Prose).unwrap_or_else(|_| text.to_string());
    match rendered.trim() {
        none if none.eq_ignore_ascii_case("none") => None,
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null),
        number => Some(match number.parse::<serde_json::Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::from(rendered),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d48_what_is_wrong_with_parameters_is_said() {
        for good in ["", "{}", "{\"a\":1}", "{a:1}"] {
            assert_eq!(check(&Value::from(good)), Ok(()), "{good}");
        }
        for bad in ["x", "[1]", "5"] {
            assert_eq!(check(&Value::from(bad)), Err(WRONG.to_owned()), "{bad}");
        }
        assert!(check(&Value::from("{\" \":1}")).unwrap_err().contains("empty key"));
    }

    #[test]
    fn texts_stand_for_values() {
        let inputs: Map = [("x".into(), Value::from("7")), ("t".into(), Value::from("{{x}}"))].into();
        let meant = |text: &str| meant(&Value::from(text), &inputs);
        assert_eq!(meant("None"), None);
        assert_eq!(meant("true"), Some(Value::Bool(true)));
        assert_eq!(meant("null"), Some(Value::Null));
        assert_eq!(meant("0.5").and_then(|value| value.as_f64()), Some(0.5));
        assert_eq!(meant("{{x}}").and_then(|value| value.as_f64()), Some(7.0));
        assert_eq!(meant("a {{x}}"), Some(Value::from("a 7")));
        // What looks like a template in request data is text.
        assert_eq!(meant("{{t}}"), Some(Value::from("{{x}}")));
    }
}
