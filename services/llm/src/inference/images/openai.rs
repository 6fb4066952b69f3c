//! OpenAI's images (<https://platform.openai.com/docs/api-reference/images>), and every service that speaks them.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;

use super::multipart::Form;
use super::{Image, Made, Wanted};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::address;
use crate::inference::providers::media::{Kind, kind_of, mimetype, nowhere};
use crate::inference::providers::wire::{Exchange, WireRequest, broken};

/// What images may be edited.
const KINDS: &[Kind] = &[Kind { types: &["image/png", "image/jpeg", "image/webp"], max_bytes: 50 << 20 }];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    b64_json: Option<String>,
    url: Option<String>,
    revised_prompt: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Usage {
    input_tokens: i64,
    output_tokens: i64,
    input_tokens_details: Details,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: i64,
}

/// Makes or edits images.
pub async fn paint(exchange: &Exchange, wanted: &Wanted) -> Result<Made, InferenceError> {
    let call = &wanted.call;
    let mut headers = HeaderMap::new();
    if let Some(key) = call.key.as_ref().and_then(|key| key.api_key()) {
        headers.insert(AUTHORIZATION, http::secret_header(&format!("Bearer {}", key.expose_secret()))?);
    }
    let fields = fields(wanted);
    let is_edit = !wanted.request.images.is_empty();
    let (path, body) = if is_edit {
        let (kind, body) = form(wanted, &fields)?;
        let kind = HeaderValue::try_from(kind).map_err(|_| broken(call, "a form has no type"))?;
        headers.insert(CONTENT_TYPE, kind);
        ("images/edits", body)
    } else if wanted.request.mask.is_some() {
        return Err(InferenceError::invalid("mask", "is a part of an image to edit: send the image too"));
    } else {
        ("images/generations", Value::from(fields).to_string().into())
    };
    let request = WireRequest { url: address(call, path)?, headers, body };
    let response = exchange.send(call, request).await?;
    let body = exchange.read_whole(call, response).await?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| broken(call, format!("the answer is not one with images: {error}")))?;
    let images = answer.data.into_iter().map(|item| image(wanted, item)).collect::<Result<_, _>>()?;
    Ok(Made { images, usage: answer.usage.map(Into::into), id: String::new() })
}

fn fields(wanted: &Wanted) -> Map<String, Value> {
    let request = &wanted.request;
    let model = &wanted.call.model.model_id;
    let mut fields = Map::new();
    fields.insert("model".into(), model.clone().into());
    fields.insert("prompt".into(), request.prompt.clone().into());
    fields.insert("n".into(), wanted.count.into());
    for (name, value) in [("size", &request.size), ("quality", &request.quality), ("style", &request.style)] {
        if !value.is_empty() {
            fields.insert(name.into(), value.clone().into());
        }
    }
    // Older models give addresses unless they are told; the others give bytes, and refuse to be told.
    if model.starts_with("dall-e") {
        fields.insert("response_format".into(), "b64_json".into());
    }
    fields
}

fn form(wanted: &Wanted, fields: &Map<String, Value>) -> Result<(String, bytes::Bytes), InferenceError> {
    let mut form = Form::new();
    for (name, value) in fields {
        form.field(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let images = &wanted.request.images;
    let name = if images.len() > 1 { "image[]" } else { "image" };
    for image in images {
        add(&mut form, wanted, name, image)?;
    }
    if let Some(mask) = &wanted.request.mask {
        add(&mut form, wanted, "mask", mask)?;
    }
    Ok(form.finish())
}

fn add(form: &mut Form, wanted: &Wanted, name: &str, media: &pb::Media) -> Result<(), InferenceError> {
    let mimetype = mimetype(media);
    kind_of(media, &mimetype, &wanted.call.model.provider, KINDS)?;
    let Some(Source::Data(data)) = &media.source else { return Err(nowhere()) };
    let ending = mimetype.rsplit('/').next().unwrap_or_default();
    form.file(name, &format!("image.{ending}"), &mimetype, data);
    Ok(())
}

fn image(wanted: &Wanted, item: Item) -> Result<Image, InferenceError> {
    let call = &wanted.call;
    let inline = item.url.as_deref().and_then(|url| url.strip_prefix("data:")?.split_once(";base64,"));
    let mut image = match (&item.b64_json, inline) {
        (Some(text), _) => Image::decoded(call, text, None)?,
        (None, Some((mimetype, text))) => Image::decoded(call, text, Some(mimetype))?,
        (None, None) => return Err(broken(call, "it gave an address in place of an image")),
    };
    image.revised_prompt = item.revised_prompt.unwrap_or_default();
    Ok(image)
}

impl From<Usage> for pb::TokenUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_input_tokens: usage.input_tokens_details.cached_tokens,
            ..Self::default()
        }
    }
}
