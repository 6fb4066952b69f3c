//! Spans of runs: `Agent.Skill`, and below it one `Component.<Type>` for each activation. They show what ran and how
//! large it was; what it said only for teams that want it, see `[telemetry.content]`.

use sre_engine::run::Settled;
use sre_engine::{Activation, ActivationKey, Map, Node, Outcome, Value};
use sre_proto::memory::v1::RunState;
use sre_service::telemetry::spans::{Block, SpanKind, TraceParent, WorkSpan, pseudonym};

use super::answers::Closed;
use super::core::Engine;
use super::scope::{NewScope, RunScope};
use super::steps;
use super::usage::named;

/// What the reference calls its plans; there are none here.
pub(super) const TIER: &str = "standard";
/// A preview ends here.
const PREVIEW_BYTES: usize = 200;

/// A run's span, and what the spans of its activations say as well.
pub struct RunSpan {
    span: WorkSpan,
    shared: Block,
}

impl RunSpan {
    /// Whether it is exported.
    pub fn is_recorded(&self) -> bool {
        self.span.is_recorded()
    }

    /// The context that calls under it carry.
    pub fn context(&self) -> TraceParent {
        self.span.context()
    }
}

/// The span of a run, below whoever asked for it. None unless spans are exported.
pub fn skill(new: &NewScope, session: &str, parent: &TraceParent) -> Option<RunSpan> {
    let span = WorkSpan::begin(|| "Agent.Skill", SpanKind::Internal, parent)?;
    let agent = &new.subject.version.agent;
    let plan = &new.subject.compiled.plan;
    let mut shared = Block::default();
    span.write(|to| {
        shared = Block::of(|to| {
            to.text("agent.id", &agent.agent).text("agent.name", &plan.identity().name);
            to.text("team.id", &agent.team).text("process.id", &new.id).text("session.id", session);
            to.text("org.tier", TIER).flag("agent.debug", false);
        });
        to.block(&shared).text("agent.version", &new.subject.version.id);
        to.text("gen_ai.operation.name", "invoke_agent").text("gen_ai.agent.id", &agent.agent);
        to.text("sre.skill", &plan.entry_node(new.subject.entry).id).int("sre.run.epoch", new.epoch);
        to.text("enduser.pseudo.id", &pseudonym(named(&new.subject.root)));
        to.text("sre.subject.role", "agent").text("sre.actor.service", "engine");
    });
    Some(RunSpan { span, shared })
}

/// The run begins, with this request.
pub fn began(scope: &RunScope) {
    let Some(RunSpan { span, .. }) = &scope.span else { return };
    span.event("skill.process.started", |to| {
        to.text("endpoint", &scope.subject.compiled.plan.entry_node(scope.subject.entry).id);
        to.int("input.size", size_of(&scope.request.body));
        if shows(scope) {
            let headers =
                scope.request.headers.iter().map(|(name, value)| (name.to_string(), value.to_text()));
            let headers: Vec<(String, String)> = headers.collect();
            let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let content = &scope.engine.host.config().telemetry.content;
            let headers = scope.redactor().presentable_text(&content.shown_headers(pairs));
            to.text("input", &shown(scope, &scope.request.body)).text("headers", &headers);
        }
    });
}

/// The run ended, or leaves this engine.
pub fn ended(scope: &RunScope, state: RunState, closed: &Closed) {
    let Some(RunSpan { span, .. }) = &scope.span else { return };
    let size = i64::try_from(closed.legacy.len()).unwrap_or(i64::MAX);
    let unhandled = !closed.errors.is_empty();
    let failed = state == RunState::Failed || closed.failure.is_some() || unhandled;
    span.write(|to| {
        to.int("output.size", size).flag("output.has_error", failed);
    });
    if failed {
        let reason = closed.failure.as_ref().map_or("UNHANDLED_ERROR", |failure| failure.reason.as_str());
        span.event("skill.process.error", |to| {
            to.text("error.type", reason);
        });
        span.failed("result_error", reason);
    } else {
        span.event("skill.process.completed", |to| {
            to.int("output.size", size);
        });
        span.succeeded();
    }
}

/// The span of an activation. None unless spans are exported.
pub fn component(scope: &RunScope, started: &Activation) -> Option<WorkSpan> {
    let span = activation(scope, &started.key, &started.node)?;
    span.event("cmp.call", |to| {
        to.text("event.id", &started.key.to_string()).int("cmp.input.size", size_of_map(&started.input));
        if shows(scope) {
            to.text("cmp.input", &shown(scope, &Value::object((*started.input).clone())));
        }
    });
    Some(span)
}

fn activation(scope: &RunScope, key: &ActivationKey, node: &Node) -> Option<WorkSpan> {
    let RunSpan { span, shared } = scope.span.as_ref()?;
    let span = span.child(|| format!("Component.{}", node.type_name), SpanKind::Internal);
    span.write(|to| {
        to.block(shared).text("event.id", &key.to_string());
        to.text("cmp.id", &key.component).text("cmp.type", &node.type_name);
        to.text("cmp.name", if node.title.is_empty() { &node.display_name } else { &node.title });
        to.int("workflow.step", i64::from(key.round));
    });
    Some(span)
}

/// The engine settled an activation by itself, in no time.
pub fn settled(scope: &RunScope, settled: &Settled) {
    let Some(span) = activation(scope, &settled.key, &settled.node) else { return };
    landed(scope, &span, &settled.key, &settled.outcome);
}

/// How an activation ended.
pub fn landed(scope: &RunScope, span: &WorkSpan, key: &ActivationKey, outcome: &Outcome) {
    if !span.is_recorded() {
        return;
    }
    let size = outcome.output.as_ref().map_or(0, size_of);
    let error = outcome.output.as_ref().and_then(steps::error_of);
    span.write(|to| {
        to.int("output.size", size).flag("output.has_error", error.is_some());
    });
    let shows = shows(scope);
    match error {
        Some(message) => {
            // What failed may tell what it was given.
            let message = if shows { scope.redactor().presentable_text(&message) } else { String::new() };
            span.event("cmp.call.error", |to| {
                to.text("event.id", &key.to_string()).text("error.type", "result_error");
                to.text("error.message", &message);
            });
            span.failed("result_error", if shows { &message } else { "the component failed" });
        }
        None => {
            span.event("cmp.call.result", |to| {
                to.int("output.size", size);
                if let Some(output) = outcome.output.as_ref().filter(|_| shows) {
                    to.text("output.preview", preview(&shown(scope, output)));
                }
            });
            span.succeeded();
        }
    }
}

fn shows(scope: &RunScope) -> bool {
    shows_of(&scope.engine, &scope.subject.version.agent.team)
}

/// Whether spans show what a team's runs say.
pub(super) fn shows_of(engine: &Engine, team: &str) -> bool {
    engine.host.config().telemetry.content.shows(team)
}

/// A value as a span shows it: secrets as their references, named fields left out, cut.
fn shown(scope: &RunScope, value: &Value) -> String {
    let redactor = scope.redactor();
    let text = redactor.presentable(&redactor.redact(value)).to_json_text();
    scope.engine.host.config().telemetry.content.shown(&text)
}

/// The beginning.
pub(super) fn preview(text: &str) -> &str {
    &text[..text.floor_char_boundary(PREVIEW_BYTES)]
}

fn size_of(value: &Value) -> i64 {
    i64::try_from(value.json_len()).unwrap_or(i64::MAX)
}

fn size_of_map(map: &Map) -> i64 {
    map.values().map(size_of).sum()
}
