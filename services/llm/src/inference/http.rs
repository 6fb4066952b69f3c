//! HTTP towards providers: connections, how long to wait before a repeat, and what a refusal says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect;
use reqwest::{Client, Response};
use serde_json::Value;
use sre_components::egress::Policy;

use super::error::{InferenceError, Refusal};
use super::settings::InferenceSettings;
use crate::models::Origin;

/// A refusal is read up to this length.
const REFUSAL_BYTES: usize = 64 * 1024;

/// Ports of teams' addresses for which connections are kept.
const MOST_PORTS: usize = 64;

/// Connections, shared by all callers: they know no key. A key goes with its own request alone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    /// For addresses of this machine, which no proxy reaches.
    local: Client,
    /// For addresses that teams chose, by port: names resolve to what the policy permits for that port.
    guarded: Arc<Mutex<HashMap<u16, Client>>>,
    egress: Arc<Policy>,
    connect_timeout: Duration,
}

impl Http {
    /// Connections that are opened within this time.
    pub fn new(connect_timeout: Duration) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                // Repeats are decided in one place, with their own budget.
                .retry(reqwest::retry::never())
                // A redirect would carry the key to another host.
                .redirect(redirect::Policy::none())
                .connect_timeout(connect_timeout)
                .user_agent(concat!("sre/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            client: builder().build()?,
            local: builder().no_proxy().build()?,
            guarded: Arc::default(),
            egress: Arc::default(),
            connect_timeout,
        })
    }

    /// Connections as the settings say.
    pub fn of(settings: &InferenceSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { egress: Arc::clone(&settings.egress), ..Self::new(settings.connect_timeout)? })
    }

    /// The client for an address that somebody chose: the operator may name any, others those that the egress
    /// policy permits, whatever the name resolves to at that moment (D29).
    pub fn client_of(&self, origin: &Origin, address: &url::Url) -> Result<Client, InferenceError> {
        if origin.is_operator() {
            return Ok(self.client(address).clone());
        }
        let port = address.port_or_known_default().unwrap_or_default();
        let host = address.host_str().unwrap_or_default();
        let refused = || InferenceError::Egress { address: format!("{host}:{port}") };
        let literal = match address.host() {
            Some(url::Host::Ipv4(ip)) => Some(ip.into()),
            Some(url::Host::Ipv6(ip)) => Some(ip.into()),
            _ => None,
        };
        if literal.is_some_and(|ip| !self.egress.permits(host, ip, port)) {
            return Err(refused());
        }
        let mut guarded = self.guarded.lock();
        if let Some(client) = guarded.get(&port) {
            return Ok(client.clone());
        }
        if guarded.len() >= MOST_PORTS {
            guarded.clear();
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("sre/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Permitted { policy: Arc::clone(&self.egress), port }))
            .build()
            .map_err(|_| refused())?;
        guarded.insert(port, client.clone());
        Ok(client)
    }

    /// The client for an address.
    pub fn client(&self, address: &url::Url) -> &Client {
        if is_local(address) { &self.local } else { &self.client }
    }
}

/// A header that logs do not show.
pub fn secret_header(text: &str) -> Result<HeaderValue, InferenceError> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| InferenceError::invalid("model", "its key has characters no header takes"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Resolves names to addresses that the policy permits for one port.
struct Permitted {
    policy: Arc<Policy>,
    port: u16,
}

impl Resolve for Permitted {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, port) = (Arc::clone(&self.policy), self.port);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> =
                found.filter(|address| policy.permits(&host, address.ip(), port)).collect();
            if permitted.is_empty() {
                let words = "is no public address: ask the operator to list it in [egress] allow";
                return Err(std::io::Error::other(words).into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// What a provider said instead of an answer.
pub async fn refusal(provider: &str, mut response: Response) -> InferenceError {
    let status = response.status();
    let headers = response.headers().clone();
    let mut body = BytesMut::new();
    // What cannot be read of a refusal is left out of its message.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL_BYTES {
            break;
        }
    }
    let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = parsed.get("error").unwrap_or(&parsed);
    let (message, mut code) = words(error);
    // AWS names the kind of an error in a header.
    if let Some(kind) = text_of(&headers, "x-amzn-errortype") {
        kind.split([':', '#']).next().unwrap_or_default().clone_into(&mut code);
    }
    let message = message.unwrap_or_else(|| match status.canonical_reason() {
        Some(reason) => reason.to_lowercase(),
        None => "no reason given".to_owned(),
    });
    InferenceError::Refused(Box::new(Refusal {
        provider: provider.to_owned(),
        status: status.as_u16(),
        message,
        code,
        retry_after: retry_after(&headers).or_else(|| retry_info(error)),
        request_id: request_id(&headers).unwrap_or_default().to_owned(),
    }))
}

/// Message and code of an error object, or of an error that is a plain text.
pub fn words(error: &Value) -> (Option<String>, String) {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text.chars().take(2000).collect::<String>()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = text(error.get("message")).or_else(|| text(Some(error)));
    // Google repeats the number of the status as its code, and has its word in `status`.
    let code = ["status", "code", "type"].into_iter().find_map(|name| text(error.get(name)));
    (message, code.unwrap_or_default())
}

/// What providers call the id of a request.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    ["x-request-id", "request-id", "x-amzn-requestid"].into_iter().find_map(|name| text_of(headers, name))
}

/// When Google wants to be asked again: `details[].retryDelay`, seconds with an `s`.
fn retry_info(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Seconds or milliseconds; dates, which these services do not send, are read over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| text_of(headers, name)?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn is_local(address: &url::Url) -> bool {
    match address.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The innermost cause: the outer ones repeat the address.
pub fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
