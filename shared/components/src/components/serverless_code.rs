//! ServerlessCode: an author's JavaScript, deployed once and run where the deployment's connectors say: AWS Lambda,
//! or the sandbox. Nothing is built or installed on the way there.

use futures::future::{BoxFuture, FutureExt as _};
use sha2::{Digest as _, Sha256};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::template;
use sre_engine::value::{Map, Value};

use crate::context::code::Deployable;
use crate::context::{Call, Component};
use crate::outcome::{one, or_error};
use crate::settings;

/// The longest source and the longest list of imports, in characters.
const MAX_CODE: usize = 500_000;
const MAX_IMPORTS: usize = 1_000;
/// The longest id that code may have.
const MAX_ID: usize = 64;

static SPEC: ComponentSpec =
    ComponentSpec::new("ServerlessCode", "Runs JavaScript at AWS Lambda, or in the sandbox")
        .effect(Effect::Effect)
        .settings(&[
            SettingSpec::text_or_empty("code", "Code", MAX_CODE)
                .nullable()
                .describe("a module with `async function main`; its parameters are inputs by name"),
            SettingSpec::text_or_empty("code_body", "Code Body", MAX_CODE)
                .nullable()
                .describe("of older agents: the body of `main`, over the inputs"),
            SettingSpec::text_or_empty("code_imports", "Code Imports", MAX_IMPORTS)
                .nullable()
                .describe("of older agents: imports that stand before it"),
            SettingSpec::text_or_empty("instance", "Connector", 100)
                .nullable()
                .default("the default one")
                .describe("which connector of the service `code` runs it"),
            SettingSpec::boolean("use_own_keys", "Use Own Keys")
                .default("false")
                .nullable()
                .describe("not supported: the operator configures the account, as a connector"),
            SettingSpec::text_or_empty("accessKeyId", "Access Key Id", 0).nullable().describe("not used"),
            SettingSpec::text_or_empty("secretAccessKey", "Secret Access Key", 0)
                .nullable()
                .describe("not used"),
            SettingSpec::text_or_empty("region", "Region", 0).nullable().describe("not used"),
            SettingSpec::any("deploy_btn", "Deploy").nullable().describe("for editors"),
            SettingSpec::any("function_label", "Function").nullable().describe("for editors"),
            SettingSpec::any("function_label_end", "Function End").nullable().describe("for editors"),
            SettingSpec::any("pricing_note", "Pricing").nullable().describe("for editors"),
        ])
        .outputs(&[PortSpec::new("Output", "Any", "what main gives")])
        .scopes(&["sre.compute.v1.Code:read", "sre.compute.v1.Code:write"]);

/// The type.
pub struct ServerlessCode;

impl Component for ServerlessCode {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(run(call).await) }.boxed()
    }
}

async fn run(call: Call<'_>) -> Result<Outcome, String> {
    if settings::flag(call, "use_own_keys") {
        return Err(
            "AWS keys of an agent are not used: ask the operator for a connector with this account, and \
                    switch `use_own_keys` off"
                .to_owned(),
        );
    }
    let source = source(call)?;
    if let Some(key) = template::keys(&source).next() {
        return Err(format!(
            "the code names the vault key '{key}', which would be kept in it: give it as an input, by an agent \
             variable that is {{{{KEY({key})}}}}"
        ));
    }
    let (name, instance) = (code_id(&call.node.id), settings::text(call, "instance"));
    let code = Deployable { name: &name, source: &source, instance: instance.trim() };
    let arguments = Value::object(arguments(call)).to_json_text().into_bytes();
    let done = call.context.deployed_code().run(code, arguments).await.map_err(|error| error.message)?;
    for line in &done.logs {
        call.context.log(tracing::Level::INFO, &line.text);
    }
    if let Some(thrown) = done.error {
        return Ok(Outcome::error(format!("{}: {}", thrown.name, thrown.message)));
    }
    if done.result_json.is_empty() {
        return Ok(Outcome::output(Map::new()));
    }
    let result: Value = serde_json::from_slice(&done.result_json)
        .map_err(|error| format!("the result is no JSON: {error}"))?;
    Ok(one("Output", result))
}

/// The module that is run.
fn source(call: Call<'_>) -> Result<String, String> {
    let code = settings::text(call, "code");
    if !code.trim().is_empty() {
        return Ok(code);
    }
    let body = settings::text(call, "code_body");
    if body.trim().is_empty() {
        return Err("there is no code: set `code` to a module with an async function `main`".to_owned());
    }
    let names: Vec<&str> = call.node.inputs.iter().map(|input| input.name.as_ref()).collect();
    if let Some(bad) = names.iter().find(|name| !is_identifier(name)) {
        return Err(format!("the input '{bad}' cannot be a parameter: use letters, digits and _"));
    }
    let imports = settings::text(call, "code_imports");
    Ok(format!("{imports}\nasync function main({}) {{\n{body}\n}}\n", names.join(", ")))
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

/// The inputs; a text that is JSON is what it says.
fn arguments(call: Call<'_>) -> Map {
    let read = |value: Value| match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    };
    call.declared().into_iter().map(|(name, value)| (name, read(value))).collect()
}

/// The component's id, or its digest where code cannot have such an id.
fn code_id(component: &str) -> String {
    let fits = !component.is_empty()
        && component.len() <= MAX_ID
        && component.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match fits {
        true => component.to_owned(),
        false => hex::encode(&Sha256::digest(component)[..16]),
    }
}
