//! What the server is to answer, in words that belong to no provider. Each wire format renders the same description,
//! so that what is tested is a matrix of scenarios and providers.

use serde::{Deserialize, Serialize};

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What the answer holds, in order; the usual answer where empty.
    pub steps: Vec<Step>,
    /// An HTTP error in place of the answer.
    pub refuse: Option<Refuse>,
    /// How its bytes are cut and dressed.
    pub framing: Framing,
    /// Where a stream says what was used.
    pub usage: UsageStyle,
    /// How long the status line is held back.
    pub headers_after_ms: u64,
    /// A body that is no JSON, under a status of success.
    pub malformed: bool,
    /// No terminal marker: the body ends before it.
    pub unterminated: bool,
    /// Counts for so many requests, where it is queued; once where 0.
    pub times: u32,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Text: one chunk.
    Text(String),
    /// Thinking: one chunk.
    Think(String),
    /// What the provider wants to see again with the thinking before it.
    Signature(String),
    /// Thinking in a sealed form.
    Redacted(String),
    /// The model declines, in a field of its own where the format has one.
    Refusal(String),
    /// Calls of tools.
    Tools(Tools),
    /// A search of the web by the provider.
    Search(String),
    /// A source.
    Cite(Cite),
    /// What was used; the last one counts.
    Usage(Usage),
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter` in the format's own word, anything else as it
    /// stands; `blocked` for a prompt that is refused without an answer.
    Finish(String),
    /// An error in the middle of the stream.
    Error(Refuse),
    /// A wait.
    DelayMs(u64),
    /// Nothing more, and the connection stays open.
    Stall,
    /// The connection is reset.
    Reset,
    /// The body ends here.
    Eof,
    /// A frame whose checksum is wrong, where the format has checksums; an event that is no JSON elsewhere.
    Corrupt,
}

/// Calls of tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tools {
    /// The calls.
    pub calls: Vec<ToolCall>,
    /// How their pieces come.
    #[serde(default)]
    pub order: Order,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id; a deterministic one where empty.
    #[serde(default)]
    pub id: String,
    /// The tool.
    pub name: String,
    /// The text of its arguments: usually JSON.
    #[serde(default)]
    pub arguments: String,
    /// What the provider wants to see again with the call.
    #[serde(default)]
    pub signature: String,
}

/// How the pieces of several calls come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One call after the other, arguments in fragments.
    #[default]
    Sequential,
    /// Fragments in turns, where the format can.
    Interleaved,
    /// All in one chunk, where the format can.
    Together,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cite {
    /// Its address.
    pub url: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
}

/// What was used, in the sense of the provider that counts cached tokens as part of the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the request, cached ones among them.
    pub input: u64,
    /// Tokens of the answer, thinking among them.
    pub output: u64,
    /// Tokens that were read from the provider's cache.
    pub cached: u64,
    /// Tokens that were written to it.
    pub cache_write: u64,
    /// Tokens of thinking.
    pub reasoning: u64,
}

/// Where a stream says what was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageStyle {
    /// Where the provider's contract says.
    #[default]
    Usual,
    /// Nowhere.
    Absent,
    /// A running total in each chunk.
    Repeated,
    /// In the chunk that says why it ended.
    WithFinish,
}

/// An error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refuse {
    /// The HTTP status.
    pub status: u16,
    /// The provider's code; the usual one of the status where empty.
    pub code: String,
    /// Its words.
    pub message: String,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
    /// `retry-after-ms`.
    pub retry_after_ms: Option<u64>,
    /// The body is no JSON.
    pub malformed: bool,
}

/// How the bytes of a stream are cut and dressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Framing {
    /// Bytes for each segment: 0 for one event in each.
    pub bytes: usize,
    /// Everything up to a wait in one segment.
    pub together: bool,
    /// Lines end with a carriage return too.
    pub crlf: bool,
    /// Comments and pings between events.
    pub comments: bool,
}

impl Scenario {
    /// An answer of these pieces.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }

    /// An HTTP error.
    pub fn refusal(status: u16) -> Self {
        Self { refuse: Some(Refuse { status, ..Refuse::default() }), ..Self::default() }
    }

    /// The same, cut and dressed otherwise.
    #[must_use]
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The same, for so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

impl ToolCall {
    /// A call with arguments.
    pub fn of(name: &str, arguments: &str) -> Self {
        Self { id: String::new(), name: name.into(), arguments: arguments.into(), signature: String::new() }
    }
}

impl Step {
    /// Calls in an order.
    pub fn tools(order: Order, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        Self::Tools(Tools { calls: calls.into_iter().collect(), order })
    }
}
