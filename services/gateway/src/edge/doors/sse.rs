//! Events of runs as server-sent events, in the words of the reference (`agent-execution.md` §7.1). What the
//! reference has no words for (a run that waits, asks people, or starts activations again) has events of its
//! own: `run`, `approval`, and `component` with the action `restart`.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    ApprovalRequested, ComponentFinished, ComponentLog, ComponentStarted, ContentChunk, EventCursor,
    RunEnded, RunEvent, RunOpened, RunState, RunStateChanged,
};

/// Components under way that are remembered, for the ids of their events.
const REMEMBERED: usize = 10_000;
/// What keeps proxies from closing a silent stream.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// One event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    event: &'static str,
    data: String,
    id: Option<String>,
}

impl Frame {
    /// An event with a text, which may have several lines.
    pub fn text(event: &'static str, data: impl Into<String>) -> Self {
        Self { event, data: data.into(), id: None }
    }

    fn json(event: &'static str, data: Map<String, Value>) -> Self {
        Self::text(event, Value::Object(data).to_string())
    }

    /// Its bytes. Each line of the text is a line of its own, else a line break would end the event.
    pub fn bytes(&self) -> Bytes {
        let mut out = format!("event: {}\n", self.event);
        if let Some(id) = &self.id {
            out.push_str(&format!("id: {id}\n"));
        }
        for line in self.data.replace("\r\n", "\n").split(['\n', '\r']) {
            out.push_str("data: ");
            out.push_str(line);
            out.push('\n');
        }
        out.push('\n');
        out.into()
    }
}

/// A place in a run's events, as `Last-Event-ID` has it.
pub fn cursor(text: &str) -> Option<EventCursor> {
    let (sequence, sub) = text.trim().split_once('.')?;
    let cursor = EventCursor { sequence: sequence.parse().ok()?, sub: sub.parse().ok()? };
    (cursor.sequence >= 0 && cursor.sub >= 0).then_some(cursor)
}

/// Turns the events of one run into frames.
pub struct Translator {
    agent: String,
    run: String,
    opened: Option<(Option<i64>, Value)>,
    /// When the components under way started, by activation.
    started: HashMap<String, Option<i64>>,
    /// The last activation of each component that started.
    latest: HashMap<String, String>,
}

