//! The URL of a request.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sre_engine::template::{self, Data, Part};
use sre_engine::value::Value;
use url::Url;

use super::Values;
use crate::context::links::Links;
use crate::context::{Call, Failure};

const STORED: &str = "smythfs://";

/// What happens to values inserted into a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Encoded for the place: a path segment, a query value, a fragment.
    ByPlace,
    /// Inserted as they are; for addresses that are put together from pieces with `/`, `?` and `&`.
    AsItIs,
}

impl Encoding {
    /// What the component's record asks for.
    pub(super) fn of(call: Call<'_>) -> Self {
        match call.node.setting("encodeValues").and_then(Value::to_bool_lenient) {
            Some(false) => Self::AsItIs,
            _ => Self::ByPlace,
        }
    }
}

/// All but letters, digits and `-_.!~*'()`: what `encodeURIComponent` leaves.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

pub(super) fn build(text: &str, values: Values<'_>, encoding: Encoding) -> Result<Url, String> {
    let (rendered, inserted) = render(text, values, encoding);
    if encoding == Encoding::ByPlace && climbs(&rendered, &inserted) {
        return Err("Invalid URL: a value in the path must not be `.` or `..`".to_owned());
    }
    Url::parse(rendered.trim()).map_err(|_| "Invalid URL".to_owned())
}

/// The URL with links in place of the stored files in its query: whoever is called can read them meanwhile.
pub(super) async fn with_links(mut url: Url, links: &mut Links<'_>) -> Result<Url, String> {
    if !url.query_pairs().any(|(_, value)| value.starts_with(STORED)) {
        return Ok(url);
    }
    let mut pairs = Vec::new();
    for (name, value) in url.query_pairs().into_owned() {
        let value = match value.starts_with(STORED) {
            false => value,
            true => links.link(&value).await.map_err(|error| match error.kind {
                // Whether there is such a file is nobody's business who may not read it.
                Failure::Denied | Failure::NotFound => "Access Denied".to_owned(),
                _ => error.message,
            })?,
        };
        pairs.push((name, value));
    }
    url.query_pairs_mut().clear().extend_pairs(pairs);
    Ok(url)
}

/// The text of the URL, and where in it values stand behind the authority.
fn render(text: &str, values: Values<'_>, encoding: Encoding) -> (String, Vec<Range<usize>>) {
    let mut url = String::with_capacity(text.len());
    let mut inserted = Vec::new();
    for part in template::parts(text) {
        let value = match part {
            // Only in what the author wrote: a plus sign in a value is a plus sign.
            Part::Text(plain) => {
                url.push_str(&plain.replace('+', "%20"));
                continue;
            }
            Part::Token(token) => values.inputs.lookup(token).map(|value| value.to_text()),
            Part::Key(name) => values.secrets.get(name).map(|secret| secret.to_string()),
        };
        let value = value.unwrap_or_default();
        match encoding {
            Encoding::ByPlace if behind_authority(&url) => {
                let start = url.len();
                url.push_str(&utf8_percent_encode(&value, COMPONENT).to_string());
                inserted.push(start..url.len());
            }
            _ => url.push_str(&value),
        }
    }
    (url, inserted)
}

/// True if a value makes a segment of the path one that URLs resolve away, encoded or not.
fn climbs(url: &str, inserted: &[Range<usize>]) -> bool {
    let path_end = url.find(['?', '#']).unwrap_or(url.len());
    let mut start = 0;
    url[..path_end].split('/').any(|segment| {
        let here = start..start + segment.len();
        start = here.end + 1;
        matches!(segment, "." | "..")
            && inserted.iter().any(|value| here.contains(&value.start) && !value.is_empty())
    })
}

/// True once scheme and host are complete: what follows is path, query or fragment.
fn behind_authority(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.contains(['/', '?', '#'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sre_engine::template::Secrets;
    use sre_engine::value::{Map, map_from_json};

    use super::*;

    fn url(text: &str, encoding: Encoding) -> Result<String, String> {
        let serde_json::Value::Object(inputs) = json!({
            "user": "John Doe", "amp": "a b&c=d", "o": {"k": 1}, "plus": "1+1", "dots": "../admin",
            "base": "http://h.example:81", "whole": "https://h.example/p?q=1", "file": "smythfs://t.team/a/f", "up": "..",
            "dot": ".",
        }) else {
            panic!("an object")
        };
        let inputs: Map = map_from_json(inputs);
        let mut secrets = Secrets::new();
        secrets.insert("k", "Hello vault");
        build(text, Values { inputs: &inputs, secrets: &secrets }, encoding).map(|url| url.to_string())
    }

    #[test]
    fn values_are_encoded_for_their_place() {
        for (text, built) in [
            ("http://h/?user={{user}}", "http://h/?user=John%20Doe"),
            ("http://h/?q={{amp}}", "http://h/?q=a%20b%26c%3Dd"),
            ("http://h/?q={{o}}", "http://h/?q=%7B%22k%22%3A1%7D"),
            ("http://h/?q=a+b&p={{plus}}", "http://h/?q=a%20b&p=1%2B1"),
            ("http://h/a/{{user}}/b", "http://h/a/John%20Doe/b"),
            ("http://h/a/{{dots}}/b", "http://h/a/..%2Fadmin/b"),
            ("http://h/?q={{nope}}&z=1", "http://h/?q=&z=1"),
            ("{{base}}/x", "http://h.example:81/x"),
            ("{{whole}}", "https://h.example/p?q=1"),
            ("http://h/?k={{KEY(k)}}", "http://h/?k=Hello%20vault"),
            ("http://h/?color=red&color=blue#f", "http://h/?color=red&color=blue#f"),
        ] {
            assert_eq!(url(text, Encoding::ByPlace).as_deref(), Ok(built), "{text}");
        }
    }

    #[test]
    fn encoding_can_be_switched_off() {
        let built = url("http://h/?q={{amp}}", Encoding::AsItIs).unwrap();
        assert_eq!(built, "http://h/?q=a%20b&c=d");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        assert_eq!(url("not a url", Encoding::ByPlace).unwrap_err(), "Invalid URL");
        assert_eq!(url("", Encoding::ByPlace).unwrap_err(), "Invalid URL");
        for climbing in ["http://h/a/{{up}}/b", "http://h/a/{{dot}}{{dot}}", "http://h/a/.{{dot}}?q=1"] {
            let error = url(climbing, Encoding::ByPlace).unwrap_err();
            assert!(error.starts_with("Invalid URL: "), "{climbing}");
        }
        assert!(url("http://h/a/../b?q={{up}}", Encoding::ByPlace).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn a_query_value_arrives_as_it_was(value in ".*") {
            let inputs: Map = [("x".into(), sre_engine::Value::from(value.as_str()))].into();
            let secrets = Secrets::new();
            let values = Values { inputs: &inputs, secrets: &secrets };
            let url = build("http://h/p?a={{x}}&b=1", values, Encoding::ByPlace);
            let pairs: Vec<(String, String)> = url.unwrap().query_pairs().into_owned().collect();
            let expected = vec![("a".to_owned(), value), ("b".to_owned(), "1".to_owned())];
            proptest::prop_assert_eq!(pairs, expected);
        }
    }
}
