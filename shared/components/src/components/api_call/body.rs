//! The body of a request, by content type.

use bytes::Bytes;
use sre_engine::data::permissive_json;
use sre_engine::template::{self, Escape, WithSecrets};
use sre_engine::value::{Binary, Value};

use super::{Values, multipart};
use crate::context::Call;
use crate::files;
use crate::settings;

/// A body and, where the encoding decides it, its content type.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub bytes: Option<Bytes>,
    pub content_type: Option<String>,
}

impl Body {
    fn text(text: String) -> Self {
        Self { bytes: Some(text.into()), content_type: None }
    }
}

pub(super) async fn build(call: Call<'_>, text: &str, values: Values<'_>) -> Result<Body, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Body::default());
    }
    match settings::text(call, "contentType").as_str() {
        "application/json" => Ok(Body::text(json(text, values))),
        "application/x-www-form-urlencoded" => Ok(Body::text(form(text, values))),
        "multipart/form-data" => multipart::build(call, text, values).await,
        "binary" => binary(call, text).await,
        _ if is_json_object(call) => Ok(Body::text(json(text, values))),
        _ => Ok(Body::text(prose(text, values))),
    }
}

/// An object in place of text is JSON whatever the content type.
fn is_json_object(call: Call<'_>) -> bool {
    call.node.setting("body").is_some_and(|body| body.as_object().is_some() || body.as_array().is_some())
}

/// The text with its placeholders filled, those that stand for nothing removed.
pub(super) fn prose(text: &str, values: Values<'_>) -> String {
    let data = WithSecrets { data: values.inputs, secrets: values.secrets };
    // Unknown placeholders go first, so that what looks like one in a value stays.
    let known = without_unknown(text, values);
    template::render(&known, &data, Escape::Prose).unwrap_or(known)
}

fn without_unknown(text: &str, values: Values<'_>) -> String {
    use sre_engine::template::{Data as _, Part};
    let mut out = String::with_capacity(text.len());
    for part in template::parts(text) {
        match part {
            Part::Text(plain) => out.push_str(plain),
            Part::Token(token) if values.inputs.lookup(token).is_some() => {
                out.push_str(&format!("{{{{{token}}}}}"))
            }
            Part::Key(name) => out.push_str(&format!("{{{{KEY({name})}}}}")),
            Part::Token(_) => {}
        }
    }
    out
}

/// JSON, or the text as a JSON string where it is none.
fn json(text: &str, values: Values<'_>) -> String {
    let rendered = settings::render_json(text, values.inputs, values.secrets);
    if serde_json::from_str::<serde::de::IgnoredAny>(&rendered).is_ok() {
        return compact(&rendered);
    }
    permissive_json::parse(&rendered).unwrap_or_else(|| Value::from(rendered)).to_json_text()
}

fn compact(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_json_text())
}

/// Pairs from a JSON object; other text as it is, with values encoded.
fn form(text: &str, values: Values<'_>) -> String {
    let rendered = settings::render_json(text, values.inputs, values.secrets);
    match permissive_json::parse(&rendered) {
        Some(Value::Object(members)) => {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                pairs.append_pair(name, &value.to_text());
            }
            pairs.finish()
        }
        _ => encoded_values(text, values),
    }
}

fn encoded_values(text: &str, values: Values<'_>) -> String {
    use sre_engine::template::{Data as _, Part};
    let encode = |value: String| url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
    let mut out = String::new();
    for part in template::parts(text) {
        match part {
            Part::Text(plain) => out.push_str(plain),
            Part::Token(token) => {
                out.push_str(
                    &values.inputs.lookup(token).map_or_else(String::new, |value| encode(value.to_text())),
                );
            }
            Part::Key(name) => {
                out.push_str(
                    &values.secrets.get(name).map_or_else(String::new, |secret| encode(secret.to_string())),
                );
            }
        }
    }
    out
}

async fn binary(call: Call<'_>, text: &str) -> Result<Body, String> {
    let value = template::parse_raw(text, call.input);
    let Some(binary) = file(call, value.as_ref()).await? else {
        return Ok(Body { bytes: Some(Bytes::new()), content_type: None });
    };
    Ok(Body { bytes: Some(binary.data.clone()), content_type: Some(binary.mimetype.to_string()) })
}

/// The file a value is.
pub(super) async fn file(call: Call<'_>, value: Option<&Value>) -> Result<Option<Binary>, String> {
    files::read(call, value).await.map_err(|error| error.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sre_engine::template::Secrets;
    use sre_engine::value::{Map, map_from_json};

    use super::*;

    fn with<R>(read: impl Fn(Values<'_>) -> R) -> R {
        let serde_json::Value::Object(inputs) =
            json!({"x": "q\"uote", "o": {"k": 1}, "l": [1, 2], "amp": "a&b=c", "tpl": "{{x}}"})
        else {
            panic!("an object")
        };
        let inputs: Map = map_from_json(inputs);
        read(Values { inputs: &inputs, secrets: &Secrets::new() })
    }

    #[test]
    fn json_stays_json_whatever_is_put_in() {
        for (text, sent) in [
            (r#"{"v":"{{x}}","lit":1}"#, r#"{"v":"q\"uote","lit":1}"#),
            (r#"{"v":"{{o}}"}"#, r#"{"v":"{\"k\":1}"}"#),
            (r#"{"v":{{o}}}"#, r#"{"v":{"k":1}}"#),
            (r#"{"v": "{{x}}", }"#, r#"{"v":"q\"uote"}"#),
            ("just {{x}}", r#""just \"q\\\"uote\"""#),
        ] {
            assert_eq!(with(|values| json(text, values)), sent, "{text}");
        }
    }

    #[test]
    fn forms_are_encoded() {
        for (text, sent) in [
            (r#"{"v":"{{amp}}","w":"a b"}"#, "v=a%26b%3Dc&w=a+b"),
            (r#"{"o":{{o}},"l":{{l}}}"#, "o=%7B%22k%22%3A1%7D&l=%5B1%2C2%5D"),
            ("a={{amp}}&b=1", "a=a%26b%3Dc&b=1"),
        ] {
            assert_eq!(with(|values| form(text, values)), sent, "{text}");
        }
    }

    #[test]
    fn other_text_is_rendered_and_cleaned() {
        assert_eq!(with(|values| prose("<a>{{x}}</a>{{nope}}", values)), "<a>q\"uote</a>");
        assert_eq!(with(|values| prose("{{tpl}}", values)), "{{x}}");
    }
}
