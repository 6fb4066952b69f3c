//! Answers: typed, as the reference gives them, and as they are stored.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sre_engine::{Aborted, Answer, AnswerEntry, Value};
use sre_proto::error::Reason;
use sre_proto::gateway::v1::{ComponentError, ComponentResult, RunFailure, RunResult, StarvedComponent};
use sre_proto::memory::v1::RunState;

use super::redact::Redactor;

/// The largest answer: results and legacy JSON travel in one message.
const LARGEST_BYTES: usize = 3_900_000;

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// It came to its end.
    Answered(Answer),
    /// It took longer than it may.
    TimedOut(std::time::Duration),
    /// It cannot go on.
    Broken(Reason, String),
}

/// How a run ended, as stores keep it. Format 1.
#[derive(Clone, PartialEq, Message)]
pub struct Closed {
    /// What the leaves produced.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<Part>,
    /// Errors no handler took.
    #[prost(message, repeated, tag = "2")]
    pub errors: Vec<Part>,
    /// Components that waited in vain.
    #[prost(message, repeated, tag = "3")]
    pub starved: Vec<StarvedComponent>,
    /// Why the run as a whole failed.
    #[prost(message, optional, tag = "4")]
    pub failure: Option<RunFailure>,
    /// The answer as the reference gives it.
    #[prost(bytes = "bytes", tag = "5")]
    pub legacy: Bytes,
    /// HTTP status that the reference's host would answer with.
    #[prost(int32, tag = "6")]
    pub http_status: i32,
}

/// One component's part of an answer.
#[derive(Clone, PartialEq, Message)]
pub struct Part {
    /// Component id.
    #[prost(string, tag = "1")]
    pub component: String,
    /// Component type.
    #[prost(string, tag = "2")]
    pub component_type: String,
    /// Its output, or the details of its error.
    #[prost(bytes = "bytes", tag = "3")]
    pub json: Bytes,
    /// Its error.
    #[prost(string, tag = "4")]
    pub message: String,
}

impl Ending {
    /// The state that the run ends in.
    pub fn state(&self) -> RunState {
        match self {
            Self::Answered(answer) => match &answer.aborted {
                None => RunState::Done,
                Some(Aborted::Cancelled { .. }) => RunState::Cancelled,
                Some(Aborted::Circular { .. }) => RunState::Failed,
            },
            Self::TimedOut(_) | Self::Broken(..) => RunState::Failed,
        }
    }

    /// As it is answered or, with a redactor, as it may be written.
    pub fn closed(&self, redactor: Option<&Redactor>) -> Closed {
        let closed = match self {
            Self::Answered(answer) => of_answer(answer, redactor),
            Self::TimedOut(limit) => failed(
                Reason::DeadlineExceeded,
                format!("the run took longer than {} s", limit.as_secs_f64()),
                504,
            ),
            Self::Broken(reason, message) => failed(*reason, message.clone(), status_of(*reason)),
        };
        if closed.size() > LARGEST_BYTES {
            let size = closed.size();
            return failed(
                Reason::TooLarge,
                format!("the answer has {size} bytes: store large results as files and answer their names"),
                500,
            );
        }
        closed
    }
}

fn status_of(reason: Reason) -> i32 {
    match reason {
        Reason::DeadlineExceeded => 504,
        Reason::RoleUnavailable | Reason::BackendUnavailable => 503,
        _ => 500,
    }
}

fn failed(reason: Reason, message: String, http_status: i32) -> Closed {
    let legacy = serde_json::json!({ "error": message }).to_string();
    Closed {
        failure: Some(RunFailure { reason: sre_proto::error::name(reason).to_owned(), message }),
        legacy: legacy.into(),
        http_status,
        ..Closed::default()
    }
}

