//! The `.smyth` document: envelope, legacy names, records.
//!
//! The text is kept as it came; what nobody knows is preserved and ignored. Records are read into plain
//! structures with every problem named.

use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};

use crate::issue::Issue;
use crate::node::{InputPort, OutputPort};
use crate::value::{Map, Value, map_from_json};

/// A document that has the shape of an agent.
#[derive(Clone, Debug)]
pub struct Document {
    /// The bare object, legacy names renamed, everything else untouched.
    pub bare: Json,
    /// Agent id, if given.
    pub id: Option<String>,
    /// Display name.
    pub name: String,
    /// Schema version, `None` for documents from before versions.
    pub version: Option<String>,
    /// System prompt in conversations.
    pub behavior: String,
    /// Variables, scalars as text.
    pub variables: Vec<(Arc<str>, Arc<str>)>,
    /// Component records in document order.
    pub components: Vec<ComponentRecord>,
    /// Connection records in document order.
    pub connections: Vec<ConnectionRecord>,
}

/// A component as written.
#[derive(Clone, Debug)]
pub struct ComponentRecord {
    /// Id.
    pub id: Arc<str>,
    /// Type name.
    pub type_name: Arc<str>,
    /// Label of the type.
    pub display_name: Arc<str>,
    /// Label of this component.
    pub title: Arc<str>,
    /// The author's words.
    pub description: Arc<str>,
    /// Settings.
    pub settings: Map,
    /// Inputs.
    pub inputs: Vec<InputPort>,
    /// Outputs.
    pub outputs: Vec<OutputPort>,
    /// Integration template.
    pub template: Option<Value>,
}

/// A connection as written.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// Source component id.
    pub source: String,
    /// Output of the source.
    pub output: PortRef,
    /// Target component id.
    pub target: String,
    /// Input of the target.
    pub input: PortRef,
}

/// A port by position or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// Position; `-1` means the whole endpoint.
    Index(i64),
    /// Name.
    Name(String),
}

/// Reads a document. Findings go to `issues`; `None` if it is no agent at all.
pub fn parse(json: &Json, issues: &mut Vec<Issue>) -> Option<Document> {
    let bare = unwrap(json, issues)?;
    let mut bare = bare.clone();
    migrate(&mut bare);
    let object = bare.as_object()?;
    let components = records(object, "components", issues, component);
    let connections = records(object, "connections", issues, connection);
    let variables = variables(object.get("variables"), issues);
    let text = |key: &str| object.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let behavior = match text("behavior") {
        empty if empty.is_empty() => text("description"),
        behavior => behavior,
    };
    if object.get("teamId").is_some_and(|team| team.as_str().is_none_or(|team| !team.is_empty())) {
        issues.push(
            Issue::warning("is ignored: an agent belongs to the team of who puts it")
                .field("teamId")
                .hint("leave it out"),
        );
    }
    Some(Document {
        id: agent_id(object, issues),
        name: text("name"),
        version: object.get("version").and_then(Json::as_str).map(str::to_owned),
        behavior,
        variables,
        components,
        connections,
        bare,
    })
}

/// The bare object: the document itself, or its `data`.
fn unwrap<'a>(json: &'a Json, issues: &mut Vec<Issue>) -> Option<&'a Json> {
    let complete =
        |candidate: &Json| candidate.get("components").is_some() && candidate.get("connections").is_some();
    if complete(json) {
        return Some(json);
    }
    if let Some(data) = json.get("data").filter(|data| complete(data)) {
        return Some(data);
    }
    let missing = ["components", "connections"].into_iter().find(|key| json.get(key).is_none());
    issues.push(
        Issue::error("the document is no agent")
            .field(missing.unwrap_or("data"))
            .hint("an agent is a JSON object with the lists components and connections, bare or under data"),
    );
    None
}

/// Documents without `version` use other names for ports.
fn migrate(bare: &mut Json) {
    if bare.get("version").is_some() {
        return;
    }
    let Some(Json::Array(components)) = bare.get_mut("components") else { return };
    for component in components.iter_mut().filter_map(Json::as_object_mut) {
        for (old, new) in [
            ("connectors", "outputs"),
            ("receptors", "inputs"),
            ("connectorProps", "outputProps"),
            ("receptorProps", "inputProps"),
        ] {
            if component.contains_key(new) {
                continue;
            }
            if let Some(value) = component.remove(old) {
                component.insert(new.to_owned(), value);
            }
        }
    }
}

