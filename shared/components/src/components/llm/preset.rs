//! One prompt, one answer: what the older components do, each with its own words for what goes wrong.

use sre_engine::Outcome;
use sre_engine::value::Value;
use sre_proto::llm::v1::{ChatRole, GenerateRequest, ResponseFormat};

use super::answer::{self, Reading};
use super::{files, parameters, prompt};
use crate::context::Call;
use crate::outcome::{failed_with, one};
use crate::settings;

/// What an answer of nothing is called.
pub(crate) const EMPTY: &str = " LLM Error = Empty Response!";

/// How one of them differs from the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    /// The model, where the record names none.
    pub default_model: &'static str,
    /// What stands before the words of a provider's error.
    pub error_prefix: &'static str,
    /// Inputs that hold files whatever their type is.
    pub files: &'static [&'static str],
    /// Whether inputs of binary types go to the model at all.
    pub takes_files: bool,
}

/// Asks as a preset says.
///
/// # Errors
/// In words for the component's `_error`.
pub(crate) async fn ask(call: Call<'_>, preset: Preset) -> Result<Outcome, String> {
    let template = settings::text(call, "prompt");
    let rendered = settings::render(call, &template).await.map_err(|error| error.message)?;
    let model = super::model_or(call, preset.default_model).await?;
    if rendered.is_empty() {
        return Err(EMPTY.to_owned());
    }
    let parts = match preset.takes_files {
        true => files::parts(call, &model, preset.files).await?,
        false => Vec::new(),
    };
    let text = if super::is_echo(&model) { rendered } else { prompt::with_format(&rendered, call.node) };
    let format = parameters::response_format(call).unwrap_or(ResponseFormat::Json);
    let mut message = prompt::message(ChatRole::User, text);
    message.parts = parts;
    let mut request = GenerateRequest {
        model: super::entry_name(&model).to_owned(),
        messages: vec![message],
        response_format: format.into(),
        ..GenerateRequest::default()
    };
    parameters::apply(call, &model, &mut request);

    let response = super::generate(call, request)
        .await
        .map_err(|error| format!("{}{} ", preset.error_prefix, error.message))?;
    if response.text.is_empty() {
        return Ok(Outcome::error(EMPTY));
    }
    if let Some(why) = answer::interruption(&response) {
        return Ok(failed_with([("Reply", Value::from(response.text))], &why));
    }
    if settings::flag(call, "passthrough") {
        // Watchers have seen the text as it is.
        return Ok(one("Reply", response.text));
    }
    let reading = if format == ResponseFormat::Json { Reading::Json } else { Reading::Text };
    let reply = answer::value(&response.text, reading, &model);
    Ok(match answer::reported_error(&reply).filter(|_| reading == Reading::Json) {
        Some(error) => failed_with([("Reply", reply)], &error),
        None => one("Reply", reply),
    })
}
