//! A JSON Schema that came with a declaration.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;
use sre_engine::spec::ValueCheck;
use sre_engine::value::Value;

/// The largest schema.
const MAX_BYTES: usize = 64 << 10;
/// What one pattern may compile to.
const PATTERN_BYTES: usize = 1 << 20;

/// A schema, compiled. Nothing in it leads outside: references to other documents are refused, and patterns match in
/// linear time.
#[derive(Debug)]
pub struct Schema(Validator);

impl Schema {
    /// Compiles a schema; none where there is no text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &[u8]) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_BYTES {
            return Err(format!("its schema is larger than {MAX_BYTES} bytes"));
        }
        let json: Json =
            serde_json::from_slice(text).map_err(|error| format!("its schema is not JSON: {error}"))?;
        if !(json.is_object() || json.is_boolean()) {
            return Err("its schema is neither an object nor a boolean".to_owned());
        }
        let options = PatternOptions::regex().size_limit(PATTERN_BYTES);
        let built = jsonschema::options().with_pattern_options(options).build(&json);
        built.map(Self).map(Some).map_err(|error| format!("its schema cannot be used: {error}"))
    }

    /// Checks a value; what is wrong is said without the value, which may hold a secret.
    ///
    /// # Errors
    /// Where it is wrong, and why.
    pub fn check_json(&self, json: &Json) -> Result<(), String> {
        self.0.validate(json).map_err(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
            format!("is not what its schema says{place}: {}", error.masked())
        })
    }
}

impl ValueCheck for Schema {
    fn check(&self, value: &Value) -> Result<(), String> {
        self.check_json(&Json::from(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(json: &Json) -> Result<Option<Schema>, String> {
        Schema::compile(json.to_string().as_bytes())
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        let schema =
            schema(&json!({"type": "object", "properties": {"n": {"maximum": 3}}})).unwrap().unwrap();
        assert_eq!(schema.check_json(&json!({"n": 3})), Ok(()));
        let wrong = schema.check_json(&json!({"n": 712_345})).unwrap_err();
        assert!(wrong.contains("at /n") && !wrong.contains("712345"), "{wrong}");
        assert!(schema.check_json(&json!("secret")).is_err_and(|text| !text.contains("secret")));
    }

    #[test]
    fn schemas_lead_nowhere_and_end() {
        for (json, why) in [
            (json!({"$ref": "http://127.0.0.1:1/x.json"}), "cannot be used"),
            (json!({"$ref": "file:///etc/passwd"}), "cannot be used"),
            (json!({"pattern": "(?=a)b"}), "cannot be used"),
            (json!({"type": "nothing"}), "cannot be used"),
            (json!([1]), "neither an object nor a boolean"),
        ] {
            let text = schema(&json).unwrap_err();
            assert!(text.contains(why), "{json}: {text}");
        }
        // One that means itself says nothing, and ends all the same.
        for json in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]}), json!({"items": {"$ref": "#"}})]
        {
            if let Ok(Some(schema)) = schema(&json) {
                let _ = schema.check_json(&json!([[[[]]]]));
            }
        }
        assert!(Schema::compile(b"{").unwrap_err().contains("not JSON"));
        assert!(Schema::compile(b"").unwrap().is_none());
        assert!(Schema::compile(&vec![b' '; MAX_BYTES + 1]).unwrap_err().contains("larger"));
    }
}
