//! Asking a server whether it received a request that nobody heard the answer of.

use http::{Method, StatusCode};
use sre_engine::value::Value;

use super::{Values, body, headers, response, url};
use crate::context::Call;
use crate::egress::Request;
use crate::outbound;
use crate::question::LookedUp;
use crate::settings;

/// What the address is rendered over, beside the inputs.
const KEY: &str = "idempotencyKey";

/// Asks; the error says why nothing was learned.
pub(super) async fn ask(call: Call<'_>) -> Result<LookedUp, String> {
    let setting = |name: &str| settings::with_template_variables(call, &settings::text(call, name));
    let (url_text, headers_text) = (setting("lookupUrl"), setting("headers"));
    if url_text.trim().is_empty() {
        return Err("no `lookupUrl` is set to find out whether it happened".to_owned());
    }
    let secrets = settings::secrets(call, &format!("{url_text}\n{headers_text}"))
        .await
        .map_err(|error| error.message)?;
    let mut inputs = call.input.clone();
    inputs.insert(KEY.into(), Value::from(call.context.idempotency_key()));
    let values = Values { inputs: &inputs, secrets: &secrets };
    let mut request = Request::new(Method::GET, url::build(&url_text, values, url::Encoding::of(call))?);
    request.headers = headers::build(call, &headers_text, values, &Method::GET, &body::Body::default())?;
    let request = request.repeatable(outbound::ATTEMPTS);
    let answer = outbound::send(call.context, request)
        .await
        .map_err(|error| format!("looking it up failed: {error}"))?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(LookedUp::NotHappened),
        status if status.is_success() => Ok(LookedUp::Happened(response::outcome(call, answer).await?)),
        status => Err(format!("looking it up failed with status code {}", status.as_u16())),
    }
}
