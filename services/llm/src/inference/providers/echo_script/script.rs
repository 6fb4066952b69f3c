//! The script: JSON in the last message of the user, or in the entry's parameter `script`.
//!
//! A list of steps: `{"text": "…"}`, `{"think": "…"}`, `{"tool": "name", "args": {}, "id": "…"}`,
//! `{"usage": {"input_tokens": 1, "output_tokens": 2}}`, `{"delay_ms": 5}`, `{"finish": "length"}`,
//! `{"error": {"code": "RATE_LIMIT", "message": "…", "retry_after_ms": 50}}`. Round *n* of a tool loop plays segment
//! *n*: a segment ends behind its calls of tools, its finish or its error; a list of lists states segments itself.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;

use crate::inference::error::{InferenceError, Refusal};
use crate::inference::providers::{Call, history};

/// What one round plays.
pub type Segment = Vec<Step>;

/// One step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Written {
    Text {
        text: String,
    },
    Think {
        think: String,
    },
    Tool {
        tool: String,
        #[serde(default = "no_arguments")]
        args: Value,
        #[serde(default)]
        id: Option<String>,
    },
    Usage {
        usage: Used,
    },
    DelayMs {
        delay_ms: u64,
    },
    Finish {
        finish: String,
    },
    Error {
        error: Fault,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Text.
    Text(String),
    /// Thinking.
    Think(String),
    /// A call of a tool.
    Tool {
        /// The tool.
        tool: String,
        /// Its arguments.
        args: Value,
        /// Its id; a deterministic one where absent.
        id: Option<String>,
    },
    /// What was used.
    Usage(Used),
    /// A wait.
    DelayMs(u64),
    /// Why it ends, in a provider's word.
    Finish(String),
    /// A failure.
    Error(Fault),
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Used {
    #[serde(alias = "input")]
    pub input_tokens: i64,
    #[serde(alias = "output")]
    pub output_tokens: i64,
    #[serde(alias = "cached")]
    pub cached_input_tokens: i64,
    #[serde(alias = "reasoning")]
    pub reasoning_tokens: i64,
}

/// A failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Fault {
    code: String,
    message: String,
    retry_after_ms: Option<u64>,
}

fn no_arguments() -> Value {
    json!({})
}

impl From<Written> for Step {
    fn from(written: Written) -> Self {
        match written {
            Written::Text { text } => Self::Text(text),
            Written::Think { think } => Self::Think(think),
            Written::Tool { tool, args, id } => Self::Tool { tool, args, id },
            Written::Usage { usage } => Self::Usage(usage),
            Written::DelayMs { delay_ms } => Self::DelayMs(delay_ms),
            Written::Finish { finish } => Self::Finish(finish),
            Written::Error { error } => Self::Error(error),
        }
    }
}

/// What this call plays.
pub fn segment(call: &Call) -> Result<Segment, InferenceError> {
    let messages = &call.request.messages;
    let user = messages.iter().rfind(|message| history::is_user(message));
    let said =
        user.map(|message| history::texts(message).collect::<Vec<_>>().join("\n\n")).unwrap_or_default();
    let written = match (serde_json::from_str(&said), call.model.params.get("script")) {
        (Ok(Value::Array(steps)), _) => steps,
        (_, Some(Value::Array(steps))) => steps.clone(),
        // No script: what was said, word by word.
        _ => return Ok(said.split_inclusive(' ').map(|word| Step::Text(word.to_owned())).collect()),
    };
    let mut segments = if !written.is_empty() && written.iter().all(Value::is_array) {
        written.iter().map(steps).collect::<Result<Vec<_>, _>>()?
    } else {
        cut(steps(&Value::Array(written))?)
    };
    let round = round(call);
    let count = segments.len();
    if round >= count {
        let words = format!("the script has {count} segments, and this is round {}", round + 1);
        return Err(InferenceError::invalid("messages", words));
    }
    Ok(segments.swap_remove(round))
}

/// Which round of a tool loop a call is: as often as the model called since the user spoke.
pub fn round(call: &Call) -> usize {
    let since = call.request.messages.iter().rev().take_while(|message| !history::is_user(message));
    since
        .filter(|message| message.role() == pb::ChatRole::Assistant && !message.tool_calls.is_empty())
        .count()
}

fn steps(written: &Value) -> Result<Segment, InferenceError> {
    let steps = written.as_array().into_iter().flatten().map(|step| {
        Written::deserialize(step).map(Step::from).map_err(|_| {
            let words =
                format!("{step} is no step of a script: text, think, tool, usage, delay_ms, finish or error");
            InferenceError::invalid("messages", words)
        })
    });
    steps.collect()
}

/// A segment ends behind its calls: what comes next is said when their results are there.
fn cut(steps: Segment) -> Vec<Segment> {
    let mut segments = vec![Vec::new()];
    let mut has_called = false;
    for step in steps {
        let goes_on = matches!(step, Step::Tool { .. } | Step::Usage(_) | Step::Finish(_) | Step::Error(_));
        if has_called && !goes_on {
            segments.push(Vec::new());
            has_called = false;
        }
        has_called |= matches!(step, Step::Tool { .. });
        let ends = matches!(step, Step::Finish(_) | Step::Error(_));
        if let Some(last) = segments.last_mut() {
            last.push(step);
        }
        if ends {
            segments.push(Vec::new());
            has_called = false;
        }
    }
    // Behind a finish there may be nothing.
    if segments.len() > 1 && segments.last().is_some_and(Vec::is_empty) {
        segments.pop();
    }
    segments
}

impl Fault {
    /// The error that a provider's answer would have been.
    pub fn into_error(self, call: &Call) -> InferenceError {
        let provider = call.model.provider.clone();
        let (status, code) = match self.code.as_str() {
            "AUTH" => (401, "invalid_api_key"),
            "PERMISSION" => (403, "permission_denied"),
            "NOT_FOUND" => (404, "model_not_found"),
            "CONTEXT_LENGTH" => (400, "context_length_exceeded"),
            "CONTENT_FILTER" => (400, "content_filter"),
            "RATE_LIMIT" => (429, "rate_limit_exceeded"),
            "QUOTA" => (429, "insufficient_quota"),
            "OVERLOADED" => (529, "overloaded_error"),
            "UPSTREAM_5XX" => (500, "server_error"),
            "TIMEOUT" => return InferenceError::Silent { provider, waited: Duration::ZERO },
            "STREAM_BROKEN" => return InferenceError::Broken { provider, message: self.message },
            _ => (400, "invalid_request_error"),
        };
        InferenceError::Refused(Box::new(Refusal {
            provider,
            status,
            message: if self.message.is_empty() { "as the script says".to_owned() } else { self.message },
            code: code.to_owned(),
            retry_after: self.retry_after_ms.map(Duration::from_millis),
            ..Refusal::default()
        }))
    }
}
