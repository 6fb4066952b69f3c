//! Rendering of settings: templates an author wrote, over inputs and variables as data, with vault keys.

use sre_engine::template::{self, Data, Escape, Part, Secrets, WithSecrets};
use sre_engine::value::{Map, Value, escape_json};

use crate::context::{Call, ContextError, Failure};

/// A text setting rendered as prose; placeholders that stand for nothing stay.
///
/// # Errors
/// If a vault key cannot be had: the message names it.
pub(crate) async fn render(call: Call<'_>, text: &str) -> Result<String, ContextError> {
    if !template::is_template(text) {
        return Ok(text.to_owned());
    }
    let secrets = secrets(call, text).await?;
    let data = WithSecrets { data: call.input, secrets: &secrets };
    template::render(text, &data, Escape::Prose)
        .map_err(|missing| ContextError::new(Failure::NotFound, missing.to_string()))
}

/// The vault keys a text names.
///
/// # Errors
/// If one cannot be had.
pub(crate) async fn secrets(call: Call<'_>, text: &str) -> Result<Secrets, ContextError> {
    let mut secrets = Secrets::new();
    for key in template::keys(text) {
        if secrets.get(key).is_none() {
            let secret = call.context.secret(key).await?;
            secrets.insert(key, secret.expose());
        }
    }
    Ok(secrets)
}

/// A setting as text; arrays and objects as JSON, absent as empty.
pub(crate) fn text(call: Call<'_>, name: &str) -> String {
    match call.node.setting(name) {
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_text(),
    }
}

/// A numeric setting, written as a number or as text.
pub(crate) fn number(call: Call<'_>, name: &str) -> Option<f64> {
    call.node.setting(name).and_then(Value::to_f64_lenient)
}

/// A flag, off unless set.
pub(crate) fn flag(call: Call<'_>, name: &str) -> bool {
    call.node.setting(name).and_then(Value::to_bool_lenient).unwrap_or(false)
}

/// The text of a setting with the component's template variables put in. What they stand for was written
/// by the author too, so it is a template like the rest.
pub(crate) fn with_template_variables(call: Call<'_>, text: &str) -> String {
    let Some(values) = template::template_values(call.node) else { return text.to_owned() };
    let labelled = template::component_variables(text, call.node);
    // Tokens that are no template variables stay for the rendering that follows.
    template::parse(&labelled, values)
}

/// Renders a text that is JSON, or becomes JSON: a value inside quotes is escaped, one outside becomes a
/// JSON value, and a placeholder that stands for nothing becomes nothing or `null`.
pub(crate) fn render_json(text: &str, data: &Map, secrets: &Secrets) -> String {
    let mut out = String::with_capacity(text.len());
    let mut place = Place::Outside;
    for part in template::parts(text) {
        let value = match part {
            Part::Text(plain) => {
                place = place.after(plain);
                out.push_str(plain);
                continue;
            }
            Part::Token(token) => data.lookup(token),
            Part::Key(name) => secrets.get(name).map(|secret| Value::from(secret.clone())),
        };
        match (place, value) {
            (Place::Inside(quote), value) => {
                let text = value.map_or_else(String::new, |value| value.to_text());
                push_quoted(&text, quote, &mut out);
            }
            (Place::Outside, None) => out.push_str("null"),
            (Place::Outside, Some(Value::String(text))) => push_bare(&text, &mut out),
            (Place::Outside, Some(value)) => out.push_str(&value.to_json_text()),
        }
    }
    out
}

fn push_quoted(text: &str, quote: char, out: &mut String) {
    let start = out.len();
    escape_json(text, out);
    if quote == '\'' && out[start..].contains(quote) {
        let escaped = out.split_off(start).replace(quote, "\\'");
        out.push_str(&escaped);
    }
}

/// Text outside quotes: a number, a flag or a whole JSON document as it is, anything else as a string, so
/// that it cannot add members to the document around it.
fn push_bare(text: &str, out: &mut String) {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => out.push_str(text),
        Err(_) => out.push_str(&Value::from(text).to_json_text()),
    }
}

/// Where in a JSON text we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// Inside a string with this quote.
    Inside(char),
}

impl Place {
    fn after(self, text: &str) -> Self {
        let mut place = self;
        let mut escaped = false;
        for c in text.chars() {
            match place {
                Self::Inside(_) if escaped => escaped = false,
                Self::Inside(_) if c == '\\' => escaped = true,
                Self::Inside(quote) if c == quote => place = Self::Outside,
                Self::Outside if c == '"' || c == '\'' => place = Self::Inside(c),
                _ => {}
            }
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sre_engine::value::map_from_json;

    use super::*;

    fn json_text(template: &str) -> String {
        let serde_json::Value::Object(data) = json!({"s": "q\"u\\o\n", "n": 5, "o": {"k": 1}, "five": "5", "word": "v1", "quoted": "it's", "bad": "1, \"admin\": true"})
        else {
            panic!("an object")
        };
        let mut secrets = Secrets::new();
        secrets.insert("k", "se\"cret");
        render_json(template, &map_from_json(data), &secrets)
    }

    #[test]
    fn values_fit_the_place_they_are_put_in() {
        for (template, rendered) in [
            (r#"{"v":"{{s}}"}"#, r#"{"v":"q\"u\\o\n"}"#),
            (r#"{"v":"a {{o}} {{n}}"}"#, r#"{"v":"a {\"k\":1} 5"}"#),
            (r#"{"v":{{o}},"n":{{n}},"f":{{five}}}"#, r#"{"v":{"k":1},"n":5,"f":5}"#),
            (r#"{"v":{{word}}}"#, r#"{"v":"v1"}"#),
            (r#"{"v":{{bad}}}"#, r#"{"v":"1, \"admin\": true"}"#),
            (r#"{"v":"{{nope}}","w":{{nope}}}"#, r#"{"v":"","w":null}"#),
            (r#"{"v":"\"{{n}}","{{word}}":1}"#, r#"{"v":"\"5","v1":1}"#),
            (r#"{"v":"{{KEY(k)}}"}"#, r#"{"v":"se\"cret"}"#),
            (r#"{'v':'{{word}}'}"#, r#"{'v':'v1'}"#),
            (r#"{'v':'{{quoted}}'}"#, r#"{'v':'it\'s'}"#),
        ] {
            assert_eq!(json_text(template), rendered, "{template}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_value_never_leaves_its_string(value in ".*", quote in proptest::sample::select(vec!['"', '\''])) {
            let data: Map = [("x".into(), Value::from(value.as_str()))].into();
            let template = format!("{{{quote}v{quote}:{quote}<{{{{x}}}}>{quote},{quote}w{quote}:1}}");
            let rendered = render_json(&template, &data, &Secrets::new());
            let parsed = sre_engine::data::permissive_json::parse(&rendered);
            let expected = json!({"v": format!("<{value}>"), "w": 1});
            proptest::prop_assert_eq!(parsed, Some(Value::from(expected)));
        }

        #[test]
        fn a_value_outside_quotes_is_one_value(value in ".*") {
            let data: Map = [("x".into(), Value::from(value.as_str()))].into();
            let rendered = render_json("[{{x}}]", &data, &Secrets::new());
            let parsed: serde_json::Value = serde_json::from_str(&rendered).unwrap();
            proptest::prop_assert_eq!(parsed.as_array().map(Vec::len), Some(1));
        }
    }
}
