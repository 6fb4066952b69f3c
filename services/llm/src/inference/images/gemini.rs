//! Google's images: of models that answer in text and images, and of models that make images alone
//! (<https://ai.google.dev/gemini-api/docs/image-generation>, <https://ai.google.dev/gemini-api/docs/imagen>).

use reqwest::header::HeaderMap;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;

use super::{Image, Made, Wanted};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::address;
use crate::inference::providers::media::{Kind, base64, kind_of, mimetype, nowhere};
use crate::inference::providers::wire::{Exchange, WireRequest, broken, refusal_in_body};
use crate::models::Interface;

/// What images may be edited; all of them together go inside the request.
const KINDS: &[Kind] = &[Kind {
    types: &["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"],
    max_bytes: 7 << 20,
}];

/// Makes or edits images.
pub async fn paint(exchange: &Exchange, wanted: &Wanted) -> Result<Made, InferenceError> {
    if wanted.request.mask.is_some() {
        return Err(InferenceError::invalid(
            "mask",
            "Google's models know none: say what to edit in the prompt",
        ));
    }
    let model = &wanted.call.model;
    let is_alone = match model.interface {
        Some(Interface::GenerateImages) => true,
        Some(_) => false,
        None => model.model_id.starts_with("imagen"),
    };
    if is_alone {
        return predict(exchange, wanted).await;
    }
    // One request, one image.
    let mut made = Made::default();
    for _ in 0..wanted.count {
        let next = generate(exchange, wanted).await?;
        made.images.extend(next.images);
        if made.id.is_empty() {
            made.id = next.id;
        }
        if let Some(usage) = next.usage {
            let sum = made.usage.get_or_insert_default();
            for (field, more) in [
                (&mut sum.input_tokens, usage.input_tokens),
                (&mut sum.output_tokens, usage.output_tokens),
                (&mut sum.reasoning_tokens, usage.reasoning_tokens),
            ] {
                *field = field.saturating_add(more);
            }
        }
    }
    Ok(made)
}

async fn ask(
    exchange: &Exchange,
    wanted: &Wanted,
    method: &str,
    body: &Value,
) -> Result<Value, InferenceError> {
    let call = &wanted.call;
    let mut headers = HeaderMap::new();
    if let Some(key) = call.key.as_ref().and_then(|key| key.api_key()) {
        headers.insert("x-goog-api-key", http::secret_header(key.expose_secret())?);
    }
    let model = call.model.model_id.trim_start_matches("models/");
    let url = address(call, &format!("models/{model}:{method}"))?;
    let response = exchange.send(call, WireRequest { url, headers, body: body.to_string().into() }).await?;
    let body = exchange.read_whole(call, response).await?;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|error| broken(call, format!("the answer is not one with images: {error}")))?;
    if answer["error"].is_object() {
        return Err(refusal_in_body(call, &answer["error"]));
    }
    Ok(answer)
}

/// What is said of the shape of images and of people in them.
fn set(config: &mut Map<String, Value>, name: &str, value: &str) {
    if !value.is_empty() {
        config.insert(name.to_owned(), value.into());
    }
}

async fn predict(exchange: &Exchange, wanted: &Wanted) -> Result<Made, InferenceError> {
    let request = &wanted.request;
    if !request.images.is_empty() {
        let words =
            format!("{:?} edits none: use a model that answers in text and images", wanted.call.model.entry);
        return Err(InferenceError::invalid("images", words));
    }
    let mut parameters = Map::new();
    parameters.insert("sampleCount".into(), wanted.count.into());
    set(&mut parameters, "aspectRatio", &request.aspect_ratio);
    set(&mut parameters, "personGeneration", &request.person_generation);
    set(&mut parameters, "sampleImageSize", &request.size);
    let body = json!({"instances": [{"prompt": request.prompt}], "parameters": parameters});
    let answer = ask(exchange, wanted, "predict", &body).await?;
    let mut made = Made::default();
    for item in answer["predictions"].as_array().into_iter().flatten() {
        let Some(text) = item["bytesBase64Encoded"].as_str() else {
            // A filtered image is told of in place of one.
            continue;
        };
        let mut image = Image::decoded(&wanted.call, text, item["mimeType"].as_str())?;
        item["prompt"].as_str().unwrap_or_default().clone_into(&mut image.revised_prompt);
        made.images.push(image);
    }
    if made.images.is_empty() {
        return Err(filtered());
    }
    Ok(made)
}

async fn generate(exchange: &Exchange, wanted: &Wanted) -> Result<Made, InferenceError> {
    let request = &wanted.request;
    let mut parts = vec![json!({"text": request.prompt})];
    for media in &request.images {
        let mimetype = mimetype(media);
        kind_of(media, &mimetype, &wanted.call.model.provider, KINDS)?;
        let Some(Source::Data(data)) = &media.source else { return Err(nowhere()) };
        parts.push(json!({"inlineData": {"mimeType": mimetype, "data": base64(data)}}));
    }
    let mut config = json!({"responseModalities": ["TEXT", "IMAGE"]});
    let mut image = Map::new();
    set(&mut image, "aspectRatio", &request.aspect_ratio);
    set(&mut image, "imageSize", &request.size);
    set(&mut image, "personGeneration", &request.person_generation);
    if !image.is_empty() {
        config["imageConfig"] = image.into();
    }
    let body = json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": config});
    let answer = ask(exchange, wanted, "generateContent", &body).await?;
    let mut made =
        Made { id: answer["responseId"].as_str().unwrap_or_default().to_owned(), ..Made::default() };
    for part in answer["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
        let inline = &part["inlineData"];
        if let Some(text) = inline["data"].as_str().filter(|_| part["thought"] != true) {
            made.images.push(Image::decoded(&wanted.call, text, inline["mimeType"].as_str())?);
        }
    }
    if made.images.is_empty() {
        return Err(filtered());
    }
    let count = |name: &str| answer["usageMetadata"][name].as_i64().unwrap_or_default();
    made.usage = answer["usageMetadata"].is_object().then(|| pb::TokenUsage {
        input_tokens: count("promptTokenCount"),
        output_tokens: count("candidatesTokenCount").saturating_add(count("thoughtsTokenCount")),
        reasoning_tokens: count("thoughtsTokenCount"),
        ..pb::TokenUsage::default()
    });
    Ok(made)
}

/// No image and no error: the provider's filter took it.
fn filtered() -> InferenceError {
    InferenceError::invalid("prompt", "the provider's filter left no image: say it otherwise")
}
