//! ECMASandbox: runs an author's JavaScript away from everything.

use futures::future::{BoxFuture, FutureExt as _};
use prost_types::Duration as ProstDuration;
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};
use sre_proto::compute::v1::{CodeError, CodeLimits, ExecuteCodeRequest};

use crate::context::{Call, Component};
use crate::outcome::{Failed, one, or_failed};
use crate::settings;

/// The longest source, in characters.
const MAX_CODE: usize = 500_000;
/// The most time that a call may take, in milliseconds, and the most memory, in MB.
const MAX_TIMEOUT_MS: f64 = 60_000.0;
const MAX_MEMORY_MB: f64 = 256.0;

/// What every component that runs code can bound.
pub(crate) const SANDBOX_SETTINGS: [SettingSpec; 3] = [
    SettingSpec::integer("timeout", "Timeout (ms)", 1.0, MAX_TIMEOUT_MS)
        .default("5000")
        .nullable()
        .describe("the time a call may take"),
    SettingSpec::integer("memoryLimit", "Memory (MB)", 1.0, MAX_MEMORY_MB)
        .default("64")
        .nullable()
        .describe("the memory it may hold"),
    SettingSpec::text_or_empty("allowedHosts", "Allowed Hosts", 5_000)
        .describe("hosts that `fetch` may reach, between commas or lines; without any there is no `fetch`"),
];

static SPEC: ComponentSpec = ComponentSpec::new("ECMASandbox", "Runs JavaScript in a sandbox")
    // It may reach hosts, and nobody knows what it does there.
    .effect(Effect::Effect)
    .settings(&[
        SettingSpec::text_or_empty("code", "Code", MAX_CODE)
            .describe("a module with `async function main`; its parameters are inputs by name"),
        SANDBOX_SETTINGS[0],
        SANDBOX_SETTINGS[1],
        SANDBOX_SETTINGS[2],
    ])
    .outputs(&[PortSpec::new("Output", "Any", "what main gives")])
    .scopes(&["sre.compute.v1.Code:write"])
    .errors(&[
        "`No main function found at root level`",
        "`Main function exists but is not async`",
        "`Failed to parse code: …`",
        "`<name>: <message>` of what it threw",
        "the limit it reached: time, processor, memory, output",
    ])
    .limits(&["a minute, 256 MB, and what docs/sandbox.md lists"]);

/// The type.
pub struct EcmaSandbox;

impl Component for EcmaSandbox {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_failed(run(call).await) }.boxed()
    }
}

async fn run(call: Call<'_>) -> Result<Outcome, Failed> {
    let result = execute(call, settings::text(call, "code"), call.declared()).await?;
    Ok(result.map_or_else(|| Outcome::output(Map::new()), |result| one("Output", result)))
}

/// Runs a source within the record's limits; gives what `main` gave. What code throws is an error.
pub(crate) async fn execute(call: Call<'_>, source: String, arguments: Map) -> Result<Option<Value>, Failed> {
    let request = request(call, source, arguments);
    let done = call.context.execute_code(request).await?;
    for line in &done.logs {
        let level = match line.level.as_str() {
            "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "debug" => tracing::Level::DEBUG,
            _ => tracing::Level::INFO,
        };
        call.context.log(level, &line.text);
    }
    if let Some(thrown) = &done.error {
        return Err(failed(thrown));
    }
    if done.result_json.is_empty() {
        return Ok(None);
    }
    let result: serde_json::Value = serde_json::from_slice(&done.result_json)
        .map_err(|error| format!("the result is no JSON: {error}"))?;
    Ok(Some(Value::from(result)))
}

/// What code threw. Its text says all that agents know of it: a stack is of the sandbox as much as of the code.
pub(crate) fn failed(thrown: &CodeError) -> Failed {
    format!("{}: {}", thrown.name, thrown.message).into()
}

fn request(call: Call<'_>, source: String, arguments: Map) -> ExecuteCodeRequest {
    let hosts = settings::text(call, "allowedHosts");
    let hosts = hosts.split([',', '\n']).map(str::trim).filter(|host| !host.is_empty());
    let wall = settings::number(call, "timeout").filter(|ms| (1.0..=MAX_TIMEOUT_MS).contains(ms));
    let heap = settings::number(call, "memoryLimit").filter(|mb| (1.0..=MAX_MEMORY_MB).contains(mb));
    ExecuteCodeRequest {
        parent: call.context.agent().name.clone(),
        source,
        arguments_json: Value::object(arguments).to_json_text().into(),
        limits: Some(CodeLimits {
            wall: wall.map(milliseconds),
            heap_bytes: heap.map_or(0, |mb| (mb as i64) << 20),
            ..CodeLimits::default()
        }),
        http_hosts: hosts.map(str::to_owned).collect(),
        ..ExecuteCodeRequest::default()
    }
}

fn milliseconds(ms: f64) -> ProstDuration {
    let ms = ms as i64;
    ProstDuration { seconds: ms / 1_000, nanos: (ms % 1_000) as i32 * 1_000_000 }
}
