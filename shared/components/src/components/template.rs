//! Template: a text, or JSON, with values put in their place.

use futures::future::{BoxFuture, FutureExt as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::template::{self, Data as _, Part, Secrets};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component};
use crate::outcome::{one, or_error};
use crate::settings;

/// The longest template, in characters, and the longest text that comes of it, in bytes.
const MAX_TEMPLATE: usize = 1_000_000;
const MAX_OUTPUT_BYTES: usize = 8 << 20;
/// What stands as it is in a part of an address.
const IN_AN_ADDRESS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

static SPEC: ComponentSpec = ComponentSpec::new("Template", "Puts values into a text; each is written for its place")
    .effect(Effect::Pure)
    .settings(&[
        SettingSpec::text_or_empty("template", "Template", MAX_TEMPLATE)
            .required()
            .template()
            .describe("the text; `{{input}}` and `{{input.member[0]}}` stand for values"),
        SettingSpec::one_of("format", "Format", &["text", "json", "html", "xml", "url", ""]).default("text").describe(
            "how values are written: `text` as they are; `json` as strings where they stand in quotes, as values \
             elsewhere, and the whole is read as JSON; `html` and `xml` without markup of their own; `url` encoded",
        ),
        SettingSpec::one_of("missing", "Missing", &["keep", "empty", "error", ""])
            .default("keep")
            .describe("what becomes of a placeholder that stands for nothing; in JSON it is always empty or null"),
    ])
    .inputs(&[PortSpec::new("Input", "Any", "a value for the template; add more by name").optional()])
    .outputs(&[PortSpec::new("Output", "Any", "the text, or the value where the format is JSON")]);

/// The type.
pub struct Template;

impl Component for Template {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(fill(call).await) }.boxed()
    }
}

async fn fill(call: Call<'_>) -> Result<Outcome, String> {
    let template = call.node.text_setting("template").unwrap_or_default();
    let secrets = settings::secrets(call, template).await.map_err(|error| error.message)?;
    let (format, missing) = (settings::text(call, "format"), settings::text(call, "missing"));
    if missing == "error" {
        all_there(template, call.input)?;
    }
    if format == "json" {
        let text = bounded(settings::render_json(template, call.input, &secrets))?;
        let strict = serde_json::from_str::<serde_json::Value>(&text).ok().map(Value::from);
        let value = strict.or_else(|| permissive_json::parse(&text));
        return value
            .map(|value| one("Output", value))
            .ok_or_else(|| "what the template comes to is no JSON".to_owned());
    }
    let escape = match format.as_str() {
        "html" | "xml" => push_markup,
        "url" => push_address,
        _ => push_plain,
    };
    let text = rendered(template, call.input, &secrets, escape, missing == "empty");
    Ok(one("Output", bounded(text)?))
}

/// # Errors
/// Names the first placeholder that stands for nothing.
fn all_there(template: &str, data: &Map) -> Result<(), String> {
    match template::tokens(template).find(|token| data.lookup(token).is_none()) {
        Some(token) => Err(format!("nothing stands for {{{{{token}}}}}: give it a value")),
        None => Ok(()),
    }
}

fn rendered(
    template: &str,
    data: &Map,
    secrets: &Secrets,
    escape: fn(&str, &mut String),
    drop_missing: bool,
) -> String {
    let mut out = String::with_capacity(template.len());
    for part in template::parts(template) {
        if out.len() > MAX_OUTPUT_BYTES {
            return out;
        }
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Token(token) => match data.lookup(token) {
                Some(value) => escape(&value.to_text(), &mut out),
                None if drop_missing => {}
                None => {
                    out.push_str("{{");
                    out.push_str(token);
                    out.push_str("}}");
                }
            },
            // What the template names was resolved before.
            Part::Key(name) => secrets.get(name).into_iter().for_each(|secret| escape(secret, &mut out)),
        }
    }
    out
}

fn bounded(text: String) -> Result<String, String> {
    if text.len() > MAX_OUTPUT_BYTES {
        return Err(format!("the text would have more than {MAX_OUTPUT_BYTES} bytes: put in less"));
    }
    Ok(text)
}

fn push_plain(value: &str, out: &mut String) {
    out.push_str(value);
}

fn push_address(value: &str, out: &mut String) {
    out.extend(utf8_percent_encode(value, IN_AN_ADDRESS));
}

/// For text and quoted attributes of HTML and XML.
fn push_markup(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(template: &str, escape: fn(&str, &mut String), drop_missing: bool) -> String {
        let data: Map =
            [("x".into(), Value::from("<a href='{{y}}'>&\"")), ("n".into(), Value::from(5))].into();
        rendered(template, &data, &Secrets::new(), escape, drop_missing)
    }

    #[test]
    fn values_are_written_for_their_place() {
        assert_eq!(of("{{x}} {{n}}", push_plain, false), "<a href='{{y}}'>&\" 5");
        assert_eq!(
            of("<b>{{x}}</b>", push_markup, false),
            "<b>&lt;a href=&#39;{{y}}&#39;&gt;&amp;&quot;</b>"
        );
        assert_eq!(of("/q?x={{x}}", push_address, false), "/q?x=%3Ca%20href%3D%27%7B%7By%7D%7D%27%3E%26%22");
        assert_eq!(of("{{no}}|{{n}}", push_plain, false), "{{no}}|5");
        assert_eq!(of("{{no}}|{{n}}", push_plain, true), "|5");
    }

    #[test]
    fn what_is_missing_is_named_and_output_ends() {
        let data: Map = [("n".into(), Value::from("y".repeat(100_000)))].into();
        assert!(all_there("{{n}} {{n.length}}", &data).is_ok());
        assert_eq!(
            all_there("{{n}} {{other}}", &data).unwrap_err(),
            "nothing stands for {{other}}: give it a value"
        );
        let text = rendered(&"{{n}}".repeat(10_000), &data, &Secrets::new(), push_plain, false);
        assert!(text.len() < MAX_OUTPUT_BYTES + 200_000);
        assert!(bounded(text).unwrap_err().contains("more than"));
    }
}
