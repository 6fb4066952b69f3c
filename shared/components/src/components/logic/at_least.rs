//! LogicAtLeast: at least so many inputs are set.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, SettingSpec};

use super::{OUTPUTS, check_limit, limited};
use crate::context::{Call, Component};

static SPEC: ComponentSpec =
    ComponentSpec::new("LogicAtLeast", "Verified if at least so many inputs are set")
        .effect(Effect::Pure)
        .settings(&[SettingSpec::any("minSetInputs", "Minimum Inputs")
            .check(|value| check_limit("Minimum Inputs", value))
            .describe("the number, 0 to 9; no verdict if there are fewer inputs")])
        .outputs(OUTPUTS);

/// The type.
pub struct LogicAtLeast;

impl Component for LogicAtLeast {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        std::future::ready(limited(call, "minSetInputs", |set, limit| set >= limit)).boxed()
    }
}
