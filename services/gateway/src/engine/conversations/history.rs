//! Messages of a conversation as they are kept: the history format of the reference (`llm.md` §6.1), with what only
//! this suite keeps under `__sre__`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message as _;
use serde_json::{Map, Value, json};
use sre_proto::llm::v1::{Part, ToolCall};
use sre_proto::memory::v1::{MessageRole, StoredMessage};

/// Where the reference keeps what belongs to a message.
const DATA: &str = "__smyth_data__";
/// Where this suite does.
const OURS: &str = "__sre__";

/// A message with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its place, from 1 on.
    pub sequence: i64,
    /// Its id.
    pub id: String,
    /// What it is.
    pub item: Item,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Somebody asks.
    User(Asked),
    /// The model answers.
    Assistant(Said),
    /// The model calls tools, and their results: kept together, sent together.
    Tools(ToolTurn),
    /// What messages up to a place said.
    Summary {
        /// The last one that it covers.
        up_to: i64,
        /// The text.
        text: String,
    },
}

impl Item {
    /// The plan of the conversation after this message; none where the message does not say.
    pub fn plan(&self) -> Option<&Value> {
        match self {
            Self::Assistant(said) | Self::Tools(ToolTurn { said, .. }) => said.plan.as_ref(),
            Self::User(_) | Self::Summary { .. } => None,
        }
    }
}

/// What somebody asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// The text.
    pub text: String,
    /// Files of the message.
    pub files: Vec<FileOf>,
    /// A note of the engine for the model.
    pub internal: bool,
}

/// A file of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOf {
    /// Its name.
    pub name: String,
    /// Its type.
    pub mimetype: String,
    /// Where it is.
    pub url: String,
}

/// What a model says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The text.
    pub text: String,
    /// What its provider and model want to see again.
    pub replay: Replay,
    /// The first message that it saw: windows that follow begin there as long as they can.
    pub window_from: i64,
    /// The plan of the conversation after it; none where there never was one.
    pub plan: Option<Value>,
}

/// What is shown to the same provider and model alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// The provider.
    pub provider: String,
    /// The model id there.
    pub model_id: String,
    /// Thinking with its signature, items of the provider.
    pub parts: Vec<Part>,
}

/// A model's call of tools, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolTurn {
    /// What the model says beside it.
    pub said: Said,
    /// The calls in order, each with its one result.
    pub calls: Vec<Called>,
}

/// One call with its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The id that the model knows it by.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments: the text of a JSON object.
    pub arguments: String,
    /// What the provider wants to see again with it.
    pub signature: Vec<u8>,
    /// What the model reads.
    pub result: String,
    /// It failed.
    pub failed: bool,
}

impl Called {
    /// The call as contracts have it.
    pub fn call(&self, with_signature: bool) -> ToolCall {
        ToolCall {
            id: self.id.clone(),
            name: self.name.clone(),
            arguments_json: self.arguments.clone().into(),
            signature: if with_signature { self.signature.clone().into() } else { Default::default() },
        }
    }
}

impl Item {
    /// Who speaks.
    pub fn role(&self) -> MessageRole {
        match self {
            Self::User(_) => MessageRole::User,
            Self::Assistant(_) | Self::Tools(_) => MessageRole::Assistant,
            Self::Summary { .. } => MessageRole::System,
        }
    }

    /// Its text, for people.
    pub fn text(&self) -> &str {
        match self {
            Self::User(asked) => &asked.text,
            Self::Assistant(said) | Self::Tools(ToolTurn { said, .. }) => &said.text,
            Self::Summary { text, .. } => text,
        }
    }

    /// Whether it is between engine and model.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Summary { .. } | Self::User(Asked { internal: true, .. }))
    }

    /// As it is stored.
    pub fn stored(&self, id: &str, run: &str) -> StoredMessage {
        StoredMessage {
            role: self.role().into(),
            json: self.json(id).to_string().into(),
            run_id: run.to_owned(),
            ..StoredMessage::default()
        }
    }

    /// As JSON.
    pub fn json(&self, id: &str) -> Value {
        let mut data = json!({ "message_id": id });
        let mut message = match self {
            Self::User(asked) => {
                let mut message = json!({ "role": "user", "content": asked.text });
                if !asked.files.is_empty() {
                    let file = |file: &FileOf| json!({"name": file.name, "mimetype": file.mimetype, "url": file.url});
                    message["files"] = asked.files.iter().map(file).collect();
                }
                if asked.internal {
                    data["internal"] = true.into();
                }
                message
            }
            Self::Assistant(said) => {
                let mut message = json!({ "role": "assistant", "content": said.text });
                message[OURS] = said.ours();
                message
            }
            Self::Tools(turn) => {
                let mut message = turn.json();
                message[OURS] = turn.said.ours();
                message
            }
            Self::Summary { up_to, text } => {
                data["internal"] = true.into();
                let mut message = json!({ "role": "system", "content": text });
                message[OURS] = json!({ "summaryUpTo": up_to });
                message
            }
        };
        message[DATA] = data;
        message
    }
}

