//! What several components declare alike: settings, and the services behind a model.

use sre_engine::spec::SettingSpec;

/// What asking a model takes: the model, and its key in the vault.
pub(crate) const SCOPES: &[&str] = &["sre.llm.v1.Inference", "sre.llm.v1.Models", "sre.security.v1.Vault"];

/// [`SCOPES`], and the files that a model is shown.
pub(crate) const SCOPES_WITH_FILES: &[&str] =
    &["sre.llm.v1.Inference", "sre.llm.v1.Models", "sre.security.v1.Vault", "sre.io.v1.Storage"];

pub(crate) const MODEL: SettingSpec =
    SettingSpec::text("model", "Model", 200).required().describe("a name of the model catalogue");
pub(crate) const PROMPT: SettingSpec = SettingSpec::text("prompt", "Prompt", 8_000_000)
    .required()
    .template()
    .describe("what to say to the model");
pub(crate) const TEMPERATURE: SettingSpec =
    SettingSpec::number("temperature", "Temperature", 0.0, 5.0).describe("randomness; most models end at 2");
pub(crate) const MAX_TOKENS: SettingSpec =
    SettingSpec::number("maxTokens", "Maximum Output Tokens", 1.0, f64::MAX)
        .describe("longest answer, at most the model's limit");
pub(crate) const STOP_SEQUENCES: SettingSpec =
    SettingSpec::text_or_empty("stopSequences", "Stop Sequences", 400)
        .describe("texts that end the answer, between commas or line breaks");
pub(crate) const TOP_P: SettingSpec = SettingSpec::number("topP", "Top P", 0.0, 1.0)
    .default("1")
    .describe("only the likeliest tokens that make up this share together; 1 for all");
pub(crate) const TOP_K: SettingSpec = SettingSpec::number("topK", "Top K", 0.0, 500.0)
    .default("0")
    .describe("only so many of the likeliest tokens; 0 for all");
pub(crate) const FREQUENCY_PENALTY: SettingSpec =
    SettingSpec::number("frequencyPenalty", "Frequency Penalty", 0.0, 2.0)
        .default("0")
        .describe("how much tokens count less the more often they came");
pub(crate) const PRESENCE_PENALTY: SettingSpec =
    SettingSpec::number("presencePenalty", "Presence Penalty", 0.0, 2.0)
        .default("0")
        .describe("how much tokens count less once they came");
pub(crate) const RESPONSE_FORMAT: SettingSpec =
    SettingSpec::one_of("responseFormat", "Response Format", &["json", "text", ""])
        .describe("`json` asks for JSON and reads the answer as such");
pub(crate) const PASSTHROUGH: SettingSpec = SettingSpec::boolean("passthrough", "Passthrough")
    .default("false")
    .describe("shows the answer to watchers while it is made");
