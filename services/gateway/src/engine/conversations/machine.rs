//! One turn as a state machine: `Enter → Ask → (Plan → RunTools → CloseRound → Ask)* → Finish`, or `Failed` or
//! `Cancelled` from anywhere. Every transition is an [`Entry`], a record of the journal with the messages that it
//! commits, and the state is what the entries say: whoever folds them goes on where the last owner was. Pure: time,
//! models and tools are the driver's.

mod leaving;
mod planning;

use std::collections::HashMap;

use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{
    ModelAnswered, ModelFellBack, ModelRequested, ModelUsed, ToolAnswered, ToolCalled, ToolUse, TurnAborted,
    TurnFailed, TurnInterrupted, TurnStarted,
};
use sre_proto::llm::v1::{FinishReason, GenerateResponse};

use super::history::{Asked, Called, Item};
use super::planner::{self, Plan};
use super::steps::{Entry, Mark, Step};
use super::tools;

/// What bounds a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of tools.
    pub tool_calls: u32,
    /// Calls of the model that may call tools.
    pub rounds: u32,
    /// The same call with the same arguments.
    pub repeated: u32,
    /// Bytes of one result.
    pub result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tool_calls: 100, rounds: 25, repeated: 3, result_bytes: 32 << 10 }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Wait until the turn holds its conversation, then [`Turn::begin`].
    Enter,
    /// Call the model, then [`Turn::answered`].
    Ask {
        /// Whether it may call tools.
        tools: bool,
        /// An owner before this one began the call and did not hear its answer.
        again: bool,
    },
    /// [`Turn::plan`] the calls of the answer.
    Plan,
    /// Run these calls, by their index, and say [`Turn::started`] and [`Turn::finished`].
    RunTools(Vec<usize>),
    /// [`Turn::close_round`].
    CloseRound,
    /// [`Turn::finish`].
    Finish,
    /// Nothing: it is over.
    Over(End),
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With an answer.
    Done,
    /// Without one.
    Failed {
        /// A reason of the contract, without prefix.
        reason: String,
        /// What is wrong.
        message: String,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// A call of the answer that is worked on.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The call.
    pub called: Called,
    /// What is shown while it runs.
    pub status: String,
    /// The run that executes it, where it began and is one.
    pub run: String,
    /// It began.
    pub begun: bool,
    /// Whether it has its result.
    pub done: bool,
    /// It was not called: the limit is reached.
    pub deferred: bool,
}

/// One turn.
#[derive(Clone, Debug)]
pub struct Turn {
    run: String,
    limits: Limits,
    /// Place of the turn's first message; 0 before it began.
    pub from: i64,
    /// Id of its first call of the model.
    pub first_request: String,
    /// Id of the call that is worked on.
    pub request: String,
    /// All text so far.
    pub text: String,
    /// Calls of the model that were answered.
    pub rounds: u32,
    begun: bool,
    asked: bool,
    answer: Option<GenerateResponse>,
    calls: Vec<Call>,
    planned: bool,
    tool_calls: u32,
    seen: HashMap<(String, String), u32>,
    limited: bool,
    failed: Option<TurnFailed>,
    aborted: Option<TurnAborted>,
    over: bool,
    /// The plan of the conversation, in planner mode or after it; none where there never was one.
    pub plan: Option<Plan>,
    /// What the last window began at; not journalled, and only an optimisation.
    pub window_from: i64,
}

impl Turn {
    /// A turn of which nothing happened.
    pub fn new(run: impl Into<String>, limits: Limits) -> Self {
        Self {
            run: run.into(),
            limits,
            from: 0,
            first_request: String::new(),
            request: String::new(),
            text: String::new(),
            rounds: 0,
            begun: false,
            asked: false,
            answer: None,
            calls: Vec::new(),
            planned: false,
            tool_calls: 0,
            seen: HashMap::new(),
            limited: false,
            failed: None,
            aborted: None,
            over: false,
            plan: None,
            window_from: 0,
        }
    }

    /// The calls of the answer that is worked on.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Whether something was begun that a new owner begins again: a call of the model, tools that run.
    pub fn interrupted(&self) -> bool {
        self.asked && self.answer.is_none()
    }

    /// What is to be done next.
    pub fn next(&self) -> Next {
        if self.over {
            let end = match (&self.failed, &self.aborted) {
                (Some(failed), _) => {
                    End::Failed { reason: failed.reason.clone(), message: failed.message.clone() }
                }
                (None, Some(aborted)) => End::Cancelled { reason: aborted.reason.clone() },
                (None, None) => End::Done,
            };
            return Next::Over(end);
        }
        if !self.begun {
            return Next::Enter;
        }
        let Some(answer) = &self.answer else {
            return Next::Ask { tools: !self.limited, again: self.asked };
        };
        // A model that calls tools although none were offered has had its last word.
        if answer.tool_calls.is_empty() || self.limited {
            return Next::Finish;
        }
        if !self.planned {
            return Next::Plan;
        }
        let open: Vec<usize> = (0..self.calls.len()).filter(|index| !self.calls[*index].done).collect();
        if open.is_empty() { Next::CloseRound } else { Next::RunTools(open) }
    }

