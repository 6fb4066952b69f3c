//! Calls of tools and their results: each call has exactly one result, right after it.

use std::collections::{BTreeMap, BTreeSet};

use sre_proto::llm::v1 as pb;

/// The result of a call whose own was lost: its tool failed, its turn was aborted, its result was trimmed away.
const LOST: &str = "The call ended without a result.";

/// A call, by the place of its message and its place in it.
type Place = (usize, usize);

/// Puts every result right behind its call, in the order of the calls. A call without a result gets one that says so.
/// Results without a call, and second results of one, are left out: no provider takes them.
pub fn paired(mut messages: Vec<pb::ChatMessage>) -> Vec<pb::ChatMessage> {
    let mut results = matched(&messages);
    name_calls(&mut messages);
    let mut paired = Vec::with_capacity(messages.len());
    let mut kept: Vec<Option<pb::ChatMessage>> = messages.into_iter().map(Some).collect();
    for place in 0..kept.len() {
        let Some(message) = kept[place].take_if(|message| message.role() != pb::ChatRole::Tool) else {
            continue;
        };
        let calls = message.tool_calls.clone();
        paired.push(message);
        for (index, call) in calls.into_iter().enumerate() {
            let found = results.remove(&(place, index)).and_then(|result| kept.get_mut(result)?.take());
            paired.push(result_of(call, found));
        }
    }
    paired
}

/// Which message is the result of which call: each result belongs to the last open call of its id before it.
fn matched(messages: &[pb::ChatMessage]) -> BTreeMap<Place, usize> {
    let mut open: Vec<(Place, &pb::ToolCall)> = Vec::new();
    let mut results = BTreeMap::new();
    for (place, message) in messages.iter().enumerate() {
        if is_calling(message) {
            let calls = message.tool_calls.iter().enumerate();
            open.extend(calls.map(|(index, call)| ((place, index), call)));
        } else if message.role() == pb::ChatRole::Tool {
            let is_its = |(_, call): &(Place, &pb::ToolCall)| call.id == message.tool_call_id;
            let found = if message.tool_call_id.is_empty() {
                // Providers without ids: calls of one name are answered in their order.
                let has_its_name = |call: &pb::ToolCall| {
                    call.id.is_empty() && (message.tool_name.is_empty() || call.name == message.tool_name)
                };
                open.iter().position(|(_, call)| has_its_name(call))
            } else {
                open.iter().rposition(is_its)
            };
            if let Some(found) = found {
                results.insert(open.remove(found).0, place);
            }
        }
    }
    results
}

fn is_calling(message: &pb::ChatMessage) -> bool {
    message.role() == pb::ChatRole::Assistant
}

/// Ids of calls are there and differ.
fn name_calls(messages: &mut [pb::ChatMessage]) {
    let mut taken = BTreeSet::new();
    let all: BTreeSet<String> =
        messages.iter().flat_map(|message| &message.tool_calls).map(|call| call.id.clone()).collect();
    for (place, message) in messages.iter_mut().enumerate() {
        for (index, call) in message.tool_calls.iter_mut().enumerate() {
            let stem = if call.id.is_empty() { format!("call-{place}-{index}") } else { call.id.clone() };
            let mut id = stem.clone();
            let mut count = 1;
            while taken.contains(&id) || id != call.id && all.contains(&id) {
                count += 1;
                id = format!("{stem}-{count}");
            }
            taken.insert(id.clone());
            call.id = id;
        }
    }
}

fn result_of(call: pb::ToolCall, found: Option<pb::ChatMessage>) -> pb::ChatMessage {
    let mut result = found.unwrap_or_else(|| pb::ChatMessage {
        role: pb::ChatRole::Tool as i32,
        text: LOST.to_owned(),
        tool_failed: true,
        ..pb::ChatMessage::default()
    });
    result.tool_call_id = call.id;
    result.tool_name = call.name;
    result
}
