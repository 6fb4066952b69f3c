//! The OpenAPI document of an agent's skills. The mapping is fixed: clients generate code from it.

use serde_json::{Map, Value as Json, json};

/// Who the document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// People and programs: every skill, in the words for people.
    Programs,
    /// Models: the skills that are exposed to them, in the words for them.
    Models,
}

const BASE_PATH: &str = "/api";

/// Describes the skills of a bare document.
pub fn describe(bare: &Json, server_url: &str, audience: Audience) -> Json {
    let description = match audience {
        Audience::Models => text(bare, "behavior"),
        Audience::Programs => text(bare, "shortDescription"),
    };
    let version = match text(bare, "version") {
        "" => "1.0.0",
        version => version,
    };
    let mut out = Map::new();
    out.insert("openapi".into(), json!("3.0.1"));
    out.insert(
        "info".into(),
        json!({
            "title": text(bare, "name"),
            "description": or(description, text(bare, "description")),
            "version": version,
        }),
    );
    if !server_url.is_empty() {
        out.insert("servers".into(), json!([{ "url": server_url }]));
    }
    out.insert("paths".into(), Json::Object(paths(bare, audience)));
    out.insert("components".into(), json!({ "schemas": {} }));
    Json::Object(out)
}

fn paths(bare: &Json, audience: Audience) -> Map<String, Json> {
    let mut paths = Map::new();
    let components = bare.get("components").and_then(Json::as_array);
    for component in components.into_iter().flatten() {
        let data = component.get("data").unwrap_or(&Json::Null);
        let endpoint = text(data, "endpoint");
        let hidden = audience == Audience::Models && data.get("ai_exposed").is_some_and(is_falsy);
        if text(component, "name") != "APIEndpoint" || endpoint.is_empty() || hidden {
            continue;
        }
        let method = or(text(data, "method"), "post").to_lowercase();
        let methods = paths.entry(format!("{BASE_PATH}/{endpoint}")).or_insert_with(|| json!({}));
        if let Json::Object(methods) = methods {
            // Of two with the same method and path, the last one answers, and is described.
            methods.insert(method.clone(), operation(component, data, &method, audience));
        }
    }
    paths
}

fn operation(component: &Json, data: &Json, method: &str, audience: Audience) -> Json {
    let (description, doc) = (text(data, "description"), text(data, "doc"));
    let summary = match audience {
        Audience::Models => or(description, doc),
        Audience::Programs => or(doc, description),
    };
    let mut out = Map::new();
    out.insert("summary".into(), json!(summary));
    out.insert("operationId".into(), json!(text(data, "endpoint")));
    out.insert("x-openai-isConsequential".into(), json!(false));
    let inputs = component.get("inputs").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    match (inputs, method) {
        ([], _) => {}
        (inputs, "get") => {
            out.insert("parameters".into(), inputs.iter().map(parameter).collect());
        }
        (inputs, _) => {
            out.insert("requestBody".into(), request_body(inputs, audience));
        }
    }
    out.insert(
        "responses".into(),
        json!({ "200": {
            "description": "response",
            "content": { "text/plain": { "schema": { "type": "string" } } },
        } }),
    );
    Json::Object(out)
}

fn parameter(input: &Json) -> Json {
    let mut out = Map::new();
    out.insert("name".into(), json!(text(input, "name")));
    out.insert("in".into(), json!("query"));
    out.insert("description".into(), json!(text(input, "description")));
    out.insert("required".into(), json!(!is_optional(input)));
    out.insert("schema".into(), Json::Object(schema(input)));
    let style = match type_of(input).to_ascii_lowercase().as_str() {
        "array" => Some(("form", false)),
        "object" => Some(("deepObject", true)),
        _ => None,
    };
    if let Some((style, explode)) = style {
        out.insert("style".into(), json!(style));
        out.insert("explode".into(), json!(explode));
    }
    Json::Object(out)
}

fn request_body(inputs: &[Json], audience: Audience) -> Json {
    let is_upload = |input: &Json| audience == Audience::Programs && type_of(input) == "Binary";
    let mimetype = if inputs.iter().any(is_upload) { "multipart/form-data" } else { "application/json" };
    let mut properties = Map::new();
    for input in inputs {
        let mut property = schema(input);
        if is_upload(input) {
            property.insert("format".into(), json!("binary"));
        }
        property.insert("description".into(), json!(text(input, "description")));
        if let Some(default) = input.get("defaultVal") {
            property.insert("default".into(), default.clone());
        }
        properties.insert(text(input, "name").to_owned(), Json::Object(property));
    }
    let required: Vec<&str> =
        inputs.iter().filter(|input| !is_optional(input)).map(|input| text(input, "name")).collect();
    json!({
        "required": true,
        "content": { mimetype: { "schema": {
            "type": "object",
            "properties": properties,
            "required": required,
        } } },
    })
}

