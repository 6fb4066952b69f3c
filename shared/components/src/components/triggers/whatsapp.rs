//! WhatsAppTrigger: messages that people send to a business number, from Meta's webhook. `PUT` to its address has Meta
//! call it from then on.

mod register;

use chrono::{DateTime, SecondsFormat};
use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, Flow, SettingSpec, TypeEntry};
use sre_engine::value::{Map, Value};

use super::signature::{Hash, verify};
use super::{ENDPOINT, PAYLOAD, RESULT};
use crate::context::{Call, Component};
use crate::settings;
use crate::trigger::{Collected, Payloads, Refused, Reply, TriggerRequest, event};

const SIGNATURE: &str = "x-hub-signature-256";

static SPEC: ComponentSpec = ComponentSpec::new(
    "WhatsAppTrigger",
    "Starts a run with messages that came by WhatsApp",
)
.effect(Effect::Read)
.flow(Flow::Trigger)
.settings(&[
    ENDPOINT,
    SettingSpec::text_or_empty("verifyToken", "Verify Token", 500)
        .template()
        .nullable()
        .describe("what Meta proves the subscription with, from the vault: `{{KEY(name)}}`"),
    SettingSpec::text_or_empty("verify_token", "Verify Token", 500)
        .template()
        .nullable()
        .describe("another name of it"),
    SettingSpec::text_or_empty("clientSecret", "App Secret", 500)
        .template()
        .nullable()
        .describe("the app's secret, with which Meta signs, from the vault: `{{KEY(name)}}`"),
    SettingSpec::text_or_empty("appSecret", "App Secret", 500)
        .template()
        .nullable()
        .describe("another name of it"),
    SettingSpec::text_or_empty("clientId", "App Id", 500)
        .template()
        .nullable()
        .describe("the app's id, to register the trigger with Meta"),
    SettingSpec::text_or_empty("appId", "App Id", 500).template().nullable().describe("another name of it"),
    SettingSpec::text_or_empty("webhookUrl", "Webhook URL", 8192).template().nullable().describe(
        "the trigger's address as Meta calls it, with `?key=…&agent=…`, which `PUT` to the trigger enters \
                     at Meta",
    ),
])
.outputs(&[PAYLOAD, RESULT])
.scopes(&["sre.security.v1.Vault"]);

/// The type.
pub struct WhatsAppTrigger;

impl Component for WhatsAppTrigger {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn entry(&self) -> TypeEntry {
        TypeEntry { post_process: Some(super::post_process), ..TypeEntry::new(&SPEC) }
    }

    fn process<'a>(&'a self, _: Call<'a>) -> BoxFuture<'a, Outcome> {
        async { super::not_executed() }.boxed()
    }

    fn collect<'a>(
        &'a self,
        call: Call<'a>,
        request: &'a TriggerRequest,
    ) -> BoxFuture<'a, Result<Collected, Refused>> {
        async move {
            match request.method.as_str() {
                "GET" => subscribe(call, request).await,
                "POST" => received(call, request).await,
                "PUT" => register::register(call).await.map(Collected::Reply),
                _ => Err(Refused::new(405, "this trigger takes GET, POST and PUT")),
            }
        }
        .boxed()
    }
}

/// The first of these settings that is set, with its vault keys; none where none is.
async fn rendered(call: Call<'_>, names: [&str; 2]) -> Result<Option<String>, Refused> {
    let texts = names.map(|name| settings::text(call, name).trim().to_owned());
    let Some(text) = texts.iter().find(|text| !text.is_empty()) else { return Ok(None) };
    let rendered = settings::render(call, text).await.map_err(|error| {
        call.context.log(tracing::Level::WARN, &error.message);
        Refused::new(500, format!("the trigger's {} cannot be had", names[0]))
    });
    rendered.map(Some)
}

async fn secret(call: Call<'_>, names: [&str; 2]) -> Result<String, Refused> {
    let found = rendered(call, names).await?;
    found.ok_or_else(|| Refused::new(500, format!("the trigger has no {}: set it", names[0])))
}

