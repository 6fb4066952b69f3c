//! JSON as people and models write it (rulings 16).
//!
//! Strict first, then without a code fence around it, then repaired: single quotes, unquoted keys and
//! texts, trailing commas, comments, a cut-off end. Only a text that starts with `{` or `[` is looked at;
//! JSON inside prose is never searched for, and a text that yields no key and value stays text.

use std::iter::Peekable;
use std::str::Chars;

use crate::value::{Map, Value};

/// Deepest nesting that is repaired; strict parsing has its own limit.
const MAX_DEPTH: usize = 128;

/// The object or list in a text, or `None` if the text is not JSON even with good will.
pub fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(inner) = without_fence(text) {
        return parse_bare(inner.trim());
    }
    parse_bare(text)
}

/// [`parse`], or the text itself.
pub fn parse_or_text(text: &str) -> Value {
    parse(text).unwrap_or_else(|| Value::from(text))
}

fn parse_bare(text: &str) -> Option<Value> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<Value>(text).ok().or_else(|| Repair::new(text).document())
}

/// The inside of a text that is one fenced code block.
fn without_fence(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("```")?;
    let (language, body) = rest.split_once('\n')?;
    if !language.trim().chars().all(char::is_alphanumeric) {
        return None;
    }
    let body = body.trim_end();
    Some(body.strip_suffix("```").unwrap_or(body))
}

struct Repair<'a> {
    rest: Peekable<Chars<'a>>,
}

impl<'a> Repair<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.chars().peekable() }
    }

    fn document(mut self) -> Option<Value> {
        let value = self.container(0)?;
        self.skip_blank();
        let empty = match &value {
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => true,
        };
        // Text behind the end, or nothing found: not JSON that someone mistyped.
        (self.rest.peek().is_none() && !empty).then_some(value)
    }

    fn container(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.rest.next()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut map = Map::new();
        loop {
            self.skip_blank();
            match self.rest.peek() {
                None => break,
                Some('}') => {
                    self.rest.next();
                    break;
                }
                Some(',') => {
                    self.rest.next();
                    continue;
                }
                Some(_) => {}
            }
            let key = self.key()?;
            self.skip_blank();
            match self.rest.next() {
                // Cut off inside a member: what came before stands.
                None if !map.is_empty() => break,
                Some(':') => {}
                _ => return None,
            }
            self.skip_blank();
            if self.rest.peek().is_none() {
                break;
            }
            let value = self.value(depth + 1)?;
            map.insert(key.into(), value);
            self.end_of_member('}')?;
        }
        Some(Value::object(map))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            match self.rest.peek() {
                None => break,
                Some(']') => {
                    self.rest.next();
                    break;
                }
                Some(',') => {
                    self.rest.next();
                    continue;
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
            self.end_of_member(']')?;
        }
        Some(Value::array(items))
    }

    /// A separator, the end, or a quote that shows that a comma was forgotten.
    fn end_of_member(&mut self, close: char) -> Option<()> {
        self.skip_blank();
        match self.rest.peek() {
            None | Some(',' | '"' | '\'') => Some(()),
            Some(c) if *c == close => Some(()),
            Some(_) => None,
        }
    }

    fn key(&mut self) -> Option<String> {
        match self.rest.peek()? {
            '"' | '\'' => Some(self.quoted()),
            _ => {
                let word = self.bare(&[':', ',', '{', '}', '[', ']', '"', '\n']);
                (!word.is_empty()).then_some(word)
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.rest.peek()? {
            '{' | '[' => self.container(depth),
            '"' | '\'' => Some(Value::from(self.quoted())),
            _ => {
                let word = self.bare(&[',', '}', ']', '{', '[', '"', '\n']);
                (!word.is_empty()).then(|| literal(word))
            }
        }
    }

    fn bare(&mut self, stops: &[char]) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| !stops.contains(c)) {
            word.push(c);
            if word.ends_with("/*") {
                word.truncate(word.len() - 2);
                self.skip_comment();
            }
        }
        word.trim().to_owned()
    }

    fn quoted(&mut self) -> String {
        let quote = self.rest.next();
        let mut text = String::new();
        while let Some(c) = self.rest.next() {
            if Some(c) == quote {
                break;
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match self.rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('b') => text.push('\u{8}'),
                Some('f') => text.push('\u{c}'),
                Some('u') => text.push(self.unicode()),
                Some(other) => text.push(other),
                None => break,
            }
        }
        text
    }

    fn unicode(&mut self) -> char {
        let first = self.hex4();
        let code = match first {
            0xD800..=0xDBFF => {
                let pair = self.rest.next_if_eq(&'\\').and_then(|_| self.rest.next_if_eq(&'u'));
                let second = if pair.is_some() { self.hex4() } else { 0 };
                0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF)
            }
            code => code,
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> u32 {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.rest.next_if(char::is_ascii_hexdigit) else { break };
            code = code * 16 + digit.to_digit(16).unwrap_or(0);
        }
        code
    }

    /// To behind the next `*/`.
    fn skip_comment(&mut self) {
        let mut last = ' ';
        for c in self.rest.by_ref() {
            if last == '*' && c == '/' {
                break;
            }
            last = c;
        }
    }

    fn skip_blank(&mut self) {
        loop {
            while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
            let mut ahead = self.rest.clone();
            match (ahead.next(), ahead.next()) {
                (Some('/'), Some('/')) => while self.rest.next_if(|c| *c != '\n').is_some() {},
                (Some('/'), Some('*')) => {
                    self.rest = ahead;
                    self.skip_comment();
                }
                _ => return,
            }
        }
    }
}

