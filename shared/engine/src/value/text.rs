//! Values as text: compact JSON, and the string form used in templates and text fields.

use std::fmt::Write as _;

use super::{Value, number_text};

impl Value {
    /// Compact JSON.
    pub fn to_json_text(&self) -> String {
        let mut out = String::new();
        write_json(self, &mut out);
        out
    }

    /// How many bytes [`Self::to_json_text`] has, without making it.
    pub fn json_len(&self) -> usize {
        match self {
            Value::Null => 4,
            Value::Bool(flag) => 5 - usize::from(*flag),
            Value::Number(number) => number_text(number).len(),
            Value::String(text) => string_len(text),
            Value::Array(items) => {
                2 + separators(items.len()) + items.iter().map(Value::json_len).sum::<usize>()
            }
            Value::Object(map) => map_len(map.iter()),
            Value::Binary(binary) => map_len(binary.members().iter()),
        }
    }

    /// The string form: text as it is, scalars as JavaScript prints them, lists and objects as JSON.
    ///
    /// JavaScript would print `[object Object]`; rulings 23 asks for the JSON.
    pub fn to_text(&self) -> String {
        match self {
            Value::String(text) => text.to_string(),
            other => other.to_json_text(),
        }
    }
}

fn separators(members: usize) -> usize {
    members.saturating_sub(1)
}

fn map_len<'a>(members: impl Iterator<Item = (&'a std::sync::Arc<str>, &'a Value)>) -> usize {
    let (mut count, mut length) = (0, 2);
    for (key, value) in members {
        count += 1;
        length += string_len(key) + 1 + value.json_len();
    }
    length + separators(count)
}

/// As [`escape_json`] writes it, with its quotes.
fn string_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x8 | 0xc => 1,
        0..0x20 => 5,
        _ => 0,
    };
    2 + text.len() + text.bytes().map(escaped).sum::<usize>()
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => write_map(map.iter(), out),
        Value::Binary(binary) => write_map(binary.members().iter(), out),
    }
}

fn write_map<'a>(members: impl Iterator<Item = (&'a std::sync::Arc<str>, &'a Value)>, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_json(value, out);
    }
    out.push('}');
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    escape_json(text, out);
    out.push('"');
}

/// Appends `text` escaped for the inside of a JSON string.
pub fn escape_json(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_json_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_is_compact_and_escaped() {
        let value = Value::from(serde_json::json!({"a": [1, 2.0, "q\"\n\u{1}"], "b": {"c": null}}));
        assert_eq!(value.to_json_text(), r#"{"a":[1,2,"q\"\n\u0001"],"b":{"c":null}}"#);
    }

    #[test]
    fn its_length_is_known_without_the_text() {
        let value = serde_json::json!({
            "a": [1, 2.5, -3e30, true, false, null], "": {}, "ü\"\\/": [], "c": "\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}é",
        });
        let mut all = vec![Value::from(value.clone()), Value::from(serde_json::json!([])), Value::from("x")];
        all.extend(value.as_object().unwrap().values().cloned().map(Value::from));
        for value in all {
            assert_eq!(value.json_len(), value.to_json_text().len(), "{value}");
        }
    }

    #[test]
    fn scalars_print_bare_and_containers_as_json() {
        assert_eq!(Value::from("x").to_text(), "x");
        assert_eq!(Value::from(true).to_text(), "true");
        assert_eq!(Value::from(serde_json::json!([1, "a"])).to_text(), r#"[1,"a"]"#);
    }
}
