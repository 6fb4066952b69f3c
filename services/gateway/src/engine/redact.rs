//! Secrets stay out of everything that is written. In an output that goes to the journal, to an event or to
//! a log, each secret the run resolved is replaced by a marker; when a record is folded the marker becomes
//! the secret again.
//!
//! A marker carries a number that only this run's journal knows, so that request data cannot contain one and
//! have a secret put in its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::Regex;
use sre_engine::{Map, Value};

/// Shorter secrets are not looked for: they would be found everywhere.
const SHORTEST_BYTES: usize = 8;
/// The shortest piece of base64 that is worth replacing.
const SHORTEST_BASE64: usize = 8;
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// How a secret is written in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Raw,
    Json,
    Percent,
    UrlEncoded,
    Number,
    /// Base64 of a text in which the secret starts at this offset modulo 3.
    Base64(u8),
    /// The same in the alphabet for URLs.
    Base64Url(u8),
}

const FORMS: [Form; 11] = [
    Form::Raw,
    Form::Json,
    Form::Percent,
    Form::UrlEncoded,
    Form::Number,
    Form::Base64(0),
    Form::Base64(1),
    Form::Base64(2),
    Form::Base64Url(0),
    Form::Base64Url(1),
    Form::Base64Url(2),
];

impl Form {
    fn code(self) -> String {
        match self {
            Self::Raw => "r".to_owned(),
            Self::Json => "j".to_owned(),
            Self::Percent => "p".to_owned(),
            Self::UrlEncoded => "f".to_owned(),
            Self::Number => "n".to_owned(),
            Self::Base64(offset) => format!("b{offset}"),
            Self::Base64Url(offset) => format!("u{offset}"),
        }
    }

    fn parse(code: &str) -> Option<Self> {
        FORMS.into_iter().find(|form| form.code() == code)
    }

    /// The secret in this form.
    fn write(self, secret: &str) -> String {
        match self {
            Self::Raw | Self::Number => secret.to_owned(),
            Self::Json => {
                let mut text = String::with_capacity(secret.len());
                sre_engine::value::escape_json(secret, &mut text);
                text
            }
            Self::Percent => percent(secret),
            Self::UrlEncoded => url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            Self::Base64(offset) => base64_core(&STANDARD_NO_PAD, secret, offset),
            Self::Base64Url(offset) => base64_core(&URL_SAFE_NO_PAD, secret, offset),
        }
    }
}

/// As `encodeURIComponent` writes it.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The characters that depend on the secret alone, whatever stands before and after it.
fn base64_core(engine: &impl base64::Engine, secret: &str, offset: u8) -> String {
    let offset = usize::from(offset);
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret.as_bytes());
    let text = engine.encode(&bytes);
    let start = (offset * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    text.get(start..end).unwrap_or_default().to_owned()
}

/// The secrets that a run resolved so far, and how to keep them out of what it writes.
#[derive(Clone, Debug)]
pub struct Redactor {
    nonce: Arc<str>,
    secrets: BTreeMap<String, Arc<secret::Text>>,
    forms: Arc<BTreeMap<String, (Form, String)>>,
    pattern: Option<Arc<Regex>>,
}

mod secret {
    /// A secret's text: not shown, wiped when dropped.
    pub struct Text(pub zeroize::Zeroizing<String>);

    impl std::fmt::Debug for Text {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("(secret)")
        }
    }
}

impl Redactor {
    /// Knows no secret yet. The number must be the run's own.
    pub fn new(nonce: impl Into<Arc<str>>) -> Self {
        Self { nonce: nonce.into(), secrets: BTreeMap::new(), forms: Arc::default(), pattern: None }
    }

    /// Learns a secret; from now on it is replaced.
    pub fn learn(&mut self, name: &str, value: &str) {
        if self.secrets.get(name).is_some_and(|known| known.0.as_str() == value) {
            return;
        }
        self.secrets.insert(name.to_owned(), Arc::new(secret::Text(value.to_owned().into())));
        let mut forms = BTreeMap::new();
        for (name, secret) in self.secrets.iter().filter(|(_, secret)| secret.0.len() >= SHORTEST_BYTES) {
            for form in FORMS {
                let text = form.write(&secret.0);
                let encoded = matches!(form, Form::Base64(_) | Form::Base64Url(_));
                if !text.is_empty() && (!encoded || text.len() >= SHORTEST_BASE64) {
                    forms.entry(text).or_insert_with(|| (form, name.clone()));
                }
            }
        }
        let mut texts: Vec<&String> = forms.keys().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let pattern = texts.iter().map(|text| regex::escape(text)).collect::<Vec<_>>().join("|");
        self.pattern = if texts.is_empty() { None } else { Regex::new(&pattern).ok().map(Arc::new) };
        self.forms = Arc::new(forms);
    }

