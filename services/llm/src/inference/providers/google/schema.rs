//! Schemas in the form that Gemini takes. Today it takes JSON Schema itself, under names of its own; references and
//! what else it refuses are taken out of it.

use serde_json::{Map, Value};

/// Words that the API refuses or does not know: they narrow what the model is told, and are left out.
const UNKNOWN: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "unevaluatedProperties",
    "patternProperties",
    "dependentRequired",
    "if",
    "then",
    "else",
];

/// How deep references are followed.
const DEPTH: usize = 16;

/// A schema without what the API refuses; references to definitions of the same schema are put in.
pub fn sanitised(schema: &Value) -> Value {
    clean(schema, schema, DEPTH)
}

fn clean(schema: &Value, root: &Value, depth: usize) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        let found = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return match found {
            Some(found) if depth > 0 => clean(found, root, depth - 1),
            // A schema within itself ends somewhere.
            _ => serde_json::json!({"type": "object"}),
        };
    }
    let mut cleaned = Map::new();
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            (name, _) if UNKNOWN.contains(&name) || matches!(name, "$defs" | "definitions") => continue,
            ("properties", Value::Object(members)) => members
                .iter()
                .map(|(name, member)| (name.clone(), clean(member, root, depth)))
                .collect::<Map<_, _>>()
                .into(),
            ("const", value) => {
                cleaned.insert("enum".into(), Value::Array(vec![value.clone()]));
                continue;
            }
            (_, Value::Array(members))
                if matches!(name.as_str(), "anyOf" | "oneOf" | "allOf" | "prefixItems") =>
            {
                members.iter().map(|member| clean(member, root, depth)).collect::<Vec<_>>().into()
            }
            ("items" | "additionalProperties" | "not", value) => clean(value, root, depth),
            (_, value) => value.clone(),
        };
        cleaned.insert(name.clone(), value);
    }
    cleaned.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_put_in_and_unknown_words_left_out() {
        let schema = json!({"$schema": "x", "type": "object", "$defs": {"n": {"type": "object",
            "properties": {"next": {"$ref": "#/$defs/n"}, "k": {"const": 1}}}},
            "properties": {"a": {"$ref": "#/$defs/n"}, "$ref": {"type": "string"}, "gone": {"$ref": "#/$defs/none"}}});
        let clean = sanitised(&schema);
        assert_eq!(clean.get("$schema").or(clean.get("$defs")), None);
        assert_eq!(clean["properties"]["a"]["properties"]["k"], json!({"enum": [1]}));
        assert_eq!(clean["properties"]["gone"], json!({"type": "object"}));
        let mut at = &clean["properties"]["a"];
        let mut depth = 0;
        while at["properties"]["next"].is_object() {
            at = &at["properties"]["next"];
            depth += 1;
        }
        assert_eq!((depth, at), (16, &json!({"type": "object"})));
    }
}
