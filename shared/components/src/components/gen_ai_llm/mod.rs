//! GenAILLM: asks a language model.

mod conversation;
mod search;
mod spec;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::ComponentSpec;
use sre_engine::value::Value;
use sre_proto::llm::v1::{ChatRole, GenerateRequest, ResponseFormat};

use super::llm::answer::{self, Reading};
use super::llm::{self, files, parameters, prompt};
use crate::context::{Call, Component};
use crate::outcome::{failed_with, one, or_error};
use crate::settings;

const EMPTY: &str = "Empty response. This is usually due to output token limit reached. Please try again with \
                     a higher 'Maximum Output Tokens'.";

/// The type.
pub struct GenAiLlm;

impl Component for GenAiLlm {
    fn spec(&self) -> &'static ComponentSpec {
        &spec::SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(ask(call).await) }.boxed()
    }
}

async fn ask(call: Call<'_>) -> Result<Outcome, String> {
    let template = settings::text(call, "prompt");
    let rendered = settings::render(call, &template).await.map_err(|error| error.message)?;
    let model = llm::model(call).await?;
    if rendered.is_empty() {
        return Err(EMPTY.to_owned());
    }
    let parts = files::parts(call, &model, &[]).await?;
    let structured = prompt::custom_outputs(call.node).next().is_some();
    let format = match parameters::response_format(call) {
        None if structured => Some(ResponseFormat::Json),
        asked => asked,
    };
    let text = if llm::is_echo(&model) { rendered } else { prompt::with_format(&rendered, call.node) };

    let mut asked = prompt::message(ChatRole::User, text);
    asked.parts = parts;
    let mut request = GenerateRequest {
        model: llm::entry_name(&model).to_owned(),
        messages: conversation::messages(call, &model, asked).await?,
        response_format: format.unwrap_or(ResponseFormat::Unspecified).into(),
        web_search: search::wanted(call, &model).await?,
        ..GenerateRequest::default()
    };
    parameters::apply(call, &model, &mut request);

    // The reference puts the details of an error behind it; a provider without any leaves the blank.
    let response = llm::generate(call, request).await.map_err(|error| format!("{} ", error.message))?;
    let interruption = answer::interruption(&response);
    let empty = response.text.is_empty();
    let reading = if format == Some(ResponseFormat::Json) { Reading::Json } else { Reading::Text };
    Ok(match interruption {
        Some(why) if empty => failed_with([("Reply", Value::from(""))], &format!("{why}\n{EMPTY}")),
        Some(why) => failed_with([("Reply", Value::from(response.text))], &why),
        None if empty => Outcome::error(EMPTY),
        None => {
            let reply = answer::value(&response.text, reading, &model);
            match answer::reported_error(&reply).filter(|_| reading == Reading::Json) {
                Some(error) => failed_with([("Reply", reply)], &error),
                None => one("Reply", reply),
            }
        }
    })
}
