//! From kept messages to those that a model is sent, and the grammar that these follow whoever provides the model.

use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::{ChatMessage, ChatRole, Media, Part, part};

use super::history::{Asked, FileOf, Item, Kept, Said};

/// Who is asked: what only its own provider understands is left out for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The provider.
    pub provider: String,
    /// The model id there.
    pub model_id: String,
}

/// The messages for a model: instructions first, neighbours of one role as one message, no message lost.
pub fn messages(system: &str, kept: &[Kept], target: &Target) -> Vec<ChatMessage> {
    let mut messages = Vec::with_capacity(kept.len() + 1);
    if !system.is_empty() {
        messages.push(of(ChatRole::System, system));
    }
    for kept in kept {
        match &kept.item {
            Item::User(asked) => add(&mut messages, user(asked)),
            Item::Assistant(said) => {
                let message = assistant(said, target);
                if !message.text.is_empty() || !message.parts.is_empty() {
                    add(&mut messages, message);
                }
            }
            Item::Tools(turn) => {
                let same = is_same(&turn.said, target);
                let tool_calls = turn.calls.iter().map(|called| called.call(same)).collect();
                add(&mut messages, ChatMessage { tool_calls, ..assistant(&turn.said, target) });
                messages.extend(turn.calls.iter().map(|called| ChatMessage {
                    tool_call_id: called.id.clone(),
                    tool_name: called.name.clone(),
                    tool_failed: called.failed,
                    ..of(ChatRole::Tool, &called.result)
                }));
            }
            Item::Summary { .. } => {}
        }
    }
    messages
}

fn of(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage { role: role.into(), text: text.to_owned(), ..ChatMessage::default() }
}

fn user(asked: &Asked) -> ChatMessage {
    let parts = asked.files.iter().map(|file| Part { part: Some(part::Part::Media(media(file))) }).collect();
    ChatMessage { parts, ..of(ChatRole::User, &asked.text) }
}

fn media(file: &FileOf) -> Media {
    let remote = file.url.starts_with("http://") || file.url.starts_with("https://");
    let source = if remote { Source::Url(file.url.clone()) } else { Source::File(file.url.clone()) };
    Media { mimetype: file.mimetype.clone(), source: Some(source), file_name: file.name.clone() }
}

fn is_same(said: &Said, target: &Target) -> bool {
    !target.provider.is_empty()
        && said.replay.provider == target.provider
        && said.replay.model_id == target.model_id
}

fn assistant(said: &Said, target: &Target) -> ChatMessage {
    let parts = if is_same(said, target) { said.replay.parts.clone() } else { Vec::new() };
    ChatMessage { parts, ..of(ChatRole::Assistant, &said.text) }
}

/// Adds a message, to its neighbour where that is of the same role (`llm.md` D1: nothing is discarded).
fn add(messages: &mut Vec<ChatMessage>, message: ChatMessage) {
    let Some(last) =
        messages.last_mut().filter(|last| last.role == message.role && last.tool_calls.is_empty())
    else {
        messages.push(message);
        return;
    };
    if last.parts.is_empty() {
        if !last.text.is_empty() && !message.text.is_empty() {
            last.text.push_str("\n\n");
        }
        last.text.push_str(&message.text);
    } else if !message.text.is_empty() {
        // Text that follows files stays behind them.
        last.parts.push(Part { part: Some(part::Part::Text(message.text)) });
    }
    last.parts.extend(message.parts);
    last.tool_calls = message.tool_calls;
}

/// What is wrong with messages as they would be sent; none where they can be.
pub fn wrong(messages: &[ChatMessage]) -> Option<String> {
    let mut rest = messages;
    if let [first, others @ ..] = rest
        && first.role() == ChatRole::System
    {
        rest = others;
    }
    if rest.first().is_none_or(|first| first.role() != ChatRole::User) {
        return Some("the first message is not the user's".into());
    }
    let mut place = 0;
    let mut before = ChatRole::Unspecified;
    while let Some(message) = rest.get(place) {
        let role = message.role();
        match role {
            ChatRole::User | ChatRole::Assistant if role == before => {
                return Some(format!("message {place} is of the same role as the one before"));
            }
            ChatRole::User if message.text.is_empty() && message.parts.is_empty() => {
                return Some(format!("message {place} is empty"));
            }
            ChatRole::Assistant if message.tool_calls.is_empty() => {
                if message.text.is_empty() && message.parts.is_empty() {
                    return Some(format!("message {place} is empty"));
                }
            }
            ChatRole::Assistant => {
                for (index, call) in message.tool_calls.iter().enumerate() {
                    let result = rest.get(place + 1 + index);
                    let fits =
                        result.is_some_and(|r| r.role() == ChatRole::Tool && r.tool_call_id == call.id);
                    if !fits {
                        return Some(format!(
                            "call {} of message {place} has no result in its place",
                            call.id
                        ));
                    }
                    if message.tool_calls[..index].iter().any(|other| other.id == call.id)
                        || call.id.is_empty()
                    {
                        return Some(format!("call {} of message {place} has no id of its own", call.id));
                    }
                    if serde_json::from_slice::<serde_json::Map<_, _>>(&call.arguments_json).is_err() {
                        return Some(format!("the arguments of call {} are no object", call.id));
                    }
                }
                place += message.tool_calls.len();
            }
            ChatRole::Tool => return Some(format!("message {place} is a result without a call")),
            ChatRole::System | ChatRole::Unspecified => {
                return Some(format!("message {place} has no place here"));
            }
            ChatRole::User => {}
        }
        before = if message.tool_calls.is_empty() { role } else { ChatRole::Tool };
        place += 1;
    }
    (before == ChatRole::Assistant).then(|| "the last message is the model's own".into())
}