fn agent_id(object: &JsonMap<String, Json>, issues: &mut Vec<Issue>) -> Option<String> {
    let id = object.get("id")?.as_str()?;
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !fits {
        issues.push(
            Issue::error(format!("'{id}' cannot be an agent id"))
                .field("id")
                .hint("1 to 64 letters, digits, '-' and '_'"),
        );
    }
    Some(id.to_owned())
}

fn variables(json: Option<&Json>, issues: &mut Vec<Issue>) -> Vec<(Arc<str>, Arc<str>)> {
    let Some(json) = json.filter(|json| !json.is_null()) else { return Vec::new() };
    let Some(object) = json.as_object() else {
        issues.push(
            Issue::error("must be an object of texts")
                .field("variables")
                .hint("name each variable, with a text"),
        );
        return Vec::new();
    };
    object.iter().map(|(name, value)| (name.as_str().into(), Value::from(value).to_text().into())).collect()
}

/// Reads a record at a place, noting what is wrong with it.
type ReadRecord<T> = fn(&JsonMap<String, Json>, &str, &mut Vec<Issue>) -> Option<T>;

fn records<T>(
    object: &JsonMap<String, Json>,
    key: &str,
    issues: &mut Vec<Issue>,
    read: ReadRecord<T>,
) -> Vec<T> {
    let Some(items) = object.get(key).and_then(Json::as_array) else {
        issues.push(Issue::error("must be a list").field(key).hint("an agent without any has []"));
        return Vec::new();
    };
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = format!("{key}[{index}]");
        match item.as_object() {
            Some(record) => out.extend(read(record, &place, issues)),
            None => issues
                .push(Issue::error("must be an object").field(place).hint("remove it, or write a record")),
        }
    }
    out
}

fn component(
    record: &JsonMap<String, Json>,
    place: &str,
    issues: &mut Vec<Issue>,
) -> Option<ComponentRecord> {
    let text = |key: &str| record.get(key).and_then(Json::as_str).unwrap_or_default();
    let id = match record.get("id") {
        Some(Json::String(id)) if !id.is_empty() => id.clone(),
        Some(Json::Number(id)) => id.to_string(),
        _ => {
            issues.push(Issue::error("is missing").at(place).field("id").hint("a unique text"));
            return None;
        }
    };
    let type_name = text("name");
    if type_name.is_empty() {
        issues.push(Issue::error("is missing").at(&id).field("name").hint("the component's type"));
        return None;
    }
    let settings = match record.get("data") {
        Some(Json::Object(data)) => map_from_json(data.clone()),
        None | Some(Json::Null) => Map::new(),
        Some(_) => {
            issues.push(
                Issue::error("must be an object of settings")
                    .at(&id)
                    .field("data")
                    .hint("{} if there are none"),
            );
            Map::new()
        }
    };
    let display_name = if text("displayName").is_empty() { type_name } else { text("displayName") };
    Some(ComponentRecord {
        type_name: type_name.into(),
        display_name: display_name.into(),
        title: text("title").into(),
        description: text("description").into(),
        settings,
        inputs: ports(record.get("inputs"), &id, "inputs", issues, input),
        outputs: ports(record.get("outputs"), &id, "outputs", issues, output),
        template: record.get("template").filter(|t| t.is_object()).map(Value::from),
        id: id.into(),
    })
}

fn ports<T>(
    json: Option<&Json>,
    id: &str,
    key: &str,
    issues: &mut Vec<Issue>,
    read: fn(&JsonMap<String, Json>) -> Option<T>,
) -> Vec<T> {
    let Some(json) = json else {
        issues.push(Issue::warning("is missing, taken as empty").at(id).field(key).hint("write []"));
        return Vec::new();
    };
    let Some(items) = json.as_array() else {
        issues.push(Issue::error("must be a list").at(id).field(key).hint("[] if there are none"));
        return Vec::new();
    };
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_object().and_then(read) {
            Some(port) => out.push(port),
            None => issues.push(
                Issue::error("must be an object with a name")
                    .at(id)
                    .field(format!("{key}[{index}]"))
                    .hint("{\"name\": \"..\"}"),
            ),
        }
    }
    out
}