impl Said {
    fn ours(&self) -> Value {
        let parts = self.replay.parts.iter().map(|part| Value::from(BASE64.encode(part.encode_to_vec())));
        let mut ours = json!({
            "provider": self.replay.provider,
            "modelId": self.replay.model_id,
            "parts": parts.collect::<Vec<_>>(),
            "windowFrom": self.window_from,
        });
        if let Some(plan) = &self.plan {
            ours["plan"] = plan.clone();
        }
        ours
    }
}

impl ToolTurn {
    fn json(&self) -> Value {
        let call = |called: &Called| {
            json!({"id": called.id, "type": "function",
                "function": {"name": called.name, "arguments": called.arguments}})
        };
        let data = |(index, called): (usize, &Called)| {
            let mut data = json!({
                "index": index, "id": called.id, "type": "function", "name": called.name,
                "arguments": called.arguments, "role": "tool", "result": called.result,
            });
            if called.failed {
                data["error"] = called.result.clone().into();
            }
            if !called.signature.is_empty() {
                data["thoughtSignature"] = BASE64.encode(&called.signature).into();
            }
            data
        };
        json!({
            "messageBlock": {
                "role": "assistant",
                "content": self.said.text,
                "tool_calls": self.calls.iter().map(call).collect::<Vec<_>>(),
            },
            "toolsData": self.calls.iter().enumerate().map(data).collect::<Vec<_>>(),
        })
    }
}

impl Kept {
    /// Reads a stored message. What the reference wrote is read too; what cannot be understood is none.
    pub fn read(stored: &StoredMessage) -> Option<Self> {
        let json: Value = serde_json::from_slice(&stored.json).ok()?;
        let text_of = |value: Option<&Value>| value.map(text_of).unwrap_or_default();
        let data = json.get(DATA);
        let id = data.and_then(|data| data.get("message_id")).and_then(Value::as_str).unwrap_or_default();
        let said = |text: String| Said {
            text,
            replay: Replay::read(&json),
            window_from: json[OURS]["windowFrom"].as_i64().unwrap_or_default(),
            plan: json[OURS].get("plan").filter(|plan| plan.is_object()).cloned(),
        };
        let item = if let Some(block) = json.get("messageBlock") {
            let calls = json.get("toolsData").and_then(Value::as_array)?;
            let calls = calls.iter().map(called).collect::<Option<Vec<_>>>()?;
            let said = said(text_of(block.get("content")));
            if calls.is_empty() { Item::Assistant(said) } else { Item::Tools(ToolTurn { said, calls }) }
        } else {
            let text = text_of(json.get("content"));
            match json.get("role").and_then(Value::as_str)? {
                "user" => Item::User(Asked {
                    text,
                    files: json
                        .get("files")
                        .and_then(Value::as_array)
                        .map(|files| files.iter().map(file).collect())
                        .unwrap_or_default(),
                    internal: data.is_some_and(|data| data["internal"] == true),
                }),
                "assistant" => Item::Assistant(said(text)),
                "system" => Item::Summary { up_to: json[OURS]["summaryUpTo"].as_i64()?, text },
                _ => return None,
            }
        };
        Some(Self { sequence: stored.sequence, id: id.to_owned(), item })
    }
}

impl Replay {
    fn read(json: &Value) -> Self {
        let ours = &json[OURS];
        let text = |name: &str| ours[name].as_str().unwrap_or_default().to_owned();
        let parts = ours["parts"].as_array().into_iter().flatten();
        let part = |part: &Value| Part::decode(BASE64.decode(part.as_str()?).ok()?.as_slice()).ok();
        Self {
            provider: text("provider"),
            model_id: text("modelId"),
            parts: parts.filter_map(part).collect(),
        }
    }
}