#[cfg(test)]
mod tests {
    use super::super::history::{Called, Replay, ToolTurn};
    use super::*;

    fn kept(items: Vec<Item>) -> Vec<Kept> {
        (1..).zip(items).map(|(sequence, item)| Kept { sequence, id: sequence.to_string(), item }).collect()
    }

    fn asked(text: &str) -> Item {
        Item::User(Asked { text: text.into(), ..Asked::default() })
    }

    #[test]
    fn d1_users_text_after_a_failed_turn_is_kept() {
        let sent = messages("be kind", &kept(vec![asked("first"), asked("second")]), &Target::default());
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[1].text, "first\n\nsecond");
        assert_eq!(wrong(&sent), None);
    }

    #[test]
    fn d24_files_stay_with_their_message() {
        let file =
            FileOf { name: "a".into(), mimetype: "image/png".into(), url: "smythfs://a.team/x".into() };
        let with = Item::User(Asked { text: "look".into(), files: vec![file], internal: false });
        let call = Called { id: "c".into(), name: "f".into(), arguments: "{}".into(), ..Called::default() };
        let turn = ToolTurn { said: Said::default(), calls: vec![call] };
        let sent = messages("", &kept(vec![with, Item::Tools(turn)]), &Target::default());
        assert_eq!(sent[0].parts.len(), 1, "the model sees it after the tool call, too");
        assert_eq!(wrong(&sent), None);
    }

    #[test]
    fn what_one_provider_wants_again_is_not_shown_to_another() {
        let replay = Replay {
            provider: "P".into(),
            model_id: "m".into(),
            parts: vec![Part { part: Some(part::Part::Text("sealed".into())) }],
        };
        let said = Said { text: "t".into(), replay, window_from: 0, plan: None };
        let call = Called {
            id: "c".into(),
            name: "f".into(),
            arguments: "{}".into(),
            signature: vec![7],
            ..Called::default()
        };
        let items = kept(vec![asked("a"), Item::Tools(ToolTurn { said, calls: vec![call] })]);
        let own = messages("", &items, &Target { provider: "P".into(), model_id: "m".into() });
        assert_eq!((own[1].parts.len(), own[1].tool_calls[0].signature.len()), (1, 1));
        let other = messages("", &items, &Target { provider: "Q".into(), model_id: "m".into() });
        assert_eq!((other[1].parts.len(), other[1].tool_calls[0].signature.len()), (0, 0));
    }

    #[test]
    fn the_grammar_names_what_is_wrong() {
        let tool = |id: &str| ChatMessage { tool_call_id: id.into(), ..of(ChatRole::Tool, "r") };
        let calls = |ids: &[&str]| ChatMessage {
            tool_calls: ids
                .iter()
                .map(|id| sre_proto::llm::v1::ToolCall {
                    id: (*id).into(),
                    arguments_json: "{}".into(),
                    ..Default::default()
                })
                .collect(),
            ..of(ChatRole::Assistant, "")
        };
        let user = || of(ChatRole::User, "u");
        for bad in [
            vec![],
            vec![of(ChatRole::Assistant, "a")],
            vec![user(), user()],
            vec![user(), tool("x")],
            vec![user(), calls(&["a"])],
            vec![user(), calls(&["a", "b"]), tool("b"), tool("a")],
            vec![user(), calls(&["a", "a"]), tool("a"), tool("a")],
            vec![user(), of(ChatRole::Assistant, "a")],
            vec![of(ChatRole::User, "")],
        ] {
            assert!(wrong(&bad).is_some(), "{bad:?}");
        }
        assert_eq!(wrong(&[user(), calls(&["a", "b"]), tool("a"), tool("b")]), None);
        assert_eq!(wrong(&[user(), calls(&["a"]), tool("a"), user()]), None);
    }
}
