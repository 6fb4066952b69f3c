//! Settings that several components have.

use sre_engine::spec::SettingSpec;

pub(crate) const MODEL: SettingSpec =
    SettingSpec::text("model", "Model", 200).required().describe("a name of the model catalogue");
pub(crate) const PROMPT: SettingSpec = SettingSpec::text("prompt", "Prompt", 8_000_000)
    .required()
    .template()
    .describe("what to say to the model");
pub(crate) const TEMPERATURE: SettingSpec =
    SettingSpec::number("temperature", "Temperature", 0.0, 5.0).describe("randomness");
pub(crate) const MAX_TOKENS: SettingSpec =
    SettingSpec::number("maxTokens", "Maximum Output Tokens", 1.0, f64::MAX)
        .describe("longest answer, at most the model's limit");
pub(crate) const STOP_SEQUENCES: SettingSpec =
    SettingSpec::text_or_empty("stopSequences", "Stop Sequences", 400)
        .describe("texts that end the answer, between commas or line breaks");
pub(crate) const TOP_P: SettingSpec = SettingSpec::number("topP", "Top P", 0.0, 1.0)
    .describe("looks at the likeliest words that make up this share");
pub(crate) const TOP_K: SettingSpec =
    SettingSpec::number("topK", "Top K", 0.0, 500.0).describe("looks at so many of the likeliest words");
pub(crate) const FREQUENCY_PENALTY: SettingSpec =
    SettingSpec::number("frequencyPenalty", "Frequency Penalty", 0.0, 2.0)
        .describe("avoids words the more often they came");
pub(crate) const PRESENCE_PENALTY: SettingSpec =
    SettingSpec::number("presencePenalty", "Presence Penalty", 0.0, 2.0)
        .describe("avoids words that came before");
pub(crate) const PASSTHROUGH: SettingSpec = SettingSpec::boolean("passthrough", "Passthrough")
    .describe("shows the answer to watchers while it is made");
