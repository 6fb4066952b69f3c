//! Input typing (`agent-execution.md` §3, rulings 15 and 30).

use super::binary::{NeedsIo, Recognised, recognise};
use super::{dates, permissive_json};
use crate::value::{Value, number_text};

/// A declared type, read case-insensitively.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputType {
    /// Anything, unchanged.
    Any,
    /// `String` or `Text`.
    Text,
    /// A float.
    Number,
    /// An integer.
    Integer,
    /// A flag.
    Boolean,
    /// A list.
    Array,
    /// An object.
    Object,
    /// A point in time, as ISO-8601 text.
    Date,
    /// `Binary`, `Image`, `Audio` or `Video`.
    Binary,
    /// A name nobody knows: unchanged.
    Other,
}

impl InputType {
    /// Reads a type name; an empty one is `Any`.
    pub fn parse(name: &str) -> Self {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "any" => Self::Any,
            "string" | "text" => Self::Text,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "array" => Self::Array,
            "object" => Self::Object,
            "date" => Self::Date,
            "binary" | "image" | "audio" | "video" => Self::Binary,
            _ => Self::Other,
        }
    }
}

/// A value after typing.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Done.
    Ready(Value),
    /// Done once the driver has fetched, read or looked up something.
    Needs(Recognised),
}

/// Gives a value its declared type. Falsy values pass unchanged. The error is the message without the
/// input's name.
pub fn convert(value: &Value, kind: InputType, file_name: impl FnOnce() -> String) -> Result<Typed, String> {
    if !value.truthy() {
        return Ok(Typed::Ready(value.clone()));
    }
    let ready = match kind {
        InputType::Any | InputType::Other => value.clone(),
        InputType::Text => return Ok(text(value)),
        InputType::Number => float(&js_text(value)).ok_or("Invalid Number value")?,
        InputType::Integer => integer(&js_text(value)).ok_or("Invalid Integer value")?,
        InputType::Boolean => boolean(value).ok_or("Invalid Boolean value")?,
        InputType::Array => array(value).ok_or("Invalid Array value")?,
        InputType::Object => object(value).ok_or("Invalid Object value")?,
        InputType::Date => date(value).ok_or(
            "Invalid Date value\nThe date string is expected to be in a format commonly used in \
             English-speaking countries.",
        )?,
        InputType::Binary => {
            return match recognise(value, &file_name()) {
                Some(Recognised::Ready(value)) => Ok(Typed::Ready(value)),
                Some(needs) => Ok(Typed::Needs(needs)),
                None => Err("Invalid Binary value".to_owned()),
            };
        }
    };
    Ok(Typed::Ready(ready))
}

fn text(value: &Value) -> Typed {
    match value {
        Value::String(text) if matches!(text.as_ref(), "null" | "undefined") => Typed::Ready(Value::from("")),
        Value::String(_) => Typed::Ready(value.clone()),
        Value::Object(map) if is_stored_file(map) => {
            Typed::Needs(Recognised::Needs(NeedsIo::DataUrl { file: value.clone() }))
        }
        Value::Binary(binary) => {
            use base64::Engine as _;
            let body = base64::engine::general_purpose::STANDARD.encode(&binary.data);
            Typed::Ready(Value::from(format!("data:{};base64,{body}", binary.mimetype)))
        }
        other => Typed::Ready(Value::from(other.to_text())),
    }
}

fn is_stored_file(map: &crate::value::Map) -> bool {
    map.contains_key("size")
        && map.contains_key("mimetype")
        && map.get("url").and_then(Value::as_str).is_some_and(|url| url.starts_with("smythfs://"))
}

/// What JavaScript makes of a value where it wants text: lists joined by commas.
fn js_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Number(number) => number_text(number),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => items.iter().map(js_text).collect::<Vec<_>>().join(","),
        Value::Null => String::new(),
        Value::Object(_) | Value::Binary(_) => "[object Object]".to_owned(),
    }
}

/// The leading float of a text.
fn float(text: &str) -> Option<Value> {
    let text = text.trim_start();
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    if unsigned.starts_with("Infinity") {
        return Some(Value::Null);
    }
    let sign = &text[..text.len() - unsigned.len()];
    let digits = |from: &str| from.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    let mut end = whole;
    if unsigned[end..].starts_with('.') {
        let fraction = digits(&unsigned[end + 1..]);
        if whole + fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    if end == 0 {
        return None;
    }
    let rest = &unsigned[end..];
    if rest.starts_with(['e', 'E']) {
        let signed = usize::from(rest[1..].starts_with(['+', '-']));
        let exponent = digits(&rest[1 + signed..]);
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    format!("{sign}{}", &unsigned[..end]).parse::<f64>().ok().map(Value::from)
}

/// The leading integer of a text, hexadecimal with `0x`.
fn integer(text: &str) -> Option<Value> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |hex| (hex, 16));
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let digits = &digits[..end];
    if digits.is_empty() {
        return None;
    }
    let number = match i64::from_str_radix(digits, radix) {
        Ok(exact) => Value::from(if negative { -exact } else { exact }),
        // Beyond 64 bits: the nearest float, as JavaScript has it.
        Err(_) => {
            let magnitude = digits
                .chars()
                .fold(0.0, |sum, c| sum * f64::from(radix) + f64::from(c.to_digit(radix).unwrap_or(0)));
            Value::from(if negative { -magnitude } else { magnitude })
        }
    };
    Some(number)
}

