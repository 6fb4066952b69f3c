//! How models are told to think: the style of each, and what an effort means where thinking is counted in tokens.

use sre_proto::llm::v1 as pb;

use crate::models::{ReasoningStyle, Resolved};

/// The least that Claude thinks in tokens, where it thinks at all.
const LEAST_BUDGET: i64 = 1024;

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// It does not think, or decides alone.
    None,
    /// Claude up to 4.5: so many tokens.
    AnthropicBudget,
    /// Claude from 4.6 on: by itself, with an effort.
    AnthropicAdaptive,
    /// Gemini 2.5: so many tokens.
    GeminiBudget,
    /// Gemini from 3 on: a level.
    GeminiLevel,
}

/// The style that the entry states, else the one of the model's family.
pub fn style(model: &Resolved) -> Style {
    match model.reasoning_style {
        ReasoningStyle::AnthropicBudget => return Style::AnthropicBudget,
        ReasoningStyle::AnthropicAdaptive => return Style::AnthropicAdaptive,
        ReasoningStyle::GeminiBudget => return Style::GeminiBudget,
        ReasoningStyle::GeminiLevel => return Style::GeminiLevel,
        ReasoningStyle::Unknown => {}
        _ => return Style::None,
    }
    if let Some(version) = claude(&model.model_id) {
        return match version {
            (..=2, _) | (3, ..=6) => Style::None,
            (3, _) | (4, ..=5) => Style::AnthropicBudget,
            _ => Style::AnthropicAdaptive,
        };
    }
    match gemini(&model.model_id) {
        Some((2, 5)) => Style::GeminiBudget,
        Some((3.., _)) => Style::GeminiLevel,
        _ => Style::None,
    }
}

/// Families of Claude that think whatever they are told: no call can be forced on one that thinks.
pub fn always_thinks(model_id: &str) -> bool {
    ["claude-fable", "claude-mythos"].iter().any(|family| model_id.contains(family))
}

/// The version of a Claude, whoever serves it: `claude-3-7-sonnet-...`, `anthropic.claude-opus-4-6-v1:0`.
pub fn claude(model_id: &str) -> Option<(u32, u32)> {
    version(model_id.split_once("claude-")?.1, '-')
}

/// The version of a Gemini.
pub fn gemini(model_id: &str) -> Option<(u32, u32)> {
    version(model_id.split_once("gemini-")?.1, '.')
}

/// The first number of a name, and the one behind it. Dates are no versions.
fn version(name: &str, separator: char) -> Option<(u32, u32)> {
    let mut words = name.split(['-', '@', ':']);
    let short = |word: &str| (word.len() <= 2).then(|| word.parse::<u32>().ok()).flatten();
    while let Some(word) = words.next() {
        let (major, minor) = word.split_once('.').map_or((word, None), |(major, minor)| (major, Some(minor)));
        if let Some(major) = short(major) {
            let minor = match minor {
                Some(minor) => short(minor),
                None if separator == '-' => words.next().and_then(short),
                None => None,
            };
            return Some((major, minor.unwrap_or(0)));
        }
    }
    None
}

/// Whether the caller wants thinking, says nothing, or wants none.
pub fn wanted(request: &pb::GenerateRequest) -> Option<bool> {
    match (request.thinking_tokens, request.reasoning_effort.as_str()) {
        (Some(tokens), _) if tokens > 0 => Some(true),
        (Some(_), _) | (None, "none") => Some(false),
        (None, "") => None,
        (None, _) => Some(true),
    }
}

/// Tokens of thinking within the tokens of an answer: at least what the provider wants, and less than the whole. None
/// where the answer is too short to think.
pub fn budget(request: &pb::GenerateRequest, max_tokens: i64) -> Option<i64> {
    let asked = request.thinking_tokens.unwrap_or_else(|| share(&request.reasoning_effort, max_tokens));
    // All of the answer would be thinking.
    let asked = if asked >= max_tokens { max_tokens.saturating_mul(4) / 5 } else { asked };
    let budget = asked.max(LEAST_BUDGET);
    (budget < max_tokens).then_some(budget)
}

/// What an effort means of an answer.
pub fn share(effort: &str, max_tokens: i64) -> i64 {
    let tenths = match effort {
        "minimal" => 1,
        "low" => 2,
        "high" => 7,
        "xhigh" | "max" => 8,
        _ => 5,
    };
    max_tokens.saturating_mul(tenths) / 10
}

/// The sampling that a model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Randomness.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Top-k sampling.
    pub top_k: Option<i64>,
}

/// What of a request's sampling a model takes: a Claude that thinks, and those from 4.7 on, none; those from 4.1 on one
/// of temperature and top_p, and no temperature above 1. Others take all of it.
pub fn claude_sampling(model_id: &str, thinks: bool, request: &pb::GenerateRequest) -> Sampling {
    let asked = Sampling { temperature: request.temperature, top_p: request.top_p, top_k: request.top_k };
    let Some(version) = claude(model_id) else { return asked };
    if thinks || version >= (4, 7) {
        return Sampling { temperature: None, top_p: None, top_k: None };
    }
    let temperature = asked.temperature.map(|value| value.min(1.0));
    let top_p = asked.top_p.filter(|_| version < (4, 1) || temperature.is_none());
    Sampling { temperature, top_p, ..asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_ids() {
        for (id, expected) in [
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-6", Some((4, 6))),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", Some((4, 1))),
            ("claude-opus-4-7@20260401", Some((4, 7))),
            ("gpt-4o", None),
        ] {
            assert_eq!(claude(id), expected, "{id}");
        }
        assert_eq!(gemini("gemini-2.5-flash"), Some((2, 5)));
        assert_eq!(gemini("gemini-3-pro-preview"), Some((3, 0)));
        assert_eq!(gemini("gemini-3.1-pro"), Some((3, 1)));
        assert_eq!(gemini("models/none"), None);
    }

    #[test]
    fn d2_a_budget_is_a_number_of_at_least_1024_and_less_than_the_answer() {
        let of = |tokens: Option<i64>, effort: &str, max| {
            let request = pb::GenerateRequest {
                thinking_tokens: tokens,
                reasoning_effort: effort.to_owned(),
                ..Default::default()
            };
            budget(&request, max)
        };
        assert_eq!(of(Some(4_000), "", 10_000), Some(4_000));
        assert_eq!(of(Some(10), "", 10_000), Some(1024));
        assert_eq!(of(Some(10_000), "", 10_000), Some(8_000));
        assert_eq!(of(None, "medium", 10_000), Some(5_000));
        assert_eq!(of(None, "minimal", 2_000), Some(1024));
        assert_eq!(of(Some(4_000), "", 1024), None);
        assert_eq!(of(Some(i64::MAX), "", 1025), Some(1024));
    }
}
