//! Answers in JSON: what models are told in words, and schemas in the forms that providers take.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use crate::inference::error::InferenceError;

/// What a model is told that has to answer with JSON.
pub const JSON_INSTRUCTION: &str = "Answer with one JSON object on a single line and nothing else: double quotes \
     around keys and texts, no comments, no markdown, no words before or after it. Where there is only one \
     value to give, its key is \"result\".";

/// A system text with an instruction behind it.
pub fn instructed(system: &str, instruction: &str) -> String {
    if system.is_empty() { instruction.to_owned() } else { format!("{system}\n\n{instruction}") }
}

/// What a model is told that has to answer as a schema says, where its provider cannot hold it to it.
pub fn schema_instruction(schema: &Value) -> String {
    format!("{JSON_INSTRUCTION} The object is as this JSON Schema says: {schema}")
}

/// The schema of the answer; none where the answer is free.
pub fn answer_schema(request: &pb::GenerateRequest) -> Result<Option<Value>, InferenceError> {
    if request.response_format() != pb::ResponseFormat::JsonSchema {
        return Ok(None);
    }
    let schema = request.json_schema.as_ref().map(|schema| &schema.schema_json[..]).unwrap_or_default();
    match serde_json::from_slice(schema) {
        Ok(schema @ Value::Object(_)) => Ok(Some(schema)),
        _ => Err(InferenceError::invalid("json_schema.schema_json", "must be a JSON Schema: an object")),
    }
}

/// The schema of a tool's arguments: an object, also for a tool without any.
pub fn parameters(tool: &pb::Tool) -> Result<Value, InferenceError> {
    if tool.parameters_json.is_empty() {
        return Ok(json!({"type": "object", "properties": {}}));
    }
    match serde_json::from_slice(&tool.parameters_json) {
        Ok(Value::Object(mut schema)) => {
            schema.entry("type").or_insert_with(|| "object".into());
            Ok(schema.into())
        }
        _ => {
            let words = format!("parameters_json of {:?} must be a JSON object", tool.name);
            Err(InferenceError::invalid("tools", words))
        }
    }
}

/// The arguments of a call: an object, also where a model wrote none, or none that can be read.
pub fn arguments(call: &pb::ToolCall) -> Value {
    match serde_json::from_slice(&call.arguments_json) {
        Ok(arguments @ Value::Object(_)) => arguments,
        Ok(Value::Null) | Err(_) if call.arguments_json.iter().all(u8::is_ascii_whitespace) => json!({}),
        Ok(Value::Null) => json!({}),
        Ok(other) => json!({"value": other}),
        // What cannot be read is shown to the model again, so that it sees its mistake.
        Err(_) => json!({"invalid_json": String::from_utf8_lossy(&call.arguments_json)}),
    }
}

/// A schema whose objects have the named properties alone, as providers want it that hold a model to it.
pub fn closed(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let mut closed: Map<String, Value> = Map::new();
    for (name, value) in schema {
        let value = match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(members)) => members
                .iter()
                .map(|(name, member)| (name.clone(), self::closed(member)))
                .collect::<Map<_, _>>()
                .into(),
            ("items" | "not" | "additionalProperties", _) => self::closed(value),
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(members)) => {
                members.iter().map(self::closed).collect::<Vec<_>>().into()
            }
            _ => value.clone(),
        };
        closed.insert(name.clone(), value);
    }
    let is_object =
        schema.get("type").and_then(Value::as_str) == Some("object") || schema.contains_key("properties");
    if is_object {
        closed.insert("additionalProperties".into(), false.into());
    }
    closed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_closed_at_every_depth() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object",
            "properties": {"properties": {"type": "string"}}}}}, "$defs": {"d": {"anyOf": [{"properties": {}}]}}});
        let closed = closed(&schema);
        assert_eq!(closed["additionalProperties"], false);
        assert_eq!(closed["properties"]["a"]["items"]["additionalProperties"], false);
        assert_eq!(closed["properties"]["a"]["items"]["properties"]["properties"], json!({"type": "string"}));
        assert_eq!(closed["$defs"]["d"]["anyOf"][0]["additionalProperties"], false);
        assert_eq!(self::closed(&closed), closed);
    }

    #[test]
    fn arguments_are_an_object_whatever_a_model_wrote() {
        let of = |text: &'static str| {
            arguments(&pb::ToolCall { arguments_json: text.into(), ..Default::default() })
        };
        assert_eq!(of(""), json!({}));
        assert_eq!(of(" "), json!({}));
        assert_eq!(of("null"), json!({}));
        assert_eq!(of("{\"a\":1}"), json!({"a": 1}));
        assert_eq!(of("[1]"), json!({"value": [1]}));
        assert_eq!(of("{\"a\""), json!({"invalid_json": "{\"a\""}));
    }
}
