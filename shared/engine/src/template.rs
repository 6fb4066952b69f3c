//! Template strings (`agent-execution.md` §2, rulings 13 and 27).
//!
//! Only text that an author wrote is a template: settings, defaults, agent variables. What is substituted
//! is data and is never looked at again, so a request cannot smuggle in a placeholder. Variables that
//! mention other variables are expanded before they become data ([`crate::variables`]).
//!
//! Quotes in substituted text stay as they are; the reference escapes them everywhere, which the spec
//! orders to keep for JSON only. [`Escape`] chooses.

use std::sync::{Arc, LazyLock};

use regex::Regex;

use crate::node::Node;
use crate::value::{Map, Value, escape_json, path_in_map};

/// How substituted text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Escape {
    /// As it is: prose, prompts, names.
    #[default]
    Prose,
    /// Escaped for the inside of a JSON string; objects and lists stay JSON.
    Json,
    /// Only quotes escaped, as the reference does: for agents tuned with it.
    LegacyQuotes,
}

/// Looks up what a token stands for.
pub trait Data {
    /// The value of a plain token, `None` if unknown.
    fn lookup(&self, token: &str) -> Option<Value>;

    /// The vault key `name`, `None` if it cannot be had. The default knows no keys.
    fn secret(&self, name: &str) -> Option<Arc<str>> {
        let _ = name;
        None
    }

    /// Leave `{{KEY(..)}}` as text, for places that are rendered without the vault.
    fn keeps_keys(&self) -> bool {
        true
    }
}

impl Data for Map {
    fn lookup(&self, token: &str) -> Option<Value> {
        let exact = self.get(token).filter(|value| !value.is_null());
        exact.cloned().or_else(|| path_in_map(self, token)).filter(|value| !value.is_null())
    }
}

/// Inputs and resolved vault keys: what a component's settings are rendered against.
#[derive(Clone, Copy)]
pub struct WithSecrets<'a> {
    /// Variables and inputs.
    pub data: &'a Map,
    /// Vault keys by name.
    pub secrets: &'a Secrets,
}

/// Vault keys by name; its `Debug` form shows names only.
#[derive(Clone, Default)]
pub struct Secrets(std::collections::HashMap<String, Arc<str>>);

impl Secrets {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    pub fn insert(&mut self, name: impl Into<String>, secret: impl Into<Arc<str>>) {
        self.0.insert(name.into(), secret.into());
    }

    /// The key `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Data for WithSecrets<'_> {
    fn lookup(&self, token: &str) -> Option<Value> {
        self.data.lookup(token)
    }

    fn secret(&self, name: &str) -> Option<Arc<str>> {
        self.secrets.get(name).cloned()
    }

    fn keeps_keys(&self) -> bool {
        false
    }
}

/// A template that names a vault key which cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Vault key '{0}' not found")]
pub struct MissingKey(pub String);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text between placeholders.
    Text(&'a str),
    /// `{{token}}`, verbatim.
    Token(&'a str),
    /// `{{KEY(name)}}`, the name verbatim.
    Key(&'a str),
}

/// Splits a text into its parts. A placeholder is the shortest `{{…}}` without a line break.
pub fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((start, end)) = placeholder(rest) else {
            return Some(Part::Text(std::mem::take(&mut rest)));
        };
        if start > 0 {
            let (before, after) = rest.split_at(start);
            rest = after;
            return Some(Part::Text(before));
        }
        let token = &rest[2..end - 2];
        rest = &rest[end..];
        let key = token.strip_prefix("KEY(").and_then(|name| name.strip_suffix(')'));
        Some(key.map_or(Part::Token(token), Part::Key))
    })
}

/// Start and end of the first placeholder. Looks at each byte once, however many braces there are and however long
/// the lines.
fn placeholder(text: &str) -> Option<(usize, usize)> {
    let (mut from, mut end) = (0, None);
    loop {
        let start = from + text[from..].find("{{")?;
        let body = start + 2;
        let close = match end {
            Some(close) if close >= body => close,
            _ => body + text[body..].find("}}")?,
        };
        end = Some(close);
        match text[body..close].find(['\n', '\r']) {
            None => return Some((start, close + 2)),
            Some(at) => from = body + at,
        }
    }
}

/// True if a text holds a placeholder.
pub fn is_template(text: &str) -> bool {
    placeholder(text).is_some()
}

