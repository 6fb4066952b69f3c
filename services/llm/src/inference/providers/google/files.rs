//! Files that are too large to go inside a request: uploaded to Google AI first, in the resumable protocol, and waited
//! for until they can be read (<https://ai.google.dev/gemini-api/docs/files>). Google deletes them after two days.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;
use url::Url;

use super::media::INLINE_BYTES;
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::json::take;
use crate::inference::providers::media::{mimetype, nowhere};
use crate::inference::providers::wire::{Exchange, broken};
use crate::inference::providers::{Call, address};

/// The waits for a file that is made ready: the first, the longest, and how many there are. The call's own time ends
/// them sooner.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const WAITS: usize = 60;

/// The call with what is too large for it uploaded: the largest first, until the rest fits.
pub async fn uploaded<'c>(
    exchange: &Exchange,
    call: &'c Call,
    headers: &HeaderMap,
) -> Result<Cow<'c, Call>, InferenceError> {
    let mut sizes = sizes(&call.request.messages);
    let mut inline: usize = sizes.iter().map(|(_, _, size)| size).sum();
    if inline <= INLINE_BYTES {
        return Ok(Cow::Borrowed(call));
    }
    let mut call = call.clone();
    sizes.sort_by_key(|(_, _, size)| std::cmp::Reverse(*size));
    for (message, part, size) in sizes {
        if inline <= INLINE_BYTES {
            break;
        }
        let found = call.request.messages.get(message).and_then(|message| message.parts.get(part));
        let Some(Kind::Media(media)) = found.and_then(|part| part.part.clone()) else { continue };
        let there = upload(exchange, &call, headers, &media).await?;
        if let Some(part) =
            call.request.messages.get_mut(message).and_then(|message| message.parts.get_mut(part))
        {
            part.part = Some(Kind::Media(there));
        }
        inline -= size;
    }
    Ok(Cow::Owned(call))
}

/// Message, part and size of everything that would go inside the request.
fn sizes(messages: &[pb::ChatMessage]) -> Vec<(usize, usize, usize)> {
    let mut sizes = Vec::new();
    for (message, said) in messages.iter().enumerate() {
        for (part, held) in said.parts.iter().enumerate() {
            if let Some(Kind::Media(pb::Media { source: Some(Source::Data(data)), .. })) = &held.part {
                sizes.push((message, part, data.len()));
            }
        }
    }
    sizes
}

async fn upload(
    exchange: &Exchange,
    call: &Call,
    headers: &HeaderMap,
    media: &pb::Media,
) -> Result<pb::Media, InferenceError> {
    let Some(Source::Data(data)) = &media.source else { return Err(nowhere()) };
    let kind = mimetype(media);
    let base = address(call, "files")?;
    let mut start = base.clone();
    start.set_path(&format!("/upload{}", base.path()));
    let name = if media.file_name.is_empty() { "file" } else { &media.file_name };
    let begun = exchange
        .http()
        .client_of(&call.model.origin, &start)?
        .post(start.clone())
        .headers(headers.clone())
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", data.len())
        .header("x-goog-upload-header-content-type", text_header(&kind)?)
        .header("content-type", "application/json")
        .body(json!({"file": {"display_name": name}}).to_string());
    let begun = answered(call, begun).await?;
    let place = begun.headers().get("x-goog-upload-url").and_then(|url| url.to_str().ok());
    let place = place.and_then(|url| Url::parse(url).ok()).filter(|url| url.origin() == base.origin());
    // Elsewhere it would be a stranger who gets the file.
    let place = place.ok_or_else(|| broken(call, "it named no address of its own to upload a file to"))?;
    let sent = exchange
        .http()
        .client_of(&call.model.origin, &place)?
        .post(place.clone())
        .header("x-goog-upload-offset", 0)
        .header("x-goog-upload-command", "upload, finalize")
        .body(data.clone());
    let mut file = take(&mut read(exchange, call, answered(call, sent).await?).await?, "file");
    let mut wait = FIRST_WAIT;
    for _ in 0..WAITS {
        match file["state"].as_str().unwrap_or("ACTIVE") {
            "ACTIVE" => {
                let uri =
                    file["uri"].as_str().ok_or_else(|| broken(call, "an uploaded file has no address"))?;
                return Ok(pb::Media {
                    mimetype: kind,
                    source: Some(Source::Url(uri.to_owned())),
                    file_name: media.file_name.clone(),
                });
            }
            "FAILED" => {
                let words = format!("the provider cannot read {name:?}: {}", file["error"]["message"]);
                return Err(InferenceError::invalid("messages.parts.media", words));
            }
            _ => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        let id = file["name"].as_str().unwrap_or_default().trim_start_matches("files/").to_owned();
        let place = address(call, &format!("files/{id}"))?;
        let client = exchange.http().client_of(&call.model.origin, &place)?;
        let asked = client.get(place.clone()).headers(headers.clone());
        file = read(exchange, call, answered(call, asked).await?).await?;
    }
    Err(broken(call, "an uploaded file is still not ready"))
}

fn text_header(text: &str) -> Result<HeaderValue, InferenceError> {
    HeaderValue::try_from(text).map_err(|_| {
        InferenceError::invalid("messages.parts.media", "its type has characters no header takes")
    })
}

async fn answered(call: &Call, request: RequestBuilder) -> Result<Response, InferenceError> {
    let response = request.send().await.map_err(|error| InferenceError::Unreachable {
        provider: call.model.provider.clone(),
        message: http::causes(&error),
    })?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(http::refusal(&call.model.provider, response).await)
}

async fn read(exchange: &Exchange, call: &Call, response: Response) -> Result<Value, InferenceError> {
    let body = exchange.read_whole(call, response).await?;
    serde_json::from_slice(&body)
        .map_err(|error| broken(call, format!("what it says of a file is not JSON: {error}")))
}