fn literal(word: String) -> Value {
    match word.as_str() {
        "true" | "True" => Value::from(true),
        "false" | "False" => Value::from(false),
        "null" | "None" | "undefined" => Value::Null,
        _ => match serde_json::from_str::<Value>(&word) {
            Ok(number @ Value::Number(_)) => number,
            _ => Value::from(word),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(text: &str) -> String {
        parse_or_text(text).to_json_text()
    }

    #[test]
    fn good_json_and_mistyped_json() {
        for (text, json) in [
            (r#" {"a":1} "#, r#"{"a":1}"#),
            ("{a:'b'}", r#"{"a":"b"}"#),
            ("{a:'b',}", r#"{"a":"b"}"#),
            ("{j:1,}", r#"{"j":1}"#),
            ("[a,b]", r#"["a","b"]"#),
            (r#"["a","#, r#"["a"]"#),
            ("[broken", r#"["broken"]"#),
            ("[1,2", "[1,2]"),
            (r#"{"a":1"#, r#"{"a":1}"#),
            (r#"{"a":1,"b"#, r#"{"a":1}"#),
            (r#"{"a":{"b":[1,{"c":"x"#, r#"{"a":{"b":[1,{"c":"x"}]}}"#),
            ("```json\n{\"a\":1}\n```", r#"{"a":1}"#),
            ("```\n[1]\n```", "[1]"),
            ("{\"a\":1, // why\n b: True /* x */}", r#"{"a":1,"b":true}"#),
            (r#"{"a":1 "b":2}"#, r#"{"a":1,"b":2}"#),
            ("{\"a\":\"x\ny\"}", r#"{"a":"x\ny"}"#),
            (r#"{u:'\u00e9\ud83d\ude00'}"#, r#"{"u":"é😀"}"#),
        ] {
            assert_eq!(repaired(text), json, "{text}");
        }
    }

    #[test]
    fn other_texts_stay_text() {
        for text in [
            "{just braces}",
            "{not json at all",
            "text {\"a\":1} more",
            "{\"a\":1} tail",
            "[1,2] tail",
            "x [1] y",
            "true",
            "12",
            "",
            "{",
            "[",
            "\"quoted\"",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_overflowed() {
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }
}
