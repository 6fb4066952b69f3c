//! Sending a request: through its proxies, with the tokens of its connection.

use std::time::Duration;

use http::StatusCode;
use http::header::AUTHORIZATION;

use super::Failed;
use crate::context::Call;
use crate::egress::{EgressError, Proxy, Request, Response};
use crate::oauth::record::{CLIENT_CREDENTIALS, Record};
use crate::oauth::{BodyOf, Connection};
use crate::outbound;
use crate::page;
use crate::settings;

/// Sends a request. Where its token is refused, it is made once more with another.
pub(super) async fn exchange(
    call: Call<'_>,
    mut request: Request,
    proxies: &[Proxy],
) -> Result<Response, Failed> {
    let Some(connection) = connection(call) else {
        return Ok(through(call, request, proxies).await?);
    };
    let media = page::media_type(&request.headers);
    let bytes = request.body.clone().unwrap_or_default();
    let body = BodyOf { media: &media, bytes: &bytes };
    let authorized =
        connection.authorize(&request.method, &request.url, body).await.map_err(Failed::OAuth)?;
    request.headers.insert(AUTHORIZATION, authorized.header);
    let response = through(call, request.clone(), proxies).await?;
    let Some(token) = authorized.bearer.filter(|_| response.status == StatusCode::UNAUTHORIZED) else {
        return Ok(response);
    };
    match connection.after_refusal(&token).await.map_err(Failed::OAuth)? {
        None => Ok(response),
        Some(again) => {
            request.headers.insert(AUTHORIZATION, again.header);
            Ok(through(call, request, proxies).await?)
        }
    }
}

/// Through one proxy after another until one can be reached; directly where there is none.
async fn through(call: Call<'_>, request: Request, proxies: &[Proxy]) -> Result<Response, EgressError> {
    let within = settings::number(call, "timeout").filter(|ms| *ms >= 1.0);
    let within = within.map_or(Duration::MAX, |ms| Duration::from_millis(ms as u64));
    if proxies.is_empty() {
        return outbound::send_within(call.context, request, within).await;
    }
    let mut last = EgressError::InvalidUrl;
    for proxy in proxies {
        let proxied = Request { proxy: Some(proxy.clone()), ..request.clone() };
        match outbound::send_within(call.context, proxied, within).await {
            // It was not reached, so nothing was sent.
            Err(error @ (EgressError::Connect { .. } | EgressError::NotFound(_))) => last = error,
            sent => return sent,
        }
    }
    Err(last)
}

/// The connection that the settings name.
fn connection(call: Call<'_>) -> Option<Connection<'_>> {
    let named = |name: &str| {
        let text = settings::text(call, name).trim().to_owned();
        (!text.is_empty() && text != "None").then_some(text)
    };
    let (id, service) = (named("oauth_con_id"), named("oauthService"));
    if id.is_none() && service.is_none() {
        return None;
    }
    let key = id.unwrap_or_else(|| format!("OAUTH_{}_TOKENS", call.node.id));
    Some(Connection::new(call, key, own(call, service.as_deref())))
}

/// An application that has credentials of its own needs nobody who logs in: its record is made at the first use.
fn own(call: Call<'_>, service: Option<&str>) -> Option<Record> {
    let plain = |text: &str| text.to_lowercase().replace([' ', '_', '-'], "");
    if plain(service?) != plain(CLIENT_CREDENTIALS) {
        return None;
    }
    let mut settings: serde_json::Map<String, serde_json::Value> =
        [("type", "oauth2"), ("service", CLIENT_CREDENTIALS)]
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect();
    for name in ["tokenURL", "clientID", "clientSecret", "scope"] {
        settings.insert(name.to_owned(), settings::text(call, name).into());
    }
    Some(Record::new(settings, &call.context.agent().team))
}
