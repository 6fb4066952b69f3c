//! How many tokens something has, where nobody counted: enough for reservations, and for what was cut off.

use sre_proto::llm::v1 as pb;

/// Bytes of one token, on average of languages and code.
const BYTES: i64 = 4;
/// What is around each message.
const AROUND: i64 = 4;
/// An image or another file, as most providers count one of usual size.
const FILE: i64 = 1_000;

/// Tokens of so many bytes of text, rounded up.
pub fn of_bytes(bytes: usize) -> i64 {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    bytes / BYTES + i64::from(bytes % BYTES != 0)
}

/// Tokens of a request.
pub fn of_request(request: &pb::GenerateRequest) -> i64 {
    let messages: i64 = request.messages.iter().map(of_message).fold(0, i64::saturating_add);
    let tools = request
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters_json.len())
        .sum::<usize>();
    let schema = request.json_schema.as_ref().map_or(0, |schema| schema.schema_json.len());
    messages.saturating_add(of_bytes(tools + schema))
}

fn of_message(message: &pb::ChatMessage) -> i64 {
    let calls =
        message.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len()).sum::<usize>();
    let mut files = 0;
    let mut bytes = message.text.len() + calls;
    for part in &message.parts {
        match &part.part {
            Some(pb::part::Part::Text(text)) => bytes += text.len(),
            Some(pb::part::Part::Thinking(thinking)) => bytes += thinking.text.len(),
            Some(pb::part::Part::ProviderItem(item)) => bytes += item.json.len(),
            Some(pb::part::Part::Media(_)) => files += FILE,
            None => {}
        }
    }
    of_bytes(bytes) + files + AROUND
}
