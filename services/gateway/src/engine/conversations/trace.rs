//! Spans of turns: `Agent.Conv` for a turn as long as it is in this engine, and below it, for each call of its model,
//! `Conv.GenAI.TTFB` up to the first piece of the answer and `Conv.GenAI` from there to its end. Tools are runs below
//! `Agent.Conv`. What was said is shown only for teams that want it, see `[telemetry.content]`.

use sre_proto::llm::v1::{GenerateRequest, GenerateResponse};
use sre_service::telemetry::spans::{Block, SpanKind, TraceParent, WorkSpan, pseudonym};
use tonic::Status;

use super::machine::End;
use super::model::Asking;
use super::scope::TurnScope;
use crate::engine::trace::{self, TIER};
use crate::engine::usage::named;

/// A turn's span, and what the spans of its calls say as well.
pub struct TurnSpan {
    span: WorkSpan,
    shared: Block,
}

impl TurnSpan {
    /// The span itself.
    pub fn span(&self) -> &WorkSpan {
        &self.span
    }

    /// The span of a turn that begins, or goes on here. None unless spans are exported.
    pub fn begin(scope: &TurnScope, epoch: i64) -> Option<Self> {
        let parent = TraceParent::kept(&scope.opened.traceparent);
        let span = WorkSpan::begin(|| "Agent.Conv", SpanKind::Internal, &parent)?;
        let agent = &scope.version.agent;
        let conversation = &scope.asked.conversation;
        let mut shared = Block::default();
        span.write(|to| {
            shared = Block::of(|to| {
                to.text("agent.id", &agent.agent).text("team.id", &agent.team).text("conv.id", conversation);
            });
            to.block(&shared).text("agent.name", &scope.compiled.plan.identity().name);
            to.text("agent.version", &scope.version.id).text("process.id", &scope.id);
            to.text("session.id", conversation).text("org.tier", TIER).flag("agent.debug", false);
            to.text("gen_ai.operation.name", "chat").text("gen_ai.conversation.id", conversation);
            to.text("gen_ai.agent.id", &agent.agent).int("sre.run.epoch", epoch);
            to.text("enduser.pseudo.id", &pseudonym(named(&scope.opened.root)));
            to.text("sre.subject.role", "agent").text("sre.actor.service", "engine");
        });
        span.event("skill.process.started", |to| {
            to.int("input.size", length(&scope.asked.text));
            if trace::shows_of(&scope.engine, &agent.team) {
                to.text("input.preview", trace::preview(&shown(scope, &scope.asked.text)));
            }
        });
        Some(Self { span, shared })
    }

    /// Its model was found.
    pub fn asks(&self, asking: &Asking) {
        self.span.write(|to| {
            to.text("gen_ai.provider.name", &asking.model.provider.to_lowercase());
            to.text("gen_ai.request.model", &asking.model.model_id).text("llm.model", &asking.name);
        });
    }

    /// The turn is over.
    pub fn ended(&self, end: &End, text: &str) {
        let failed = match end {
            End::Done => None,
            End::Failed { reason, .. } => Some(reason.as_str()),
            End::Cancelled { .. } => Some("CANCELLED"),
        };
        self.span.write(|to| {
            to.int("output.size", length(text)).flag("output.has_error", failed.is_some());
        });
        match failed {
            Some(reason) => {
                self.span.event("conv.error", |to| {
                    to.text("error.type", reason);
                });
                self.span.failed("result_error", reason);
            }
            None => self.span.succeeded(),
        }
    }
}

/// A call of the model under way.
pub struct Called<'s> {
    scope: &'s TurnScope,
    request_id: String,
    model: String,
    waiting: Option<WorkSpan>,
    answering: Option<WorkSpan>,
}

impl<'s> Called<'s> {
    /// The request is sent now.
    pub fn begin(scope: &'s TurnScope, request: &GenerateRequest) -> Self {
        let (request_id, model) = (request.idempotency_key.clone(), request.model.clone());
        let waiting = scope.span.as_ref().map(|turn| {
            let span = turn.span.child(|| "Conv.GenAI.TTFB", SpanKind::Internal);
            span.write(|to| {
                to.block(&turn.shared).text("request.id", &request_id).text("llm.model", &model);
                to.text("metric.type", "ttfb");
            });
            span.event("llm.requested", |to| {
                to.text("request.id", &request_id);
                to.int("messages", i64::try_from(request.messages.len()).unwrap_or(i64::MAX));
            });
            span
        });
        Self { scope, request_id, model, waiting, answering: None }
    }

    /// Something came, of so many bytes.
    pub fn piece(&mut self, bytes: usize) {
        let (Some(waiting), Some(turn)) = (self.waiting.take(), &self.scope.span) else { return };
        waiting.event("llm.first.byte.received", |to| {
            to.text("request.id", &self.request_id).text("llm.model", &self.model);
            to.int("data.size", i64::try_from(bytes).unwrap_or(i64::MAX));
        });
        waiting.succeeded();
        let span = turn.span.child(|| "Conv.GenAI", SpanKind::Internal);
        span.write(|to| {
            to.block(&turn.shared).text("request.id", &self.request_id).text("llm.model", &self.model);
        });
        span.event("llm.gen.started", |_| {});
        self.answering = Some(span);
    }

    /// What it came to.
    pub fn ended(mut self, answered: &Result<GenerateResponse, Status>) {
        if let Ok(answer) = answered {
            // An answer that came whole has its first byte with it.
            self.piece(answer.text.len());
        }
        let Some(span) = self.answering.or(self.waiting) else { return };
        match answered {
            Ok(answer) if answer.tool_calls.is_empty() => {
                span.event("llm.gen.content", |to| {
                    to.int("content.size", length(&answer.text));
                    if trace::shows_of(&self.scope.engine, &self.scope.version.agent.team) {
                        to.text("content.preview", trace::preview(&shown(self.scope, &answer.text)));
                    }
                });
                span.succeeded();
            }
            Ok(answer) => {
                let names = answer.tool_calls.iter().map(|call| call.name.as_str());
                span.event("llm.gen.tool.calls", |to| {
                    to.texts("tool.calls", names).text("llm.model", &self.model);
                });
                span.succeeded();
            }
            Err(status) => {
                let reason = sre_proto::error::reason(status).map_or("UNKNOWN", sre_proto::error::name);
                span.failed("result_error", reason);
            }
        }
    }
}

/// What was said, as a span shows it.
fn shown(scope: &TurnScope, text: &str) -> String {
    scope.engine.host.config().telemetry.content.shown(text)
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}
