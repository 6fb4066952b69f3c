//! What an agent remembers between components and runs: the four memory components.
//!
//! A value is one entry, under its scope, the memory's name and its key. A run reads the narrowest scope first (its
//! own, its session's, the agent's), so that what other runs write never hides its own values. A write removes what
//! the same run could see of the key in narrower scopes: for one run the last write counts, whatever its scope.

mod delete;
mod place;
mod read;
mod write;
mod write_object;

use std::time::Duration;

use futures::future::try_join_all;
use sre_engine::spec::SettingSpec;
use sre_engine::template;
use sre_engine::value::Value;

use crate::context::{Call, ContextError, Failure};
use crate::{rendered, settings, wait};
use place::{Place, Scope};

pub use delete::MemoryDeleteKeyVal;
pub use read::MemoryReadKeyVal;
pub use write::MemoryWriteKeyVal;
pub use write_object::MemoryWriteObject;

/// The largest value, as JSON.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// How long a value lives unless its scope is `ttl`, or where that scope names no time.
const LIFETIME: Duration = Duration::from_secs(10_800);
/// What a component answers if there is no such value.
const NOT_FOUND: &str = "key not found";

const NAME: SettingSpec = SettingSpec::text_or_empty("memoryName", "Memory Name", 255)
    .template()
    .describe("the memory; keys of different memories are apart");
const KEY: SettingSpec =
    SettingSpec::text("key", "Key", 255).required().template().describe("the value's key in the memory");
const SCOPE: SettingSpec = SettingSpec::text_or_empty("scope", "Scope", 20).default("").describe(
    "who sees the value: `request` this run, `session` runs of this session, `ttl` or nothing all runs of the agent",
);
const TTL: SettingSpec = SettingSpec::integer("ttl", "TTL", 300.0, 604_800.0)
    .nullable()
    .default("10800")
    .describe("seconds that a value of scope `ttl` lives; those of other scopes live three hours");

const READ: &str = "sre.memory.v1.Cache:read";
const WRITE: &str = "sre.memory.v1.Cache:write";
const VAULT: &str = "sre.security.v1.Vault";

/// A value's name and key, rendered.
async fn named(call: Call<'_>) -> Result<(String, String), ContextError> {
    let key = settings::render(call, &settings::text(call, "key")).await?;
    if key.is_empty() {
        return Err(ContextError::new(Failure::Invalid, "the key is empty: name the value"));
    }
    Ok((name(call).await?, key))
}

/// The memory's name, rendered.
async fn name(call: Call<'_>) -> Result<String, ContextError> {
    settings::render(call, &settings::text(call, "memoryName")).await
}

/// How long a value of this scope lives.
fn lifetime(call: Call<'_>) -> Duration {
    let asked = settings::number(call, "ttl").filter(|_| settings::text(call, "scope") == "ttl");
    let asked = asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    asked.filter(|time| !time.is_zero()).unwrap_or(LIFETIME)
}

/// Sets a value, which from then on is what this run reads under its key.
async fn set(call: Call<'_>, name: &str, key: &str, value: &Value) -> Result<(), ContextError> {
    let text = stored(call, value).await?.to_json_text();
    if text.len() > MAX_VALUE_BYTES {
        let message = format!(
            "the value of '{key}' has {} bytes: a memory holds values of at most {MAX_VALUE_BYTES}; use FileStore",
            text.len()
        );
        return Err(ContextError::new(Failure::Exhausted, message));
    }
    let scope = Scope::parse(&settings::text(call, "scope"));
    let place = Place::of(call, scope, name, key);
    let memory = call.context.memory();
    wait::for_run(call, memory.set(place.key(), text.into_bytes().into(), lifetime(call))).await?;
    let hidden: Vec<Place> = scope.narrower().map(|scope| Place::of(call, scope, name, key)).collect();
    let removing = hidden.iter().map(|place| memory.delete(place.key()));
    wait::for_run(call, try_join_all(removing)).await?;
    Ok(())
}

/// The value as it is kept: bytes that nothing stores yet become a file of the agent.
async fn stored(call: Call<'_>, value: &Value) -> Result<Value, ContextError> {
    match value {
        Value::Binary(binary) => wait::for_run(call, call.context.store_temp(binary)).await,
        other => Ok(other.clone()),
    }
}

/// The setting `value`, with the type of what it stands for.
async fn value(call: Call<'_>) -> Result<Value, ContextError> {
    match call.node.setting("value") {
        None => Ok(Value::from("")),
        Some(setting) if names_secret(call, setting) => {
            let message = "a secret of the vault may not be remembered, since whoever reads it would show it: \
                           name its key where it is used";
            Err(ContextError::new(Failure::Denied, message))
        }
        Some(setting) => rendered::value(call, setting).await,
    }
}

/// Whether a setting names a vault key, itself or through a variable of the agent.
fn names_secret(call: Call<'_>, setting: &Value) -> bool {
    let variables = &call.context.agent().variables;
    let holds_key = |token: &str| {
        let name = token.split(['.', '[']).next().unwrap_or_default();
        let is_variable = call.node.input(name).is_none();
        is_variable && variables.get(name).is_some_and(has_key)
    };
    let mut found = has_key(setting);
    template::texts(setting, &mut |text| found |= template::tokens(text).any(holds_key));
    found
}

fn has_key(value: &Value) -> bool {
    let mut found = false;
    template::keys_of_value(value, &mut |_| found = true);
    found
}

/// What this run sees under a key.
async fn get(call: Call<'_>, name: &str, key: &str) -> Result<Option<Value>, ContextError> {
    let memory = call.context.memory();
    for scope in Scope::NARROWEST_FIRST {
        let place = Place::of(call, scope, name, key);
        if let Some(bytes) = wait::for_run(call, memory.get(place.key())).await? {
            let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
                ContextError::new(Failure::Internal, format!("the value of '{key}' is no JSON: {error}"))
            })?;
            return Ok(Some(Value::from(json)));
        }
    }
    Ok(None)
}

/// Removes all that this run sees under a key; says whether that was anything.
async fn remove(call: Call<'_>, name: &str, key: &str) -> Result<bool, ContextError> {
    let memory = call.context.memory();
    let places = Scope::NARROWEST_FIRST.map(|scope| Place::of(call, scope, name, key));
    let removing = places.iter().map(|place| memory.delete(place.key()));
    let removed = wait::for_run(call, try_join_all(removing)).await?;
    Ok(removed.contains(&true))
}
