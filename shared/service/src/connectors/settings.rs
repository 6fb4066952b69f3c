//! Typed settings of backends, and what is wrong with them, without showing a value.

use anyhow::{anyhow, bail};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::keys::{self, Node};

/// Texts shorter than this are no secrets, and hiding them would garble messages.
const SECRET_CHARS: usize = 4;

pub(super) fn read<T: DeserializeOwned + JsonSchema>(settings: &Map<String, Value>) -> anyhow::Result<T> {
    let schema = keys::schema_of::<T>();
    let settings = spelled(settings, Node::root(&schema))?;
    // TOML has no null; what cannot be shown as TOML is left to typing.
    if let Ok(toml::Value::Table(table)) = toml::Value::try_from(&settings)
        && let Some((key, nearest)) = keys::first_unknown(&table, &schema)
    {
        match nearest {
            Some(nearest) => bail!("unknown setting `{key}`, did you mean `{nearest}`?"),
            None => bail!("unknown setting `{key}`: this connector has none of that name"),
        }
    }
    let texts = texts(&settings);
    serde_json::from_value(Value::Object(settings))
        .map_err(|error| anyhow!(hidden(error.to_string(), &texts)))
}

/// The settings under the names that the type knows: `access_key_id` is `accessKeyId`.
fn spelled(settings: &Map<String, Value>, node: Node<'_>) -> anyhow::Result<Map<String, Value>> {
    let known = node.names();
    let mut spelled = Map::new();
    for (name, value) in settings {
        let meant = match known.iter().find(|known| squashed(known) == squashed(name)) {
            Some(found) if !known.contains(&name.as_str()) => (*found).to_owned(),
            _ => name.clone(),
        };
        if spelled.insert(meant.clone(), value.clone()).is_some() {
            bail!("setting `{meant}` is given twice, once as `{name}`: keep one");
        }
    }
    Ok(spelled)
}

fn squashed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Every text and number among the values.
fn texts(settings: &Map<String, Value>) -> Vec<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(text.clone()),
            Value::Number(number) => into.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            Value::Object(fields) => fields.values().for_each(|item| collect(item, into)),
            Value::Null | Value::Bool(_) => {}
        }
    }
    let mut found = Vec::new();
    settings.values().for_each(|value| collect(value, &mut found));
    // Longer ones first: one may be a part of another.
    found.retain(|text| text.len() >= SECRET_CHARS);
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found
}

/// What serde says repeats values that it cannot take, and any of them may be a secret.
fn hidden(message: String, texts: &[String]) -> String {
    texts.iter().fold(message, |message, text| {
        // As serde shows texts: with quotes and escapes.
        let escaped = format!("{text:?}");
        message.replace(&escaped, "<redacted>").replace(text.as_str(), "<redacted>")
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "camelCase", default)]
    struct Bucket {
        bucket: String,
        access_key_id: String,
        timeout_ms: u64,
        tls: Tls,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(default)]
    struct Tls {
        ca: Option<String>,
    }

    fn of(settings: Value) -> anyhow::Result<Bucket> {
        let Value::Object(settings) = settings else { panic!("no object") };
        read(&settings)
    }

    fn message(settings: Value) -> String {
        format!("{:#}", of(settings).unwrap_err())
    }

    #[test]
    fn an_unknown_setting_names_the_nearest() {
        assert!(message(json!({"buckt": "x"})).contains("did you mean `bucket`?"));
        assert!(message(json!({"tls": {"cla": "x"}})).contains("`tls.cla`"));
        #[derive(Debug, Deserialize, JsonSchema)]
        struct Nothing {}
        let given = json!({"folder": "x"}).as_object().unwrap().clone();
        assert!(format!("{:#}", read::<Nothing>(&given).unwrap_err()).contains("unknown setting `folder`"));
        read::<Nothing>(&Map::new()).unwrap();
    }

    #[test]
    fn a_setting_may_be_spelled_either_way_but_not_both() {
        let wanted = Bucket { access_key_id: "AK".into(), ..Bucket::default() };
        for name in ["accessKeyId", "access_key_id", "AccessKeyID", "access-key-id"] {
            assert_eq!(of(json!({name: "AK"})).unwrap(), wanted, "{name}");
        }
        assert!(message(json!({"accessKeyId": "a", "access_key_id": "b"})).contains("given twice"));
    }

    #[test]
    fn no_message_shows_a_value() {
        for wrong in [
            json!({"timeoutMs": "s3cr\"et-canary"}),
            json!({"accessKeyId": 4242_4242}),
            json!({"tls": "s3cr\"et-canary"}),
        ] {
            let message = message(wrong);
            assert!(!message.contains("canary") && !message.contains("4242"), "{message}");
        }
    }
}
