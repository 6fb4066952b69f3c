//! The schema of an answer.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;
use sre_engine::value::Value;

/// Bytes of a schema.
const MOST_BYTES: usize = 256 << 10;
/// What is told of one answer.
const MOST_FINDINGS: usize = 10;
const FINDING_CHARACTERS: usize = 300;

/// A schema that answers are held to.
pub(super) struct Schema {
    /// As the author wrote it.
    pub(super) document: Json,
    validator: Validator,
}

/// The schema of a setting, which is an object or its text.
///
/// # Errors
/// If it is neither.
pub(super) fn document(setting: &Value) -> Result<Json, String> {
    let document = match setting {
        Value::String(text) if text.len() > MOST_BYTES => return Err(too_large()),
        Value::String(text) => {
            serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?
        }
        other => Json::from(other),
    };
    match document {
        Json::Object(_) if document.to_string().len() > MOST_BYTES => Err(too_large()),
        Json::Object(_) => Ok(document),
        _ => Err("the schema must be a JSON object".to_owned()),
    }
}

fn too_large() -> String {
    format!("the schema has {MOST_BYTES} bytes at most")
}

/// Checks a setting: its error is the detail of the message.
pub(super) fn check(setting: &Value) -> Result<(), String> {
    Schema::of(setting).map(drop)
}

impl Schema {
    /// Reads a setting.
    ///
    /// # Errors
    /// If it is no JSON Schema, or describes no object.
    pub(super) fn of(setting: &Value) -> Result<Self, String> {
        let document = document(setting)?;
        let is_object = document["type"] == "object" || document["properties"].is_object();
        if !is_object {
            return Err(
                "the schema must describe an object: set \"type\": \"object\" and its properties".to_owned()
            );
        }
        // Patterns are matched in linear time; other documents are never fetched.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(&document).map_err(|error| {
            let place = error.instance_path().to_string();
            format!("the schema is no JSON Schema: {}{}", shown(&error.to_string()), at(&place))
        })?;
        Ok(Self { document, validator })
    }

    /// What of an answer does not fit; nothing where it does.
    pub(super) fn wrong(&self, answer: &Value) -> Vec<String> {
        let answer = Json::from(answer);
        let findings = self.validator.iter_errors(&answer).take(MOST_FINDINGS);
        let said = findings.map(|finding| {
            let place = finding.instance_path().to_string();
            format!("- {}{}", shown(&finding.to_string()), at(&place))
        });
        said.collect()
    }

    /// Whether providers can hold a model to it to the letter: every object lists all of its properties as required.
    pub(super) fn is_strict(&self) -> bool {
        is_strict(&self.document)
    }
}

fn shown(text: &str) -> String {
    match text.chars().count() > FINDING_CHARACTERS {
        true => text.chars().take(FINDING_CHARACTERS).chain("...".chars()).collect(),
        false => text.to_owned(),
    }
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" (at {place})") }
}

fn is_strict(schema: &Json) -> bool {
    match schema {
        Json::Object(members) => {
            let required = |name: &String| {
                let list = members.get("required").and_then(Json::as_array);
                list.is_some_and(|list| list.iter().any(|required| required == name))
            };
            let properties = members.get("properties").and_then(Json::as_object);
            let open = members.get("additionalProperties").is_some_and(|more| *more != Json::Bool(false));
            let is_map = members.get("type") == Some(&Json::from("object")) && properties.is_none();
            let listed = properties.is_none_or(|properties| properties.keys().all(required));
            !open && !is_map && listed && members.values().all(is_strict)
        }
        Json::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

/// Whether an answer may have a member of this name.
pub(super) fn may_have(schema: &Json, name: &str) -> bool {
    // A name with dots is a path into the answer.
    let first = name.split(['.', '[']).next().unwrap_or(name);
    let is_closed = schema["additionalProperties"] == false;
    let composed =
        ["$ref", "allOf", "anyOf", "oneOf", "patternProperties"].iter().any(|key| !schema[*key].is_null());
    schema["properties"].get(first).is_some() || composed || (!is_closed && schema["properties"].is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(document: Json) -> Result<Schema, String> {
        Schema::of(&Value::from(document))
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let schema = schema(json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "string", "pattern": "^x"}}}}))
        .unwrap();
        assert!(schema.wrong(&json!({"a": 1, "b": ["x1"]}).into()).is_empty());
        let wrong = schema.wrong(&json!({"b": ["x", "y"]}).into());
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong.iter().any(|finding| finding.ends_with("(at /b/1)")), "{wrong:?}");
    }

    #[test]
    fn what_is_no_schema_of_an_object_is_refused() {
        for (document, words) in [
            (json!("{"), "is not JSON"),
            (json!([1]), "must be a JSON object"),
            (json!({"type": "array"}), "must describe an object"),
            (json!({"type": "object", "properties": {"a": {"type": "nope"}}}), "no JSON Schema"),
            (
                json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}),
                "no JSON Schema",
            ),
        ] {
            let error = schema(document.clone()).map(drop).unwrap_err();
            assert!(error.contains(words), "{document}: {error}");
        }
        assert!(schema(json!("{\"type\":\"object\"}")).is_ok(), "its text");
    }

    #[test]
    fn strict_schemas_name_all_properties() {
        let strict = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
        assert!(schema(strict).unwrap().is_strict());
        for open in [
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "object"}}}),
        ] {
            assert!(!schema(open.clone()).unwrap().is_strict(), "{open}");
        }
    }

    #[test]
    fn patterns_end_in_linear_time() {
        let schema =
            schema(json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}))
                .unwrap();
        let long = format!("{}!", "a".repeat(10_000));
        assert_eq!(schema.wrong(&json!({"a": long}).into()).len(), 1);
    }
}
