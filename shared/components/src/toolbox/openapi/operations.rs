//! The operations of a document as tools: what a model gives them, and where in a request each part belongs.

use std::collections::HashSet;

use http::Method;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::files;
use crate::toolbox::ToolSpec;
use crate::toolbox::names::unique;

/// Operations of one document.
const MOST: usize = 500;
/// What all of them may take in a model's window.
const ALL_BYTES: usize = 512 << 10;
const DESCRIPTION: usize = 4_096;
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
/// The argument that holds a body.
pub(super) const BODY: &str = "body";

/// Where in a request a parameter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    /// The argument that holds it.
    pub argument: String,
    /// Its name in the request.
    pub name: String,
    pub place: Place,
    /// Each item of a list for itself.
    pub explode: bool,
    /// Members as `name[member]`.
    pub deep: bool,
    /// Its value is written as JSON.
    pub json: bool,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    /// What the document calls it, if it does.
    pub id: String,
    pub spec: ToolSpec,
    pub method: Method,
    pub path: String,
    pub parameters: Vec<Parameter>,
    /// The media type of its body; none where it has none.
    pub body: Option<String>,
}

/// All operations that `wanted` names.
pub(super) fn of(
    document: &Document,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Vec<Operation>, Vec<String>), String> {
    let (mut taken, mut operations, mut names) = (HashSet::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for (path, item) in document.paths() {
        let shared = item.get("parameters").cloned().unwrap_or_default();
        for verb in METHODS {
            let Some(described) = item.get(verb) else { continue };
            let id = described.get("operationId").and_then(Value::as_str).unwrap_or_default();
            let id = if id.is_empty() { unnamed(verb, path) } else { id.to_owned() };
            let name = unique(&id, &mut taken);
            names.push(id.clone());
            if !wanted(&id) {
                continue;
            }
            let operation = operation(document, (verb, path, id, name), described, &shared)?;
            bytes += operation.spec.parameters.to_string().len() + operation.spec.description.len();
            if operations.len() >= MOST || bytes > ALL_BYTES {
                return Err(format!(
                    "the document has more than {MOST} operations or {ALL_BYTES} bytes of them: allow only some"
                ));
            }
            operations.push(operation);
        }
    }
    Ok((operations, names))
}

/// A name for an operation that has none: by verb and path, so that no two are the same.
fn unnamed(verb: &str, path: &str) -> String {
    let path = path.replace(['{', '}'], "").replace(['/', '.'], "_");
    format!("{verb}{path}")
}

fn operation(
    document: &Document,
    (verb, path, id, name): (&str, &str, String, String),
    described: &Value,
    shared: &Value,
) -> Result<Operation, String> {
    let failed = |error: String| format!("operation {id}: {error}");
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let mut parameters = Vec::new();
    for described in parameters_of(document, described, shared).map_err(failed)? {
        let Some((parameter, schema, is_required)) = parameter(&described) else { continue };
        let Parameter { argument, .. } = &parameter;
        if properties.contains_key(argument) {
            continue;
        }
        if is_required {
            required.push(json!(argument));
        }
        properties.insert(argument.clone(), schema);
        parameters.push(parameter);
    }
    let mut body = None;
    if let Some(described) = described.get("requestBody") {
        let described = document.resolved(described).map_err(failed)?;
        if let Some((media_type, schema)) = body_of(&described) {
            properties.insert(BODY.to_owned(), schema);
            if described.get("required").and_then(Value::as_bool).unwrap_or(false) {
                required.push(json!(BODY));
            }
            body = Some(media_type);
        }
    }
    let text = |name: &str| described.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let description = text("description").or_else(|| text("summary")).unwrap_or_default();
    let method = Method::from_bytes(verb.to_ascii_uppercase().as_bytes()).unwrap_or(Method::GET);
    let spec = ToolSpec {
        name,
        description: description.chars().take(DESCRIPTION).collect(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
        repeatable: method.is_idempotent(),
    };
    Ok(Operation { id, spec, method, path: path.to_owned(), parameters, body })
}

/// The operation's own parameters, and those of its path that it does not have itself.
fn parameters_of(document: &Document, described: &Value, shared: &Value) -> Result<Vec<Value>, String> {
    let own = described.get("parameters").cloned().unwrap_or_default();
    let mut found: Vec<Value> = Vec::new();
    for parameter in own.as_array().into_iter().chain(shared.as_array()).flatten() {
        let parameter = document.resolved(parameter)?;
        let same = |known: &Value| known["name"] == parameter["name"] && known["in"] == parameter["in"];
        if !found.iter().any(same) {
            found.push(parameter);
        }
    }
    Ok(found)
}

fn parameter(described: &Value) -> Option<(Parameter, Value, bool)> {
    let text = |name: &str| described.get(name).and_then(Value::as_str);
    let name = text("name")?.to_owned();
    let place = match text("in")? {
        "path" => Place::Path,
        "query" => Place::Query,
        // These are the client's own to set.
        "header"
            if ["accept", "content-type", "authorization"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own)) =>
        {
            return None;
        }
        "header" => Place::Header,
        "cookie" => Place::Cookie,
        _ => return None,
    };
    let content =
        described.get("content").and_then(Value::as_object).and_then(|content| content.values().next());
    let schema = described.get("schema").or_else(|| content?.get("schema"));
    let mut schema = schema.cloned().filter(Value::is_object).unwrap_or_else(|| json!({"type": "string"}));
    if let Some(description) = text("description") {
        schema["description"] = json!(description);
    }
    let style = text("style");
    let form = matches!(place, Place::Query | Place::Cookie);
    let explode = described
        .get("explode")
        .and_then(Value::as_bool)
        .unwrap_or(form && style.is_none_or(|s| s == "form"));
    let argument = if name == BODY { "body_parameter".to_owned() } else { name.clone() };
    let parameter = Parameter {
        argument,
        name,
        place,
        explode,
        deep: style == Some("deepObject"),
        json: content.is_some(),
    };
    let required =
        place == Place::Path || described.get("required").and_then(Value::as_bool).unwrap_or(false);
    Some((parameter, schema, required))
}

/// The media type that is sent, and what it holds: JSON where it may be.
fn body_of(described: &Value) -> Option<(String, Value)> {
    let content = described.get("content")?.as_object()?;
    let is_json = |name: &str| name.contains("json");
    let liked = [
        is_json as fn(&str) -> bool,
        |name| name == "application/x-www-form-urlencoded",
        |name| name == "multipart/form-data",
    ];
    let found = liked.iter().find_map(|like| content.iter().find(|(name, _)| like(name)));
    let (media_type, media) = found.or_else(|| content.iter().next())?;
    let mut schema = media.get("schema").cloned().filter(Value::is_object);
    if let Some(schema) = schema.as_mut().filter(|_| media_type == "multipart/form-data") {
        files::describe(schema);
    }
    if let (Some(schema), Some(description)) = (&mut schema, described.get("description")) {
        schema.as_object_mut()?.entry("description").or_insert_with(|| description.clone());
    }
    let usual = if is_json(media_type) { json!({"type": "object"}) } else { json!({"type": "string"}) };
    let plain = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // `*/*` says nothing; a text is what fits most.
    let media_type = if plain.contains('*') { "text/plain".to_owned() } else { plain };
    Some((media_type, schema.unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(paths: &Value) -> Document {
        let document = json!({"openapi": "3.0.0", "paths": paths});
        Document::read(document.to_string().as_bytes(), &"http://h/".parse().unwrap()).unwrap()
    }

    #[test]
    fn d36_verbs_of_one_path_without_ids_do_not_collide() {
        let document = document(
            &json!({"/users/{id}.json": {"get": {}, "delete": {}, "post": {"operationId": "make"}}}),
        );
        let (operations, names) = of(&document, |_| true).unwrap();
        let named: Vec<&str> = operations.iter().map(|operation| operation.spec.name.as_str()).collect();
        assert_eq!(named, ["get_users_id_json", "make", "delete_users_id_json"]);
        assert_eq!(names.len(), 3);
        assert!(operations[0].spec.repeatable && !operations[1].spec.repeatable);
        assert_eq!(of(&document, |name| name == "make").unwrap().0.len(), 1);
    }

    #[test]
    fn d36_every_place_of_a_parameter_and_every_kind_of_body_is_known() {
        let document = document(
            &json!({"/a/{p}": {"parameters": [{"name": "p", "in": "path", "schema": {"type": "integer"}}],
            "post": {"summary": "does", "parameters": [
                {"name": "q", "in": "query", "required": true, "schema": {"type": "array", "items": {"enum": ["x"]}}},
                {"name": "X-H", "in": "header", "description": "why"},
                {"name": "Authorization", "in": "header"},
                {"name": "c", "in": "cookie"},
                {"name": "f", "in": "query", "style": "deepObject", "schema": {"type": "object"}}],
             "requestBody": {"required": true, "content": {"text/csv": {"schema": {"type": "string"}}}}}}}),
        );
        let operation = &of(&document, |_| true).unwrap().0[0];
        let places: Vec<Place> = operation.parameters.iter().map(|parameter| parameter.place).collect();
        assert_eq!(places, [Place::Query, Place::Header, Place::Cookie, Place::Query, Place::Path]);
        assert_eq!(operation.body.as_deref(), Some("text/csv"));
        let schema = &operation.spec.parameters;
        assert_eq!(schema["required"], json!(["q", "p", "body"]));
        assert_eq!(schema["properties"]["q"]["items"]["enum"], json!(["x"]));
        assert_eq!(schema["properties"]["X-H"]["description"], "why");
        assert_eq!((operation.spec.description.as_str(), operation.method.as_str()), ("does", "POST"));
        assert!(operation.parameters[3].deep);
    }
}
