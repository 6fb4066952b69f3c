//! A request's parameters: filled in from the entry, checked, cut to the model's limits.

use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::{InferenceError, Result};
use crate::models::Resolved;

/// The longest answer where neither entry nor caller says.
const DEFAULT_ANSWER_TOKENS: u64 = 512;

/// The entry's parameters, each where the caller left it open. Temperatures below 0 count as left open.
pub fn fill_in(request: &mut pb::GenerateRequest, model: &Resolved) {
    let number = |name: &str| model.params.get(name).and_then(Value::as_f64);
    let whole = |name: &str| model.params.get(name).and_then(Value::as_i64);
    request.temperature = request.temperature.filter(|value| *value >= 0.0).or_else(|| number("temperature"));
    request.top_p = request.top_p.or_else(|| number("topP"));
    request.top_k = request.top_k.or_else(|| whole("topK"));
    request.frequency_penalty = request.frequency_penalty.or_else(|| number("frequencyPenalty"));
    request.presence_penalty = request.presence_penalty.or_else(|| number("presencePenalty"));
    request.max_tokens = request.max_tokens.filter(|limit| *limit != 0).or_else(|| whole("maxTokens"));
    if request.stop_sequences.is_empty()
        && let Some(Value::Array(texts)) = model.params.get("stopSequences")
    {
        request.stop_sequences = texts.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    if request.reasoning_effort.is_empty()
        && let Some(effort) = model.params.get("reasoningEffort").and_then(Value::as_str)
    {
        request.reasoning_effort = effort.to_owned();
    }
}

/// What no provider would take.
pub fn check(request: &pb::GenerateRequest, model: &Resolved) -> Result<()> {
    if request.messages.is_empty() {
        return Err(InferenceError::invalid("messages", "is empty: send one message at least"));
    }
    let ranges = [
        ("temperature", request.temperature, 0.0..=2.0),
        ("top_p", request.top_p, 0.0..=1.0),
        ("frequency_penalty", request.frequency_penalty, -2.0..=2.0),
        ("presence_penalty", request.presence_penalty, -2.0..=2.0),
    ];
    for (field, value, range) in ranges {
        if value.is_some_and(|value| !range.contains(&value)) {
            let words = format!("must be between {} and {}", range.start(), range.end());
            return Err(InferenceError::invalid(field, words));
        }
    }
    if request.max_tokens.is_some_and(|limit| limit < 1) {
        return Err(InferenceError::invalid("max_tokens", "must be 1 or more"));
    }
    let efforts = ["", "none", "minimal", "low", "medium", "high", "xhigh", "max"];
    if !efforts.contains(&request.reasoning_effort.as_str()) {
        let words = "must be none, minimal, low, medium, high, xhigh or max";
        return Err(InferenceError::invalid("reasoning_effort", words));
    }
    features(request, model)
}

/// What a model cannot do is refused before it is asked. Thinking is not among it: agents that are stored state an
/// effort for models of every kind, and it is left out for those that do not think.
fn features(request: &pb::GenerateRequest, model: &Resolved) -> Result<()> {
    let lacks = |field: &'static str, feature: &str, what: &str| {
        let words = format!("model {:?} {what}: use one with the feature `{feature}`", model.entry);
        Err(InferenceError::invalid(field, words))
    };
    if !model.can("text") && (model.has("embeddings") || model.has("image-generation")) {
        return lacks("model", "text", "writes no text");
    }
    if !request.tools.is_empty() && !model.can("tools") {
        return lacks("tools", "tools", "calls no tools");
    }
    if request.web_search.is_some() && !model.can("search") {
        return lacks("web_search", "search", "does not search the web");
    }
    let media =
        request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match &part.part {
            Some(pb::part::Part::Media(media)) => Some(media.mimetype.as_str()),
            _ => None,
        });
    for mimetype in media {
        let (feature, what) = match mimetype.split('/').next().unwrap_or_default() {
            // Told from the content later.
            "" => continue,
            "image" => ("image", "sees no images"),
            "audio" => ("audio", "hears no sound"),
            "video" => ("video", "sees no films"),
            _ => ("document", "reads no documents"),
        };
        if !model.can(feature) {
            return lacks("messages", feature, what);
        }
    }
    let lacks_search = !model.features.is_empty() && !model.features.iter().any(|name| name == "search");
    if request.web_search.is_some() && lacks_search {
        let words = format!("model {:?} searches nothing: use one with the feature `search`", model.entry);
        return Err(InferenceError::invalid("web_search", words));
    }
    Ok(())
}

/// What the model does not do is left out where that is no error. A limit is always sent: the caller's, the model's, or the smaller of both.
pub fn clamp(request: &mut pb::GenerateRequest, model: &Resolved, own_key: bool) {
    let (tokens, answer) = match model.own_key_tokens {
        Some(limits) if own_key => limits,
        _ => (model.tokens, model.completion_tokens),
    };
    if !model.can("reasoning") {
        request.reasoning_effort.clear();
        request.thinking_tokens = None;
    }
    let known = [answer, tokens].into_iter().find(|limit| *limit > 0);
    let most = i64::try_from(known.unwrap_or(DEFAULT_ANSWER_TOKENS)).unwrap_or(i64::MAX);
    request.max_tokens = Some(match (request.max_tokens, known) {
        (Some(asked), Some(_)) => asked.min(most),
        (Some(asked), None) => asked,
        (None, _) => most,
    });
}
