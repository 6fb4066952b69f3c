//! Sending a request: through its proxies, with the tokens of its connection.

use std::time::Duration;

use http::StatusCode;
use http::header::AUTHORIZATION;

use super::Failed;
use crate::context::Call;
use crate::egress::{EgressError, Proxy, Request, Response};
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
    let Some(connection) = Connection::of_settings(call) else {
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
