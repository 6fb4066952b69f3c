//! Fail: ends its branch with an error of the author's words.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};

use crate::context::{Call, Component};
use crate::settings;

/// The longest message that is told, in characters.
const MAX_MESSAGE: usize = 5_000;

static SPEC: ComponentSpec = ComponentSpec::new("Fail", "Ends its branch with an error")
    .effect(Effect::Pure)
    .settings(&[SettingSpec::text("message", "Message", MAX_MESSAGE)
        .required()
        .template()
        .describe("what the error says; inputs are put in")])
    .inputs(&[PortSpec::new("Input", "Any", "sets it off, and is there for the message")])
    .errors(&["the message"]);

/// The type.
pub struct Fail;

impl Component for Fail {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let text = settings::with_template_variables(call, &settings::text(call, "message"));
            match settings::render(call, &text).await {
                Ok(message) if message.trim().is_empty() => Outcome::error("stopped, without a reason"),
                Ok(message) => Outcome::error(message.chars().take(MAX_MESSAGE).collect::<String>()),
                Err(error) => Outcome::error(error.message),
            }
        }
        .boxed()
    }
}