impl Translator {
    /// For a run of an agent.
    pub fn new(agent: &str, run: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            run: run.to_owned(),
            opened: None,
            started: HashMap::new(),
            latest: HashMap::new(),
        }
    }

    /// The frames of an event. The last one has the event's id: a client that lost its stream between them
    /// gets all of them again.
    pub fn frames(&mut self, event: RunEvent) -> Vec<Frame> {
        let time = event.time.map(milliseconds);
        let mut frames = match event.event {
            Some(Event::RunOpened(opened)) => vec![self.opened(opened, time)],
            Some(Event::ComponentStarted(started)) => vec![self.started(&started, time)],
            Some(Event::ComponentFinished(finished)) => self.finished(&finished, time),
            Some(Event::Content(chunk)) => content(chunk).into_iter().collect(),
            Some(Event::Log(log)) => vec![self.log(&log)],
            Some(Event::ActivationRestarted(restarted)) => {
                self.started.clear();
                vec![component("restart", [("components", json!(restarted.components))])]
            }
            Some(Event::RunStateChanged(changed)) => vec![self.changed(&changed)],
            Some(Event::ApprovalRequested(asked)) => vec![approval(asked)],
            Some(Event::RunEnded(ended)) => vec![self.ended(&ended, time)],
            // What the reference shows of conversations goes another way than the monitor.
            Some(Event::Turn(_)) | None => Vec::new(),
        };
        if let (Some(last), Some(cursor)) = (frames.last_mut(), event.cursor) {
            last.id = Some(format!("{}.{}", cursor.sequence, cursor.sub));
        }
        frames
    }

    fn opened(&mut self, opened: RunOpened, time: Option<i64>) -> Frame {
        let input = value(&opened.input_json);
        let mut data = self.agent_event("callStart");
        data.insert("endpointPath".into(), json!(opened.path));
        data.insert("startTime".into(), json!(time));
        data.insert("input".into(), input.clone());
        self.opened = Some((time, input));
        Frame::json("agent", data)
    }

    fn ended(&mut self, ended: &RunEnded, time: Option<i64>) -> Frame {
        let mut data = self.agent_event("callStop");
        data.insert("endTime".into(), json!(time));
        if let Some((start, input)) = &self.opened {
            data.insert("duration".into(), json!(duration(*start, time)));
            data.insert("input".into(), input.clone());
        }
        let answer = value(&ended.legacy_json);
        match answer.get("error").filter(|error| !error.is_null()) {
            Some(Value::String(error)) => data.insert("error".into(), json!(error)),
            Some(error) => data.insert("error".into(), json!(error.to_string())),
            None => data.insert("result".into(), answer),
        };
        Frame::json("agent", data)
    }

    fn agent_event(&self, action: &str) -> Map<String, Value> {
        let fields =
            [("eventId", &*self.run), ("action", action), ("id", &*self.agent), ("name", &*self.agent)];
        fields.into_iter().map(|(name, text)| (name.to_owned(), json!(text))).collect()
    }

    fn started(&mut self, started: &ComponentStarted, time: Option<i64>) -> Frame {
        if self.started.len() < REMEMBERED {
            self.started.insert(started.activation.clone(), time);
            self.latest.insert(started.component.clone(), started.activation.clone());
        }
        component(
            "callStart",
            [
                ("eventId", json!(started.activation)),
                ("sourceId", Value::Null),
                ("id", json!(started.component)),
                ("name", json!(or(&started.name, &started.r#type))),
                ("title", json!(started.title)),
                ("startTime", json!(time)),
                ("input", value(&started.input_json)),
            ],
        )
    }

    /// A start that was not heard, because another gateway told it or it was before this stream, is made up
    /// for: every stop has its start before it.
    fn finished(&mut self, finished: &ComponentFinished, time: Option<i64>) -> Vec<Frame> {
        let mut frames = Vec::new();
        let begun = finished.start_time.map(milliseconds).or(time);
        let start = match self.started.remove(&finished.activation) {
            Some(start) => start,
            None => {
                frames.push(component(
                    "callStart",
                    [
                        ("eventId", json!(finished.activation)),
                        ("sourceId", Value::Null),
                        ("id", json!(finished.component)),
                        ("name", json!(or(&finished.name, &finished.r#type))),
                        ("title", json!(finished.title)),
                        ("startTime", json!(begun)),
                    ],
                ));
                begun
            }
        };
        frames.push(component(
            "callStop",
            [
                ("eventId", json!(finished.activation)),
                ("sourceId", Value::Null),
                ("id", json!(finished.component)),
                ("name", json!(or(&finished.name, &finished.r#type))),
                ("title", json!(finished.title)),
                ("startTime", json!(start)),
                ("endTime", json!(time)),
                ("duration", json!(duration(start, time))),
                ("output", value(&finished.output_json)),
            ],
        ));
        frames
    }

    fn log(&self, log: &ComponentLog) -> Frame {
        component(
            "log",
            [
                ("eventId", json!(self.latest.get(&log.component).unwrap_or(&log.component))),
                ("id", json!(log.component)),
                ("name", json!(log.r#type)),
                ("title", json!(log.title)),
                ("logs", json!([{ "level": log.level, "message": log.message }])),
            ],
        )
    }

    fn changed(&self, changed: &RunStateChanged) -> Frame {
        let mut data = Map::new();
        data.insert("eventId".into(), json!(self.run));
        data.insert("action".into(), json!("state"));
        data.insert("state".into(), json!(state(changed.state())));
        if let Some(until) = changed.until {
            data.insert("until".into(), json!(milliseconds(until)));
        }
        data.insert("components".into(), json!(changed.components));
        Frame::json("run", data)
    }
}

fn component(action: &str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Frame {
    let mut data = Map::new();
    for (name, value) in fields {
        data.insert(name.to_owned(), value);
        if name == "eventId" {
            data.insert("action".to_owned(), json!(action));
        }
    }
    data.entry("action").or_insert_with(|| json!(action));
    Frame::json("component", data)
}

/// Chunks are texts, not JSON. An empty one is not sent.
fn content(chunk: ContentChunk) -> Option<Frame> {
    let event = if chunk.thinking { "llm/passthrough/thinking" } else { "llm/passthrough/content" };
    (!chunk.text.is_empty()).then(|| Frame::text(event, chunk.text))
}

fn approval(asked: ApprovalRequested) -> Frame {
    let mut data = Map::new();
    data.insert("eventId".into(), json!(asked.approval));
    data.insert("action".into(), json!("request"));
    data.insert("id".into(), json!(asked.component));
    data.insert("title".into(), json!(asked.title));
    data.insert("expires".into(), json!(asked.expire_time.map(milliseconds)));
    Frame::json("approval", data)
}

fn state(state: RunState) -> &'static str {
    state.as_str_name().trim_start_matches("RUN_STATE_")
}

fn or<'t>(text: &'t str, instead: &'t str) -> &'t str {
    if text.is_empty() { instead } else { text }
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

fn duration(start: Option<i64>, end: Option<i64>) -> Option<i64> {
    Some(end?.saturating_sub(start?).max(0))
}

fn milliseconds(time: prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
