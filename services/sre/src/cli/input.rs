//! Input given as `key=value` words.

use anyhow::Result;
use serde_json::{Map, Value};

use super::exit::Failure;

/// Reads `key=value` words into an object. A value that is JSON is taken as such, anything else as text.
pub fn object(words: &[String]) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for word in words {
        let Some((key, text)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::usage(format!(
                "input {word:?} is not key=value: write for example name=Ada"
            )));
        };
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        if object.insert(key.to_owned(), value).is_some() {
            return Err(Failure::usage(format!(
                "input {key:?} is given twice: a list is written {key}='[1,2]'"
            )));
        }
    }
    Ok(object)
}

/// Reads a JSON object given as one word.
pub fn json_object(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Failure::usage(format!(
            "{text:?} is not a JSON object: write for example '{{\"Reply\": \"x\"}}'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_json_or_text() {
        let words = ["a=1", "b=x=y", "c=[1,2]", "d=", "e={\"f\":true}"].map(str::to_owned);
        let expected = json!({"a": 1, "b": "x=y", "c": [1, 2], "d": "", "e": {"f": true}});
        assert_eq!(Value::Object(object(&words).unwrap()), expected);
    }

    #[test]
    fn other_words_are_refused() {
        for words in [vec!["a"], vec!["=1"], vec!["a=1", "a=2"]] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert!(object(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn an_object_is_one() {
        assert_eq!(Value::Object(json_object(r#"{"a":[1]}"#).unwrap()), json!({"a": [1]}));
        for text in ["[1]", "x", "\"text\""] {
            assert!(json_object(text).is_err(), "{text}");
        }
    }
}
