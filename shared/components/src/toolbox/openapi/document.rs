//! An OpenAPI document: fetched, read as JSON or YAML, its local references put in their places.

use serde_json::{Map, Value};
use url::Url;

/// The largest document.
pub(super) const LARGEST_BYTES: usize = 4 << 20;
/// Values that the references of one operation may come to.
const MOST_VALUES: usize = 20_000;
/// References within references.
const DEEPEST: usize = 64;
/// The longest description of the whole.
const ABOUT: usize = 4_096;

/// A document that can be called.
#[derive(Debug)]
pub(super) struct Document {
    root: Value,
    /// Where its operations are.
    pub server: Url,
}

impl Document {
    /// Reads a document that came from an address.
    pub fn read(text: &[u8], from: &Url) -> Result<Self, String> {
        if text.len() > LARGEST_BYTES {
            return Err(format!("the document has more than {LARGEST_BYTES} bytes"));
        }
        let root: Value = match serde_json::from_slice(text) {
            Ok(json) => json,
            // Aliases that grow without end are refused by the reader.
            Err(_) => yaml_serde::from_slice(text)
                .map_err(|error| format!("the document is neither JSON nor YAML: {error}"))?,
        };
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        if !version.starts_with("3.") {
            return Err(match root.get("swagger") {
                Some(_) => "the document is Swagger 2: convert it to OpenAPI 3".to_owned(),
                None => "the document is no OpenAPI 3 document: it has no \"openapi\": \"3...\"".to_owned(),
            });
        }
        if !root.get("paths").is_some_and(Value::is_object) {
            return Err("the document has no \"paths\"".to_owned());
        }
        let server = server(&root, from)?;
        Ok(Self { root, server })
    }

    /// What it is called.
    pub fn title(&self) -> &str {
        self.info("title")
    }

    /// What it is for.
    pub fn description(&self) -> String {
        self.info("description").chars().take(ABOUT).collect()
    }

    fn info(&self, name: &str) -> &str {
        self.root.pointer(&format!("/info/{name}")).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its paths.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.root.get("paths").and_then(Value::as_object);
        paths.into_iter().flatten().map(|(path, item)| (path.as_str(), item))
    }

    /// The first scheme that names a key of its own.
    pub fn key_scheme(&self) -> Option<(String, String)> {
        let schemes = self.root.pointer("/components/securitySchemes")?.as_object()?;
        schemes.values().find_map(|scheme| {
            let text = |name: &str| scheme.get(name).and_then(Value::as_str);
            (text("type") == Some("apiKey")).then_some(())?;
            Some((text("name")?.to_owned(), text("in")?.to_owned()))
        })
    }

    /// A value with its references in their places. One that comes back to itself ends there.
    pub fn resolved(&self, value: &Value) -> Result<Value, String> {
        let mut left = MOST_VALUES;
        self.inline(value, &mut Vec::new(), &mut left)
    }

    fn inline<'a>(
        &'a self,
        value: &'a Value,
        within: &mut Vec<&'a str>,
        left: &mut usize,
    ) -> Result<Value, String> {
        *left = left.checked_sub(1).ok_or_else(|| {
            format!("an operation is too large: its references come to more than {MOST_VALUES} values")
        })?;
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    return self.referred(reference, within, left);
                }
                let mut inlined = Map::new();
                for (name, member) in members {
                    inlined.insert(name.clone(), self.inline(member, within, left)?);
                }
                Ok(Value::Object(inlined))
            }
            Value::Array(items) => items
                .iter()
                .map(|item| self.inline(item, within, left))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            plain => Ok(plain.clone()),
        }
    }

    fn referred<'a>(
        &'a self,
        reference: &'a str,
        within: &mut Vec<&'a str>,
        left: &mut usize,
    ) -> Result<Value, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!(
                "the reference {reference:?} leads out of the document, which is not followed"
            ));
        };
        if within.contains(&reference) || within.len() >= DEEPEST {
            return Ok(serde_json::json!({ "description": "the same kind of value again" }));
        }
        let found = self.root.pointer(pointer);
        let found = found.ok_or_else(|| format!("the reference {reference:?} leads nowhere"))?;
        within.push(reference);
        let inlined = self.inline(found, within, left);
        within.pop();
        inlined
    }
}

