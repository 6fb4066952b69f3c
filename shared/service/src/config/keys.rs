//! The keys there are, read from the schema that the section types generate.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{Config, by_role};

/// A place in the schema.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a>(&'a Value);

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    List,
    Table,
    Any,
}

/// The schema of [`Config`], without references.
pub(super) fn schema() -> Value {
    schema_of::<Config>()
}

/// The schema of a type, without references.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    T::json_schema(&mut generator).to_value()
}

impl<'a> Node<'a> {
    pub(crate) fn root(schema: &'a Value) -> Self {
        Self(schema)
    }

    /// The alternatives of a value: itself, or what `anyOf` and `oneOf` list.
    fn branches(self) -> Vec<Self> {
        let mut found = vec![self];
        for word in ["anyOf", "oneOf", "allOf"] {
            if let Some(list) = self.0.get(word).and_then(Value::as_array) {
                found.extend(list.iter().flat_map(|branch| Self(branch).branches()));
            }
        }
        found
    }

    /// The value under a key: none where the key is not known.
    pub(super) fn child(self, name: &str) -> Option<Self> {
        let branches = self.branches();
        for branch in &branches {
            if let Some(found) = branch.0.get("properties").and_then(|list| list.get(name)) {
                return Some(Self(found));
            }
        }
        for branch in &branches {
            match branch.0.get("additionalProperties") {
                Some(Value::Bool(false)) | None => {}
                Some(schema) => return Some(Self(schema)),
            }
        }
        None
    }

    /// The value of a list's items.
    pub(super) fn item(self) -> Option<Self> {
        self.branches().into_iter().find_map(|branch| branch.0.get("items")).map(Self)
    }

    /// The keys known here.
    pub(crate) fn names(self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for branch in self.branches() {
            if let Some(list) = branch.0.get("properties").and_then(Value::as_object) {
                names.extend(list.keys().map(String::as_str));
            }
        }
        names.dedup();
        names
    }

    /// Whether the keys are roles.
    pub(super) fn is_by_role(self) -> bool {
        self.0.get(by_role::EXTENSION).is_some()
    }

    /// Whether any keys are fine here.
    pub(super) fn is_open(self) -> bool {
        matches!(self.0, Value::Bool(true)) || self.0.as_object().is_some_and(serde_json::Map::is_empty)
    }

    pub(super) fn kind(self) -> Kind {
        let mut kinds = self.branches().into_iter().flat_map(|branch| match branch.0.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ if branch.0.get("enum").is_some() || branch.0.get("const").is_some() => vec!["string"],
            _ => Vec::new(),
        });
        match kinds.find(|name| *name != "null") {
            Some("string") => Kind::Text,
            Some("integer" | "number") => Kind::Number,
            Some("boolean") => Kind::Bool,
            Some("array") => Kind::List,
            Some("object") => Kind::Table,
            _ => Kind::Any,
        }
    }

    /// The doc comment.
    pub(super) fn description(self) -> &'a str {
        self.0.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Words that an enumeration takes.
    pub(super) fn words(self) -> Vec<&'a str> {
        let mut words = Vec::new();
        for branch in self.branches() {
            words.extend(branch.0.get("const").and_then(Value::as_str));
            let listed = branch.0.get("enum").and_then(Value::as_array);
            words.extend(listed.into_iter().flatten().filter_map(Value::as_str));
        }
        words
    }
}

/// The first key in the table that is not known, with the known key nearest to it.
pub(crate) fn first_unknown(table: &toml::Table, schema: &Value) -> Option<(String, Option<String>)> {
    let root = Node::root(schema);
    unknown_in(table, root, "").map(|key| {
        let nearest = nearest(&key, root);
        (key, nearest)
    })
}

fn unknown_in(table: &toml::Table, node: Node<'_>, prefix: &str) -> Option<String> {
    for (name, value) in table {
        let key = join(prefix, name);
        let Some(child) = node.child(name) else { return Some(key) };
        if child.is_open() {
            continue;
        }
        if let Some(found) = unknown_in_value(value, child, &key) {
            return Some(found);
        }
    }
    None
}

fn unknown_in_value(value: &toml::Value, node: Node<'_>, key: &str) -> Option<String> {
    match value {
        // A table where a text is expected is a wrong value, which typing reports better.
        toml::Value::Table(inner) if node.kind() == Kind::Table || !node.names().is_empty() => {
            unknown_in(inner, node, key)
        }
        toml::Value::Array(items) => {
            let item = node.item()?;
            items.iter().find_map(|value| unknown_in_value(value, item, key))
        }
        _ => None,
    }
}

/// The known key nearest to `key`: among its siblings first, then everywhere.
fn nearest(key: &str, root: Node<'_>) -> Option<String> {
    let (parent, last) = key.rsplit_once('.').map_or(("", key), |(parent, last)| (parent, last));
    let mut node = root;
    for name in parent.split('.').filter(|name| !name.is_empty()) {
        node = node.child(name).and_then(|child| child.item().or(Some(child)))?;
    }
    let sibling =
        best(node.names().into_iter().map(|name| (strsim::jaro_winkler(last, name), join(parent, name))));
    if let Some((score, found)) = &sibling
        && *score > 0.75
    {
        return Some(found.clone());
    }
    let mut everywhere = Vec::new();
    collect(root, "", &mut everywhere);
    let anywhere = best(everywhere.into_iter().map(|known| {
        let name = known.rsplit('.').next().unwrap_or(&known);
        (strsim::jaro_winkler(key, &known).max(strsim::jaro_winkler(last, name)), known)
    }));
    // Something is always nearest; a far sibling still says which keys there are.
    best([sibling, anywhere].into_iter().flatten()).map(|(_, found)| found)
}

fn best(candidates: impl Iterator<Item = (f64, String)>) -> Option<(f64, String)> {
    candidates.max_by(|a, b| a.0.total_cmp(&b.0))
}

fn collect(node: Node<'_>, prefix: &str, into: &mut Vec<String>) {
    for name in node.names() {
        let key = join(prefix, name);
        if let Some(child) = node.child(name) {
            collect(child, &key, into);
        }
        into.push(key);
    }
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
