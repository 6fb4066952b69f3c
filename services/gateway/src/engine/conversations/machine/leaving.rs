//! How a turn ends, and the messages that it leaves.

use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{TurnAborted, TurnFailed};
use sre_proto::llm::v1::GenerateResponse;
use sre_proto::memory::v1::StoredMessage;

use super::super::history::{Item, Replay, Said, ToolTurn};
use super::super::planner::Plan;
use super::super::steps::{Entry, Mark};
use super::{Turn, finish_word};

impl Turn {
    /// The answer is the turn's last.
    pub fn finish(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let word = self.answer.as_ref().map(finish_word).unwrap_or_default();
        // The last round's reason counts, and to call tools is no interruption (`llm.md` D3).
        if self.limited && self.answer.as_ref().is_some_and(|answer| !answer.tool_calls.is_empty()) {
            entries.push(self.interruption("max_tool_calls"));
        } else if !matches!(word.as_str(), "stop" | "tool_calls" | "") {
            entries.push(self.interruption(&word));
        }
        entries.push(Entry::mark(Mark::Over).with(self.answer_message()));
        entries
    }

    /// Somebody cancelled it. What is there stays: every call has a result, and no text is lost.
    pub fn abort(&self, reason: &str) -> Vec<Entry> {
        let aborted = Event::Aborted(TurnAborted { reason: reason.to_owned() });
        self.leave(aborted, "the call was interrupted: the prompt was cancelled")
    }

    /// It cannot go on.
    pub fn fail(&self, reason: &str, message: &str) -> Vec<Entry> {
        let failed = TurnFailed {
            reason: reason.to_owned(),
            message: message.to_owned(),
            request_id: self.request.clone(),
        };
        self.leave(Event::Error(failed), "the call was interrupted: the prompt failed")
    }

    fn leave(&self, event: Event, instead: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut over = Entry::mark(Mark::Over);
        if self.planned {
            let mut closed = self.clone();
            for index in (0..self.calls.len()).filter(|index| !self.calls[*index].done) {
                let entry = self.result(self.used(index), instead.to_owned(), true, false);
                closed.apply(&entry.step);
                entries.push(entry);
            }
            over = over.with(closed.tool_message());
        } else if self.begun {
            over = over.with(self.answer_message());
        }
        entries.push(Entry::event(event));
        entries.push(over);
        entries
    }

    /// The answer's text as a message; none where it is empty.
    fn answer_message(&self) -> Vec<StoredMessage> {
        let Some(answer) = self.answer.as_ref().filter(|answer| !answer.text.is_empty()) else {
            return Vec::new();
        };
        vec![self.stored(&self.message_id("answer"), &Item::Assistant(self.said(answer)))]
    }

    pub(super) fn tool_message(&self) -> Vec<StoredMessage> {
        let Some(answer) = &self.answer else { return Vec::new() };
        let calls = self.calls.iter().map(|call| call.called.clone()).collect();
        let turn = Item::Tools(ToolTurn { said: self.said(answer), calls });
        vec![self.stored(&self.message_id("tools"), &turn)]
    }

    fn said(&self, answer: &GenerateResponse) -> Said {
        let replay = Replay {
            provider: answer.provider.clone(),
            model_id: answer.model_id.clone(),
            parts: answer.parts.clone(),
        };
        let plan = self.plan.as_ref().map(Plan::json);
        Said { text: answer.text.clone(), replay, window_from: self.window_from, plan }
    }

    /// The same for everybody who comes to the same message.
    pub(super) fn message_id(&self, what: &str) -> String {
        format!("msg_{}_{}_{what}", self.run, self.rounds)
    }

    pub(super) fn stored(&self, id: &str, item: &Item) -> StoredMessage {
        item.stored(id, &self.run)
    }
}
