//! ServerlessCode: an author's JavaScript, deployed once and run where the deployment's connectors say: AWS Lambda,
//! or the sandbox. Nothing is built or installed on the way there.

use futures::future::{BoxFuture, FutureExt as _};
use sha2::{Digest as _, Sha256};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::template;
use sre_engine::value::{Map, Value};
use sre_proto::compute::v1::CloudAccount;

use super::ecma_sandbox;
use crate::context::code::Deployable;
use crate::context::{Call, Charge, Component};
use crate::outcome::{Failed, one, or_failed};
use crate::settings;

/// The longest source and the longest list of imports, in characters.
const MAX_CODE: usize = 500_000;
const MAX_IMPORTS: usize = 1_000;
/// What a run of it is in the ledger, where the deployment pays.
const USE: Charge = Charge {
    source: "api:serverless_code.smyth",
    provider: "AWS Lambda",
    answer: 0,
    credits: 0,
    cost_micros: 0,
};
/// The longest id that code may have.
const MAX_ID: usize = 64;

static SPEC: ComponentSpec = ComponentSpec::new(
    "ServerlessCode",
    "Runs JavaScript at AWS Lambda, or in the sandbox",
)
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
    SettingSpec::boolean("use_own_keys", "Use Own Keys").default("false").nullable().describe(
        "runs the code in an AWS account of the agent's own, which pays for it, in place of a connector",
    ),
    SettingSpec::text_or_empty("accessKeyId", "Access Key Id", 350)
        .nullable()
        .template()
        .describe("own keys: the access key, from the vault: `{{KEY(name)}}`"),
    SettingSpec::text_or_empty("secretAccessKey", "Secret Access Key", 350)
        .nullable()
        .template()
        .describe("own keys: its secret, from the vault: `{{KEY(name)}}`"),
    SettingSpec::text_or_empty("region", "Region", 64)
        .nullable()
        .describe("own keys: the region, `eu-central-1`"),
    SettingSpec::text_or_empty("role", "Role", 2_048)
        .nullable()
        .template()
        .describe("own keys: the ARN of the role in that account that functions run as; none is made"),
    SettingSpec::any("deploy_btn", "Deploy").nullable().describe("for editors"),
    SettingSpec::any("function_label", "Function").nullable().describe("for editors"),
    SettingSpec::any("function_label_end", "Function End").nullable().describe("for editors"),
    SettingSpec::any("pricing_note", "Pricing").nullable().describe("for editors"),
])
.outputs(&[PortSpec::new("Output", "Any", "what main gives")])
.scopes(&["sre.compute.v1.Code:read", "sre.compute.v1.Code:write", "sre.security.v1.Vault"]);

/// The type.
pub struct ServerlessCode;

impl Component for ServerlessCode {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_failed(run(call).await) }.boxed()
    }
}

async fn run(call: Call<'_>) -> Result<Outcome, Failed> {
    let account = account(call).await?;
    let source = source(call)?;
    if let Some(key) = template::keys(&source).next() {
        return Err(format!(
            "the code names the vault key '{key}', which would be kept in it: give it as an input, by an agent \
             variable that is {{{{KEY({key})}}}}"
        )
        .into());
    }
    let (name, instance) = (code_id(&call.node.id), settings::text(call, "instance"));
    // The agent's own account is in place of any connector.
    let instance = if account.is_some() { "" } else { instance.trim() };
    let code = Deployable { name: &name, source: &source, instance, account: account.as_ref() };
    let arguments = Value::object(arguments(call)).to_json_text().into_bytes();
    let done = call.context.deployed_code().run(code, arguments).await?;
    if done.cost_micros > 0 {
        call.context.charged(Charge { cost_micros: done.cost_micros, ..USE });
    }
    for line in &done.logs {
        call.context.log(tracing::Level::INFO, &line.text);
    }
    if let Some(thrown) = done.error {
        return Err(ecma_sandbox::failed(&thrown));
    }
    if done.result_json.is_empty() {
        return Ok(Outcome::output(Map::new()));
    }
    let result: Value = serde_json::from_slice(&done.result_json)
        .map_err(|error| format!("the result is no JSON: {error}"))?;
    Ok(one("Output", result))
}

/// The account that the settings name; none where the operator's connectors run the code. Where one is wanted and not
/// named whole, the code runs nowhere: it is not the author's wish that somebody else sees or pays for it.
async fn account(call: Call<'_>) -> Result<Option<CloudAccount>, Failed> {
    if !settings::flag(call, "use_own_keys") {
        return Ok(None);
    }
    let setting = async |name: &str| {
        let text = settings::render(call, &settings::text(call, name)).await?.trim().to_owned();
        match text.is_empty() {
            true => Err(Failed::from(format!(
                "{name} is empty: own keys need accessKeyId, secretAccessKey, region and role"
            ))),
            false => Ok(text),
        }
    };
    let account = CloudAccount {
        access_key_id: setting("accessKeyId").await?,
        secret_access_key: setting("secretAccessKey").await?,
        region: setting("region").await?,
        role: setting("role").await?,
    };
    call.context.keep_secret("secretAccessKey", &account.secret_access_key);
    Ok(Some(account))
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
