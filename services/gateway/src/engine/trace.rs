//! Spans of runs: `Agent.Skill`, and below it one `Component.<Type>` for each activation. They show what ran and how
//! large it was; what it said only for teams that want it, see `[telemetry.content]`.

use sre_engine::run::Settled;
use sre_engine::{Activation, ActivationKey, Map, Node, Outcome, Value};
use sre_proto::memory::v1::RunState;
use sre_service::telemetry::spans::{SpanKind, SpanValue, TraceParent, WorkSpan, pseudonym};

use super::answers::Closed;
use super::scope::{NewScope, RunScope};
use super::steps;
use super::usage::named;

/// What the reference calls its plans; there are none here.
const TIER: &str = "standard";
/// A preview ends here.
const PREVIEW_BYTES: usize = 200;

/// The span of a run, below whoever asked for it. None unless spans are exported.
pub fn skill(new: &NewScope, session: &str, parent: &TraceParent) -> Option<WorkSpan> {
    let span = WorkSpan::begin(|| "Agent.Skill".to_owned(), SpanKind::Internal, parent)?;
    let agent = &new.subject.version.agent;
    let user = named(&new.subject.root);
    span.set_text("agent.id", &agent.agent);
    span.set_text("agent.name", &new.subject.compiled.plan.identity().name);
    span.set_text("agent.version", &new.subject.version.id);
    span.set_text("team.id", &agent.team);
    span.set_text("process.id", &new.id);
    span.set_text("session.id", session);
    span.set("org.tier", TIER);
    span.set("agent.debug", false);
    span.set_text("gen_ai.operation.name", "invoke_agent");
    span.set_text("gen_ai.agent.id", &agent.agent);
    span.set_text("sre.skill", &new.subject.compiled.plan.entry_node(new.subject.entry).id);
    span.set("sre.run.epoch", new.epoch);
    span.set_text("enduser.pseudo.id", &pseudonym(user));
    span.set_text("sre.subject.role", "agent");
    span.set_text("sre.actor.service", "engine");
    Some(span)
}

/// The run begins, with this request.
pub fn began(scope: &RunScope) {
    let Some(span) = &scope.span else { return };
    let endpoint = scope.subject.compiled.plan.entry_node(scope.subject.entry).id.to_string();
    let size = || size_of(&scope.request.body);
    match shows(scope) {
        false => span
            .event("skill.process.started", [("endpoint", endpoint.into()), ("input.size", size().into())]),
        true => {
            let headers =
                scope.request.headers.iter().map(|(name, value)| (name.to_string(), value.to_text()));
            let headers: Vec<(String, String)> = headers.collect();
            let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let content = &scope.engine.host.config().telemetry.content;
            let headers = scope.redactor().presentable_text(&content.shown_headers(pairs));
            span.event(
                "skill.process.started",
                [
                    ("endpoint", endpoint.into()),
                    ("input.size", size().into()),
                    ("input", shown(scope, &scope.request.body).into()),
                    ("headers", headers.into()),
                ],
            );
        }
    }
}

/// The run ended, or leaves this engine.
pub fn ended(scope: &RunScope, state: RunState, closed: &Closed) {
    let Some(span) = &scope.span else { return };
    let size = SpanValue::from(i64::try_from(closed.legacy.len()).unwrap_or(i64::MAX));
    let unhandled = !closed.errors.is_empty();
    let failed = state == RunState::Failed || closed.failure.is_some() || unhandled;
    span.set("output.size", size.clone());
    span.set("output.has_error", failed);
    if failed {
        let reason = closed.failure.as_ref().map_or("UNHANDLED_ERROR", |failure| failure.reason.as_str());
        span.event("skill.process.error", [("error.type", reason.to_owned().into())]);
        span.failed("result_error", reason);
    } else {
        span.event("skill.process.completed", [("output.size", size)]);
        span.succeeded();
    }
}

