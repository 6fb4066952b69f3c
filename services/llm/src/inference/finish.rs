//! Why an answer ended, in the words of every provider.

use sre_proto::llm::v1::FinishReason;

/// The normal form of a provider's word, and the word itself where the form is OTHER.
pub fn finish_reason(word: Option<&str>) -> (FinishReason, String) {
    let word = word.unwrap_or_default();
    let normal = match word.trim().to_ascii_lowercase().as_str() {
        // A word of blanks is no word that anybody knows; none at all is a plain end.
        "" if !word.is_empty() => FinishReason::Other,
        "" | "stop" | "end_turn" | "stop_sequence" | "pause_turn" | "eos" | "completed" => FinishReason::Stop,
        "length" | "max_tokens" | "incomplete" | "max_output_tokens" | "model_context_window_exceeded" => {
            FinishReason::Length
        }
        "content_filter"
        | "contentfilter"
        | "content_filtered"
        | "guardrail_intervened"
        | "image_safety"
        | "refusal"
        | "safety"
        | "recitation"
        | "language"
        | "blocklist"
        | "prohibited_content"
        | "spii" => FinishReason::ContentFilter,
        "tool_calls" | "tool_use" | "function_call" => FinishReason::ToolCalls,
        _ => FinishReason::Other,
    };
    let detail = if normal == FinishReason::Other { word.trim().to_owned() } else { String::new() };
    (normal, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        for (words, expected) in [
            (&["", "stop", "end_turn", "STOP", " stop "][..], FinishReason::Stop),
            (&["length", "max_tokens", "MAX_TOKENS", "incomplete"], FinishReason::Length),
            (&["content_filter", "refusal", "SAFETY", "spii"], FinishReason::ContentFilter),
            (&["tool_calls", "tool_use", "function_call"], FinishReason::ToolCalls),
            (&["abort", "error", "malformed_function_call", "  ", "whatever"], FinishReason::Other),
        ] {
            for word in words {
                let (reason, detail) = finish_reason(Some(word));
                assert_eq!(reason, expected, "{word:?}");
                assert_eq!(detail, if reason == FinishReason::Other { word.trim() } else { "" });
            }
        }
        assert_eq!(finish_reason(None).0, FinishReason::Stop);
    }
}
