//! Async: runs what lies behind it as a job, and goes on at once.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, Flow, PortSpec};

use crate::context::{Call, Component};
use crate::outcome::one;

static SPEC: ComponentSpec = ComponentSpec::new("Async", "Runs what lies behind it as a job")
    .effect(Effect::Effect)
    .flow(Flow::Async)
    .outputs(&[PortSpec::new("JobID", "Text", "the job's id, for Await")])
    .scopes(&["sre.memory.v1.RuntimeContext"])
    .unchecked();

/// The type.
pub struct Async;

impl Component for Async {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            match call.context.start_job(&call.node.id, call.declared()).await {
                Ok(id) => one("JobID", id),
                Err(error) => Outcome::error(error.message),
            }
        }
        .boxed()
    }
}