fn schema(input: &Json) -> Map<String, Json> {
    let mut out = Map::new();
    let (kind, extra) = match type_of(input).to_ascii_lowercase().as_str() {
        "number" | "float" => ("number", None),
        "integer" => ("integer", None),
        "boolean" => ("boolean", None),
        "array" => ("array", Some("items")),
        "object" => ("object", Some("additionalProperties")),
        _ => ("string", None),
    };
    out.insert("type".into(), json!(kind));
    if let Some(extra) = extra {
        out.insert(extra.into(), json!({}));
    }
    out
}

fn type_of(input: &Json) -> &str {
    or(text(input, "type"), "Any")
}

fn is_optional(input: &Json) -> bool {
    input.get("optional").is_some_and(|value| !is_falsy(value))
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

fn is_falsy(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(flag) => !flag,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(_) | Json::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> Json {
        json!({
            "name": "Greeter", "behavior": "You greet.", "description": "old words",
            "components": [
                { "name": "APIEndpoint", "data": {
                    "endpoint": "greet", "method": "POST", "description": "Greets\n\"all\"", "doc": "For people",
                    "summary": "never used" },
                  "inputs": [
                    { "name": "people", "type": "Array", "description": "names" },
                    { "name": "loud", "type": "Boolean", "optional": true, "defaultVal": "{{LOUD}}" },
                    { "name": "photo", "type": "Binary" },
                    { "name": "note" } ] },
                { "name": "APIEndpoint", "data": { "endpoint": "find", "method": "GET", "ai_exposed": false },
                  "inputs": [
                    { "name": "ids", "type": "Array" }, { "name": "where", "type": "Object", "optional": true },
                    { "name": "n", "type": "Integer" }, { "name": "x" } ] },
                { "name": "APIEndpoint", "data": { "endpoint": "ping", "method": "" }, "inputs": [] },
                { "name": "FHash", "data": { "endpoint": "no" }, "inputs": [] },
            ],
        })
    }

    #[test]
    fn the_document_for_programs() {
        let out = describe(&agent(), "https://x", Audience::Programs);
        assert_eq!(out["info"], json!({"title": "Greeter", "description": "old words", "version": "1.0.0"}));
        assert_eq!(out["servers"], json!([{"url": "https://x"}]));
        assert_eq!(out["components"], json!({"schemas": {}}));
        let keys: Vec<_> = out.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["openapi", "info", "servers", "paths", "components"]);
        assert_eq!(
            out["paths"]["/api/greet"]["post"],
            json!({
                "summary": "For people",
                "operationId": "greet",
                "x-openai-isConsequential": false,
                "requestBody": { "required": true, "content": { "multipart/form-data": { "schema": {
                    "type": "object",
                    "properties": {
                        "people": { "type": "array", "items": {}, "description": "names" },
                        "loud": { "type": "boolean", "description": "", "default": "{{LOUD}}" },
                        "photo": { "type": "string", "format": "binary", "description": "" },
                        "note": { "type": "string", "description": "" },
                    },
                    "required": ["people", "photo", "note"],
                } } } },
                "responses": { "200": {
                    "description": "response", "content": { "text/plain": { "schema": { "type": "string" } } } } },
            })
        );
        assert_eq!(
            out["paths"]["/api/find"]["get"]["parameters"],
            json!([
                { "name": "ids", "in": "query", "description": "", "required": true,
                  "schema": { "type": "array", "items": {} }, "style": "form", "explode": false },
                { "name": "where", "in": "query", "description": "", "required": false,
                  "schema": { "type": "object", "additionalProperties": {} },
                  "style": "deepObject", "explode": true },
                { "name": "n", "in": "query", "description": "", "required": true,
                  "schema": { "type": "integer" } },
                { "name": "x", "in": "query", "description": "", "required": true,
                  "schema": { "type": "string" } },
            ])
        );
        let ping = &out["paths"]["/api/ping"]["post"];
        assert!(ping.get("requestBody").is_none() && ping.get("parameters").is_none());
    }

    #[test]
    fn the_document_for_models_leaves_out_what_is_not_theirs() {
        let out = describe(&agent(), "", Audience::Models);
        assert!(out.get("servers").is_none());
        assert_eq!(out["info"]["description"], "You greet.");
        assert!(out["paths"].get("/api/find").is_none());
        let greet = &out["paths"]["/api/greet"]["post"];
        assert_eq!(greet["summary"], "Greets\n\"all\"");
        let schema = &greet["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"]["photo"], json!({"type": "string", "description": ""}));
    }
}
