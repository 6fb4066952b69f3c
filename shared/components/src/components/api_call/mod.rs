//! APICall: an HTTP request.
//!
//! Where the reference inserts values as they are, this one encodes them for the place they go to, so that
//! a value cannot add parameters, members or headers.

mod body;
mod headers;
mod look_up;
mod multipart;
mod response;
mod url;

use futures::future::{BoxFuture, FutureExt as _};
use http::Method;
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::template::Secrets;
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component};
use crate::egress::{EgressError, Request, Response};
use crate::outcome::{failed_with, or_error};
use crate::question::LookedUp;
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("APICall", "Sends an HTTP request")
    .effect(Effect::Effect)
    .settings(&[
        SettingSpec::one_of("method", "Method", &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
            .required()
            .describe("the HTTP method"),
        SettingSpec::text("url", "URL", 8192).required().template().describe(
            "where to; inserted values are encoded for the place they stand at, unless `encodeValues` is false",
        ),
        SettingSpec::boolean("encodeValues", "Encode Values")
            .default("true")
            .describe("encodes what is put into the URL for the place it stands at"),
        SettingSpec::any("headers", "Headers").template().describe("a JSON object, or its text"),
        SettingSpec::one_of(
            "contentType",
            "Content Type",
            &[
                "none",
                "application/json",
                "multipart/form-data",
                "binary",
                "application/x-www-form-urlencoded",
                "text/plain",
                "application/xml",
            ],
        )
        .default("none")
        .describe("what the body is, unless a header says so"),
        SettingSpec::any("body", "Body").template().describe("text or an object"),
        SettingSpec::text_or_empty("proxy", "Proxy", 0).template().describe("not supported yet"),
        SettingSpec::any("oauthService", "OAuth Service").describe("`None`, or not supported yet"),
        SettingSpec::any("oauth_con_id", "OAuth Connection").describe("not supported yet"),
        SettingSpec::text_or_empty("lookupUrl", "Lookup URL", 8192).template().describe(
            "where to ask whether a request was received, with `{{idempotencyKey}}`: 404 means that it was not, \
             a success is its answer; for the policy `lookup`",
        ),
    ])
    .outputs(&[
        PortSpec::new("Response", "Any", "the body: read if it is JSON, a file's object if it is binary"),
        PortSpec::new("Headers", "Object", "the headers, under lower-case names"),
        PortSpec::new("Status", "Number", "the status code"),
    ])
    .scopes(&["sre.security.v1.Vault", "sre.io.v1.Storage"]);

/// The type.
pub struct ApiCall;

impl Component for ApiCall {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(send(call).await) }.boxed()
    }

    fn look_up<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, LookedUp> {
        async move { look_up::ask(call).await.unwrap_or_else(LookedUp::Unknown) }.boxed()
    }
}

/// What the settings are rendered over.
#[derive(Clone, Copy)]
struct Values<'a> {
    inputs: &'a Map,
    secrets: &'a Secrets,
}

async fn send(call: Call<'_>) -> Result<Outcome, String> {
    refuse_unsupported(call)?;
    let setting = |name: &str| settings::with_template_variables(call, &settings::text(call, name));
    let (url_text, headers_text, body_text) = (setting("url"), setting("headers"), setting("body"));
    let all = format!("{url_text}\n{headers_text}\n{body_text}");
    let secrets = settings::secrets(call, &all).await.map_err(|error| error.message)?;
    let values = Values { inputs: call.input, secrets: &secrets };

    let method: Method = settings::text(call, "method").parse().map_err(|_| "Invalid method".to_owned())?;
    let mut request = Request::new(method, url::build(&url_text, values, url::Encoding::of(call))?);
    let body = body::build(call, &body_text, values).await?;
    request.headers = headers::build(call, &headers_text, values, &request.method, &body)?;
    request.body = body.bytes;

    let target = format!("{} {}", request.method, request.url.host_str().unwrap_or_default());
    match exchange(call, request).await {
        Ok(response) => {
            // Path and query may hold secrets; the host is enough to follow what happened.
            let line = format!("{target}: {}, {} bytes", response.status.as_u16(), response.body.len());
            call.context.log(tracing::Level::INFO, &line);
            response::outcome(call, response).await
        }
        Err(EgressError::InvalidUrl) => Err(EgressError::InvalidUrl.to_string()),
        Err(error) => Ok(failed_with(
            [("Response", Value::Null), ("Headers", Value::object(Map::new()))],
            &error.to_string(),
        )),
    }
}

/// Sends a request within the run's time, as long as the run goes on.
async fn exchange(call: Call<'_>, request: Request) -> Result<Response, EgressError> {
    let left = call.context.deadline().saturating_duration_since(tokio::time::Instant::now());
    let cancelled = call.context.cancelled();
    tokio::select! {
        sent = call.context.http().send(request, left) => sent,
        () = cancelled.cancelled() => Err(EgressError::Broken("Agent killed".to_owned())),
    }
}

fn refuse_unsupported(call: Call<'_>) -> Result<(), String> {
    let named = |name: &str| {
        let text = settings::text(call, name);
        !text.trim().is_empty() && text != "None"
    };
    if named("oauth_con_id") || named("oauthService") {
        return Err("OAuth is not supported yet: set the Authorization header from the vault".to_owned());
    }
    if named("proxy") {
        return Err("proxies are not supported yet: clear the setting `proxy`".to_owned());
    }
    Ok(())
}