fn of_answer(answer: &Answer, redactor: Option<&Redactor>) -> Closed {
    let redactor = redactor.filter(|redactor| !redactor.is_empty());
    let json = |value: &Value| match redactor {
        Some(redactor) => bytes_of(&redactor.redact(value)),
        None => bytes_of(value),
    };
    let text = |text: String| redactor.map_or(text.clone(), |redactor| redactor.redact_text(&text));
    let legacy = answer.legacy_json();
    let http_status = http_status(answer, &legacy);
    let legacy = match redactor {
        Some(redactor) => bytes_of(&redactor.redact(&Value::from(legacy))),
        None => serde_json::to_vec(&legacy).unwrap_or_default().into(),
    };
    let part = |entry: &AnswerEntry| Part {
        component: entry.component.to_string(),
        component_type: entry.type_name.to_string(),
        json: json(output_of(entry)),
        message: entry.error.as_ref().map(|error| text(error.to_text())).unwrap_or_default(),
    };
    Closed {
        results: answer.results.iter().map(part).collect(),
        errors: answer.errors.iter().map(part).collect(),
        starved: answer
            .starved
            .iter()
            .map(|starved| StarvedComponent {
                component: starved.component.clone(),
                r#type: starved.type_name.to_string(),
                missing_inputs: starved.missing.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        failure: answer.aborted.as_ref().map(|aborted| match aborted {
            Aborted::Circular { component, limit } => RunFailure {
                reason: sre_proto::error::name(Reason::InvalidAgent).to_owned(),
                message: sre_engine::run::circular_message(component, *limit),
            },
            Aborted::Cancelled { reason } => RunFailure {
                reason: sre_proto::error::name(Reason::Cancelled).to_owned(),
                message: text(reason.clone()),
            },
        }),
        legacy,
        http_status,
    }
}

/// The output inside an entry `{id, name, result}`; what a type put in the entry's place is the output itself.
fn output_of(entry: &AnswerEntry) -> &Value {
    let is = |key: &str, text: &Arc<str>| entry.value.get(key).and_then(Value::as_str) == Some(text);
    match entry.value.get("result") {
        Some(result) if is("id", &entry.component) && is("name", &entry.type_name) => result,
        _ => &entry.value,
    }
}

/// The host answers 500 where the answer has an `error` at its top (`agent-execution.md` §10.4).
fn http_status(answer: &Answer, legacy: &serde_json::Value) -> i32 {
    match &answer.aborted {
        Some(Aborted::Cancelled { .. }) => 499,
        Some(Aborted::Circular { .. }) => 500,
        None if legacy.get("error").is_some_and(|error| !error.is_null()) => 500,
        None => 200,
    }
}

fn bytes_of(value: &Value) -> Bytes {
    // Values are JSON by construction; an empty text cannot arise.
    serde_json::to_vec(value).unwrap_or_default().into()
}

impl Closed {
    fn size(&self) -> usize {
        let parts = self.results.iter().chain(&self.errors);
        self.legacy.len() + parts.map(|part| part.json.len() + part.message.len()).sum::<usize>()
    }

    /// The typed result, with copies as `google.protobuf.Value` where asked for.
    pub fn result(&self, view: ValueView) -> RunResult {
        RunResult {
            results: self
                .results
                .iter()
                .map(|part| ComponentResult {
                    component: part.component.clone(),
                    r#type: part.component_type.clone(),
                    json: part.json.clone(),
                    value: match view {
                        ValueView::None => None,
                        ValueView::Beside => serde_json::from_slice(&part.json).ok().map(proto_value),
                    },
                })
                .collect(),
            errors: self
                .errors
                .iter()
                .map(|part| ComponentError {
                    component: part.component.clone(),
                    r#type: part.component_type.clone(),
                    message: part.message.clone(),
                    details_json: part.json.clone(),
                })
                .collect(),
            starved: self.starved.clone(),
            failure: self.failure.clone(),
        }
    }

    /// Whether it holds markers of secrets, and of which.
    pub fn secret_names(&self, redactor: &Redactor) -> Vec<String> {
        let mut names = Vec::new();
        for value in self.values() {
            names.extend(redactor.names_in(&value));
        }
        names.sort();
        names.dedup();
        names
    }

    fn values(&self) -> impl Iterator<Item = Value> + '_ {
        let parts = self.results.iter().chain(&self.errors);
        let messages = parts.clone().map(|part| Value::from(part.message.as_str()));
        let failure = self.failure.iter().map(|failure| Value::from(failure.message.as_str()));
        let jsons = parts.map(|part| &part.json).chain([&self.legacy]);
        jsons.filter_map(|json| serde_json::from_slice(json).ok()).chain(messages).chain(failure)
    }

    /// Every value and text changed, for example its secrets put back.
    pub fn map(mut self, change: impl Fn(&Value) -> Value) -> Self {
        let json = |json: &mut Bytes| {
            if let Ok(value) = serde_json::from_slice::<Value>(json) {
                *json = bytes_of(&change(&value));
            }
        };
        let text = |text: &mut String| *text = change(&Value::from(text.as_str())).to_text();
        for part in self.results.iter_mut().chain(&mut self.errors) {
            json(&mut part.json);
            text(&mut part.message);
        }
        if let Some(failure) = &mut self.failure {
            text(&mut failure.message);
        }
        json(&mut self.legacy);
        self
    }

    /// The answer as a component sees it: the legacy form, which Await passes on.
    pub fn legacy_value(&self) -> Value {
        serde_json::from_slice(&self.legacy).unwrap_or_default()
    }
}

/// Whether `google.protobuf.Value` copies are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueView {
    /// No copies.
    None,
    /// A copy beside each JSON text.
    Beside,
}