    /// Takes in a step, new or read.
    pub fn apply(&mut self, step: &Step) {
        match step.event.as_ref().and_then(|event| event.event.as_ref()) {
            Some(Event::Start(_)) => {
                self.begun = true;
                self.from = step.version + 1;
                self.plan = Plan::read(&step.plan);
            }
            Some(Event::Requested(requested)) => {
                self.asked = true;
                self.request.clone_from(&requested.request_id);
                if self.first_request.is_empty() {
                    self.first_request.clone_from(&requested.request_id);
                }
            }
            Some(Event::Answer(answered)) => {
                self.asked = false;
                self.rounds += 1;
                if !answered.text.is_empty() {
                    if !self.text.is_empty() {
                        self.text.push_str("\n\n");
                    }
                    self.text.push_str(&answered.text);
                }
                self.answer = Some(step.response.clone().unwrap_or_default());
                self.planned = false;
                self.calls.clear();
            }
            Some(Event::ToolInfo(info)) => {
                self.planned = true;
                let signatures = self.answer.iter().flat_map(|answer| &answer.tool_calls);
                let signatures: Vec<Vec<u8>> = signatures.map(|call| call.signature.to_vec()).collect();
                self.calls = info
                    .calls
                    .iter()
                    .enumerate()
                    .map(|(index, used)| call(used, signatures.get(index)))
                    .collect();
            }
            Some(Event::ToolCall(called)) => {
                if let Some(call) = called.call.as_ref().and_then(|used| self.call_at(used.index)) {
                    call.run.clone_from(&called.run);
                    call.begun = true;
                }
            }
            Some(Event::ToolResult(answered)) => self.take_result(answered),
            Some(event) if planner::changed(event).is_some() => self.plan = planner::changed(event),
            Some(Event::Error(failed)) => self.failed = Some(failed.clone()),
            Some(Event::Aborted(aborted)) => self.aborted = Some(aborted.clone()),
            _ => {}
        }
        match step.mark() {
            Mark::None => {}
            Mark::RoundClosed => {
                self.answer = None;
                self.planned = false;
                self.calls.clear();
            }
            Mark::Limited => self.limited = true,
            Mark::Over => self.over = true,
        }
    }

    fn call_at(&mut self, index: i32) -> Option<&mut Call> {
        self.calls.get_mut(usize::try_from(index).ok()?)
    }

    fn take_result(&mut self, answered: &ToolAnswered) {
        let Some(used) = &answered.call else { return };
        let Some(call) = self.call_at(used.index).filter(|call| !call.done) else { return };
        call.called.result.clone_from(&answered.result);
        call.called.failed = answered.failed;
        call.done = true;
        call.deferred = answered.pending;
        let key = (used.name.clone(), call.called.arguments.clone());
        if !answered.pending {
            self.tool_calls += 1;
            *self.seen.entry(key).or_default() += 1;
        }
    }

    /// The turn holds its conversation, which has so many messages.
    pub fn begin(
        &self,
        version: i64,
        message_id: &str,
        asked: Asked,
        plan: Option<&serde_json::Value>,
    ) -> Vec<Entry> {
        let started = TurnStarted {
            request_id: String::new(),
            message_id: message_id.to_owned(),
            text: asked.text.clone(),
        };
        let mut entry = Entry::event(Event::Start(started));
        entry.step.version = version;
        entry.step.plan = plan.map(|plan| plan.to_string().into()).unwrap_or_default();
        vec![entry.with(vec![self.stored(message_id, &Item::User(asked))])]
    }

    /// The model is about to be called.
    pub fn ask(&self, requested: ModelRequested) -> Vec<Entry> {
        vec![Entry::event(Event::Requested(requested))]
    }

    /// The model answered.
    pub fn answered(&self, mut response: GenerateResponse, asked_model: &str) -> Vec<Entry> {
        response.usage_event = Default::default();
        self.give_ids(&mut response);
        let request_id = self.request.clone();
        let model = if response.model.is_empty() { asked_model.to_owned() } else { response.model.clone() };
        let mut entries = Vec::new();
        if model != asked_model {
            let (from, to) = (asked_model.to_owned(), model.clone());
            entries.push(Entry::event(Event::Fallback(ModelFellBack {
                request_id: request_id.clone(),
                from,
                to,
            })));
        }
        let mut answer = Entry::event(Event::Answer(ModelAnswered {
            request_id: request_id.clone(),
            text: response.text.clone(),
            thinking: response.thinking.clone(),
            finish_reason: finish_word(&response),
            model: model.clone(),
        }));
        let used = Entry::event(Event::Usage(ModelUsed {
            request_id,
            model,
            tokens: response.usage,
            cost_micros: response.cost_micros,
        }));
        answer.step.response = Some(response);
        entries.extend([answer, used]);
        entries
    }

