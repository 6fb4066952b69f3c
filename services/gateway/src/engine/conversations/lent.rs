//! What a conversation lends to the skills that its model calls: its instructions, and the newest of its messages.

use sre_components::{Conversation, Room};
use sre_service::Link;
use tonic::Status;

use super::history::{Item, Kept};
use super::weights::Weights;
use super::window::Weighed;
use super::wire::{self, Target};
use super::{access, model};
use crate::engine::scope::RunScope;

/// Bytes of the newest messages that are read.
const HISTORY_BYTES: i64 = 4 << 20;

/// Reads the conversation of a run; none where it was deleted meanwhile.
pub async fn read(scope: &RunScope, llm: &Link, room: Room<'_>) -> Result<Option<Conversation>, Status> {
    let conversations = &scope.engine.conversations;
    let Some(found) = conversations.store.find(&scope.conversation).await? else { return Ok(None) };
    let own = access::settings_of(&found)?.system_prompt;
    let system = model::instructions(&scope.subject.compiled.plan, &own);
    if room.tokens <= 0 {
        return Ok(Some(Conversation { system, messages: Vec::new() }));
    }
    let stored = conversations.store.newest(&scope.conversation, HISTORY_BYTES).await?;
    let kept: Vec<Kept> = stored.iter().filter_map(Kept::read).collect();
    let name = room.model.name.strip_prefix("models/").unwrap_or(&room.model.name);
    let weighed = conversations.weights.weigh(llm, name, &kept).await;
    let kept = newest_within(weighed, room.tokens, &conversations.weights, name);
    let target = Target { provider: room.model.provider.clone(), model_id: room.model.model_id.clone() };
    Ok(Some(Conversation { system, messages: wire::messages("", &kept, &target) }))
}

/// The newest messages that fit together (`components.md` D-28), beginning with one of the person's: a model's calls
/// of tools are one message with their results, so that neither comes without the other.
fn newest_within(weighed: Vec<Weighed>, tokens: i64, weights: &Weights, model: &str) -> Vec<Kept> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "windows fit a double")]
    let mut room = (tokens as f64 / weights.factor(model)) as i64;
    let said = weighed.into_iter().filter(|weighed| !matches!(weighed.kept.item, Item::Summary { .. }));
    let mut newest: Vec<Kept> = Vec::new();
    for weighed in said.rev() {
        room -= weighed.tokens;
        if room < 0 {
            break;
        }
        newest.push(weighed.kept);
    }
    newest.reverse();
    let begin = newest.iter().position(|kept| matches!(kept.item, Item::User(_)));
    newest.drain(..begin.unwrap_or(newest.len()));
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conversations::history::{Asked, Said};

    fn log(texts: &[(bool, &str, i64)]) -> Vec<Weighed> {
        let weighed = |(place, (user, text, tokens)): (usize, &(bool, &str, i64))| {
            let text = (*text).to_owned();
            let item = match user {
                true => Item::User(Asked { text, ..Asked::default() }),
                false => Item::Assistant(Said { text, ..Said::default() }),
            };
            let sequence = i64::try_from(place).unwrap() + 1;
            Weighed { kept: Kept { sequence, id: String::new(), item }, tokens: *tokens }
        };
        texts.iter().enumerate().map(weighed).collect()
    }

    #[test]
    fn d28_the_budget_is_for_all_messages_together() {
        let log = log(&[
            (true, "u1", 10),
            (false, "a1", 10),
            (true, "u2", 10),
            (false, "a2", 10),
            (true, "u3", 10),
        ]);
        let within = |tokens| -> Vec<String> {
            let kept = newest_within(log.clone(), tokens, &Weights::default(), "m");
            kept.iter().map(|kept| kept.item.text().to_owned()).collect()
        };
        assert_eq!(within(1_000), ["u1", "a1", "u2", "a2", "u3"]);
        // Each message alone would fit; together three do.
        assert_eq!(within(30), ["u2", "a2", "u3"]);
        // An answer without its question is not shown.
        assert_eq!(within(29), ["u3"]);
        assert!(within(9).is_empty());
    }
}
