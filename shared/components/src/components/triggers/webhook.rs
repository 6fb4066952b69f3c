//! WebhookTrigger: a request of any service, if it is signed.

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, Flow, SettingSpec, TypeEntry};
use sre_engine::value::{Map, Value};

use super::signature::{Hash, verify};
use super::{ENDPOINT, PAYLOAD, RESULT};
use crate::context::{Call, Component};
use crate::settings;
use crate::trigger::{Collected, Payloads, Refused, TriggerRequest, event};

const USUAL_HEADER: &str = "x-signature-256";
const USUAL_TOLERANCE_S: f64 = 300.0;
/// Payloads of one request.
const MOST: usize = 1_000;

static SPEC: ComponentSpec = ComponentSpec::new(
    "WebhookTrigger",
    "Starts a run with a request of another service, whose signature it checks",
)
.effect(Effect::Read)
.flow(Flow::Trigger)
.settings(&[
    ENDPOINT,
    SettingSpec::one_of("method", "Method", &["POST", "PUT", "GET", ""])
        .default("POST")
        .describe("the method it takes"),
    SettingSpec::text_or_empty("secret", "Secret", 500)
        .template()
        .nullable()
        .describe("the key of the signature, from the vault: `{{KEY(name)}}`"),
    SettingSpec::boolean("unsigned", "Unsigned")
        .default("false")
        .describe("takes requests without a signature; whoever has the address and a key then may call"),
    SettingSpec::text_or_empty("signatureHeader", "Signature Header", 100)
        .default("X-Signature-256")
        .nullable()
        .describe("where the signature is, in hexadecimal or base64"),
    SettingSpec::text_or_empty("signaturePrefix", "Signature Prefix", 50)
        .nullable()
        .describe("what stands before it, such as `sha256=` or `v0=`"),
    SettingSpec::one_of("algorithm", "Algorithm", &["sha256", "sha512", "sha1", ""])
        .default("sha256")
        .describe("the hash of the HMAC"),
    SettingSpec::text_or_empty("signedContent", "Signed Content", 200)
        .default("{body}")
        .nullable()
        .describe("what is signed, with `{timestamp}` and `{body}`: for example `v0:{timestamp}:{body}`"),
    SettingSpec::text_or_empty("timestampHeader", "Timestamp Header", 100).nullable().describe(
        "where the time of sending is, in seconds since 1970 or as a date; `signedContent` must hold it",
    ),
    SettingSpec::integer("tolerance", "Tolerance (s)", 1.0, 86_400.0)
        .default("300")
        .nullable()
        .describe("how far that time may be from now; within it a request that comes again is not run again"),
    SettingSpec::text_or_empty("idHeader", "Id Header", 100).nullable().describe(
        "where the delivery's id is, if there is one: a delivery that comes again is not run again",
    ),
    SettingSpec::one_of("respond", "Respond", &["result", "atOnce", ""])
        .default("result")
        .describe("the sender gets what the run comes to, or hears at once that the request was taken"),
])
.outputs(&[PAYLOAD, RESULT])
.scopes(&["sre.security.v1.Vault"]);

/// The type.
pub struct WebhookTrigger;

impl Component for WebhookTrigger {
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
        async move { collect(call, request, Utc::now()).await }.boxed()
    }
}

async fn collect(call: Call<'_>, request: &TriggerRequest, now: DateTime<Utc>) -> Result<Collected, Refused> {
    let text = |name: &str, usual: &str| match settings::text(call, name).trim() {
        "" => usual.to_owned(),
        text => text.to_owned(),
    };
    let method = text("method", "POST");
    if request.method != method {
        return Err(Refused::new(405, format!("this trigger takes {method}")));
    }
    let signed = signed(call, request, now).await?;
    let id_header = text("idHeader", "");
    let delivery = request.header(&id_header).filter(|id| !id_header.is_empty() && !id.is_empty());
    let event = match (delivery, signed) {
        (Some(id), _) => event(&["delivery", id]),
        (None, Some(signed)) => event(&["signed", &signed]),
        (None, None) => String::new(),
    };
    let items = items(request)?;
    Ok(Payloads { items, event, at_once: text("respond", "result") == "atOnce" }.into())
}