/// The first server, its variables at their defaults; where there is none, where the document came from.
fn server(root: &Value, from: &Url) -> Result<Url, String> {
    let mut origin = from.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    let Some(server) = root.pointer("/servers/0") else { return Ok(origin) };
    let mut address = server.get("url").and_then(Value::as_str).unwrap_or("/").to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let usual = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        address = address.replace(&format!("{{{name}}}"), usual);
    }
    let wrong = || format!("the document's server {address:?} is no address");
    let url = from.join(&address).map_err(|_| wrong())?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> Result<Document, String> {
        Document::read(document.to_string().as_bytes(), &"http://h:81/v1/spec.json?x=1".parse().unwrap())
    }

    #[test]
    fn d36_a_reference_that_comes_back_to_itself_ends() {
        let document = read(&json!({"openapi": "3.0.0", "paths": {}, "components": {"schemas": {
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"},
                "v": {"type": "string"}}}}}}))
        .unwrap();
        let whole = document.resolved(&json!({"$ref": "#/components/schemas/Node"})).unwrap();
        assert_eq!(whole["properties"]["v"]["type"], "string");
        assert_eq!(whole["properties"]["next"]["description"], "the same kind of value again");
    }

    #[test]
    fn references_are_bounded_and_stay_in_the_document() {
        let mut schemas = json!({"A0": {"type": "string"}});
        for n in 1..24 {
            let below = json!({"$ref": format!("#/components/schemas/A{}", n - 1)});
            schemas[format!("A{n}")] = json!({"properties": {"l": below, "r": below}});
        }
        let bomb = json!({"openapi": "3.1.0", "paths": {}, "components": {"schemas": schemas}});
        let bomb = read(&bomb).unwrap();
        let error = bomb.resolved(&json!({"$ref": "#/components/schemas/A23"})).unwrap_err();
        assert!(error.contains("too large"), "{error}");
        for (reference, words) in [("http://evil/x", "out of the document"), ("#/nope", "leads nowhere")] {
            let error = bomb.resolved(&json!({ "$ref": reference })).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_server_is_the_first_one_or_where_the_document_came_from() {
        let server = |servers: Value| {
            let mut document = json!({"openapi": "3.0.0", "paths": {}});
            document["servers"] = servers;
            read(&document).map(|document| document.server.to_string())
        };
        assert_eq!(server(Value::Null).unwrap(), "http://h:81/");
        assert_eq!(server(json!([{"url": "/api"}])).unwrap(), "http://h:81/api");
        let variable = json!([{"url": "https://{r}.x.io/a", "variables": {"r": {"default": "eu"}}}]);
        assert_eq!(server(variable).unwrap(), "https://eu.x.io/a");
        assert!(server(json!([{"url": "file:///etc"}])).is_err());
    }

    #[test]
    fn what_is_no_document_is_said() {
        for (document, words) in [
            (json!({"swagger": "2.0"}), "Swagger 2"),
            (json!({"a": 1}), "no OpenAPI 3"),
            (json!({"openapi": "3.0.0"}), "no \"paths\""),
        ] {
            let error = read(&document).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let yaml = "openapi: 3.0.0\ninfo: {title: T, description: D}\npaths: {}\n";
        let from = "http://h/".parse().unwrap();
        let document = Document::read(yaml.as_bytes(), &from).unwrap();
        assert_eq!((document.title(), document.description().as_str()), ("T", "D"));
        assert!(Document::read(b"a: [", &from).unwrap_err().contains("neither JSON nor YAML"));
    }
}
