//! The W3C trace context over gRPC metadata.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use sre_proto::MethodPolicy;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::context::{CallContext, TRACEPARENT, TRACESTATE};
use crate::role::Role;

/// The target of spans of calls.
pub(crate) const TARGET: &str = "sre_rpc";

static EXPORTING: AtomicBool = AtomicBool::new(false);

/// Spans are made from now on.
pub(super) fn enable() {
    EXPORTING.store(true, Ordering::Release);
}

pub(crate) fn exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// `traceparent` and `tracestate` of a call that this task makes.
pub(crate) fn outgoing(current: Option<CallContext>) -> Option<(HeaderValue, Option<HeaderValue>)> {
    if exporting() {
        let mut headers = Headers::default();
        TraceContextPropagator::new().inject_context(&Span::current().context(), &mut headers);
        if let Some(parent) = headers.parent {
            return Some((parent, headers.state));
        }
    }
    // Without export of our own the caller's trace is handed on as it came.
    let current = current?;
    Some((current.traceparent?, current.tracestate))
}

/// The span of a call that is served, a child of the caller's; none unless spans are exported.
pub(crate) fn server_span(role: Role, method: Option<&MethodPolicy>, context: &CallContext) -> Option<Span> {
    if !exporting() {
        return None;
    }
    let method = method?;
    let span = tracing::info_span!(
        target: TARGET,
        "rpc",
        otel.name = format!("{}/{}", method.service, method.method),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.system.name = "grpc",
        rpc.service = method.service,
        rpc.method = method.method,
        sre.role = role.name(),
        rpc.response.status_code = tracing::field::Empty,
    );
    let headers = Headers { parent: context.traceparent.clone(), state: context.tracestate.clone() };
    // A malformed context starts a trace of its own.
    drop(span.set_parent(TraceContextPropagator::new().extract(&headers)));
    Some(span)
}

/// How a call ended, on its span.
pub(crate) fn note_code(traced: bool, code: &'static str) {
    if traced {
        let span = Span::current();
        span.record("rpc.response.status_code", code);
        if matches!(
            code,
            "UNKNOWN" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED"
        ) {
            span.set_status(opentelemetry::trace::Status::error(code));
        }
    }
}

/// Makes a span the child of a context that was kept.
pub(crate) fn set_parent(span: &Span, parent: HeaderValue) {
    let headers = Headers { parent: Some(parent), state: None };
    // A malformed context starts a trace of its own.
    drop(span.set_parent(TraceContextPropagator::new().extract(&headers)));
}

#[derive(Default)]
struct Headers {
    parent: Option<HeaderValue>,
    state: Option<HeaderValue>,
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        let value = HeaderValue::try_from(value).ok().filter(|value| !value.is_empty());
        match key {
            TRACEPARENT => self.parent = value,
            TRACESTATE => self.state = value,
            _ => {}
        }
    }
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        let value = match key {
            TRACEPARENT => &self.parent,
            TRACESTATE => &self.state,
            _ => return None,
        };
        value.as_ref()?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}
