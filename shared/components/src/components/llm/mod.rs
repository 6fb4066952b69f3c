//! What the components that call a language model share.

pub(crate) mod answer;
pub(crate) mod file_types;
pub(crate) mod files;
pub(crate) mod parameters;
pub(crate) mod preset;
pub(crate) mod prompt;
pub(crate) mod validation;

use sre_proto::llm::v1::{GenerateRequest, GenerateResponse, Model};

use crate::context::{Call, Chunk, Content, ContextError, Failure};

/// The model where a record names none.
const DEFAULT_MODEL: &str = "Echo";

/// The provider whose models repeat the prompt: its prompts are not extended, its JSON is always read.
const ECHO: &str = "echo";

/// The model a component names.
///
/// # Errors
/// The message says that it is not available, if the catalogue does not have it.
pub(crate) async fn model(call: Call<'_>) -> Result<Model, String> {
    model_or(call, DEFAULT_MODEL).await
}

/// The model a component names, or another one.
///
/// # Errors
/// As of [`model`].
pub(crate) async fn model_or(call: Call<'_>, default: &str) -> Result<Model, String> {
    let name = call.node.text_setting("model").filter(|name| !name.is_empty()).unwrap_or(default);
    call.context.model(name).await.map_err(|error| match error.kind {
        Failure::NotFound => format!("The model '{name}' is not available. Please try a different one."),
        _ => error.message,
    })
}

/// The name under which a model is called.
pub(crate) fn entry_name(model: &Model) -> &str {
    model.name.strip_prefix("models/").unwrap_or(&model.name)
}

pub(crate) fn is_echo(model: &Model) -> bool {
    model.provider.eq_ignore_ascii_case(ECHO)
}

/// Calls the model; with `passthrough` its words go on to the watchers as they come. The one way to a streamed
/// answer: an error of the provider, and the end of the run, end the wait.
pub(crate) async fn generate(
    call: Call<'_>,
    request: GenerateRequest,
) -> Result<GenerateResponse, ContextError> {
    let passthrough = crate::settings::flag(call, "passthrough");
    let mut on_chunk = |chunk: Chunk| {
        if passthrough {
            match chunk {
                Chunk::Text(text) => call.context.emit_content(&text, Content::Answer),
                Chunk::Thinking(text) => call.context.emit_content(&text, Content::Thinking),
            }
        }
    };
    let response = unless_cancelled(call, call.context.generate(request, &mut on_chunk)).await?;
    log_use(call, &response);
    Ok(response)
}

/// Calls the model as one request.
pub(crate) async fn answer(
    call: Call<'_>,
    request: GenerateRequest,
) -> Result<GenerateResponse, ContextError> {
    let response = unless_cancelled(call, call.context.models().answer(request)).await?;
    log_use(call, &response);
    Ok(response)
}

/// What something comes to, unless the run is cancelled before.
pub(crate) async fn unless_cancelled<T>(
    call: Call<'_>,
    work: impl Future<Output = Result<T, ContextError>>,
) -> Result<T, ContextError> {
    let cancelled = call.context.cancelled();
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(ContextError::new(Failure::Cancelled, "Agent killed")),
        done = work => done,
    }
}

fn log_use(call: Call<'_>, response: &GenerateResponse) {
    let usage = response.usage.unwrap_or_default();
    let line = format!(
        "{}: {} tokens in, {} out, finish {}",
        response.model_id,
        usage.input_tokens,
        usage.output_tokens,
        response.finish_reason().as_str_name()
    );
    call.context.log(tracing::Level::INFO, &line);
}