/// The span of an activation. None unless spans are exported.
pub fn component(scope: &RunScope, started: &Activation) -> Option<WorkSpan> {
    let span = activation(scope, &started.key, &started.node)?;
    let event = started.key.to_string();
    let size = SpanValue::from(size_of_map(&started.input));
    match shows(scope) {
        false => span.event("cmp.call", [("event.id", event.into()), ("cmp.input.size", size)]),
        true => {
            let input = shown(scope, &Value::object((*started.input).clone()));
            span.event(
                "cmp.call",
                [("event.id", event.into()), ("cmp.input.size", size), ("cmp.input", input.into())],
            );
        }
    }
    Some(span)
}

fn activation(scope: &RunScope, key: &ActivationKey, node: &Node) -> Option<WorkSpan> {
    let parent = scope.span.as_ref()?;
    let span = parent.child(|| format!("Component.{}", node.type_name), SpanKind::Internal)?;
    let agent = &scope.subject.version.agent;
    span.set_text("agent.id", &agent.agent);
    span.set_text("agent.name", &scope.subject.compiled.plan.identity().name);
    span.set_text("team.id", &agent.team);
    span.set_text("process.id", &scope.id);
    span.set_text("session.id", &scope.session_id);
    span.set("org.tier", TIER);
    span.set("agent.debug", false);
    span.set_text("event.id", &key.to_string());
    span.set_text("cmp.id", &key.component);
    span.set_text("cmp.type", &node.type_name);
    span.set_text("cmp.name", if node.title.is_empty() { &node.display_name } else { &node.title });
    span.set("workflow.step", i64::from(key.round));
    Some(span)
}

/// The engine settled an activation by itself, in no time.
pub fn settled(scope: &RunScope, settled: &Settled) {
    let Some(span) = activation(scope, &settled.key, &settled.node) else { return };
    landed(scope, &span, &settled.key, &settled.outcome);
}

/// How an activation ended.
pub fn landed(scope: &RunScope, span: &WorkSpan, key: &ActivationKey, outcome: &Outcome) {
    let size = SpanValue::from(outcome.output.as_ref().map_or(0, size_of));
    let error = outcome.output.as_ref().and_then(steps::error_of);
    span.set("output.size", size.clone());
    span.set("output.has_error", error.is_some());
    let shows = shows(scope);
    match error {
        Some(message) => {
            // What failed may tell what it was given.
            let message = if shows { scope.redactor().presentable_text(&message) } else { String::new() };
            let event = [
                ("event.id", key.to_string().into()),
                ("error.type", "result_error".into()),
                ("error.message", message.clone().into()),
            ];
            span.event("cmp.call.error", event);
            span.failed("result_error", if shows { &message } else { "the component failed" });
        }
        None => {
            let preview = match &outcome.output {
                Some(output) if shows => preview(&shown(scope, output)).to_owned(),
                _ => String::new(),
            };
            match preview.is_empty() {
                true => span.event("cmp.call.result", [("output.size", size)]),
                false => {
                    span.event("cmp.call.result", [("output.size", size), ("output.preview", preview.into())])
                }
            }
            span.succeeded();
        }
    }
}

fn shows(scope: &RunScope) -> bool {
    scope.engine.host.config().telemetry.content.shows(&scope.subject.version.agent.team)
}

/// A value as a span shows it: secrets as their references, named fields left out, cut.
fn shown(scope: &RunScope, value: &Value) -> String {
    let redactor = scope.redactor();
    let text = redactor.presentable(&redactor.redact(value)).to_json_text();
    scope.engine.host.config().telemetry.content.shown(&text)
}

fn preview(text: &str) -> &str {
    &text[..text.floor_char_boundary(PREVIEW_BYTES)]
}

fn size_of(value: &Value) -> i64 {
    i64::try_from(value.to_json_text().len()).unwrap_or(i64::MAX)
}

fn size_of_map(map: &Map) -> i64 {
    map.values().map(size_of).sum()
}
