//! What spans show of inputs and outputs, for teams that want it: without secrets, named fields and headers, and cut.

use serde_json::Value;

use crate::config::Content;

/// Stands where something was left out.
pub const REDACTED: &str = "[REDACTED]";
/// Headers that are never shown.
const DENIED_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

impl Content {
    /// Whether runs of a team show content.
    pub fn shows(&self, team: &str) -> bool {
        self.teams.iter().any(|wanted| wanted == "*" || wanted == team)
    }

    /// A JSON text as it is shown. Secrets of the vault must be out of it already. A text that is no JSON is shown
    /// cut.
    pub fn shown(&self, json: &str) -> String {
        match serde_json::from_str::<Value>(json) {
            Ok(mut value) => {
                self.redact(&mut value);
                self.cut(&value.to_string())
            }
            Err(_) => self.cut(json),
        }
    }

    /// Headers as they are shown.
    pub fn shown_headers<'h>(&self, headers: impl Iterator<Item = (&'h str, &'h str)>) -> String {
        let shown = headers.map(|(name, value)| {
            let lower = name.to_lowercase();
            let denied = DENIED_HEADERS.contains(&lower.as_str())
                || self.deny_headers.iter().any(|denied| denied.eq_ignore_ascii_case(name))
                || self.is_redacted(&lower);
            (name.to_owned(), Value::from(if denied { REDACTED } else { value }))
        });
        self.cut(&Value::Object(shown.collect()).to_string())
    }

    fn is_redacted(&self, lower: &str) -> bool {
        self.redact_fields.iter().any(|field| !field.is_empty() && lower.contains(&field.to_lowercase()))
    }

    fn redact(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if self.is_redacted(&name.to_lowercase()) {
                        *value = Value::from(REDACTED);
                    } else {
                        self.redact(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact(item)),
            _ => {}
        }
    }

    /// The beginning of a text, between characters.
    fn cut(&self, text: &str) -> String {
        if text.len() <= self.max_bytes {
            return text.to_owned();
        }
        let room = self.max_bytes.saturating_sub('…'.len_utf8());
        format!("{}…", &text[..text.floor_char_boundary(room)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_fields_are_left_out_at_any_depth() {
        let content = Content::default();
        let shown = content.shown(r#"{"a":[{"Api_Key":"x","b":1}],"myToken":{"deep":"y"},"text":"z"}"#);
        assert_eq!(shown, r#"{"a":[{"Api_Key":"[REDACTED]","b":1}],"myToken":"[REDACTED]","text":"z"}"#);
    }

    #[test]
    fn long_content_is_cut_between_characters() {
        let content = Content { max_bytes: 10, ..Content::default() };
        let shown = content.shown(&"ü".repeat(50));
        assert!(shown.len() <= 10 && shown.ends_with("ü…"), "{shown}");
        assert_eq!(content.shown("short"), "short");
    }

    #[test]
    fn headers_that_carry_credentials_are_never_shown() {
        let content = Content {
            deny_headers: vec!["X-Internal".into()],
            redact_fields: Vec::new(),
            ..Content::default()
        };
        let headers = [("Authorization", "Bearer x"), ("x-internal", "y"), ("accept", "z"), ("Cookie", "c")];
        let shown = content.shown_headers(headers.into_iter());
        for secret in ["Bearer", "\"y\"", "\"c\""] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains(r#""accept":"z""#), "{shown}");
    }

    #[test]
    fn nobody_is_shown_unless_they_want_to_be() {
        assert!(!Content::default().shows("red"));
        let some = Content { teams: vec!["red".into()], ..Content::default() };
        assert!(some.shows("red") && !some.shows("blue"));
        assert!(Content { teams: vec!["*".into()], ..Content::default() }.shows("blue"));
    }
}
