//! The record of a connection's tokens, in the two shapes that agents of the reference have. It is written back in
//! the shape it was read in, and what it says of vault keys stays as it was written.

use serde_json::{Map, Value, json};

/// A record.
#[derive(Clone)]
pub struct Record {
    json: Map<String, Value>,
    shape: Shape,
}

/// How a record is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{auth_data, auth_settings}`.
    New,
    /// All at the top, more under `oauth_info`.
    Old,
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Calls are signed (RFC 5849).
    OAuth1,
    /// A token that a user granted.
    OAuth2,
    /// A token for the application itself.
    ClientCredentials,
}

/// The service name of client credentials.
pub const CLIENT_CREDENTIALS: &str = "oauth2_client_credentials";

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// If it is no JSON object. The message holds nothing of it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json = match serde_json::from_slice(bytes) {
            Ok(Value::Object(json)) => json,
            Ok(_) => return Err("the record is no JSON object".to_owned()),
            Err(error) => {
                return Err(format!(
                    "the record is no JSON (line {}, column {})",
                    error.line(),
                    error.column()
                ));
            }
        };
        let shape = if json.contains_key("auth_data") || json.contains_key("auth_settings") {
            Shape::New
        } else {
            Shape::Old
        };
        Ok(Self { json, shape })
    }

    /// A new record in the newer shape, without tokens.
    pub fn new(settings: Map<String, Value>, team: &str) -> Self {
        let data = json!({"primary": "", "secondary": "", "expires_in": ""});
        let json = [
            ("auth_data".to_owned(), data),
            ("auth_settings".to_owned(), Value::Object(settings)),
            ("team".to_owned(), Value::from(team)),
        ];
        Self { json: json.into_iter().collect(), shape: Shape::New }
    }

    /// How it is laid out.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    fn data(&self, name: &str) -> Option<&Value> {
        match self.shape {
            Shape::New => self.json.get("auth_data")?.get(name),
            Shape::Old => self.json.get(name),
        }
    }

    /// The access token; empty where there is none.
    pub fn primary(&self) -> &str {
        self.data("primary").and_then(Value::as_str).unwrap_or_default()
    }

    /// The refresh token, or the token's secret.
    pub fn secondary(&self) -> &str {
        self.data("secondary").and_then(Value::as_str).unwrap_or_default()
    }

    /// When the access token ends, in milliseconds since 1970.
    pub fn expires_ms(&self) -> Option<i64> {
        match self.data("expires_in")? {
            Value::Number(number) => number.as_f64().map(|ms| ms as i64),
            Value::String(text) => {
                text.trim().parse::<f64>().ok().filter(|ms| ms.is_finite()).map(|ms| ms as i64)
            }
            _ => None,
        }
    }

    /// A setting as it was written; empty where there is none.
    pub fn setting(&self, name: &str) -> &str {
        let text = |value: Option<&'_ Value>| {
            value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::len)
        };
        let places = match self.shape {
            Shape::New => [self.json.get("auth_settings").and_then(|settings| settings.get(name)), None],
            Shape::Old => {
                [self.json.get(name), self.json.get("oauth_info").and_then(|settings| settings.get(name))]
            }
        };
        let found = places.into_iter().find(|place| text(*place).is_some()).flatten();
        found.and_then(Value::as_str).unwrap_or_default()
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        if self.setting("service") == CLIENT_CREDENTIALS {
            return Kind::ClientCredentials;
        }
        match self.setting("type") {
            "oauth" => Kind::OAuth1,
            "" if !self.setting("consumerKey").is_empty() => Kind::OAuth1,
            _ => Kind::OAuth2,
        }
    }

    /// Puts new tokens in. A refresh token that did not come again stays.
    pub fn set_tokens(&mut self, primary: &str, secondary: Option<&str>, expires_ms: i64) {
        let place = match self.shape {
            Shape::New => {
                let data = self.json.entry("auth_data").or_insert_with(|| json!({}));
                if !data.is_object() {
                    *data = json!({});
                }
                data.as_object_mut()
            }
            Shape::Old => Some(&mut self.json),
        };
        let Some(place) = place else { return };
        place.insert("primary".to_owned(), Value::from(primary));
        if let Some(secondary) = secondary.filter(|secondary| !secondary.is_empty()) {
            place.insert("secondary".to_owned(), Value::from(secondary));
        }
        place.insert("expires_in".to_owned(), Value::from(expires_ms.to_string()));
    }

    /// The record as it is kept.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(Value::Object(self.json.clone()).to_string().into_bytes())
    }
}

/// Without its tokens and secrets.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("shape", &self.shape)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = r#"{"auth_data":{"primary":"a","secondary":"r","expires_in":"1700000000000"},
        "auth_settings":{"type":"oauth2","service":"google","tokenURL":"https://t","clientSecret":"{{KEY(s)}}"},
        "team":"t","more":1}"#;
    const OLD: &str = r#"{"primary":"a","secondary":"r","expires_in":1700000000000,"type":"oauth2","tokenURL":"",
        "team":"t","oauth_info":{"service":"google","tokenURL":"https://t","clientSecret":"{{KEY(s)}}"}}"#;

    #[test]
    fn d20_both_shapes_are_read_and_kept() {
        for (text, shape) in [(NEW, Shape::New), (OLD, Shape::Old)] {
            let mut record = Record::parse(text.as_bytes()).unwrap();
            assert_eq!((record.shape(), record.kind()), (shape, Kind::OAuth2));
            assert_eq!((record.primary(), record.secondary()), ("a", "r"));
            assert_eq!(record.expires_ms(), Some(1_700_000_000_000));
            assert_eq!((record.setting("tokenURL"), record.setting("service")), ("https://t", "google"));
            record.set_tokens("b", None, 5);
            let again = Record::parse(&record.to_bytes()).unwrap();
            assert_eq!(again.shape(), shape);
            assert_eq!((again.primary(), again.secondary(), again.expires_ms()), ("b", "r", Some(5)));
            // What names a vault key still names it.
            assert_eq!(again.setting("clientSecret"), "{{KEY(s)}}");
        }
    }

    #[test]
    fn d20_an_end_that_is_no_number_is_none() {
        for end in [r#""NaN""#, r#""""#, "null", "\"soon\""] {
            let text = format!(r#"{{"primary":"a","expires_in":{end}}}"#);
            assert_eq!(Record::parse(text.as_bytes()).unwrap().expires_ms(), None, "{end}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused_without_being_shown() {
        for bad in ["secret-token", "[1]", "{\"primary\":\"secret-token\""] {
            let error = Record::parse(bad.as_bytes()).unwrap_err();
            assert!(!error.contains("secret-token"), "{error}");
        }
        let shown = format!("{:?}", Record::parse(NEW.as_bytes()).unwrap());
        assert!(!shown.contains("\"a\"") && !shown.contains("KEY"), "{shown}");
    }
}
