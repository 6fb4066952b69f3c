//! LogicXOR: exactly one input is set.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect};

use super::{OUTPUTS, count, verdict};
use crate::context::{Call, Component};

static SPEC: ComponentSpec = ComponentSpec::new("LogicXOR", "Verified if exactly one input is set")
    .effect(Effect::Pure)
    .outputs(OUTPUTS)
    .unchecked();

/// The type.
pub struct LogicXor;

impl Component for LogicXor {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        let count = count(call);
        std::future::ready(verdict(count.set == 1)).boxed()
    }
}