fn boolean(value: &Value) -> Option<Value> {
    let word = match value {
        Value::Bool(_) => return Some(value.clone()),
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number_text(number),
        _ => return None,
    };
    match word.as_str() {
        "true" | "1" => Some(Value::from(true)),
        "false" | "0" => Some(Value::from(false)),
        _ => None,
    }
}

fn array(value: &Value) -> Option<Value> {
    match value {
        Value::Array(_) => Some(value.clone()),
        Value::String(text) if text.trim_start().starts_with('[') => {
            permissive_json::parse(text).filter(|json| json.as_array().is_some())
        }
        Value::String(text) => Some(split_commas(text)),
        _ => None,
    }
}

/// The parts between commas, not trimmed.
pub fn split_commas(text: &str) -> Value {
    Value::array(text.split(',').map(Value::from).collect())
}

fn object(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) => permissive_json::parse(text).filter(|json| json.as_object().is_some()),
        _ => None,
    }
}

fn date(value: &Value) -> Option<Value> {
    let iso = match value {
        Value::Number(number) => dates::from_millis(number.as_f64()?),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(millis) if millis.is_finite() => dates::from_millis(millis),
            _ => dates::parse(text),
        },
        _ => None,
    };
    iso.map(Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(kind: &str, value: serde_json::Value) -> Result<serde_json::Value, String> {
        match convert(&Value::from(value), InputType::parse(kind), || "u-v".into())? {
            Typed::Ready(value) => Ok(value.into()),
            Typed::Needs(needs) => panic!("{needs:?}"),
        }
    }

    #[test]
    fn the_table_of_the_spec() {
        for (kind, from, to) in [
            ("Any", json!("{\"a\":1}"), json!("{\"a\":1}")),
            ("text", json!(1.5), json!("1.5")),
            ("Text", json!(true), json!("true")),
            ("Text", json!([1, "b"]), json!("[1,\"b\"]")),
            ("Text", json!("undefined"), json!("")),
            ("Text", json!("null"), json!("")),
            ("String", json!("{\"a\":1}"), json!("{\"a\":1}")),
            ("Number", json!("1337.42"), json!(1337.42)),
            ("Number", json!("12abc"), json!(12)),
            ("Number", json!("1e3"), json!(1000)),
            ("Number", json!("1,000"), json!(1)),
            ("Number", json!("0x10"), json!(0)),
            ("Number", json!([5, 6]), json!(5)),
            ("Number", json!("  4 "), json!(4)),
            ("Number", json!("-.5"), json!(-0.5)),
            ("Number", json!("1e"), json!(1)),
            ("Integer", json!("42.9"), json!(42)),
            ("Integer", json!(-3.7), json!(-3)),
            ("Integer", json!("1e3"), json!(1)),
            ("Integer", json!("0x10"), json!(16)),
            ("Boolean", json!("TRUE"), json!(true)),
            ("Boolean", json!("0"), json!(false)),
            ("Boolean", json!(1), json!(true)),
            ("Array", json!("a, b"), json!(["a", " b"])),
            ("Array", json!("[a,b]"), json!(["a", "b"])),
            ("Array", json!("[\"a\","), json!(["a"])),
            ("Array", json!("abc"), json!(["abc"])),
            ("Object", json!("{a:'b'}"), json!({"a": "b"})),
            ("Date", json!("2024-01-20"), json!("2024-01-20T00:00:00.000Z")),
            ("Date", json!("1705745430000"), json!("2024-01-20T10:10:30.000Z")),
            ("Date", json!("2024"), json!("1970-01-01T00:00:02.024Z")),
            ("Weird", json!(1), json!(1)),
        ] {
            assert_eq!(typed(kind, from.clone()), Ok(to), "{kind} {from}");
        }
    }

    #[test]
    fn falsy_values_pass_whatever_the_type() {
        for kind in ["Text", "Number", "Integer", "Boolean", "Array", "Object", "Date", "Binary"] {
            for falsy in [json!(""), json!(0), json!(false), json!(null)] {
                assert_eq!(typed(kind, falsy.clone()), Ok(falsy));
            }
        }
    }

    #[test]
    fn what_cannot_be_converted_is_refused() {
        for (kind, value) in [
            ("Number", json!("abc")),
            ("Number", json!(true)),
            ("Number", json!({})),
            ("Integer", json!("abc")),
            ("Boolean", json!("yes")),
            ("Boolean", json!(2)),
            ("Boolean", json!([])),
            ("Array", json!(5)),
            ("Array", json!({"a": 1})),
            ("Object", json!("[1]")),
            ("Object", json!("text")),
            ("Object", json!("pre {\"z\":1} post")),
            ("Object", json!([1])),
            ("Date", json!("2024-02-30")),
            ("Date", json!({})),
            ("Binary", json!(5)),
        ] {
            let message = typed(kind, value).unwrap_err();
            assert!(message.starts_with(&format!("Invalid {kind} value")), "{message}");
        }
    }
}
