//! What the engine asks of a driver for typed inputs: fetching, looking up, reading and storing bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::CONTENT_TYPE;
use sre_engine::data::binary::{NeedsIo, binary};
use sre_engine::value::{Binary, Map, Value};
use url::Url;

use crate::context::{Context, ContextError, Failure};
use crate::egress::{EgressError, Request};
use crate::outbound;

/// Does what a need asks for; every file is read as the running agent.
///
/// # Errors
/// What kept it from being done, in words for the component's `_error`.
pub async fn perform(context: &dyn Context, need: &NeedsIo) -> Result<Value, ContextError> {
    match need {
        NeedsIo::Fetch { url, name } => fetch(context, url, name).await.map(Value::from),
        NeedsIo::Stat { url } => context.read_file(url).await.map(|file| stored(url, &file)),
        NeedsIo::DataUrl { file } => {
            let url = file.get("url").and_then(Value::as_str).unwrap_or_default();
            let read = context.read_file(url).await?;
            Ok(Value::from(format!("data:{};base64,{}", read.mimetype, STANDARD.encode(&read.data))))
        }
        NeedsIo::Store { binary: Value::Binary(binary) } => context.store_temp(binary).await,
        NeedsIo::Store { binary } => Ok(binary.clone()),
    }
}

async fn fetch(context: &dyn Context, url: &str, name: &str) -> Result<Binary, ContextError> {
    let url = Url::parse(url).map_err(|_| EgressError::InvalidUrl)?;
    let request = Request::new(Method::GET, url).repeatable(outbound::ATTEMPTS);
    let response = outbound::send(context, request).await?;
    if !response.status.is_success() {
        let message = format!("Request failed with status code {}", response.status.as_u16());
        return Err(ContextError::new(Failure::Unavailable, message));
    }
    let told = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let told = told.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
    let guessed = || mime_guess::from_path(response.url.path()).first_raw().map(str::to_owned);
    let mimetype = told.filter(|told| !told.is_empty()).or_else(guessed);
    Ok(binary(name, mimetype.as_deref(), response.body.clone()))
}

/// The object of a stored file.
fn stored(url: &str, file: &Binary) -> Value {
    let mut map: Map = file.members();
    map.insert("url".into(), Value::from(url));
    Value::object(map)
}
