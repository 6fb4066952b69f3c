//! The wire formats: each renders an [`Answer`] whole or in frames, and an error.

pub mod chat;
pub mod converse;
pub mod eventstream;
pub mod gemini;
pub mod messages;
pub mod ollama;
pub mod responses;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::scenario::{Framing, Refuse, Step};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Google's `generateContent`, of Google AI and of Vertex AI.
    Gemini,
    /// Bedrock's `converse`.
    Converse,
    /// Ollama's own.
    Ollama,
}

/// One step of sending a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Bytes that belong together, and how many tokens of the answer they hold.
    Data(Bytes, u64),
    /// A wait.
    Pause(Duration),
    /// Nothing more, and the connection stays open.
    Stall,
    /// The connection is reset.
    Reset,
}

impl Wire {
    /// The type of a stream.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Converse => "application/vnd.amazon.eventstream",
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }

    /// The whole answer.
    pub fn whole(self, answer: &Answer) -> Value {
        match self {
            Self::Chat => chat::whole(answer),
            Self::Responses => responses::whole(answer),
            Self::Messages => messages::whole(answer),
            Self::Gemini => gemini::whole(answer),
            Self::Converse => converse::whole(answer),
            Self::Ollama => ollama::whole(answer),
        }
    }

    /// The answer in frames.
    pub fn frames(self, answer: &Answer) -> Vec<Frame> {
        let mut out = Out::new(self, answer.scenario.framing);
        match self {
            Self::Chat => chat::stream(answer, &mut out),
            Self::Responses => responses::stream(answer, &mut out),
            Self::Messages => messages::stream(answer, &mut out),
            Self::Gemini => gemini::stream(answer, &mut out),
            Self::Converse => converse::stream(answer, &mut out),
            Self::Ollama => ollama::stream(answer, &mut out),
        }
        out.frames
    }

    /// The body of an error.
    pub fn refusal(self, refuse: &Refuse) -> Value {
        match self {
            Self::Chat | Self::Responses => json!({"error": chat::error(refuse)}),
            Self::Messages => messages::error(refuse),
            Self::Gemini => json!({"error": gemini::error(refuse)}),
            Self::Converse => json!({"message": message(refuse)}),
            Self::Ollama => json!({"error": message(refuse)}),
        }
    }
}

/// Where a format writes its frames.
#[derive(Debug)]
pub struct Out {
    wire: Wire,
    framing: Framing,
    frames: Vec<Frame>,
    ended: bool,
}

impl Out {
    fn new(wire: Wire, framing: Framing) -> Self {
        Self { wire, framing, frames: Vec::new(), ended: false }
    }

    /// An event of server-sent events, with its name where the format has names.
    pub fn event(&mut self, name: &str, data: &Value, tokens: u64) {
        let end = if self.framing.crlf { "\r\n" } else { "\n" };
        let mut text = String::new();
        if self.framing.comments {
            text += &format!(": keep-alive{end}{end}");
        }
        if !name.is_empty() {
            text += &format!("event: {name}{end}");
        }
        let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        text += &format!("data: {data}{end}{end}");
        self.push(text.into_bytes(), tokens);
    }

    /// A line of newline-delimited JSON.
    pub fn line(&mut self, data: &Value, tokens: u64) {
        let end = if self.framing.crlf { "\r\n" } else { "\n" };
        self.push(format!("{data}{end}").into_bytes(), tokens);
    }

    /// Bytes as they are.
    pub fn push(&mut self, bytes: Vec<u8>, tokens: u64) {
        if !self.ended {
            self.frames.push(Frame::Data(bytes.into(), tokens));
        }
    }

    /// What every format does alike with a step; whether it was one of those.
    pub fn common(&mut self, step: &Step) -> bool {
        if self.ended {
            return true;
        }
        match step {
            Step::DelayMs(ms) => self.frames.push(Frame::Pause(Duration::from_millis(*ms))),
            Step::Stall => self.last(Some(Frame::Stall)),
            Step::Reset => self.last(Some(Frame::Reset)),
            Step::Eof => self.last(None),
            Step::Corrupt => match self.wire {
                Wire::Converse => self.push(eventstream::corrupt(), 0),
                Wire::Ollama => self.push(b"{\"message\": oops\n".to_vec(), 0),
                _ => self.push(b"data: {oops\n\n".to_vec(), 0),
            },
            _ => return false,
        }
        true
    }

    /// The last frame.
    pub fn last(&mut self, frame: Option<Frame>) {
        self.frames.extend(frame);
        self.ended = true;
    }
}

/// The words of an error.
pub fn message(refuse: &Refuse) -> String {
    if refuse.message.is_empty() { format!("fake error {}", refuse.status) } else { refuse.message.clone() }
}

/// Words of a text: they stand for tokens.
pub fn tokens(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// Arguments as an object: an empty one where they are none.
pub fn object(arguments: &str) -> Value {
    serde_json::from_str(arguments).ok().filter(Value::is_object).unwrap_or_else(|| json!({}))
}