/// Checks the signature. Gives time and signature where both are known: what comes again has the same.
async fn signed(
    call: Call<'_>,
    request: &TriggerRequest,
    now: DateTime<Utc>,
) -> Result<Option<String>, Refused> {
    let text = |name: &str| settings::text(call, name).trim().to_owned();
    let secret = settings::render(call, &text("secret")).await;
    // Whoever calls learns nothing of the agent's vault.
    let secret = secret.map_err(|error| {
        call.context.log(tracing::Level::WARN, &error.message);
        Refused::new(500, "the trigger's secret cannot be had")
    })?;
    if secret.is_empty() {
        return match settings::flag(call, "unsigned") {
            true => Ok(None),
            false => Err(Refused::new(
                500,
                "the trigger has no secret: set `secret`, or allow `unsigned` requests",
            )),
        };
    }
    let header = Some(text("signatureHeader")).filter(|name| !name.is_empty());
    let header = header.unwrap_or_else(|| USUAL_HEADER.to_owned());
    let wrong =
        || Refused::new(401, format!("the request is not signed as it must be: see the header {header}"));
    let given = request.header(&header).ok_or_else(wrong)?;
    let (prefix, hash) = (text("signaturePrefix"), Hash::parse(&text("algorithm")));
    let given = given.trim();
    let given = if prefix.is_empty() {
        given.strip_prefix("sha256=").unwrap_or(given)
    } else {
        given.strip_prefix(prefix.as_str()).ok_or_else(wrong)?
    };
    let timestamp_header = text("timestampHeader");
    let timestamp = request.header(&timestamp_header).unwrap_or_default();
    let content = match text("signedContent") {
        empty if empty.is_empty() => "{body}".to_owned(),
        content => content,
    };
    if !verify(hash, secret.as_bytes(), &parts(&content, timestamp, &request.raw), given) {
        return Err(wrong());
    }
    if timestamp_header.is_empty() {
        return Ok(None);
    }
    if !content.contains("{timestamp}") {
        return Err(Refused::new(
            500,
            "the trigger's time is not signed: `signedContent` must hold {timestamp}",
        ));
    }
    let tolerance = settings::number(call, "tolerance").unwrap_or(USUAL_TOLERANCE_S);
    let sent = moment(timestamp).ok_or_else(|| Refused::new(401, "the request has no time of sending"))?;
    if (now - sent).num_seconds().unsigned_abs() as f64 > tolerance {
        return Err(Refused::new(401, "the request was sent too long ago, or a clock is wrong"));
    }
    Ok(Some(format!("{timestamp}\n{given}")))
}

/// What is signed, in pieces.
fn parts<'a>(content: &'a str, timestamp: &'a str, body: &'a [u8]) -> Vec<&'a [u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = content;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        parts.push(before.as_bytes());
        let (piece, length): (&[u8], usize) = if from.starts_with("{body}") {
            (body, "{body}".len())
        } else if from.starts_with("{timestamp}") {
            (timestamp.as_bytes(), "{timestamp}".len())
        } else {
            (b"{", 1)
        };
        parts.push(piece);
        rest = &from[length..];
    }
    parts.push(rest.as_bytes());
    parts
}

/// Seconds or milliseconds since 1970, or a date.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(number) if number > 100_000_000_000 => DateTime::from_timestamp_millis(number),
        Ok(number) => DateTime::from_timestamp(number, 0),
        Err(_) => DateTime::parse_from_rfc3339(text).ok().map(|date| date.with_timezone(&Utc)),
    }
}

/// One payload for a body; one for each element of a list.
fn items(request: &TriggerRequest) -> Result<Vec<Value>, Refused> {
    // Headers of the connection and of who carried it are nobody's business.
    let shown =
        |name: &str| !name.contains("signature") && !matches!(name, "host" | "connection" | "content-length");
    let headers: Map = request
        .headers
        .iter()
        .filter(|(name, _)| shown(name))
        .map(|(name, value)| (name.as_str().into(), Value::from(value.as_str())))
        .collect();
    let payload = |body: &Value| {
        Value::object(
            [
                ("body".into(), body.clone()),
                ("headers".into(), Value::object(headers.clone())),
                ("query".into(), Value::object(request.query.clone())),
                ("method".into(), Value::from(request.method.as_str())),
            ]
            .into(),
        )
    };
    match &request.body {
        Value::Array(items) if items.len() > MOST => {
            Err(Refused::new(413, format!("the list has {} items: {MOST} at most", items.len())))
        }
        Value::Array(items) => Ok(items.iter().map(payload).collect()),
        body => Ok(vec![payload(body)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_put_together_as_it_says() {
        let joined = |content: &str| parts(content, "7", b"{\"a\":1}").concat();
        assert_eq!(joined("{body}"), b"{\"a\":1}");
        assert_eq!(joined("v0:{timestamp}:{body}"), b"v0:7:{\"a\":1}");
        assert_eq!(joined("{x}{timestamp}"), b"{x}7");
    }

    #[test]
    fn moments_are_seconds_milliseconds_or_dates() {
        for text in ["1700000000", "1700000000000", "2023-11-14T22:13:20Z"] {
            assert_eq!(moment(text).unwrap().timestamp(), 1_700_000_000, "{text}");
        }
        assert_eq!(moment("soon"), None);
    }
}
