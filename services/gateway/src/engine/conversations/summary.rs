//! Compaction: the model sums up what will have no room, and the summary stays at the head of what follows.

use sre_proto::gateway::v1::HistoryCompacted;
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::llm::v1::{ChatMessage, ChatRole, GenerateRequest, GenerateResponse};

use super::history::Item;
use super::model::Asking;
use super::scope::TurnScope;
use super::steps::Entry;
use super::tools::capped;
use super::window::{self, Weighed};

/// The longest summary, in tokens.
const LONGEST: i64 = 1_024;
/// Bytes of one message in what is summed up.
const EXCERPT: usize = 4 << 10;
/// Bytes of all of it for each token of room.
const BYTES_PER_TOKEN: i64 = 2;

const INSTRUCTION: &str = "Sum up the conversation below for an assistant that will go on with it and cannot see it. \
    Keep names, numbers, decisions, open questions and what the user wants. Write plain text, no preamble.";

/// Up to where a summary would do good, and the call that makes it.
pub fn wanted(
    scope: &TurnScope,
    asking: &Asking,
    log: &[Weighed],
    turn_from: i64,
) -> Option<(i64, GenerateRequest)> {
    if !scope.led.summarize {
        return None;
    }
    let up_to = window::worth_a_summary(log, turn_from, asking.budget)?;
    let room = usize::try_from(asking.budget.saturating_mul(BYTES_PER_TOKEN)).unwrap_or_default();
    let text = capped(&transcript(log, up_to), room.max(EXCERPT));
    let say = |role: ChatRole, text: &str| ChatMessage {
        role: role.into(),
        text: text.to_owned(),
        ..ChatMessage::default()
    };
    let request = GenerateRequest {
        model: asking.name.clone(),
        messages: vec![say(ChatRole::System, INSTRUCTION), say(ChatRole::User, &text)],
        max_tokens: Some(LONGEST.min(asking.output_tokens)),
        idempotency_key: format!("{}/summary/{up_to}", scope.id),
        run_id: scope.id.clone(),
        step: format!("turn/summary/{up_to}"),
        conversation_id: scope.asked.conversation.clone(),
        ..GenerateRequest::default()
    };
    Some((up_to, request))
}

/// What was said up to a place, the last summary first.
fn transcript(log: &[Weighed], up_to: i64) -> String {
    let mut covered = 0;
    let mut text = String::new();
    for weighed in log {
        if let Item::Summary { up_to, text: summary } = &weighed.kept.item {
            covered = *up_to;
            text = format!("Summary of what came before: {summary}\n\n");
        }
    }
    for weighed in log.iter().filter(|w| w.kept.sequence > covered && w.kept.sequence <= up_to) {
        let who = match &weighed.kept.item {
            Item::User(_) => "User",
            Item::Assistant(_) | Item::Tools(_) => "Assistant",
            Item::Summary { .. } => continue,
        };
        text.push_str(&format!("{who}: {}\n", capped(weighed.kept.item.text(), EXCERPT)));
        if let Item::Tools(turn) = &weighed.kept.item {
            for called in &turn.calls {
                let result = capped(&called.result, EXCERPT);
                text.push_str(&format!("Tool {}({}): {result}\n", called.name, called.arguments));
            }
        }
    }
    text
}

/// The summary as a step; none where the model said nothing.
pub fn entry(scope: &TurnScope, up_to: i64, response: &GenerateResponse) -> Option<Entry> {
    let summary = response.text.trim().to_owned();
    if summary.is_empty() {
        return None;
    }
    let item = Item::Summary { up_to, text: summary.clone() };
    let message = item.stored(&format!("msg_{}_summary", scope.id), &scope.id);
    Some(Entry::event(Event::Compacted(HistoryCompacted { up_to, summary })).with(vec![message]))
}
