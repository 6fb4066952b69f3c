//! Code: a few lines of an author's JavaScript, away from everything. They set `_output`, or `_error`.

mod source;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};
use sre_engine::{ERROR_DETAILS, Outcome};

use super::ecma_sandbox::{self, SANDBOX_SETTINGS};
use crate::context::{Call, Component, Failure};
use crate::outcome::{Failed, or_failed};
use crate::settings;
use source::{Source, VALUES};

static SPEC: ComponentSpec = ComponentSpec::new(
    "Code",
    "Runs lines of JavaScript in a sandbox, which set `_output` or `_error`",
)
// It may reach hosts, and nobody knows what it does there.
.effect(Effect::Effect)
.settings(&[
    SettingSpec::text_or_empty("code_vars", "Variables", 1_000).template().describe(
        "lines before the code; `{{name}}` stands for an input, a variable or a vault key as a value, never \
                 as source text",
    ),
    SettingSpec::text_or_empty("code_body", "Code", 500_000).describe(
        "sets `_output` (or returns a value), or `_error`; inputs are variables of their names, and all of \
                 them members of `$inputs`",
    ),
    SANDBOX_SETTINGS[0],
    SANDBOX_SETTINGS[1],
    SANDBOX_SETTINGS[2],
])
.outputs(&[PortSpec::new("Output", "Any", "what the code set as `_output`")])
.scopes(&["sre.compute.v1.Code:write"])
.errors(&[
    "what the code set as `_error`, as text",
    "`<name>: <message>` of what it threw",
    "`Failed to parse code: …`",
    "the limit it reached: time, processor, memory, output",
])
.limits(&["a minute, 256 MB, and what docs/sandbox.md lists"]);

/// The type.
pub struct Code;

impl Component for Code {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_failed(run(call).await) }.boxed()
    }
}

async fn run(call: Call<'_>) -> Result<Outcome, Failed> {
    let variables = settings::with_template_variables(call, &settings::text(call, "code_vars"));
    let declared = call.declared();
    let source = Source::new(&declared, &variables, &settings::text(call, "code_body"));
    let mut values = Map::new();
    for key in &source.keys {
        let secret = call.context.secret(key).await.map_err(|error| match error.kind {
            Failure::NotFound => format!("Vault key '{key}' not found"),
            _ => error.message,
        })?;
        values.insert(source::key_name(key).into(), Value::from(secret.expose()));
    }
    for token in &source.tokens {
        if let Some(value) = sre_engine::template::Data::lookup(call.input, token) {
            values.insert(token.as_str().into(), value);
        }
    }
    let mut arguments = declared;
    arguments.insert(VALUES.into(), Value::object(values));
    let ended = ecma_sandbox::execute(call, source.text, arguments).await?;
    let member = |name: &str| ended.as_ref().and_then(|ended| ended.get(name)).cloned();
    let mut output = Map::new();
    output.extend(member("output").map(|value| ("Output".into(), value)));
    if let Some(error) = member("error").filter(Value::truthy) {
        output.insert("_error".into(), error.to_text().into());
        // What is more than a text keeps its shape beside it.
        if !matches!(error, Value::String(_)) {
            output.insert(ERROR_DETAILS.into(), error);
        }
    }
    Ok(Outcome::output(output))
}
