//! ZapierAction: runs an action that the team exposed at Zapier.

use futures::future::{BoxFuture, FutureExt as _};
use http::Method;
use http::header::{HeaderName, HeaderValue};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use crate::context::links::Links;
use crate::context::{Call, Component, web};
use crate::egress::Request;
use crate::files;
use crate::outbound;
use crate::outcome::{Failed, one, or_failed};
use crate::settings;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The longest answer that is shown in an error.
const SHOWN: usize = 1_000;

static SPEC: ComponentSpec = ComponentSpec::new("ZapierAction", "Runs an action at Zapier")
    .effect(Effect::Effect)
    .settings(&[
        SettingSpec::text("actionName", "Action Name", 0).required().describe("its name, for people"),
        SettingSpec::text("actionId", "Action Id", 100).required().describe("its id at Zapier"),
        SettingSpec::text("apiKey", "API Key", 350)
            .required()
            .template()
            .describe("the account's key, from the vault: `{{KEY(zapier)}}`"),
        SettingSpec::any("params", "Params")
            .nullable()
            .check(parameters)
            .describe("a JSON object whose keys are the action's inputs"),
        SettingSpec::text_or_empty("logoUrl", "Logo URL", 8192).nullable().describe("for editors"),
    ])
    .outputs(&[PortSpec::new("Output", "Any", "what the action gives")])
    .scopes(&["sre.security.v1.Vault", "sre.io.v1.Storage", "sre.io.v1.Router"]);

fn parameters(value: &Value) -> Result<(), String> {
    let wrong = || Err("\"Params\" must be a JSON object whose keys are the action's inputs".to_owned());
    match value {
        Value::Null | Value::Object(_) => Ok(()),
        Value::String(text) if text.trim().is_empty() => Ok(()),
        Value::String(text) => match permissive_json::parse(text) {
            Some(Value::Object(_)) => Ok(()),
            _ => wrong(),
        },
        _ => wrong(),
    }
}

/// The type.
pub struct ZapierAction;

impl Component for ZapierAction {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_failed(run(call).await) }.boxed()
    }
}

async fn run(call: Call<'_>) -> Result<Outcome, Failed> {
    let action = settings::text(call, "actionId").trim().to_owned();
    if action.is_empty() {
        return Err("Zapier Action ID is required!".into());
    }
    if !action.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err("the Zapier Action ID has letters, digits, - and _ only".into());
    }
    let key = settings::render(call, &settings::text(call, "apiKey")).await?;
    let key = key.trim();
    if key.is_empty() {
        return Err("You are not authorized to run the Zapier Action!".into());
    }
    let mut links = Links::new(call.context.links());
    let done = execute(call, &action, key, &mut links).await;
    links.end().await;
    done
}

async fn execute(call: Call<'_>, action: &str, key: &str, links: &mut Links<'_>) -> Result<Outcome, Failed> {
    // What the record declares and no more: agent variables may be secrets.
    let inputs = Value::object(call.declared());
    let inputs = files::linked(call, &inputs, links).await?;
    let url = web::below(&call.context.web().zapier, &format!("api/v1/exposed/{action}/execute/"));
    let mut key =
        HeaderValue::from_str(key).map_err(|_| "the API key has characters that no header can carry")?;
    key.set_sensitive(true);
    let request = outbound::json(Request::new(Method::POST, url).header(API_KEY, key), &inputs);
    let request = outbound::keyed(call.context, request);
    let answer =
        outbound::send(call.context, request).await.map_err(|error| format!("Zapier Error: {error}"))?;
    let json = outbound::json_of(&answer);
    if let Some(refusal) = outbound::refused(&answer) {
        let said: Option<String> = json.map(|json| json.to_json_text().chars().take(SHOWN).collect());
        return Err(refusal.told(|status| format!("Zapier Error: {}", said.unwrap_or(status))));
    }
    let output = json.ok_or("Zapier Error: the answer is not JSON")?;
    call.context.log(tracing::Level::INFO, &format!("status {}", answer.status.as_u16()));
    Ok(one("Output", output))
}
