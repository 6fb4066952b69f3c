//! The addresses in a component's inputs.

use sre_engine::value::{Map, Value};
use url::Url;

/// An address as it was written, and what it is.
pub(super) type Wanted = (String, Result<Url, String>);

/// The addresses of all inputs, each once, in order.
pub(super) fn of(inputs: &Map) -> Result<Vec<Wanted>, String> {
    let mut texts: Vec<String> = Vec::new();
    for (name, value) in inputs {
        collect(name, value, &mut texts)?;
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for text in texts {
        if !wanted.iter().any(|(known, _)| *known == text) {
            let url = parsed(&text);
            wanted.push((text, url));
        }
    }
    Ok(wanted)
}

fn parsed(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "Invalid URL".to_owned())?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        "http" | "https" => Err("Invalid URL".to_owned()),
        scheme => Err(format!("Unsupported protocol {scheme}:")),
    }
}

fn collect(input: &str, value: &Value, texts: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| collect(input, item, texts)),
        Value::String(text) => {
            let trimmed = text.trim();
            if trimmed.starts_with('[')
                && let Ok(list @ Value::Array(_)) = serde_json::from_str::<Value>(trimmed)
            {
                return collect(input, &list, texts);
            }
            split(trimmed, texts);
            Ok(())
        }
        Value::Null => Ok(()),
        _ => Err(format!("the input '{input}' is no address and no list of them: give text or a list")),
    }
}

/// Splits at commas and line ends. A comma inside an address stays there: what follows it is no address.
fn split(text: &str, texts: &mut Vec<String>) {
    for line in text.lines() {
        let mut of_line: Vec<String> = Vec::new();
        for piece in line.split(',') {
            let begins = piece.trim_start().contains("://");
            match of_line.last_mut() {
                Some(before) if !begins && before.contains("://") => {
                    before.push(',');
                    before.push_str(piece);
                }
                _ => of_line.push(piece.to_owned()),
            }
        }
        let trimmed = of_line.iter().map(|piece| piece.trim_end_matches([',', ' ']).trim().to_owned());
        texts.extend(trimmed.filter(|piece| !piece.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sre_engine::value::map_from_json;

    use super::*;

    fn found(inputs: serde_json::Value) -> Vec<(String, bool)> {
        let serde_json::Value::Object(inputs) = inputs else { panic!("an object") };
        let found = of(&map_from_json(inputs)).unwrap();
        found.into_iter().map(|(text, url)| (text, url.is_ok())).collect()
    }

    #[test]
    fn addresses_come_from_every_shape() {
        let yes = |text: &str| (text.to_owned(), true);
        assert_eq!(found(json!({"a": ["http://h/1", "http://h/2"]})), [yes("http://h/1"), yes("http://h/2")]);
        assert_eq!(
            found(json!({"a": "[\"http://h/1\"]", "b": " http://h/1, http://h/2 ,"})),
            [yes("http://h/1"), yes("http://h/2")]
        );
        assert_eq!(
            found(json!({"a": "http://h/?q=1,2,http://h/b\nhttp://h/c"})),
            [yes("http://h/?q=1,2"), yes("http://h/b"), yes("http://h/c")]
        );
        assert_eq!(found(json!({"a": null})), []);
    }

    #[test]
    fn d37_other_schemes_and_texts_are_told() {
        for (text, error) in [
            ("ftp://d", "Unsupported protocol ftp:"),
            ("file:///etc/passwd", "Unsupported protocol file:"),
            ("nothing", "Invalid URL"),
        ] {
            let inputs: Map = [("a".into(), Value::from(text))].into();
            assert_eq!(of(&inputs).unwrap()[0].1.clone().unwrap_err(), error);
        }
        let inputs: Map = [("a".into(), Value::object(Map::new()))].into();
        assert!(of(&inputs).unwrap_err().contains("'a'"));
    }
}