/// The vault keys a text names.
pub fn keys(text: &str) -> impl Iterator<Item = &str> {
    parts(text).filter_map(|part| if let Part::Key(name) = part { Some(name) } else { None })
}

/// The plain tokens of a text.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    parts(text).filter_map(|part| if let Part::Token(name) = part { Some(name) } else { None })
}

/// The vault keys that a value names anywhere in its texts.
pub fn keys_of_value(value: &Value, visit: &mut impl FnMut(&str)) {
    texts(value, &mut |text| keys(text).for_each(&mut *visit));
}

/// Visits every text inside a value.
pub fn texts(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, visit)),
        Value::Object(map) => map.values().for_each(|item| texts(item, visit)),
        _ => {}
    }
}

/// Substitutes placeholders; those that stand for nothing stay as they are.
///
/// # Errors
/// [`MissingKey`] if a vault key is named that the data does not have (unless it keeps keys as text).
pub fn render(text: &str, data: &impl Data, escape: Escape) -> Result<String, MissingKey> {
    let mut out = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Token(token) => match data.lookup(token) {
                Some(value) => write_value(&value, escape, &mut out),
                None => push_placeholder(token, &mut out),
            },
            Part::Key(name) => match data.secret(name) {
                Some(secret) => out.push_str(&secret),
                None if data.keeps_keys() => push_placeholder(&format!("KEY({name})"), &mut out),
                None => return Err(MissingKey(name.to_owned())),
            },
        }
    }
    Ok(out)
}

/// [`render`] for data without secrets: `{{KEY(..)}}` stays as it is.
pub fn parse(text: &str, data: &Map) -> String {
    if !is_template(text) {
        return text.to_owned();
    }
    // Maps keep keys, so this cannot fail.
    render(text, data, Escape::Prose).unwrap_or_else(|_| text.to_owned())
}

/// Removes every placeholder that is left.
pub fn clean(text: &str) -> String {
    parts(text).filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }).collect()
}

/// The value of the first placeholder, unconverted; surrounding text is lost. A text without placeholder
/// is itself; a placeholder that stands for nothing is `None`.
pub fn parse_raw(text: &str, data: &Map) -> Option<Value> {
    let first = parts(text).find_map(|part| match part {
        Part::Token(token) => Some(token),
        _ => None,
    });
    match first {
        Some(token) => data.get(token).cloned(),
        None => Some(Value::from(text)),
    }
}

fn push_placeholder(token: &str, out: &mut String) {
    out.push_str("{{");
    out.push_str(token);
    out.push_str("}}");
}

fn write_value(value: &Value, escape: Escape, out: &mut String) {
    match (value, escape) {
        (Value::String(text), Escape::Json) => escape_json(text, out),
        (Value::String(text), Escape::LegacyQuotes) => {
            out.push_str(&text.replace("\\\"", "\"").replace('"', "\\\""));
        }
        (value, _) => out.push_str(&value.to_text()),
    }
}

static COMPONENT_VARIABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{\{([A-Z]+):([\w\s]+):[\[{].*?[\]}]\}\}").ok());

/// Replaces component template variables (`{{VARVAULTINPUT:Api Key:[""]}}`) by `{{<id>}}`, the id of the
/// template setting with that label; an unknown label leaves the type's text.
pub fn component_variables(text: &str, node: &Node) -> String {
    let Some(regex) = COMPONENT_VARIABLE.as_ref() else { return text.to_owned() };
    let settings = node.template.as_ref().and_then(|template| template.get("settings"));
    let replace = |found: &regex::Captures<'_>| {
        let label = found.get(2).map_or("", |m| m.as_str());
        let entries = settings.and_then(Value::as_object);
        let entry = entries.and_then(|map| {
            map.iter().find(|(_, entry)| entry.get("label").and_then(Value::as_str) == Some(label))
        });
        match entry {
            Some((key, entry)) => {
                let id = entry.get("id").and_then(Value::as_str).unwrap_or(key);
                format!("{{{{{id}}}}}")
            }
            None => found.get(1).map_or_else(String::new, |m| m.as_str().to_owned()),
        }
    };
    regex.replace_all(text, replace).into_owned()
}