    /// Calls that came without an id of their own get one.
    fn give_ids(&self, response: &mut GenerateResponse) {
        let mut known: Vec<String> = Vec::new();
        for (index, call) in response.tool_calls.iter_mut().enumerate() {
            if call.id.is_empty() || known.contains(&call.id) {
                let uuid: String =
                    self.request.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
                call.id = format!("call_{uuid}_{index}");
            }
            known.push(call.id.clone());
        }
    }

    fn result(&self, call: ToolUse, result: String, failed: bool, pending: bool) -> Entry {
        let answered =
            ToolAnswered { request_id: self.request.clone(), call: Some(call), result, failed, pending };
        Entry::event(Event::ToolResult(answered))
    }

    fn used(&self, index: usize) -> ToolUse {
        let call = self.calls.get(index);
        let called = call.map(|call| call.called.clone()).unwrap_or_default();
        ToolUse {
            index: i32::try_from(index).unwrap_or(i32::MAX),
            id: called.id,
            name: called.name,
            arguments_json: called.arguments.into(),
            status: call.map(|call| call.status.clone()).unwrap_or_default(),
        }
    }

    /// A call begins, as this run; as none where it needs none.
    pub fn started(&self, index: usize, run: &str) -> Vec<Entry> {
        let called = ToolCalled {
            request_id: self.request.clone(),
            call: Some(self.used(index)),
            run: run.to_owned(),
        };
        vec![Entry::event(Event::ToolCall(called))]
    }

    /// A call ended.
    pub fn finished(&self, index: usize, result: &str, failed: bool) -> Vec<Entry> {
        let result = tools::capped(result, self.limits.result_bytes);
        vec![self.result(self.used(index), result, failed, false)]
    }

    /// All calls have their results: they become part of the history, together.
    pub fn close_round(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::mark(Mark::RoundClosed).with(self.tool_message())];
        let deferred: Vec<&str> =
            self.calls.iter().filter(|call| call.deferred).map(|call| call.called.name.as_str()).collect();
        let calls_spent = self.tool_calls >= self.limits.tool_calls;
        let rounds_spent = self.rounds >= self.limits.rounds;
        if !calls_spent && !rounds_spent {
            return entries;
        }
        let mut limited = Entry::mark(Mark::Limited);
        if !deferred.is_empty() || rounds_spent {
            let (reason, spent) = match deferred.is_empty() {
                false => ("max_tool_calls", format!("{} calls of tools", self.limits.tool_calls)),
                true => ("max_rounds", format!("{} rounds", self.limits.rounds)),
            };
            let pending = match deferred.is_empty() {
                true => String::new(),
                false => format!(" These were not called: {}.", deferred.join(", ")),
            };
            let text = format!(
                "The limit of {spent} for one prompt is reached.{pending} \
                 Answer as well as you can with what you know, and say what is missing."
            );
            let note = Item::User(Asked { text, internal: true, ..Asked::default() });
            let id = self.message_id("note");
            limited = limited.with(vec![self.stored(&id, &note)]);
            entries.push(self.interruption(reason));
        }
        entries.push(limited);
        entries
    }

    fn interruption(&self, reason: &str) -> Entry {
        let (reason, request_id) = (reason.to_owned(), self.request.clone());
        Entry::event(Event::Interrupted(TurnInterrupted { reason, request_id }))
    }
}

fn call(used: &ToolUse, signature: Option<&Vec<u8>>) -> Call {
    Call {
        called: Called {
            id: used.id.clone(),
            name: used.name.clone(),
            arguments: String::from_utf8_lossy(&used.arguments_json).into_owned(),
            signature: signature.cloned().unwrap_or_default(),
            ..Called::default()
        },
        status: used.status.clone(),
        run: String::new(),
        begun: false,
        done: false,
        deferred: false,
    }
}

/// Why an answer ended, in one word.
pub fn finish_word(response: &GenerateResponse) -> String {
    match response.finish_reason() {
        FinishReason::Stop => "stop".to_owned(),
        FinishReason::Length => "length".to_owned(),
        FinishReason::ToolCalls => "tool_calls".to_owned(),
        FinishReason::ContentFilter => "content_filter".to_owned(),
        FinishReason::Other if !response.finish_detail.is_empty() => response.finish_detail.clone(),
        FinishReason::Other | FinishReason::Unspecified => String::new(),
    }
}
