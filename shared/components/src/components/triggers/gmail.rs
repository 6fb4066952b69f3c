//! GmailTrigger: unread mail of an account. Each message starts a run once, whoever asks how often.

use futures::future::{BoxFuture, FutureExt as _};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, Flow, SettingSpec, TypeEntry};
use sre_engine::value::Value;
use url::Url;

use super::{ENDPOINT, PAYLOAD, RESULT, mail};
use crate::context::{Call, Component, web};
use crate::egress::{Request, Response};
use crate::oauth::{BodyOf, Connection};
use crate::outbound;
use crate::settings;
use crate::trigger::{Collected, Payloads, Refused, TriggerRequest, event};

/// Messages that are looked at in one go.
const AT_ONCE: &str = "5";
/// Ids of messages that are remembered.
const REMEMBERED: usize = 500;

static SPEC: ComponentSpec =
    ComponentSpec::new("GmailTrigger", "Starts a run with the unread mail of a Gmail account")
        .effect(Effect::Effect)
        .flow(Flow::Trigger)
        .settings(&[
            ENDPOINT,
            SettingSpec::text_or_empty("oauth_cred_id", "OAuth Connection", 0)
                .nullable()
                .describe("the key in the managed vault of the agent that holds the account's tokens"),
            SettingSpec::integer("interval", "Interval (minutes)", 1.0, 44_640.0)
                .default("5")
                .nullable()
                .describe("how often it is to be called"),
        ])
        .outputs(&[PAYLOAD, RESULT])
        .scopes(&[
            "sre.security.v1.Vault",
            "sre.security.v1.ManagedVault:read",
            "sre.security.v1.ManagedVault:write",
        ]);

/// The type.
pub struct GmailTrigger;

impl Component for GmailTrigger {
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
            if request.method != "POST" {
                return Err(Refused::new(405, "this trigger takes POST"));
            }
            let items = unread(call).await.map_err(|message| Refused::new(502, message))?;
            let ids: Vec<&str> =
                items.iter().filter_map(|item| item.get("email")?.get("id")?.as_str()).collect();
            // Two engines that ask at the same time start one run.
            let event = if ids.is_empty() { String::new() } else { event(&ids) };
            Ok(Payloads { items, event, at_once: false }.into())
        }
        .boxed()
    }
}

/// What is remembered of an account.
#[derive(Default, Serialize, Deserialize)]
struct Seen {
    ids: Vec<String>,
}

async fn unread(call: Call<'_>) -> Result<Vec<Value>, String> {
    let key = settings::text(call, "oauth_cred_id");
    if key.trim().is_empty() {
        return Err("the trigger has no account: set `oauth_cred_id`, `sre oauth login` makes one".to_owned());
    }
    let mut listed = web::below(&call.context.web().google, "gmail/v1/users/me/messages");
    listed.query_pairs_mut().append_pair("q", "is:unread").append_pair("maxResults", AT_ONCE);
    let account = Connection::new(call, key.trim(), None);
    let list = json(get(call, &account, listed).await?)?;
    let ids = list.get("messages").and_then(Value::as_array).unwrap_or_default().iter();
    let ids: Vec<String> = ids.filter_map(|message| Some(message.get("id")?.as_str()?.to_owned())).collect();

    let memory = format!("gmail:{}:seen", call.node.id);
    let kept = call.context.managed().get(&memory).await.map_err(|error| error.message)?;
    let version = kept.as_ref().map_or(0, |kept| kept.version);
    let mut seen: Seen = kept.and_then(|kept| serde_json::from_slice(&kept.value).ok()).unwrap_or_default();
    let new: Vec<String> = ids.into_iter().filter(|id| is_id(id) && !seen.ids.contains(id)).collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let account = &account;
    let messages = new.iter().map(|id| async move {
        let mut url = web::below(&call.context.web().google, &format!("gmail/v1/users/me/messages/{id}"));
        url.query_pairs_mut().append_pair("format", "full");
        json(get(call, account, url).await?).map(|message| mail::payload(&message))
    });
    let messages = futures::future::try_join_all(messages).await?;
    seen.ids.extend(new);
    let excess = seen.ids.len().saturating_sub(REMEMBERED);
    seen.ids.drain(..excess);
    let text = serde_json::to_vec(&seen).map_err(|error| error.to_string())?;
    let written = call.context.managed().replace(&memory, version, text.into(), None).await;
    match written.map_err(|error| error.message)? {
        true => Ok(messages),
        // Somebody else has them.
        false => Ok(Vec::new()),
    }
}

/// An id leads nowhere but to its message.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

async fn get(call: Call<'_>, account: &Connection<'_>, url: Url) -> Result<Response, String> {
    let nothing = BodyOf { media: "", bytes: &[] };
    let authorized = account.authorize(&Method::GET, &url, nothing).await?;
    let request = Request::new(Method::GET, url).repeatable(outbound::ATTEMPTS);
    let with = |header| request.clone().header(AUTHORIZATION, header);
    let sent = outbound::send(call.context, with(authorized.header)).await;
    let answer = sent.map_err(|error| error.to_string())?;
    let Some(token) = authorized.bearer.filter(|_| answer.status == StatusCode::UNAUTHORIZED) else {
        return Ok(answer);
    };
    match account.after_refusal(&token).await? {
        None => Ok(answer),
        Some(again) => {
            outbound::send(call.context, with(again.header)).await.map_err(|error| error.to_string())
        }
    }
}

fn json(answer: Response) -> Result<Value, String> {
    match outbound::refusal(&answer) {
        Some(refusal) => Err(format!("Gmail: {refusal}")),
        None => outbound::json_of(&answer).ok_or_else(|| "Gmail: the answer is not JSON".to_owned()),
    }
}