/// The `_templateVars` of a component: what [`component_variables`] are then resolved from.
pub fn template_values(node: &Node) -> Option<&Map> {
    node.setting("_templateVars").and_then(Value::as_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::map_from_json;

    fn data() -> Map {
        let serde_json::Value::Object(map) = json!({
            "a": "x", "o": {"z": 1}, "l": [1, "two"], "n": 0, "f": false, "e": "", "nul": null,
            "a.b": "exact", "q": "he said \"hi\"\n", "tpl": "{{a}}", "deep": {"list": [{"t": "T"}]},
        }) else {
            panic!("an object")
        };
        map_from_json(map)
    }

    #[test]
    fn placeholders_are_exact_and_on_one_line() {
        for (text, rendered) in [
            ("{{a}}!", "x!"),
            ("{{ a }}", "{{ a }}"),
            ("{{{a}}}", "{{{a}}}"),
            ("{{a", "{{a"),
            ("{{a\n}}", "{{a\n}}"),
            ("{{a\n}} {{a}}", "{{a\n}} x"),
            ("{{a\r{{b\n{{a}} {{\n}} {{a}}", "{{a\r{{b\nx {{\n}} x"),
            ("}}{{a}}}} {{a\n", "}}x}} {{a\n"),
            ("{\"k\":{{a}}}", "{\"k\":x}"),
            ("{{a.b}}", "exact"),
            ("{{deep.list[0].t}}", "T"),
            ("{{l}}", "[1,\"two\"]"),
            ("\"{{o}}\"", "\"{\"z\":1}\""),
            ("{{n}}{{f}}[{{e}}]", "0false[]"),
            ("{{nul}}{{missing}}", "{{nul}}{{missing}}"),
            ("{{}}{{.}}", "{{}}{{.}}"),
            ("{{constructor}}{{__proto__}}", "{{constructor}}{{__proto__}}"),
            ("{{KEY(k)}}", "{{KEY(k)}}"),
        ] {
            assert_eq!(parse(text, &data()), rendered, "{text}");
        }
    }

    #[test]
    fn data_is_never_expanded() {
        assert_eq!(parse("{{tpl}}", &data()), "{{a}}");
    }

    #[test]
    fn quotes_follow_the_escape() {
        let render = |escape| render("{{q}}", &data(), escape).unwrap();
        assert_eq!(render(Escape::Prose), "he said \"hi\"\n");
        assert_eq!(render(Escape::Json), "he said \\\"hi\\\"\\n");
        assert_eq!(render(Escape::LegacyQuotes), "he said \\\"hi\\\"\n");
    }

    #[test]
    fn secrets_are_inserted_raw_and_a_missing_one_is_named() {
        let mut secrets = Secrets::new();
        secrets.insert("k", "s\"{{a}}");
        let data = data();
        let with = WithSecrets { data: &data, secrets: &secrets };
        assert_eq!(render("{{KEY(k)}}-{{a}}", &with, Escape::Json).unwrap(), "s\"{{a}}-x");
        let missing = render("{{KEY(nope)}}", &with, Escape::Prose).unwrap_err();
        assert_eq!(missing.to_string(), "Vault key 'nope' not found");
        assert!(!format!("{secrets:?}").contains('"') || !format!("{secrets:?}").contains("s\\\""));
    }

    #[test]
    fn raw_and_clean() {
        assert_eq!(parse_raw("lit {{o}}", &data()), Some(Value::from(json!({"z": 1}))));
        assert_eq!(parse_raw("lit", &data()), Some(Value::from("lit")));
        assert_eq!(parse_raw("{{missing}}", &data()), None);
        assert_eq!(clean("a{{x}}b{{KEY(y)}}c"), "abc");
    }

    #[test]
    fn component_variables_become_ids() {
        let node = Node {
            id: "n".into(),
            type_name: "APICall".into(),
            display_name: "".into(),
            title: "".into(),
            description: "".into(),
            settings: Map::new(),
            inputs: vec![],
            outputs: vec![],
            template: Some(Value::from(json!({"settings": {"ID1": {"id": "ID1", "label": "Api Key"}}}))),
            entry: None,
        };
        assert_eq!(component_variables("k={{VARVAULTINPUT:Api Key:[\"\"]}}", &node), "k={{ID1}}");
        assert_eq!(component_variables("k={{KVJSON:Other:{}}}", &node), "k=KVJSON");
    }
}