impl From<bool> for ValueView {
    fn from(asked: bool) -> Self {
        if asked { Self::Beside } else { Self::None }
    }
}

fn proto_value(json: serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.into_iter().map(proto_value).collect() })
        }
        serde_json::Value::Object(map) => Kind::StructValue(prost_types::Struct {
            fields: map.into_iter().map(|(key, value)| (key, proto_value(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_out_is_a_failure_with_its_status() {
        let ending = Ending::TimedOut(Duration::from_millis(1500));
        assert_eq!(ending.state(), RunState::Failed);
        let closed = ending.closed(None);
        assert_eq!(closed.http_status, 504);
        assert_eq!(closed.failure.as_ref().unwrap().reason, "DEADLINE_EXCEEDED");
        assert_eq!(closed.legacy_value().get("error"), Some(&Value::from("the run took longer than 1.5 s")));
    }

    #[test]
    fn a_cancelled_run_answers_as_the_reference_does() {
        let aborted = Some(Aborted::Cancelled { reason: "why".into() });
        let ending = Ending::Answered(Answer { aborted, ..Answer::default() });
        assert_eq!(ending.state(), RunState::Cancelled);
        let closed = ending.closed(None);
        assert_eq!(&closed.legacy[..], br#"{"error":"AGENT_KILLED","reason":"why"}"#);
        assert_eq!(closed.http_status, 499);
        assert_eq!(closed.result(ValueView::None).failure.unwrap().reason, "CANCELLED");
    }

    #[test]
    fn nothing_is_an_empty_list() {
        let closed = Ending::Answered(Answer::default()).closed(None);
        assert_eq!((&closed.legacy[..], closed.http_status), (&b"[]"[..], 200));
    }

    #[test]
    fn a_stored_answer_has_no_secrets_and_gets_them_back() {
        let mut redactor = Redactor::new("n");
        redactor.learn("api", "supersecret");
        let ending = Ending::Broken(Reason::Internal, "it said supersecret".into());
        let live = ending.closed(None);
        let stored = live.clone().map(|value| redactor.redact(value));
        assert!(!String::from_utf8_lossy(&stored.encode_to_vec()).contains("supersecret"));
        assert_eq!(stored.secret_names(&redactor), ["api"]);
        assert_eq!(stored.map(|value| redactor.restore(value)), live);
    }

    #[test]
    fn a_value_view_says_the_same() {
        let json = serde_json::json!({"a":[1,null,true,"x"]});
        let view = proto_value(json);
        let Some(prost_types::value::Kind::StructValue(object)) = view.kind else { panic!("an object") };
        let Some(prost_types::value::Kind::ListValue(list)) = &object.fields["a"].kind else {
            panic!("a list")
        };
        assert_eq!(list.values.len(), 4);
    }
}
