//! What happens in a turn, as its conversation's watchers hear it: the events of its run, with exactly one end.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use sre_identity::Caller;
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::{ConversationEvent, EventCursor, RunEnded, RunEvent, TurnEnded, run_event};
use sre_proto::memory::v1::RunRecord;
use tonic::Status;

use crate::engine::core::Engine;
use crate::engine::{runs, watch};

/// A stream of events.
pub type Events = BoxStream<'static, Result<ConversationEvent, Status>>;

/// Follows a turn from a cursor on.
pub fn follow(engine: &Engine, caller: Caller, run: RunRecord, after: Option<EventCursor>) -> Events {
    let turn = runs::of_record(&run).run(&run.run_id);
    let events = watch::follow(engine, caller, run, after);
    events
        .filter_map(move |event| {
            let told = match event {
                Ok(event) => told(event, &turn).map(Ok),
                Err(status) => Some(Err(status)),
            };
            std::future::ready(told)
        })
        .boxed()
}

fn told(event: RunEvent, turn: &str) -> Option<ConversationEvent> {
    let what = match event.event? {
        run_event::Event::Turn(turn) => Event::TurnEvent(turn),
        run_event::Event::ActivationRestarted(restarted) => Event::ActivationRestarted(restarted),
        run_event::Event::RunStateChanged(changed) => Event::StateChanged(changed),
        run_event::Event::RunEnded(ended) => Event::End(end(ended)),
        _ => return None,
    };
    Some(ConversationEvent {
        cursor: event.cursor,
        time: event.time,
        turn: turn.to_owned(),
        event: Some(what),
    })
}

fn end(ended: RunEnded) -> TurnEnded {
    let answer: serde_json::Value = serde_json::from_slice(&ended.legacy_json).unwrap_or_default();
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    TurnEnded {
        state: ended.state,
        text: text("text"),
        request_id: text("request_id"),
        failure: ended.result.and_then(|result| result.failure),
    }
}
