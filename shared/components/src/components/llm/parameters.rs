//! A record's settings as the parameters of a request.

use sre_proto::llm::v1::{GenerateRequest, Model, ResponseFormat};

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
    request.stop_sequences = stop_sequences(&settings::text(call, "stopSequences"));
    request.reasoning_effort = reasoning_effort(call);
    request.idempotency_key = call.context.idempotency_key();
}

fn clamp(wanted: i64, limit: i64) -> i64 {
    if limit > 0 { wanted.min(limit) } else { wanted }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, as wanted")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// The parts between commas and line breaks, without blanks around them.
fn stop_sequences(text: &str) -> Vec<String> {
    let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
    parts.take(MAX_STOP_SEQUENCES).map(str::to_owned).collect()
}

fn reasoning_effort(call: Call<'_>) -> String {
    let effort = settings::text(call, "reasoningEffort");
    match effort.as_str() {
        _ if call.node.setting("useReasoning").is_some() && !settings::flag(call, "useReasoning") => {
            String::new()
        }
        "default" => String::new(),
        "xhigh" => "high".to_owned(),
        _ => effort,
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
    fn stop_sequences_are_split_and_trimmed() {
        assert_eq!(stop_sequences("a, b\n\nEND ,"), ["a", "b", "END"]);
        assert!(stop_sequences("").is_empty());
    }

    #[test]
    fn the_limit_of_the_model_holds() {
        assert_eq!(clamp(9000, 8192), 8192);
        assert_eq!(clamp(77, 8192), 77);
        assert_eq!(clamp(9000, 0), 9000);
    }
}