/// A text, or the texts of a list of parts.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join(" ")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn called(data: &Value) -> Option<Called> {
    let data: &Map<String, Value> = data.as_object()?;
    let text = |name: &str| data.get(name).map(text_of).unwrap_or_default();
    let arguments = match data.get("arguments") {
        Some(Value::Object(arguments)) => Value::Object(arguments.clone()).to_string(),
        Some(Value::String(arguments)) if !arguments.is_empty() => arguments.clone(),
        _ => "{}".to_owned(),
    };
    let failed = data.get("error").is_some_and(|error| !error.is_null());
    let result = match data.get("result") {
        None | Some(Value::Null) => text("error"),
        Some(result) => text_of(result),
    };
    let signature = BASE64.decode(text("thoughtSignature")).unwrap_or_default();
    Some(Called { id: text("id"), name: text("name"), arguments, signature, result, failed })
}

fn file(file: &Value) -> FileOf {
    let text = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
    FileOf { name: text("name"), mimetype: text("mimetype"), url: text("url") }
}

/// The whole history in the form of the reference, each message linked with its neighbours.
pub fn exported(messages: &[StoredMessage]) -> Vec<Value> {
    let mut list: Vec<Value> = messages.iter().filter_map(|m| serde_json::from_slice(&m.json).ok()).collect();
    let ids: Vec<Value> = list.iter().map(|message| message[DATA]["message_id"].clone()).collect();
    for (place, message) in list.iter_mut().enumerate() {
        let Some(message) = message.as_object_mut() else { continue };
        message.remove(OURS);
        let data = message.entry(DATA).or_insert_with(|| json!({}));
        data["prev"] = place.checked_sub(1).and_then(|before| ids.get(before)).cloned().unwrap_or_default();
        data["next"] = ids.get(place + 1).map(|next| json!([next])).unwrap_or_else(|| json!([]));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::llm::v1::{Thinking, part};

    fn back(item: &Item) -> Kept {
        let stored = StoredMessage { sequence: 7, ..item.stored("msg_1", "00-r") };
        Kept::read(&stored).unwrap()
    }

    #[test]
    fn every_kind_comes_back() {
        let thinking = Thinking { text: "hm".into(), signature: "s".into(), redacted: String::new() };
        let replay = Replay {
            provider: "Anthropic".into(),
            model_id: "m".into(),
            parts: vec![Part { part: Some(part::Part::Thinking(thinking)) }],
        };
        let said = Said { text: "well".into(), replay, window_from: 3, plan: Some(json!({"t": {}})) };
        let call = Called {
            id: "c".into(),
            name: "f".into(),
            arguments: r#"{"error":"x"}"#.into(),
            signature: vec![1, 2],
            result: "no".into(),
            failed: true,
        };
        let file = FileOf { name: "a.png".into(), mimetype: "image/png".into(), url: "smythfs://x".into() };
        for item in [
            Item::User(Asked { text: "hi".into(), files: vec![file], internal: false }),
            Item::User(Asked { text: "note".into(), internal: true, ..Asked::default() }),
            Item::Assistant(said.clone()),
            Item::Tools(ToolTurn { said, calls: vec![call] }),
            Item::Summary { up_to: 4, text: "so far".into() },
        ] {
            let kept = back(&item);
            assert_eq!((kept.sequence, kept.id.as_str(), &kept.item), (7, "msg_1", &item));
        }
    }

    #[test]
    fn what_the_reference_wrote_is_read() {
        let read = |json: Value| {
            Kept::read(&StoredMessage { json: json.to_string().into(), ..StoredMessage::default() })
                .map(|kept| kept.item)
        };
        // Elements without `__smyth_data__` are tolerated.
        assert_eq!(
            read(json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]})),
            Some(Item::User(Asked { text: "a b".into(), ..Asked::default() }))
        );
        let turn = json!({
            "messageBlock": {"role": "assistant", "content": null, "tool_calls": []},
            "toolsData": [{"index": 0, "id": "c", "name": "f", "arguments": {"a": 1}, "result": {"b": 2}}],
        });
        match read(turn) {
            Some(Item::Tools(turn)) => {
                assert_eq!(
                    (turn.calls[0].arguments.as_str(), turn.calls[0].result.as_str()),
                    (r#"{"a":1}"#, r#"{"b":2}"#)
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(read(json!({"content": "x"})), None);
    }

    #[test]
    fn an_export_links_the_messages_and_keeps_what_is_ours() {
        let user = Item::User(Asked { text: "a".into(), ..Asked::default() });
        let list = exported(&[user.stored("m1", ""), Item::Assistant(Said::default()).stored("m2", "")]);
        assert_eq!(list[0][DATA], json!({"message_id": "m1", "prev": null, "next": ["m2"]}));
        assert_eq!(
            list[1],
            json!({"role": "assistant", "content": "", DATA: {"message_id": "m2", "prev": "m1", "next": []}})
        );
    }
}
