//! MemoryWriteObject: remembers each member of an object.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec};
use sre_engine::value::{Map, Value};

use super::{NAME, SCOPE, TTL, VAULT, WRITE, name, set};
use crate::context::{Call, Component};
use crate::outcome::{or_error, values};

/// The most members, and how many are written at a time.
const MAX_MEMBERS: usize = 1_000;
const AT_A_TIME: usize = 16;

static SPEC: ComponentSpec =
    ComponentSpec::new("MemoryWriteObject", "Remembers each member of an object under its name")
        .effect(Effect::Effect)
        .settings(&[NAME, SCOPE, TTL])
        .inputs(&[PortSpec::new("Data", "Any", "an object, or JSON text of one")])
        .outputs(&[
            PortSpec::new("Keys", "Array", "the members' names"),
            PortSpec::new("Count", "Number", "how many"),
        ])
        .scopes(&[WRITE, "sre.io.v1.Storage", VAULT]);

/// The type.
pub struct MemoryWriteObject;

impl Component for MemoryWriteObject {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(write(call).await) }.boxed()
    }
}

async fn write(call: Call<'_>) -> Result<Outcome, String> {
    let members = members(call.get("Data"))?;
    if members.len() > MAX_MEMBERS {
        return Err(format!("the object has {} members: at most {MAX_MEMBERS} are written", members.len()));
    }
    let name = name(call).await.map_err(|error| error.message)?;
    let name = name.as_str();
    let writing = members.iter().map(|(key, value)| set(call, name, key, value));
    let writing: Vec<_> = writing.collect();
    stream::iter(writing)
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await
        .map_err(|error| error.message)?;
    let keys: Vec<Value> = members.keys().map(|key| Value::String(key.clone())).collect();
    let count = Value::from(keys.len() as u64);
    Ok(values([("Keys", Value::array(keys)), ("Count", count)]))
}

/// The members of an object, or of a text that is one.
fn members(data: Option<&Value>) -> Result<Arc<Map>, String> {
    let parsed = match data {
        None => return Err("Invalid JSON data provided".to_owned()),
        Some(Value::String(text)) => read(text).ok_or("Invalid JSON data provided")?,
        Some(other) => other.clone(),
    };
    match parsed {
        Value::Object(map) if map.keys().any(|key| key.is_empty()) => {
            Err("a member has an empty name: name it".to_owned())
        }
        Value::Object(map) => Ok(map),
        _ => Err("Data must be a valid JSON object".to_owned()),
    }
}

fn read(text: &str) -> Option<Value> {
    let strict = serde_json::from_str::<serde_json::Value>(text).ok();
    strict.map(Value::from).or_else(|| permissive_json::parse(text))
}
