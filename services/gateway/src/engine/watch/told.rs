//! What records tell watchers, and what of it they are not told: secrets are their references, credentials of
//! requests and answers are left out.

use std::sync::Arc;

use prost::Message as _;
use sre_engine::{ActivationKey, Map, Value};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    ActivationRestarted, ApprovalRequested, ComponentFinished, RunOpened, RunState, RunStateChanged,
};
use sre_proto::memory::v1::{JournalRecord, RecordKind};

use crate::engine::conversations::steps::Step;
use crate::engine::journal::records::{
    Finished, Opened, RecordError, SignalTaken, TakenOver, WaitKind, Waiting,
};
use crate::engine::journal::values::StoredValue;
use crate::engine::redact::Redactor;
use crate::engine::steps;

/// Header fields that carry credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
const MASKED: &str = "[redacted]";

/// A written value as people may see it: secrets as references, no credentials of headers.
pub fn presentable(redactor: &Redactor, value: &Value) -> Value {
    mask(&redactor.presentable(value))
}

/// A value without the credentials of headers in it.
pub fn mask(value: &Value) -> Value {
    masked(value).unwrap_or_else(|| value.clone())
}

/// None, and nothing copied, where there is nothing to leave out.
fn masked(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) => {
            let changed: Vec<Option<Value>> = items.iter().map(masked).collect();
            if changed.iter().all(Option::is_none) {
                return None;
            }
            let items = items.iter().zip(changed).map(|(old, new)| new.unwrap_or_else(|| old.clone()));
            Some(Value::array(items.collect()))
        }
        Value::Object(map) => {
            let change = |key: &Arc<str>, item: &Value| match is_credential(key) {
                true if item.truthy() => Some(Value::from(MASKED)),
                _ => masked(item),
            };
            let changed: Vec<Option<Value>> = map.iter().map(|(key, item)| change(key, item)).collect();
            if changed.iter().all(Option::is_none) {
                return None;
            }
            let items = map.iter().zip(changed);
            let items = items.map(|((key, old), new)| (key.clone(), new.unwrap_or_else(|| old.clone())));
            Some(Value::object(items.collect::<Map>()))
        }
        _ => None,
    }
}

