//! A record's settings as the parameters of a request.

use sre_proto::llm::v1::{GenerateRequest, Model, ResponseFormat, Verbosity};

use crate::context::Call;
use crate::settings;

/// Texts that end an answer, as most providers limit them.
const MAX_STOP_SEQUENCES: usize = 16;

/// Fills in the parameters a record sets. What equals the usual default is left out, because some models
/// refuse parameters they do not know.
pub(crate) fn apply(call: Call<'_>, model: &Model, request: &mut GenerateRequest) {
    let number = |name: &str| settings::number(call, name);
    let unless = |name: &str, neutral: f64| number(name).filter(|value| *value != neutral);
    request.temperature = number("temperature").filter(|value| *value >= 0.0);
    request.top_p = unless("topP", 1.0);
    request.top_k = unless("topK", 0.0).map(whole);
    request.frequency_penalty = unless("frequencyPenalty", 0.0);
    request.presence_penalty = unless("presencePenalty", 0.0);
    request.max_tokens = number("maxTokens").map(whole).map(|wanted| clamp(wanted, model.output_tokens));
    request.stop_sequences =
        list(&settings::text(call, "stopSequences")).into_iter().take(MAX_STOP_SEQUENCES).collect();
    request.idempotency_key = call.context.idempotency_key();
    request.verbosity = match settings::text(call, "verbosity").as_str() {
        "low" => Verbosity::Low,
        "medium" => Verbosity::Medium,
        "high" => Verbosity::High,
        _ => Verbosity::Unspecified,
    }
    .into();
    if thinks(call) {
        request.reasoning_effort = reasoning_effort(call);
        let is_wanted = settings::flag(call, "useReasoning");
        request.thinking_tokens = number("maxThinkingTokens").filter(|_| is_wanted).map(whole);
    }
}

/// Whether the model may think: it may, unless the record says no.
fn thinks(call: Call<'_>) -> bool {
    call.node.setting("useReasoning").is_none() || settings::flag(call, "useReasoning")
}

fn clamp(wanted: i64, limit: i64) -> i64 {
    if limit > 0 { wanted.min(limit) } else { wanted }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, as wanted")]
pub(crate) fn whole(number: f64) -> i64 {
    number as i64
}

/// The parts between commas and line breaks, without blanks around them.
pub(crate) fn list(text: &str) -> Vec<String> {
    let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn reasoning_effort(call: Call<'_>) -> String {
    match settings::text(call, "reasoningEffort").as_str() {
        "default" => String::new(),
        effort => effort.to_owned(),
    }
}

/// The form of answer a setting asks for; `None` if it asks for none.
pub(crate) fn response_format(call: Call<'_>) -> Option<ResponseFormat> {
    match settings::text(call, "responseFormat").as_str() {
        "json" => Some(ResponseFormat::Json),
        "text" => Some(ResponseFormat::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_and_trimmed() {
        assert_eq!(list("a, b\n\nEND ,"), ["a", "b", "END"]);
        assert!(list("").is_empty());
    }

    #[test]
    fn the_limit_of_the_model_holds() {
        assert_eq!(clamp(9000, 8192), 8192);
        assert_eq!(clamp(77, 8192), 77);
        assert_eq!(clamp(9000, 0), 9000);
    }
}