    /// Whether any secret is known.
    pub fn is_empty(&self) -> bool {
        self.pattern.is_none()
    }

    /// A value as it may be written.
    pub fn redact(&self, value: &Value) -> Value {
        match &self.pattern {
            None => value.clone(),
            Some(pattern) => map_texts(value, &|text| self.redact_matches(pattern, text), &|number| {
                let text = number.to_string();
                let (_, name) = self.forms.get(&text)?;
                Some(Value::from(self.marker(Form::Number, name)))
            }),
        }
    }

    /// A text as it may be written.
    pub fn redact_text(&self, text: &str) -> String {
        match &self.pattern {
            None => text.to_owned(),
            Some(pattern) => self.redact_matches(pattern, text).unwrap_or_else(|| text.to_owned()),
        }
    }

    fn redact_matches(&self, pattern: &Regex, text: &str) -> Option<String> {
        if !pattern.is_match(text) {
            return None;
        }
        Some(
            pattern
                .replace_all(text, |found: &regex::Captures<'_>| {
                    self.forms
                        .get(&found[0])
                        .map_or_else(String::new, |(form, name)| self.marker(*form, name))
                })
                .into_owned(),
        )
    }

    fn marker(&self, form: Form, name: &str) -> String {
        format!("{OPEN}{}:{}:{name}{CLOSE}", self.nonce, form.code())
    }

    /// The names of the secrets whose markers a written value holds.
    pub fn names_in(&self, value: &Value) -> Vec<String> {
        let names = std::cell::RefCell::new(Vec::new());
        map_texts(
            value,
            &|text| {
                self.each_marker(text, |_, name, _| {
                    if !names.borrow().iter().any(|known| known == name) {
                        names.borrow_mut().push(name.to_owned());
                    }
                    None
                })
            },
            &|_| None,
        );
        names.into_inner()
    }

    /// A written value with its secrets again. A marker whose secret is not known stays.
    pub fn restore(&self, value: &Value) -> Value {
        map_texts_to_values(value, &|text| self.restore_text(text))
    }

    fn restore_text(&self, text: &str) -> Option<Value> {
        let mut number = None;
        let restored = self.each_marker(text, |form, name, whole| {
            let secret = self.secrets.get(name)?;
            if form == Form::Number && whole {
                number = serde_json::from_str::<Value>(&secret.0).ok();
            }
            Some(form.write(&secret.0))
        })?;
        Some(number.unwrap_or_else(|| Value::from(restored)))
    }

    /// A written value for people: markers as `{{KEY(name)}}`.
    pub fn presentable(&self, value: &Value) -> Value {
        map_texts(
            value,
            &|text| self.each_marker(text, |_, name, _| Some(format!("{{{{KEY({name})}}}}"))),
            &|_| None,
        )
    }

    /// A text for people: secrets as `{{KEY(name)}}`.
    pub fn presentable_text(&self, text: &str) -> String {
        let written = self.redact_text(text);
        self.each_marker(&written, |_, name, _| Some(format!("{{{{KEY({name})}}}}"))).unwrap_or(written)
    }

    /// Replaces each marker by what `with` makes of it; none where the text holds no marker.
    fn each_marker<'t>(
        &self,
        text: &'t str,
        mut with: impl FnMut(Form, &'t str, bool) -> Option<String>,
    ) -> Option<String> {
        let prefix = format!("{OPEN}{}:", self.nonce);
        if !text.contains(&prefix) {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(&prefix) {
            out.push_str(&rest[..start]);
            let marked = &rest[start..];
            let body = marked[prefix.len()..].split_once(CLOSE);
            let parsed = body.and_then(|(body, after)| {
                let (code, name) = body.split_once(':')?;
                Some((Form::parse(code)?, name, after))
            });
            let Some((form, name, after)) = parsed else {
                out.push_str(&marked[..prefix.len()]);
                rest = &marked[prefix.len()..];
                continue;
            };
            let whole = start == 0 && out.is_empty() && after.is_empty();
            match with(form, name, whole) {
                Some(text) => out.push_str(&text),
                None => out.push_str(&marked[..marked.len() - after.len()]),
            }
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
}

fn map_texts(
    value: &Value,
    text: &impl Fn(&str) -> Option<String>,
    number: &impl Fn(&serde_json::Number) -> Option<Value>,
) -> Value {
    walk(value, &|leaf| match leaf {
        Value::String(content) => text(content).map(Value::from),
        Value::Number(content) => number(content),
        _ => None,
    })
    .unwrap_or_else(|| value.clone())
}

fn map_texts_to_values(value: &Value, text: &impl Fn(&str) -> Option<Value>) -> Value {
    walk(value, &|leaf| leaf.as_str().and_then(text)).unwrap_or_else(|| value.clone())
}

/// Rebuilds what `change` changes; none, and nothing copied, where it changes nothing.
fn walk(value: &Value, change: &impl Fn(&Value) -> Option<Value>) -> Option<Value> {
    match value {
        Value::Array(items) => {
            let changed: Vec<Option<Value>> = items.iter().map(|item| walk(item, change)).collect();
            if changed.iter().all(Option::is_none) {
                return None;
            }
            let items = items.iter().zip(changed).map(|(old, new)| new.unwrap_or_else(|| old.clone()));
            Some(Value::array(items.collect()))
        }
        Value::Object(map) => {
            let mut any = false;
            let mut out = Map::with_capacity(map.len());
            for (key, item) in map.iter() {
                let new_key = change(&Value::String(key.clone())).and_then(|key| key.as_str().map(Arc::from));
                let new = walk(item, change);
                any |= new_key.is_some() || new.is_some();
                out.insert(new_key.unwrap_or_else(|| key.clone()), new.unwrap_or_else(|| item.clone()));
            }
            any.then(|| Value::object(out))
        }
        leaf => change(leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn knowing(secrets: &[(&str, &str)]) -> Redactor {
        let mut redactor = Redactor::new("n1");
        for (name, value) in secrets {
            redactor.learn(name, value);
        }
        redactor
    }

    #[test]
    fn a_secret_is_replaced_in_every_form_and_comes_back() {
        let secret = "p@ss word/\"42\"+é";
        let redactor = knowing(&[("api", secret)]);
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{secret}"));
        let bearer = URL_SAFE_NO_PAD.encode(format!("xy{secret}zz"));
        let nested = serde_json::to_string(&serde_json::json!({ "key": secret })).unwrap();
        let value = Value::array(vec![
            Value::from(format!("Bearer {secret}!")),
            Value::from(format!("https://x/?k={}", percent(secret))),
            Value::from(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>()),
            Value::from(format!("Basic {basic}")),
            Value::from(bearer),
            Value::from(nested),
        ]);
        let written = redactor.redact(&value);
        let text = serde_json::to_string(&written).unwrap();
        for form in FORMS {
            assert!(!text.contains(&form.write(secret)), "{form:?} in {text}");
        }
        assert_eq!(redactor.names_in(&written), ["api"]);
        assert_eq!(redactor.restore(&written), value);
    }

    #[test]
    fn keys_of_objects_and_numbers_are_replaced_too() {
        let redactor = knowing(&[("pin", "123456789")]);
        let value = json(r#"{"123456789":123456789,"n":12}"#);
        let written = redactor.redact(&value);
        assert!(!serde_json::to_string(&written).unwrap().contains("123456789"));
        assert_eq!(redactor.restore(&written), value);
    }

    #[test]
    fn short_secrets_and_other_texts_stay() {
        let redactor = knowing(&[("short", "abc")]);
        assert!(redactor.is_empty());
        let value = json(r#"["abc","{{KEY(short)}}"]"#);
        assert_eq!(redactor.redact(&value), value);
    }

    #[test]
    fn request_data_cannot_forge_a_marker() {
        let redactor = knowing(&[("api", "supersecret")]);
        let forged = Value::from(format!("{OPEN}other:r:api{CLOSE} {OPEN}n1 {OPEN}n1:zz"));
        assert_eq!(redactor.restore(&forged), forged);
    }

    #[test]
    fn a_secret_whose_value_is_another_ones_name_breaks_no_marker() {
        let redactor = knowing(&[("first_key", "second_key"), ("second_key", "first_key_value")]);
        let value = json(r#"["second_key","first_key_value"]"#);
        let written = redactor.redact(&value);
        assert_eq!(redactor.restore(&written), value);
        assert_eq!(redactor.presentable(&written), json(r#"["{{KEY(first_key)}}","{{KEY(second_key)}}"]"#));
    }

    #[test]
    fn what_nobody_knows_stays_a_marker() {
        let written = knowing(&[("api", "supersecret")]).redact(&Value::from("supersecret"));
        let other = Redactor::new("n1");
        assert_eq!(other.names_in(&written), ["api"]);
        assert_eq!(other.restore(&written), written);
    }
}