/// Meta asks whether the address is the app's.
async fn subscribe(call: Call<'_>, request: &TriggerRequest) -> Result<Collected, Refused> {
    use hmac::Mac as _;
    let token = secret(call, ["verifyToken", "verify_token"]).await?;
    let given = request.query("hub.verify_token").unwrap_or_default();
    // Compared by their digests under a key of this moment, in constant time.
    let key: [u8; 32] = rand::random();
    let digest = |text: &str| {
        hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).ok().map(|mac| mac.chain_update(text).finalize())
    };
    if request.query("hub.mode") != Some("subscribe") || token.is_empty() || digest(&token) != digest(given) {
        return Err(Refused::new(403, "Forbidden"));
    }
    let challenge = request.query("hub.challenge").unwrap_or_default().to_owned();
    Ok(Collected::Reply(Reply { status: 200, text: challenge }))
}

async fn received(call: Call<'_>, request: &TriggerRequest) -> Result<Collected, Refused> {
    let secret = secret(call, ["clientSecret", "appSecret"]).await?;
    let given = request.header(SIGNATURE).and_then(|given| given.trim().strip_prefix("sha256="));
    let good = given.is_some_and(|given| verify(Hash::Sha256, secret.as_bytes(), &[&request.raw], given));
    if secret.is_empty() || !good {
        return Err(Refused::new(
            401,
            format!("the request is not signed as it must be: see the header {SIGNATURE}"),
        ));
    }
    let items = messages(&request.body);
    if items.is_empty() {
        // News of messages that were sent, and kinds that carry no text.
        return Ok(Collected::Reply(Reply { status: 200, text: "EVENT_RECEIVED".to_owned() }));
    }
    let ids: Vec<&str> = items.iter().filter_map(|item| item.get("message")?.get("id")?.as_str()).collect();
    let event = event(&ids);
    Ok(Payloads { items, event, at_once: true }.into())
}

/// All messages of all changes of all entries.
fn messages(body: &Value) -> Vec<Value> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).unwrap_or_default().to_vec();
    let mut found = Vec::new();
    for entry in list(body.get("entry")) {
        for change in list(entry.get("changes")) {
            let Some(value) = change.get("value") else { continue };
            let contacts = list(value.get("contacts"));
            let number = value.get("metadata").and_then(|metadata| metadata.get("phone_number_id")).cloned();
            for message in list(value.get("messages")) {
                found.extend(payload(&message, &contacts, number.as_ref()));
            }
        }
    }
    found
}

/// A message with text of its own, or with the text of what was chosen.
fn payload(message: &Value, contacts: &[Value], number: Option<&Value>) -> Option<Value> {
    let at = |path: &[&str]| path.iter().try_fold(message, |value, name| value.get(name))?.as_str();
    let text = at(&["text", "body"])
        .or_else(|| at(&["button", "text"]))
        .or_else(|| at(&["interactive", "button_reply", "title"]))
        .or_else(|| at(&["interactive", "list_reply", "title"]))?;
    let from = at(&["from"]).unwrap_or_default();
    let contact = contacts.iter().find(|contact| contact.get("wa_id").and_then(Value::as_str) == Some(from));
    let profile = contact.and_then(|contact| contact.get("profile")?.get("name").cloned());
    let seconds = at(&["timestamp"]).and_then(|text| text.parse().ok());
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let time = time.map(|time| Value::from(time.to_rfc3339_opts(SecondsFormat::Millis, true)));
    let told: Map = [
        ("id".into(), Value::from(at(&["id"]).unwrap_or_default())),
        ("from".into(), Value::from(from)),
        ("profileName".into(), profile.unwrap_or(Value::Null)),
        ("text".into(), Value::from(text)),
        ("type".into(), Value::from(at(&["type"]).unwrap_or_default())),
        ("timestamp".into(), time.unwrap_or(Value::Null)),
        ("phoneNumberId".into(), number.cloned().unwrap_or(Value::Null)),
    ]
    .into();
    Some(Value::object([("message".into(), Value::object(told))].into()))
}
