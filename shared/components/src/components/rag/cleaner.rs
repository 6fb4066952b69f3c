//! DataSourceCleaner: forgets a text.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use super::{MAX_NAMESPACE, READ, VAULT, WRITE, check_id, id, namespace};
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error};
use crate::wait;

static SPEC: ComponentSpec =
    ComponentSpec::new("DataSourceCleaner", "Forgets a text that DataSourceIndexer remembered")
        .effect(Effect::Effect)
        .settings(&[
            SettingSpec::text_or_empty("namespaceId", "Namespace", MAX_NAMESPACE)
                .template()
                .describe("the namespace of the team"),
            SettingSpec::text_or_empty("id", "Id", 250)
                .template()
                .check(check_id)
                .describe("the text's id in the namespace; one that is not there is forgotten already"),
        ])
        .outputs(&[PortSpec::new("Success", "Boolean", "`true`")])
        .scopes(&[READ, WRITE, VAULT]);

/// The type.
pub struct DataSourceCleaner;

impl Component for DataSourceCleaner {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(forget(call).await) }.boxed()
    }
}

async fn forget(call: Call<'_>) -> Result<Outcome, ContextError> {
    let namespace = namespace(call, "namespaceId").await?;
    let id = id(call).await?;
    wait::for_run(call, call.context.vectors().forget(&namespace, &id)).await?;
    Ok(one("Success", Value::from(true)))
}
