//! MemoryWriteKeyVal: remembers a value.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};

use super::{KEY, NAME, SCOPE, TTL, VAULT, WRITE, named, set, value};
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error};

static SPEC: ComponentSpec = ComponentSpec::new("MemoryWriteKeyVal", "Remembers a value under a key")
    .effect(Effect::Effect)
    .settings(&[
        NAME,
        KEY,
        SettingSpec::any("value", "Value")
            .template()
            .default("")
            .check(|value| match value.as_str() {
                Some(text) if text.chars().count() > MAX_VALUE_CHARS => Err(format!(
                    "\"Value\" length must be less than or equal to {MAX_VALUE_CHARS} characters long"
                )),
                _ => Ok(()),
            })
            .describe("what to remember; a lone placeholder keeps the type of what it stands for"),
        SCOPE,
        TTL,
    ])
    .outputs(&[PortSpec::new("Key", "Text", "the key")])
    .scopes(&[WRITE, "sre.io.v1.Storage", VAULT]);

/// The longest value as it is written in a document.
const MAX_VALUE_CHARS: usize = 100_000;

/// The type.
pub struct MemoryWriteKeyVal;

impl Component for MemoryWriteKeyVal {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(write(call).await) }.boxed()
    }
}

async fn write(call: Call<'_>) -> Result<Outcome, ContextError> {
    let (name, key) = named(call).await?;
    set(call, &name, &key, &value(call).await?).await?;
    Ok(one("Key", key))
}
