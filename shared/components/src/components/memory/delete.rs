//! MemoryDeleteKeyVal: forgets a value.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec};
use sre_engine::value::Value;

use super::{KEY, NAME, NOT_FOUND, VAULT, WRITE, named, remove};
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error, values};

static SPEC: ComponentSpec =
    ComponentSpec::new("MemoryDeleteKeyVal", "Forgets what was remembered under a key")
        .effect(Effect::Effect)
        .settings(&[NAME, KEY])
        .outputs(&[
            PortSpec::new("Key", "Text", "the key; nothing where there was no value, and `_warning` says so"),
            PortSpec::new("deleted", "Boolean", "that there was a value"),
        ])
        .scopes(&[WRITE, VAULT]);

/// The type.
pub struct MemoryDeleteKeyVal;

impl Component for MemoryDeleteKeyVal {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(forget(call).await) }.boxed()
    }
}

async fn forget(call: Call<'_>) -> Result<Outcome, ContextError> {
    let (name, key) = named(call).await?;
    Ok(match remove(call, &name, &key).await? {
        true => values([("Key", Value::from(key)), ("deleted", Value::from(true))]),
        false => one("_warning", NOT_FOUND),
    })
}
