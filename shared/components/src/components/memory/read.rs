//! MemoryReadKeyVal: what was remembered under a key.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec};

use super::{KEY, NAME, NOT_FOUND, READ, VAULT, get, named};
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error};

static SPEC: ComponentSpec =
    ComponentSpec::new("MemoryReadKeyVal", "Gives what was remembered under a key, with its type")
        .effect(Effect::Read)
        .settings(&[NAME, KEY])
        .outputs(&[PortSpec::new(
            "Value",
            "Any",
            "the value; nothing where there is none, and `_warning` says so",
        )])
        .scopes(&[READ, VAULT]);

/// The type.
pub struct MemoryReadKeyVal;

impl Component for MemoryReadKeyVal {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(read(call).await) }.boxed()
    }
}

async fn read(call: Call<'_>) -> Result<Outcome, ContextError> {
    let (name, key) = named(call).await?;
    Ok(match get(call, &name, &key).await? {
        Some(value) => one("Value", value),
        None => one("_warning", NOT_FOUND),
    })
}
