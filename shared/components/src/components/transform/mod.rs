//! Transform: another shape for a value.

mod edit;
mod query;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec, TypeEntry};
use sre_engine::value::{Map, Value};
use sre_engine::{Node, Outcome};

use crate::context::{Call, Component};
use crate::outcome::{one, or_error};
use crate::rendered;

static SPEC: ComponentSpec = ComponentSpec::new(
    "Transform",
    "Gives a value another shape: a query first, then pick, omit, rename and set, in this order",
)
.effect(Effect::Pure)
.settings(&[
    SettingSpec::text_or_empty("query", "Query", query::MAX_CHARS)
        .check(|value| query::check(value.as_str().unwrap_or_default()))
        .describe(
            "a JMESPath expression on the input, for example `items[?price > `10`].{id: id, name: title}`",
        ),
    SettingSpec::any("pick", "Pick")
        .nullable()
        .describe("members to keep: a list of paths, or paths between commas"),
    SettingSpec::any("omit", "Omit")
        .nullable()
        .describe("members to leave out: a list of paths, or paths between commas"),
    SettingSpec::any("rename", "Rename").nullable().describe("an object of old paths and new ones"),
    SettingSpec::any("set", "Set")
        .nullable()
        .template()
        .describe("an object of paths and values; a lone placeholder keeps the type of what it stands for"),
])
.inputs(&[PortSpec::new(
    "Input",
    "Any",
    "an object, a list of objects (each is changed), or for a query any value",
)])
.outputs(&[PortSpec::new("Output", "Any", "the value in its new shape")]);

/// The type.
pub struct Transform;

impl Component for Transform {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn entry(&self) -> TypeEntry {
        TypeEntry { validate: Some(check), ..TypeEntry::new(&SPEC) }
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(transform(call).await) }.boxed()
    }
}

/// The edits of a record.
struct Edits {
    pick: Vec<String>,
    omit: Vec<String>,
    rename: Map,
    set: Map,
}

fn check(node: &Node) -> Result<(), String> {
    edits(node).map(|_| ())
}

fn edits(node: &Node) -> Result<Edits, String> {
    let rename = members(node, "rename", "Rename")?;
    if let Some((old, _)) = rename.iter().find(|(_, new)| new.as_str().is_none_or(str::is_empty)) {
        return Err(format!("\"Rename\" must name a new path for '{old}'"));
    }
    Ok(Edits {
        pick: paths(node, "pick", "Pick")?,
        omit: paths(node, "omit", "Omit")?,
        rename,
        set: members(node, "set", "Set")?,
    })
}

/// A setting that lists paths.
fn paths(node: &Node, name: &str, label: &str) -> Result<Vec<String>, String> {
    let written = match node.setting(name) {
        Some(Value::String(text)) if text.trim_start().starts_with('[') => {
            permissive_json::parse(text).unwrap_or_else(|| Value::from(text.as_ref()))
        }
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let list: Option<Vec<String>> = match &written {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(|text| text.trim().to_owned())).collect()
        }
        _ => None,
    };
    let list = list.ok_or_else(|| format!("\"{label}\" must be a list of paths"))?;
    edit::limit(list.len(), label)?;
    Ok(list.into_iter().filter(|path| !path.is_empty()).collect())
}

/// A setting that is an object, or JSON text of one.
fn members(node: &Node, name: &str, label: &str) -> Result<Map, String> {
    let written = match node.setting(name) {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Map::new()),
        Some(Value::String(text)) => permissive_json::parse(text).unwrap_or_default(),
        Some(other) => other.clone(),
    };
    let map = written.as_object().ok_or_else(|| format!("\"{label}\" must be an object"))?;
    edit::limit(map.len(), label)?;
    Ok(map.clone())
}

async fn transform(call: Call<'_>) -> Result<Outcome, String> {
    let Edits { pick, omit, rename, set } = edits(call.node)?;
    let set = match set.is_empty() {
        true => set,
        false => match rendered::value(call, &Value::object(set)).await.map_err(|error| error.message)? {
            Value::Object(map) => map.as_ref().clone(),
            _ => Map::new(),
        },
    };
    let mut value = call.get("Input").cloned().unwrap_or_default();
    let query = call.node.text_setting("query").unwrap_or_default();
    if !query.trim().is_empty() {
        value = query::ask(query, &value)?;
    }
    let nothing = pick.is_empty() && omit.is_empty() && rename.is_empty() && set.is_empty();
    if !nothing {
        value = edit::each(&value, |map| {
            let mut map = if pick.is_empty() { map.clone() } else { edit::picked(map, &pick) };
            omit.iter().for_each(|path| edit::remove(&mut map, path));
            edit::rename(&mut map, &rename);
            set.iter().try_for_each(|(path, value)| edit::set(&mut map, path, value.clone()))?;
            Ok(map)
        })?;
    }
    Ok(one("Output", value))
}