fn is_credential(key: &str) -> bool {
    CREDENTIALS.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// Leaves credentials out of a transient event.
pub fn mask_event(event: &mut Event) {
    if let Event::ComponentStarted(started) = event
        && let Ok(input) = serde_json::from_slice::<Value>(&started.input_json)
        && let Some(masked) = masked(&input)
    {
        started.input_json = masked.to_json_text().into();
    }
}

/// Whether an event has places for a component's names.
pub fn names_a_component(event: &Event) -> bool {
    matches!(event, Event::ComponentStarted(_) | Event::ComponentFinished(_) | Event::Log(_))
}

/// The event that a record stands for; none for those that only the engine reads.
pub fn event_of(
    record: &JournalRecord,
    redactor: &Redactor,
    run: &str,
) -> Result<Option<Event>, RecordError> {
    Ok(match record.kind() {
        RecordKind::Opened => Some(opened_event(Opened::decode(record.body.clone())?, redactor)?),
        RecordKind::Finished => finished_event(record, Finished::decode(record.body.clone())?, redactor)?,
        RecordKind::TakenOver => {
            let taken = TakenOver::decode(record.body.clone())?;
            Some(Event::ActivationRestarted(ActivationRestarted {
                epoch: taken.epoch,
                components: taken.restarted,
            }))
        }
        RecordKind::Waiting => Some(waiting_event(record, Waiting::decode(record.body.clone())?, run)),
        RecordKind::TurnStep => Step::decode(record.body.clone())?.event.map(Event::Turn),
        RecordKind::Signal => signal_event(&SignalTaken::decode(record.body.clone())?),
        _ => None,
    })
}

fn waiting_event(record: &JournalRecord, waiting: Waiting, run: &str) -> Event {
    let component = component_of(record);
    let until = steps::started(waiting.until_ms);
    match waiting.kind() {
        WaitKind::Approval => Event::ApprovalRequested(ApprovalRequested {
            approval: format!("{run}/approvals/{}", waiting.approval),
            component,
            title: waiting.title,
            expire_time: until,
        }),
        _ => Event::RunStateChanged(RunStateChanged {
            state: RunState::Waiting.into(),
            until,
            components: vec![component],
        }),
    }
}

/// A cancelled run says so with its end.
fn signal_event(signal: &SignalTaken) -> Option<Event> {
    let state = match signal.kind.as_str() {
        "pause" => RunState::Paused,
        "resume" | "approval" => RunState::Running,
        _ => return None,
    };
    Some(Event::RunStateChanged(RunStateChanged { state: state.into(), ..RunStateChanged::default() }))
}

fn component_of(record: &JournalRecord) -> String {
    let key: Option<ActivationKey> = record.step.parse().ok();
    key.map_or_else(|| record.step.clone(), |key| key.component.to_string())
}

/// The input is the query of a GET, else the body; of a job, the inputs of its Async component.
fn opened_event(opened: Opened, redactor: &Redactor) -> Result<Event, RecordError> {
    let request = opened.request.as_ref().map(|request| request.request()).transpose()?.unwrap_or_default();
    let input = match &opened.job_input {
        Some(input) => input.value()?,
        None if request.method.eq_ignore_ascii_case("GET") => Value::object(request.query),
        None if request.body.is_null() => Value::object(Map::new()),
        None => request.body,
    };
    Ok(Event::RunOpened(RunOpened {
        skill: opened.skill,
        path: request.path,
        input_json: presentable(redactor, &input).to_json_text().into(),
    }))
}

fn finished_event(
    record: &JournalRecord,
    finished: Finished,
    redactor: &Redactor,
) -> Result<Option<Event>, RecordError> {
    if finished.resolved.is_some() {
        return Ok(None);
    }
    let output = finished.output.as_ref().map(StoredValue::value).transpose()?;
    let output = output.map(|output| presentable(redactor, &output));
    Ok(Some(Event::ComponentFinished(ComponentFinished {
        component: component_of(record),
        r#type: finished.component_type,
        activation: record.step.clone(),
        error: output.as_ref().and_then(steps::error_of).unwrap_or_default(),
        output_json: output.map(|output| output.to_json_text().into()).unwrap_or_default(),
        start_time: steps::started(finished.started_ms),
        ..ComponentFinished::default()
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::records::{StoredRequest, record};
    use sre_engine::{Outcome, RequestData};

    const RUN: &str = "teams/t/agents/a/runs/00-r";

    fn key() -> ActivationKey {
        "LOOP:2/A@7".parse().unwrap()
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_finished_component_is_an_event_without_its_secrets() {
        let mut redactor = Redactor::new("n");
        redactor.learn("api", "supersecret");
        let outcome = Outcome::error("cannot use supersecret");
        let mut finished = Finished::of(&outcome, "APICall", &redactor).unwrap();
        finished.started_ms = 2_000;
        let record = record(RecordKind::Finished, Some(&key()), &finished);
        let event = event_of(&record, &Redactor::new("n"), RUN).unwrap();
        let Some(Event::ComponentFinished(event)) = event else { panic!("{event:?}") };
        assert_eq!((event.component.as_str(), event.activation.as_str()), ("A", "LOOP:2/A@7"));
        assert_eq!(event.error, "cannot use {{KEY(api)}}");
        assert_eq!(event.start_time.unwrap().seconds, 2);
        assert!(!String::from_utf8_lossy(&event.output_json).contains("supersecret"));
    }

    #[test]
    fn the_first_event_says_what_was_asked() {
        let redactor = Redactor::new("n");
        let opened = |method: &str| {
            let request = RequestData {
                method: method.into(),
                path: "/api/e".into(),
                query: json(r#"{"q":"1"}"#).as_object().unwrap().clone(),
                body: json(r#"{"b":{"Cookie":"c=1","x":2}}"#),
                ..RequestData::default()
            };
            let request = Some(StoredRequest::of(&request, &redactor).unwrap());
            let record = record(RecordKind::Opened, None, &Opened { request, ..Opened::default() });
            match event_of(&record, &redactor, RUN).unwrap() {
                Some(Event::RunOpened(opened)) => {
                    (opened.path, json(std::str::from_utf8(&opened.input_json).unwrap()))
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(opened("GET"), ("/api/e".into(), json(r#"{"q":"1"}"#)));
        assert_eq!(opened("").1, json(r#"{"b":{"Cookie":"[redacted]","x":2}}"#));
    }

    #[test]
    fn credentials_of_headers_are_left_out_at_any_depth() {
        let value = json(r#"{"headers":{"Authorization":"Bearer x","a":"1"},"list":[{"set-cookie":["s"]}]}"#);
        let shown = json(
            r#"{"headers":{"Authorization":"[redacted]","a":"1"},"list":[{"set-cookie":"[redacted]"}]}"#,
        );
        assert_eq!(mask(&value), shown);
        assert_eq!(mask(&json(r#"{"cookie":""}"#)), json(r#"{"cookie":""}"#));
    }

    #[test]
    fn waits_questions_and_pauses_are_events() {
        let redactor = Redactor::new("n");
        let of = |record: &JournalRecord| event_of(record, &redactor, RUN).unwrap();
        let sleeping = Waiting { kind: WaitKind::Sleep.into(), until_ms: 4_000, ..Waiting::default() };
        match of(&record(RecordKind::Waiting, Some(&key()), &sleeping)) {
            Some(Event::RunStateChanged(changed)) => {
                assert_eq!((changed.state(), changed.components), (RunState::Waiting, vec!["A".to_owned()]));
                assert_eq!(changed.until.unwrap().seconds, 4);
            }
            other => panic!("{other:?}"),
        }
        let asking = Waiting {
            kind: WaitKind::Approval.into(),
            approval: "p1".into(),
            title: "may I?".into(),
            ..Waiting::default()
        };
        match of(&record(RecordKind::Waiting, Some(&key()), &asking)) {
            Some(Event::ApprovalRequested(asked)) => {
                assert_eq!(asked.approval, "teams/t/agents/a/runs/00-r/approvals/p1");
                assert_eq!((asked.title.as_str(), asked.expire_time), ("may I?", None));
            }
            other => panic!("{other:?}"),
        }
        let signal = |kind: &str| {
            of(&record(RecordKind::Signal, None, &SignalTaken { kind: kind.into(), ..Default::default() }))
        };
        assert!(matches!(signal("pause"), Some(Event::RunStateChanged(c)) if c.state() == RunState::Paused));
        assert!(
            matches!(signal("resume"), Some(Event::RunStateChanged(c)) if c.state() == RunState::Running)
        );
        assert!(signal("cancel").is_none());
    }

    #[test]
    fn records_that_only_the_engine_reads_are_no_events() {
        let redactor = Redactor::new("n");
        let resolved = Finished::resolved(&[Ok(Value::from(1))], &redactor).unwrap();
        for record in [
            record(RecordKind::Finished, Some(&key()), &resolved),
            record(RecordKind::Intent, Some(&key()), &()),
            record(RecordKind::Closed, None, &()),
        ] {
            assert!(event_of(&record, &redactor, RUN).unwrap().is_none());
        }
    }
}
