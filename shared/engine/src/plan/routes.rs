//! From a request's method and path to an entry, and the list of skills.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::entry_ids;
use super::{Entry, EntryId, EntryKind, Plan};
use crate::node::{InputPort, Node};
use crate::value::Value;

/// Stands for every method: a trigger says itself which it takes.
const ANY: &str = "*";

/// A skill of an agent: one endpoint.
#[derive(Clone, Debug)]
pub struct Skill {
    /// Component id.
    pub component: Arc<str>,
    /// Where a run of it starts.
    pub entry: EntryId,
    /// Name, the last part of its path.
    pub endpoint: String,
    /// Method, upper case.
    pub method: String,
    /// What it does, for models.
    pub description: String,
    /// A short form.
    pub summary: String,
    /// What it does, for people.
    pub doc: String,
    /// Offered to models as a tool.
    pub ai_exposed: bool,
    /// Label in editors.
    pub label: String,
    /// Shown while it runs.
    pub status_message: Option<String>,
    /// What it takes.
    pub inputs: Vec<InputPort>,
}

/// Why a request leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path is not below `/api/` (or `/v<n>/api/`).
    #[error("Endpoint not found")]
    Path,
    /// No endpoint has this method and name.
    #[error("Endpoint {method} {path} Not Found")]
    Endpoint {
        /// Method, upper case.
        method: String,
        /// Path without version.
        path: String,
    },
}

impl RouteError {
    /// The answer as the reference gives it: `{status?, data: {error}}`.
    pub fn legacy_json(&self) -> serde_json::Value {
        let data = serde_json::json!({ "error": self.to_string() });
        match self {
            Self::Path => serde_json::json!({ "status": 404, "data": data }),
            Self::Endpoint { .. } => serde_json::json!({ "data": data }),
        }
    }
}

impl Plan {
    /// The entry that answers a request. Paths are `/api/<endpoint>`, and `/trigger/<endpoint>` with any method, with
    /// `/v<n>` or `/v<n>.<m>` before.
    ///
    /// # Errors
    /// [`RouteError`] if there is none.
    pub fn route(&self, method: &str, path: &str) -> Result<EntryId, RouteError> {
        let path = without_version(path).ok_or(RouteError::Path)?;
        let method = method.to_uppercase();
        let fits = |known: &str| known == method || known == ANY;
        let found = self.routes.get(path).and_then(|methods| methods.iter().find(|(known, _)| fits(known)));
        let missing = || RouteError::Endpoint { method: method.clone(), path: path.to_owned() };
        found.map(|(_, entry)| *entry).ok_or_else(missing)
    }

    /// The skill called `name`: with this method if one is given, else whichever there is.
    pub fn skill(&self, name: &str, method: Option<&str>) -> Option<Skill> {
        let methods = self.routes.get(&format!("/api/{name}"))?;
        let wanted = method.map(str::to_uppercase);
        let fits = |known: &String| wanted.as_ref().is_none_or(|wanted| wanted == known);
        let (_, entry) = methods.iter().find(|(known, _)| fits(known))?;
        Some(self.skill_at(*entry))
    }

    /// The skills in document order; of two with the same method and name, the last.
    pub fn skills(&self) -> Vec<Skill> {
        let all = self.routes.values().flatten().map(|(_, entry)| *entry);
        let routed: Vec<EntryId> = all.filter(|entry| self.kind(*entry) == EntryKind::Endpoint).collect();
        let entries = entry_ids(&self.entries).map(|(id, _)| id).filter(|id| routed.contains(id));
        entries.map(|entry| self.skill_at(entry)).collect()
    }

    fn skill_at(&self, entry: EntryId) -> Skill {
        let node = self.entry_node(entry);
        let text = |name: &str| node.text_setting(name).unwrap_or_default().to_owned();
        Skill {
            component: node.id.clone(),
            entry,
            endpoint: text("endpoint"),
            method: method(node),
            description: text("description"),
            summary: text("summary"),
            doc: text("doc"),
            ai_exposed: node.setting("ai_exposed").is_none_or(Value::truthy),
            label: text("endpointLabel"),
            status_message: node.text_setting("status_message").filter(|t| !t.is_empty()).map(str::to_owned),
            inputs: node.inputs.clone(),
        }
    }
}

pub(super) fn method(node: &Node) -> String {
    match node.text_setting("method").unwrap_or_default() {
        "" => "POST".to_owned(),
        method => method.to_uppercase(),
    }
}

pub(super) fn table(nodes: &[Arc<Node>], entries: &[Entry]) -> HashMap<String, Vec<(String, EntryId)>> {
    let mut routes: HashMap<String, Vec<(String, EntryId)>> = HashMap::new();
    for (id, entry) in entry_ids(entries).filter(|(_, entry)| entry.kind == EntryKind::Trigger) {
        let name = nodes[entry.node as usize].text_setting("triggerEndpoint").filter(|name| !name.is_empty());
        if let Some(name) = name {
            routes.insert(format!("/trigger/{name}"), vec![(ANY.to_owned(), id)]);
        }
    }
    for (id, entry) in entry_ids(entries).filter(|(_, entry)| entry.kind == EntryKind::Endpoint) {
        let node = &nodes[entry.node as usize];
        let Some(name) = node.text_setting("endpoint").filter(|name| !name.is_empty()) else { continue };
        let methods = routes.entry(format!("/api/{name}")).or_default();
        let method = method(node);
        methods.retain(|(known, _)| *known != method);
        methods.push((method, id));
    }
    routes
}

/// The path from `/api/` or `/trigger/` on.
fn without_version(path: &str) -> Option<&str> {
    let rest = match path.strip_prefix("/v") {
        Some(versioned) => {
            let end = versioned.find('/')?;
            let mut numbers = versioned[..end].split('.');
            let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
            let version = numbers.next().is_some_and(number)
                && numbers.next().is_none_or(number)
                && numbers.next().is_none();
            if version { &versioned[end..] } else { path }
        }
        None => path,
    };
    (rest.starts_with("/api/") || rest.starts_with("/trigger/")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off_and_other_prefixes_refused() {
        for (path, rest) in [
            ("/api/e", Some("/api/e")),
            ("/v1/api/e", Some("/api/e")),
            ("/v1.23/api/e", Some("/api/e")),
            ("/v1.2/trigger/e", Some("/trigger/e")),
            ("/api/", Some("/api/")),
            ("/api", None),
            ("api/e", None),
            ("/foo/api/e", None),
            ("/vx/api/e", None),
            ("/v1.2.3/api/e", None),
            ("/nope/e", None),
        ] {
            assert_eq!(without_version(path), rest, "{path}");
        }
    }
}
