//! Skills as tools: their declarations, the arguments that models give, the results that models read.

use serde_json::{Map, Value, json};
use sre_engine::data::permissive_json;
use sre_engine::{Plan, Skill};
use sre_proto::llm::v1::Tool;

/// A skill that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// Its declaration.
    pub tool: Tool,
    /// What is shown while it runs.
    pub status: String,
}

/// The tools of an agent: skills that are shown to models. Of two of one name the first counts.
pub fn declared(plan: &Plan) -> Vec<Declared> {
    let mut tools: Vec<Declared> = Vec::new();
    for skill in plan.skills().iter().filter(|skill| skill.ai_exposed) {
        if !tools.iter().any(|known| known.tool.name == skill.endpoint) {
            tools.push(declare(skill));
        }
    }
    tools
}

fn declare(skill: &Skill) -> Declared {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in &skill.inputs {
        let mut schema = schema(&input.type_name);
        if !input.description.is_empty() {
            schema["description"] = json!(input.description);
        }
        properties.insert(input.name.to_string(), schema);
        if !input.optional {
            required.push(input.name.to_string());
        }
    }
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    let description = [&skill.description, &skill.doc, &skill.summary];
    let description = description.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default();
    let label = if skill.label.is_empty() { &skill.endpoint } else { &skill.label };
    Declared {
        tool: Tool {
            name: skill.endpoint.clone(),
            description,
            parameters_json: parameters.to_string().into(),
        },
        status: skill.status_message.clone().unwrap_or_else(|| format!("Calling {label}")),
    }
}

fn schema(kind: &str) -> Value {
    match kind.to_ascii_lowercase().as_str() {
        "number" | "float" => json!({"type": "number"}),
        "integer" => json!({"type": "integer"}),
        "boolean" => json!({"type": "boolean"}),
        "array" => json!({"type": "array", "items": {}}),
        "object" => json!({"type": "object", "additionalProperties": {}}),
        _ => json!({"type": "string"}),
    }
}

/// The arguments of a call as the text of an object, whatever the model wrote.
pub fn arguments(json: &[u8]) -> String {
    if let Ok(Value::Object(object)) = serde_json::from_slice(json) {
        return Value::Object(object).to_string();
    }
    let text = String::from_utf8_lossy(json);
    match permissive_json::parse(&text) {
        Some(value) if value.as_object().is_some() => value.to_json_text(),
        _ => "{}".to_owned(),
    }
}

/// A text of at most so many bytes: its head and its tail, and between them how much is left out.
pub fn capped(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let note = |left_out: usize| format!("\n[... {left_out} bytes left out ...]\n");
    let room = limit.saturating_sub(note(text.len()).len());
    let head = text.floor_char_boundary(room * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - (room - room * 2 / 3));
    format!("{}{}{}", &text[..head], note(tail - head), &text[tail..])
}

/// What a model reads of a skill's answer: texts as they are, everything else as JSON.
pub fn result_text(legacy_json: &[u8]) -> String {
    match serde_json::from_slice::<Value>(legacy_json) {
        Ok(Value::String(text)) => text,
        _ => String::from_utf8_lossy(legacy_json).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(components: Value) -> Plan {
        let document = json!({"id": "a", "name": "A", "connections": [], "components": components});
        sre_engine::compile(&document, sre_components::registry()).unwrap()
    }

    fn endpoint(id: &str, data: Value, inputs: Value) -> Value {
        json!({"id": id, "name": "APIEndpoint", "title": "", "displayName": "", "data": data, "inputs": inputs, "outputs": []})
    }

    #[test]
    fn skills_are_tools_with_the_types_of_their_inputs() {
        let inputs = json!([
            {"name": "a", "type": "Number", "description": "how many", "optional": false},
            {"name": "b", "type": "Binary", "optional": true},
            {"name": "c", "type": "Array", "optional": true},
        ]);
        let plan = plan(json!([
            endpoint(
                "E1",
                json!({"endpoint": "add", "method": "POST", "description": "adds", "status_message": "Adding"}),
                inputs
            ),
            endpoint("E2", json!({"endpoint": "hidden", "method": "POST", "ai_exposed": false}), json!([])),
            endpoint(
                "E3",
                json!({"endpoint": "look", "method": "GET", "endpointLabel": "Looker", "doc": "looks"}),
                json!([])
            ),
        ]));
        let tools = declared(&plan);
        assert_eq!(tools.iter().map(|tool| tool.tool.name.as_str()).collect::<Vec<_>>(), ["add", "look"]);
        assert_eq!((tools[0].status.as_str(), tools[1].status.as_str()), ("Adding", "Calling Looker"));
        assert_eq!(tools[1].tool.description, "looks");
        let schema: Value = serde_json::from_slice(&tools[0].tool.parameters_json).unwrap();
        assert_eq!(schema["properties"]["a"], json!({"type": "number", "description": "how many"}));
        assert_eq!(schema["properties"]["b"]["type"], "string");
        assert_eq!(schema["properties"]["c"], json!({"type": "array", "items": {}}));
        assert_eq!(schema["required"], json!(["a"]));
    }

    #[test]
    fn arguments_are_read_permissively_and_are_always_an_object() {
        for (given, read) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("```json\n{\"a\":1}\n```", r#"{"a":1}"#),
            (r#"{'a': 'x',}"#, r#"{"a":"x"}"#),
            (r#"{"error":"x"}"#, r#"{"error":"x"}"#),
            ("", "{}"),
            ("nonsense", "{}"),
            ("[1]", "{}"),
        ] {
            assert_eq!(arguments(given.as_bytes()), read, "{given}");
        }
    }

    #[test]
    fn long_results_keep_head_and_tail() {
        assert_eq!(capped("short", 32), "short");
        let text: String = (0..2000).map(|n| format!("é{n} ")).collect();
        for limit in [60, 100, 999, 5000] {
            let cut = capped(&text, limit);
            assert!(cut.len() <= limit, "{limit}: {}", cut.len());
            assert!(cut.contains("bytes left out"), "{cut}");
        }
        let cut = capped(&text, 999);
        assert!(cut.starts_with("é0 é1") && cut.ends_with("é1999 "), "{cut}");
    }

    #[test]
    fn texts_are_results_as_they_are() {
        assert_eq!(result_text(br#""hi""#), "hi");
        assert_eq!(result_text(br#"{"a":1}"#), r#"{"a":1}"#);
    }
}
