//! APICall: an HTTP request.
//!
//! Where the reference inserts values as they are, this one encodes them for the place they go to, so that
//! a value cannot add parameters, members or headers.

mod authorize;
mod body;
mod headers;
mod look_up;
mod multipart;
mod proxy;
mod response;
mod url;

use futures::future::{BoxFuture, FutureExt as _};
use http::Method;
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::template::Secrets;
use sre_engine::value::{Map, Value};

use crate::context::links::Links;
use crate::context::{Call, Component};
use crate::egress::{EgressError, Request};
use crate::oauth::settings as oauth;
use crate::outbound;
use crate::outcome::{failed_with, or_error};
use crate::question::LookedUp;
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("APICall", "Sends an HTTP request")
    .effect(Effect::Effect)
    // RFC 9110, 9.2.1: these change nothing.
    .reads_with("method", &["GET", "HEAD", "OPTIONS"])
    .settings(&[
        SettingSpec::one_of("method", "Method", &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
            .required()
            .describe("the method of the request"),
        SettingSpec::text("url", "URL", 8192).required().template().describe(
            "where to; inserted values are encoded for the place they stand at, unless `encodeValues` is false",
        ),
        SettingSpec::boolean("encodeValues", "Encode Values")
            .default("true")
            .describe("encodes what is inserted into the URL for the place it stands at"),
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
        .describe("how the body is made of its setting, and what it is called"),
        SettingSpec::any("body", "Body").template().describe("text or an object"),
        SettingSpec::text_or_empty("proxy", "Proxy", 0).template().describe(
            "proxies, one a line, tried in any order: http, https, socks4, socks4a, socks5, socks5h, with user and \
             password where one wants them",
        ),
        SettingSpec::integer("timeout", "Timeout (ms)", 1.0, 600_000.0)
            .nullable()
            .describe("time for the call with its repeats; never more than the deployment allows"),
        SettingSpec::integer("retries", "Retries", 0.0, 10.0).default("2").nullable().describe(
            "how often GET, HEAD, OPTIONS, PUT and DELETE are made again after a connection that failed or broke, \
             and after 429, 502, 503 and 504",
        ),
        oauth::SERVICE,
        oauth::CONNECTION,
        oauth::CLIENT_ID,
        oauth::CLIENT_SECRET,
        oauth::TOKEN_URL,
        oauth::SCOPE,
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
    .scopes(&[
        "sre.security.v1.Vault",
        "sre.security.v1.ManagedVault:read",
        "sre.security.v1.ManagedVault:write",
        "sre.io.v1.Storage",
        "sre.io.v1.Router",
    ]);

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
    let mut links = Links::new(call.context.links());
    let done = send_with(call, &mut links).await;
    links.end().await;
    done
}

async fn send_with(call: Call<'_>, links: &mut Links<'_>) -> Result<Outcome, String> {
    let setting = |name: &str| settings::with_template_variables(call, &settings::text(call, name));
    let (url_text, headers_text, body_text) = (setting("url"), setting("headers"), setting("body"));
    let proxy_text = setting("proxy");
    let all = format!("{url_text}\n{headers_text}\n{body_text}\n{proxy_text}");
    let secrets = settings::secrets(call, &all).await.map_err(|error| error.message)?;
    let values = Values { inputs: call.input, secrets: &secrets };

    let method: Method = settings::text(call, "method").parse().map_err(|_| "Invalid method".to_owned())?;
    let url = url::build(&url_text, values, url::Encoding::of(call))?;
    let mut request = Request::new(method, url::with_links(url, links).await?);
    let body = body::build(call, &body_text, values).await?;
    request.headers = headers::build(call, &headers_text, values, &request.method, &body)?;
    request.body = body.bytes;
    let repeats = settings::number(call, "retries").map_or(outbound::ATTEMPTS - 1, |repeats| repeats as u32);
    let request = outbound::keyed(call.context, request).repeatable(repeats.saturating_add(1));
    let proxies = proxy::list(&proxy_text, values)?;

    let target = format!("{} {}", request.method, request.url.host_str().unwrap_or_default());
    match authorize::exchange(call, request, &proxies).await {
        Ok(response) => {
            // Path and query may hold secrets; the host is enough to follow what happened.
            let line = format!("{target}: {}, {} bytes", response.status.as_u16(), response.body.len());
            call.context.log(tracing::Level::INFO, &line);
            response::outcome(call, response).await
        }
        Err(Failed::Egress(EgressError::InvalidUrl)) => Err(EgressError::InvalidUrl.to_string()),
        Err(error) => Ok(failed_with(
            [("Response", Value::Null), ("Headers", Value::object(Map::new()))],
            &error.to_string(),
        )),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The call could not be made.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// It could not be authorised.
    #[error("{0}")]
    OAuth(String),
}
