//! What GenAILLM says about itself.

use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use crate::components::llm::validation as v;

const SOURCES: [&str; 4] = ["web", "x", "news", "rss"];

pub(super) static SPEC: ComponentSpec = ComponentSpec::new(
    "GenAILLM",
    "Asks a language model, with files, instructions, the conversation so far and a search of the web where wanted",
)
.effect(Effect::Effect)
.settings(&[
    v::MODEL,
    v::PROMPT,
    v::TEMPERATURE,
    v::MAX_TOKENS.default("the model's limit"),
    v::STOP_SEQUENCES,
    v::TOP_P,
    v::TOP_K,
    v::FREQUENCY_PENALTY,
    v::PRESENCE_PENALTY,
    v::RESPONSE_FORMAT.default("json where outputs were added"),
    v::PASSTHROUGH,
    SettingSpec::boolean("useSystemPrompt", "Use System Prompt")
        .default("false")
        .describe("puts the conversation's instructions first; the agent's behaviour where it runs in none"),
    SettingSpec::boolean("useContextWindow", "Use Context Window")
        .default("false")
        .describe("shows the newest messages of the conversation whose model called this skill"),
    SettingSpec::number("maxContextWindowLength", "Maximum Context Window Length", 0.0, f64::MAX)
        .default("1024")
        .describe("tokens that those messages may have together"),
    SettingSpec::one_of("verbosity", "Verbosity", &["low", "medium", "high", ""])
        .nullable()
        .default("medium")
        .describe("how much the model says, where it can be told"),
    SettingSpec::boolean("useReasoning", "Use Reasoning")
        .default("false")
        .describe("lets the model think first, where it can"),
    SettingSpec::one_of(
        "reasoningEffort",
        "Reasoning Effort",
        &["none", "default", "minimal", "low", "medium", "high", "xhigh", ""],
    )
    .nullable()
    .default("default")
    .describe("how much it thinks, where it can be told"),
    SettingSpec::number("maxThinkingTokens", "Maximum Thinking Tokens", 1.0, f64::MAX)
        .default("the model's own")
        .describe("at most so many tokens of thinking, where the model counts them"),
    SettingSpec::boolean("useWebSearch", "Use Web Search")
        .default("false")
        .describe("lets the provider search the web, for models that can"),
    SettingSpec::one_of("webSearchContextSize", "Web Search Context Size", &["high", "medium", "low", ""])
        .default("medium")
        .describe("how much of what is found the model sees"),
    SettingSpec::text_or_empty("webSearchCity", "Web Search City", 255)
        .template()
        .describe("the person's city"),
    SettingSpec::text_or_empty("webSearchCountry", "Web Search Country", 255)
        .template()
        .describe("the person's country, ISO 3166"),
    SettingSpec::text_or_empty("webSearchRegion", "Web Search Region", 255)
        .template()
        .describe("the person's region"),
    SettingSpec::text_or_empty("webSearchTimezone", "Web Search Timezone", 255)
        .template()
        .describe("the person's time zone, IANA"),
    SettingSpec::boolean("useSearch", "Use Search")
        .default("false")
        .describe("lets xAI search its sources, for models that can"),
    SettingSpec::one_of("searchMode", "Search Mode", &["auto", "on", "off", ""])
        .default("auto")
        .describe("`off` searches nothing"),
    SettingSpec::boolean("returnCitations", "Return Citations")
        .default("false")
        .describe("lists what was used with the answer"),
    SettingSpec::number("maxSearchResults", "Max Search Results", 1.0, 100.0)
        .default("10")
        .describe("at most so many results"),
    SettingSpec::any("searchDataSources", "Search Data Sources")
        .check(check_sources)
        .default("web, x")
        .describe("a list of `web`, `x`, `news`, `rss`"),
    SettingSpec::text_or_empty("searchCountry", "Search Country", 255)
        .template()
        .describe("the country of what is searched, ISO 3166"),
    SettingSpec::text_or_empty("excludedWebsites", "Excluded Websites", 10_000)
        .describe("sites to leave out, between commas or line breaks"),
    SettingSpec::text_or_empty("allowedWebsites", "Allowed Websites", 10_000)
        .describe("the only sites to search, between commas or line breaks"),
    SettingSpec::text_or_empty("includedXHandles", "Included X Handles", 1_000)
        .describe("the only accounts whose posts count"),
    SettingSpec::text_or_empty("excludedXHandles", "Excluded X Handles", 1_000)
        .describe("accounts whose posts do not count"),
    SettingSpec::number("postFavoriteCount", "Post Favorite Count", 0.0, 1e9)
        .describe("only posts with so many favourites"),
    SettingSpec::number("postViewCount", "Post View Count", 0.0, 1e9)
        .describe("only posts with so many views"),
    SettingSpec::text_or_empty("rssLinks", "RSS Links", 10_000)
        .describe("feeds, for the source `rss`, between commas or line breaks"),
    SettingSpec::boolean("safeSearch", "Safe Search").describe("leaves out what is not for everybody"),
    SettingSpec::text_or_empty("fromDate", "From Date", 10)
        .check(check_date)
        .describe("nothing older, YYYY-MM-DD"),
    SettingSpec::text_or_empty("toDate", "To Date", 10)
        .check(check_date)
        .describe("nothing newer, YYYY-MM-DD"),
])
.inputs(&[
    PortSpec::new("Input", "Any", "for the prompt"),
    PortSpec::new("Attachment", "Binary", "files for the model, as are all inputs of binary types").optional(),
])
.outputs(&[PortSpec::new("Reply", "Any", "the answer; outputs that are added are its members")])
.scopes(v::SCOPES_WITH_FILES);

/// The sources of a search: a list, or a text that is one.
pub(super) fn sources(value: &Value) -> Vec<String> {
    let parsed = value.as_str().and_then(sre_engine::data::permissive_json::parse);
    match parsed.as_ref().unwrap_or(value) {
        Value::Array(items) => items.iter().map(Value::to_text).filter(|text| !text.is_empty()).collect(),
        Value::String(text) => crate::components::llm::parameters::list(text),
        _ => Vec::new(),
    }
}

fn check_sources(value: &Value) -> Result<(), String> {
    match sources(value).iter().find(|source| !SOURCES.contains(&source.as_str())) {
        Some(unknown) => {
            Err(format!("\"Search Data Sources\" must be of [{}], not {unknown:?}", SOURCES.join(", ")))
        }
        None => Ok(()),
    }
}

fn check_date(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match text.is_empty() || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
        true => Ok(()),
        false => Err(format!("{text:?} is no date: write YYYY-MM-DD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_as_lists_and_as_texts() {
        for value in [serde_json::json!(["web", "x"]), "web, x".into(), "[\"web\",\"x\"]".into()] {
            assert_eq!(sources(&Value::from(value)), ["web", "x"]);
        }
        assert!(check_sources(&Value::from("web,gopher")).unwrap_err().contains("gopher"));
        assert!(check_date(&Value::from("2025-02-30")).is_err());
        assert!(check_date(&Value::from("2025-02-28")).is_ok());
    }
}
