//! Images: a small one for each that is asked for.

use axum::extract::{FromRequest as _, Multipart, Request};
use axum::response::Response;
use serde_json::{Value, json};

use crate::routes::{Incoming, json_answer};
use crate::scenario::Usage;
use crate::state::State;

/// How images are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenAI's, from words.
    Generate,
    /// OpenAI's, from images and words.
    Edit,
    /// Google's.
    Predict,
}

/// A PNG of one pixel, in base64.
pub const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What was asked for.
#[derive(Debug, Default)]
struct Wish {
    prompt: String,
    count: u64,
    files: Vec<String>,
}

pub(crate) async fn handle(state: &State, incoming: Incoming, format: Format) -> Response {
    let key = incoming.key();
    let wish = match format {
        Format::Generate => {
            let body = incoming.json();
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            Wish { prompt: text("prompt"), count: body["n"].as_u64().unwrap_or(1), files: Vec::new() }
        }
        Format::Edit => match form(incoming).await {
            Ok(wish) => wish,
            Err(words) => return json_answer(400, &json!({"error": {"message": words}})),
        },
        Format::Predict => {
            let body = incoming.json();
            let prompt = body["instances"][0]["prompt"].as_str().unwrap_or_default().to_owned();
            let count = body["parameters"]["sampleCount"].as_u64().unwrap_or(1);
            Wish { prompt, count, files: Vec::new() }
        }
    };
    if wish.prompt.is_empty() {
        return json_answer(400, &json!({"error": {"message": "there is no prompt"}}));
    }
    let input = wish.prompt.split_whitespace().count() as u64 + 10 * wish.files.len() as u64;
    let output = 100 * wish.count;
    state.used(&key, Usage { input, output, ..Usage::default() });
    let many = |one: Value| vec![one; wish.count as usize];
    if format == Format::Predict {
        let made = many(json!({"mimeType": "image/png", "bytesBase64Encoded": PIXEL}));
        return json_answer(200, &json!({"predictions": made}));
    }
    let made = many(json!({"b64_json": PIXEL, "revised_prompt": format!("a picture: {}", wish.prompt)}));
    let usage = json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"text_tokens": input, "image_tokens": 0}});
    json_answer(200, &json!({"created": 1_790_000_000, "data": made, "usage": usage}))
}

async fn form(incoming: Incoming) -> Result<Wish, String> {
    let mut request = Request::new(axum::body::Body::from(incoming.body));
    *request.headers_mut() = incoming.headers;
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| error.to_string())?;
    let mut wish = Wish { count: 1, ..Wish::default() };
    while let Some(field) = form.next_field().await.map_err(|error| error.to_string())? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "image" | "image[]" | "mask" => {
                let kind = field.content_type().unwrap_or_default().to_owned();
                if !kind.starts_with("image/") {
                    return Err(format!("{name} is no image but {kind:?}"));
                }
                let size = field.bytes().await.map_err(|error| error.to_string())?.len();
                wish.files.push(format!("{kind} of {size} bytes"));
            }
            _ => {
                let text = field.text().await.map_err(|error| error.to_string())?;
                match name.as_str() {
                    "prompt" => wish.prompt = text,
                    "n" => wish.count = text.parse().unwrap_or(1),
                    _ => {}
                }
            }
        }
    }
    if wish.files.is_empty() {
        return Err("there is no image".to_owned());
    }
    Ok(wish)
}
