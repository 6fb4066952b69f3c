//! Runware's images (<https://runware.ai/docs/en/image-inference/api-reference>), over its HTTP interface.

use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use sre_proto::llm::v1::media::Source;

use super::{Image, Made, Wanted};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::address;
use crate::inference::providers::media::{Kind, base64, kind_of, mimetype, nowhere};
use crate::inference::providers::wire::{Exchange, WireRequest, broken, refusal_in_body};

/// Its name in model files.
pub const NAME: &str = "Runware";
/// The variable that holds a deployment's key.
pub const VARIABLE: &str = "RUNWARE_API_KEY";
/// Its address.
pub const ADDRESS: &str = "https://api.runware.ai/v1";

/// What images may be the beginning of another.
const KINDS: &[Kind] = &[Kind { types: &["image/png", "image/jpeg", "image/webp"], max_bytes: 20 << 20 }];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    data: Vec<Item>,
    errors: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Item {
    image_base64_data: Option<String>,
}

/// Makes images; the first image of the request is what they begin with.
pub async fn paint(exchange: &Exchange, wanted: &Wanted) -> Result<Made, InferenceError> {
    let call = &wanted.call;
    if wanted.request.mask.is_some() {
        return Err(InferenceError::invalid(
            "mask",
            "Runware is given none: say what to change in the prompt",
        ));
    }
    let mut headers = HeaderMap::new();
    if let Some(key) = call.key.as_ref().and_then(|key| key.api_key()) {
        headers.insert(AUTHORIZATION, http::secret_header(&format!("Bearer {}", key.expose_secret()))?);
    }
    let body = Value::from(vec![task(wanted)?]).to_string();
    let mut url = address(call, "")?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let request = WireRequest { url, headers, body: body.into() };
    let response = exchange.send(call, request).await?;
    let body = exchange.read_whole(call, response).await?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| broken(call, format!("the answer is not one with images: {error}")))?;
    if let Some(error) = answer.errors.first() {
        return Err(refusal_in_body(call, error));
    }
    let image = |item: Item| match item.image_base64_data {
        Some(text) => Image::decoded(call, &text, None),
        None => Err(broken(call, "an answer without an image")),
    };
    Ok(Made { images: answer.data.into_iter().map(image).collect::<Result<_, _>>()?, ..Made::default() })
}

fn task(wanted: &Wanted) -> Result<Value, InferenceError> {
    let request = &wanted.request;
    let (width, height) = size(&request.size)?;
    let mut task = json!({
        "taskType": "imageInference",
        "taskUUID": sre_proto::ids::new_uuid().to_string(),
        "model": wanted.call.model.model_id,
        "positivePrompt": request.prompt,
        "numberResults": wanted.count,
        "width": width,
        "height": height,
        "outputType": "base64Data",
        "includeCost": true,
    });
    if !request.output_format.is_empty() {
        task["outputFormat"] = request.output_format.to_uppercase().into();
    }
    if !request.negative_prompt.is_empty() {
        task["negativePrompt"] = request.negative_prompt.clone().into();
    }
    if let Some(media) = request.images.first() {
        let mimetype = mimetype(media);
        kind_of(media, &mimetype, NAME, KINDS)?;
        let Some(Source::Data(data)) = &media.source else { return Err(nowhere()) };
        task["seedImage"] = format!("data:{mimetype};base64,{}", base64(data)).into();
        if let Some(strength) = request.strength {
            task["strength"] = strength.into();
        }
    }
    Ok(task)
}

/// Width and height; a square where nothing is said.
fn size(text: &str) -> Result<(u32, u32), InferenceError> {
    if text.is_empty() {
        return Ok((1024, 1024));
    }
    let read = || {
        let (width, height) = text.split_once('x')?;
        Some((width.parse().ok()?, height.parse().ok()?))
    };
    let fits = |side: u32| (128..=2048).contains(&side) && side.is_multiple_of(64);
    match read() {
        Some((width, height)) if fits(width) && fits(height) => Ok((width, height)),
        _ => Err(InferenceError::invalid("size", "must be like 1024x768: 128 to 2048, multiples of 64")),
    }
}
