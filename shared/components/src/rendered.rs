//! Settings that become values: a text that is one placeholder and nothing else is what it stands for, with its
//! type; any other text is rendered as prose. Lists and objects are followed.

use sre_engine::template::{self, Escape, Part, WithSecrets};
use sre_engine::value::{Map, Value};

use crate::context::{Call, ContextError, Failure};

/// How deep a setting is followed.
const MAX_DEPTH: usize = 64;

/// A setting's value with its placeholders replaced.
///
/// # Errors
/// If a vault key cannot be had, or the setting is nested too deep.
pub(crate) async fn value(call: Call<'_>, setting: &Value) -> Result<Value, ContextError> {
    let mut names: Vec<String> = Vec::new();
    template::keys_of_value(setting, &mut |name| names.push(name.to_owned()));
    let mut secrets = template::Secrets::new();
    for name in names {
        if secrets.get(&name).is_none() {
            let secret = call.context.secret(&name).await?;
            secrets.insert(name, secret.expose());
        }
    }
    replaced(setting, &WithSecrets { data: call.input, secrets: &secrets }, 0)
}

/// [`value`], but nothing for a lone placeholder that stands for nothing.
///
/// # Errors
/// Like [`value`].
pub(crate) async fn optional(call: Call<'_>, setting: &Value) -> Result<Option<Value>, ContextError> {
    match setting.as_str().and_then(sole) {
        Some(token) => Ok(stands_for(token, call.input)),
        None => value(call, setting).await.map(Some),
    }
}

fn replaced(setting: &Value, data: &WithSecrets<'_>, depth: usize) -> Result<Value, ContextError> {
    if depth > MAX_DEPTH {
        let message = format!("a setting may be nested {MAX_DEPTH} deep at most");
        return Err(ContextError::new(Failure::Invalid, message));
    }
    Ok(match setting {
        Value::String(text) => return of_text(text, data),
        Value::Array(items) => {
            let items: Result<Vec<Value>, _> =
                items.iter().map(|item| replaced(item, data, depth + 1)).collect();
            Value::array(items?)
        }
        Value::Object(map) => {
            let members: Result<Map, ContextError> = map
                .iter()
                .map(|(name, member)| Ok((name.clone(), replaced(member, data, depth + 1)?)))
                .collect();
            Value::object(members?)
        }
        other => other.clone(),
    })
}

/// What a text comes to.
///
/// # Errors
/// If it names a vault key that is not among the secrets.
fn of_text(text: &str, data: &WithSecrets<'_>) -> Result<Value, ContextError> {
    if let Some(value) = sole(text).and_then(|token| stands_for(token, data.data)) {
        return Ok(value);
    }
    let rendered = template::render(text, data, Escape::Prose);
    rendered.map(Value::from).map_err(|missing| ContextError::new(Failure::NotFound, missing.to_string()))
}

/// The token of a text that is one placeholder and nothing else.
pub(crate) fn sole(text: &str) -> Option<&str> {
    let mut parts = template::parts(text.trim());
    match (parts.next(), parts.next()) {
        (Some(Part::Token(token)), None) => Some(token),
        _ => None,
    }
}

/// What a token stands for; `null` is a value here.
pub(crate) fn stands_for(token: &str, data: &Map) -> Option<Value> {
    data.get(token).cloned().or_else(|| sre_engine::value::path_in_map(data, token))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(setting: serde_json::Value) -> serde_json::Value {
        let data: Map = [
            ("n".into(), Value::from(5)),
            ("o".into(), Value::from(json!({"k": [1, "x"]}))),
            ("nothing".into(), Value::Null),
        ]
        .into();
        let secrets = template::Secrets::new();
        let setting = Value::from(setting);
        json!(replaced(&setting, &WithSecrets { data: &data, secrets: &secrets }, 0).unwrap())
    }

    #[test]
    fn a_lone_placeholder_keeps_its_type() {
        assert_eq!(of(json!("{{n}}")), json!(5));
        assert_eq!(of(json!(" {{o}} ")), json!({"k": [1, "x"]}));
        assert_eq!(of(json!("{{o.k[1]}}")), json!("x"));
        assert_eq!(of(json!("{{nothing}}")), json!(null));
        assert_eq!(of(json!("n={{n}}")), json!("n=5"));
        assert_eq!(of(json!("{{absent}}")), json!("{{absent}}"));
        assert_eq!(
            of(json!({"a": ["{{n}}", true], "b": {"c": "{{o}}!"}})),
            json!({"a": [5, true], "b": {"c": "{\"k\":[1,\"x\"]}!"}})
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = (0..70).fold(Value::from("x"), |inner, _| Value::array(vec![inner]));
        let (data, secrets) = (Map::new(), template::Secrets::new());
        let error = replaced(&deep, &WithSecrets { data: &data, secrets: &secrets }, 0).unwrap_err();
        assert!(error.message.contains("64 deep"), "{error}");
    }
}
