//! GenAILLM: asks a language model.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::data::typing::InputType;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;
use sre_proto::llm::v1::{ChatRole, GenerateRequest, Model, ResponseFormat};

use super::llm::answer::{self, Reading};
use super::llm::{self, parameters, prompt, validation as v};
use crate::context::{Call, Component};
use crate::outcome::{failed_with, one, or_error};
use crate::settings;

const EMPTY: &str = "Empty response. This is usually due to output token limit reached. Please try again with \
                     a higher 'Maximum Output Tokens'.";

static SPEC: ComponentSpec = ComponentSpec::new("GenAILLM", "Asks a language model")
    .effect(Effect::Effect)
    .settings(&[
        v::MODEL,
        v::PROMPT,
        v::TEMPERATURE,
        v::MAX_TOKENS,
        v::STOP_SEQUENCES,
        v::TOP_P,
        v::TOP_K,
        v::FREQUENCY_PENALTY,
        v::PRESENCE_PENALTY,
        SettingSpec::one_of("responseFormat", "Response Format", &["json", "text", ""])
            .describe("`json` reads the answer as JSON; the default where outputs were added"),
        v::PASSTHROUGH,
        SettingSpec::boolean("useSystemPrompt", "Use System Prompt")
            .describe("puts the agent's behaviour first"),
        SettingSpec::boolean("useContextWindow", "Use Context Window")
            .describe("sends earlier turns of the conversation, too"),
        SettingSpec::number("maxContextWindowLength", "Maximum Context Window Length", 0.0, f64::MAX)
            .describe("tokens of earlier turns at most"),
        SettingSpec::one_of("verbosity", "Verbosity", &["low", "medium", "high", ""])
            .nullable()
            .describe("how much the model says, where it can be told"),
        SettingSpec::boolean("useReasoning", "Use Reasoning")
            .describe("lets the model think first, where it can"),
        SettingSpec::one_of(
            "reasoningEffort",
            "Reasoning Effort",
            &["none", "default", "minimal", "low", "medium", "high", "xhigh", ""],
        )
        .nullable()
        .describe("how long it thinks"),
        SettingSpec::number("maxThinkingTokens", "Maximum Thinking Tokens", 1.0, f64::MAX)
            .describe("tokens it may think with"),
        SettingSpec::boolean("useWebSearch", "Use Web Search")
            .describe("lets the provider search the web (OpenAI)"),
        SettingSpec::one_of("webSearchContextSize", "Web Search Context Size", &["high", "medium", "low"])
            .describe("how much of what is found goes into the answer"),
        SettingSpec::text_or_empty("webSearchCity", "Web Search City", 255)
            .template()
            .describe("where searches are made from: the city"),
        SettingSpec::text_or_empty("webSearchCountry", "Web Search Country", 255)
            .template()
            .describe("where searches are made from: the country, two letters"),
        SettingSpec::text_or_empty("webSearchRegion", "Web Search Region", 255)
            .template()
            .describe("where searches are made from: the region"),
        SettingSpec::text_or_empty("webSearchTimezone", "Web Search Timezone", 255)
            .template()
            .describe("where searches are made from: the time zone"),
        SettingSpec::boolean("useSearch", "Use Search").describe("lets the provider search (xAI)"),
        SettingSpec::one_of("searchMode", "Search Mode", &["auto", "on", "off"])
            .describe("whether it searches: as it likes, always, never"),
        SettingSpec::boolean("returnCitations", "Return Citations")
            .describe("gives what the answer is taken from"),
        SettingSpec::number("maxSearchResults", "Max Search Results", 1.0, 100.0)
            .describe("results that are looked at"),
        SettingSpec::any("searchDataSources", "Search Data Sources")
            .describe("where it searches: `web`, `x`, `news`, `rss`"),
        SettingSpec::text_or_empty("searchCountry", "Search Country", 255)
            .template()
            .describe("the country of results, two letters"),
        SettingSpec::text_or_empty("excludedWebsites", "Excluded Websites", 10_000)
            .describe("sites to leave out, between commas"),
        SettingSpec::text_or_empty("allowedWebsites", "Allowed Websites", 10_000)
            .describe("sites to look at alone, between commas"),
        SettingSpec::text_or_empty("includedXHandles", "Included X Handles", 1_000)
            .describe("accounts of X to look at alone, between commas"),
        SettingSpec::text_or_empty("excludedXHandles", "Excluded X Handles", 1_000)
            .describe("accounts of X to leave out, between commas"),
        SettingSpec::number("postFavoriteCount", "Post Favorite Count", 0.0, 1e9)
            .describe("likes that a post of X has at least"),
        SettingSpec::number("postViewCount", "Post View Count", 0.0, 1e9)
            .describe("views that a post of X has at least"),
        SettingSpec::text_or_empty("rssLinks", "RSS Links", 10_000).describe("the feed to read"),
        SettingSpec::boolean("safeSearch", "Safe Search").describe("leaves out what is not for everybody"),
        SettingSpec::text_or_empty("fromDate", "From Date", 10)
            .describe("results from this day on, `YYYY-MM-DD`"),
        SettingSpec::text_or_empty("toDate", "To Date", 10).describe("results up to this day, `YYYY-MM-DD`"),
    ])
    .inputs(&[
        PortSpec::new("Input", "Any", "for the prompt"),
        PortSpec::new("Attachment", "Binary", "files for the model").optional(),
    ])
    .outputs(&[PortSpec::new("Reply", "Any", "the answer; outputs that are added are its members")])
    .scopes(&["sre.llm.v1.Inference", "sre.llm.v1.Models", "sre.security.v1.Vault"]);

/// The type.
pub struct GenAiLlm;

impl Component for GenAiLlm {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
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
    let echo = llm::is_echo(&model);
    if !echo {
        refuse_files(call, &model)?;
    }
    let structured = prompt::custom_outputs(call.node).next().is_some();
    let format = match parameters::response_format(call) {
        None if structured => Some(ResponseFormat::Json),
        asked => asked,
    };
    let text = if echo { rendered } else { prompt::with_format(&rendered, call.node) };

    let mut request =
        GenerateRequest { model: llm::entry_name(&model).to_owned(), ..GenerateRequest::default() };
    let behavior = &call.context.agent().behavior;
    if settings::flag(call, "useSystemPrompt") && !behavior.is_empty() {
        request.messages.push(prompt::message(ChatRole::System, behavior.clone()));
    }
    request.messages.push(prompt::message(ChatRole::User, text));
    request.response_format = format.unwrap_or(ResponseFormat::Unspecified).into();
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

/// Files cannot be handed to models yet, so a call that brings some says so instead of dropping them.
fn refuse_files(call: Call<'_>, model: &Model) -> Result<(), String> {
    let inputs =
        call.node.inputs.iter().filter(|port| InputType::parse(&port.type_name) == InputType::Binary);
    let mut types = Vec::new();
    for value in inputs.filter_map(|port| call.get(&port.name)) {
        media_types(value, &mut types);
    }
    if types.is_empty() {
        return Ok(());
    }
    let name = llm::entry_name(model);
    Err(format!("Model '{name}' does not support the provided file type(s): {}", types.join(", ")))
}

fn media_types(value: &Value, types: &mut Vec<String>) {
    let found = match value {
        Value::Array(items) => return items.iter().for_each(|item| media_types(item, types)),
        Value::Binary(binary) => binary.mimetype.to_string(),
        Value::Object(map) => map.get("mimetype").map_or_else(|| "unknown".to_owned(), Value::to_text),
        _ => return,
    };
    if !types.contains(&found) {
        types.push(found);
    }
}