fn input(port: &JsonMap<String, Json>) -> Option<InputPort> {
    let flag = |key: &str| port.get(key).is_some_and(|value| Value::from(value).truthy());
    let text = |key: &str| port.get(key).and_then(Json::as_str).unwrap_or_default();
    let default = port.get("defaultVal").map(Value::from);
    Some(InputPort {
        name: port.get("name")?.as_str()?.into(),
        type_name: if text("type").is_empty() { "Any".into() } else { text("type").into() },
        optional: flag("optional"),
        // Editors write "" for "no default"; taking it for a value would release components early.
        default: default.filter(|value| !value.is_null() && value.as_str() != Some("")),
        description: text("description").into(),
        is_file: flag("isFile"),
    })
}

fn output(port: &JsonMap<String, Json>) -> Option<OutputPort> {
    let text = |key: &str| port.get(key).and_then(Json::as_str).unwrap_or_default();
    let expression = text("expression");
    Some(OutputPort {
        name: port.get("name")?.as_str()?.into(),
        default: port.get("default").is_some_and(|value| Value::from(value).truthy()),
        expression: (!expression.is_empty()).then(|| expression.into()),
        description: text("description").into(),
    })
}

fn connection(
    record: &JsonMap<String, Json>,
    place: &str,
    issues: &mut Vec<Issue>,
) -> Option<ConnectionRecord> {
    let end = |key: &str| match record.get(key) {
        Some(Json::String(id)) => Ok(id.clone()),
        Some(Json::Number(id)) => Ok(id.to_string()),
        _ => Err(Issue::error("is missing").field(format!("{place}.{key}")).hint("a component id")),
    };
    let port = |key: &str| match record.get(key) {
        Some(Json::String(name)) => Ok(PortRef::Name(name.clone())),
        Some(Json::Number(index)) if index.is_i64() => Ok(PortRef::Index(index.as_i64().unwrap_or(-1))),
        _ => Err(Issue::error("is missing").field(format!("{place}.{key}")).hint("a position or a name")),
    };
    let read = || {
        Ok(ConnectionRecord {
            source: end("sourceId")?,
            output: port("sourceIndex")?,
            target: end("targetId")?,
            input: port("targetIndex")?,
        })
    };
    read().map_err(|issue| issues.push(issue)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_envelopes_and_the_old_names_are_read() {
        let bare = json!({"components": [{"id": "A", "name": "FHash", "data": {},
            "receptors": [{"name": "Data"}], "connectors": [{"name": "Hash", "default": true}]}],
            "connections": [], "ui": {"kept": true}});
        for document in [bare.clone(), json!({"data": bare, "version": "1.2"})] {
            let mut issues = Vec::new();
            let parsed = parse(&document, &mut issues).unwrap();
            assert_eq!(parsed.components[0].inputs[0].name.as_ref(), "Data");
            assert!(parsed.components[0].outputs[0].default);
            assert_eq!(parsed.bare["ui"]["kept"], true);
            assert!(issues.is_empty(), "{issues:?}");
        }
    }

    #[test]
    fn every_problem_names_its_place() {
        let mut issues = Vec::new();
        let document = json!({"version": "1", "id": "a b", "components": [
            {"name": "X"}, {"id": "B"}, {"id": "C", "name": "T", "data": 5, "inputs": [{}], "outputs": 1}, 7],
            "connections": [{"sourceId": "A"}]});
        parse(&document, &mut issues).unwrap();
        let text = issues.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for expected in [
            "component components[0]: id: is missing",
            "component B: name: is missing",
            "component C: data: must be an object",
            "component C: inputs[0]: must be an object with a name",
            "component C: outputs: must be a list",
            "components[3]: must be an object",
            "connections[0].sourceIndex: is missing",
            "id: 'a b' cannot be an agent id",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn something_else_is_no_agent() {
        let mut issues = Vec::new();
        assert!(parse(&json!([1]), &mut issues).is_none());
        assert!(issues[0].is_error());
    }

    #[test]
    fn variables_may_be_any_scalar() {
        let mut issues = Vec::new();
        let document =
            json!({"components": [], "connections": [], "variables": {"n": 5, "b": true, "t": "x"}});
        let parsed = parse(&document, &mut issues).unwrap();
        let texts: Vec<&str> = parsed.variables.iter().map(|(_, text)| text.as_ref()).collect();
        assert_eq!(texts, ["5", "true", "x"]);
    }
}
