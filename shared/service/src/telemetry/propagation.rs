//! The W3C trace context over gRPC metadata.

use http::HeaderValue;
use sre_proto::MethodPolicy;

use super::spans::{self, Tracer, WorkSpan};
use super::trace_context::TraceContext;
use crate::context::CallContext;
use crate::role::Role;

/// `traceparent` and `tracestate` of a call that this task makes.
pub(crate) fn outgoing(current: Option<CallContext>) -> Option<(HeaderValue, Option<HeaderValue>)> {
    let own = spans::with_current(|_, context| {
        let parent = HeaderValue::from_bytes(&context.to_bytes()).ok()?;
        Some((parent, context.state.clone()))
    });
    if let Some(headers) = own.flatten() {
        return Some(headers);
    }
    // Without export of our own the caller's trace is handed on as it came.
    let current = current?;
    Some((current.traceparent?, current.tracestate))
}

/// The span of a call that is served, a child of the caller's; none unless spans are exported.
pub(crate) fn server_span(
    role: Role,
    method: Option<&MethodPolicy>,
    context: &CallContext,
) -> Option<WorkSpan> {
    spans::tracer()?.of_call(role, method?, context)
}

impl Tracer {
    pub(super) fn of_call(
        &self,
        role: Role,
        method: &MethodPolicy,
        context: &CallContext,
    ) -> Option<WorkSpan> {
        // A malformed context starts a trace of its own.
        let caller = TraceContext::of_headers(context.traceparent.as_ref(), context.tracestate.as_ref());
        let span = self.serve(method.path.strip_prefix('/')?, caller.as_ref());
        span.write(|to| {
            to.text("rpc.system.name", "grpc");
            to.text("rpc.service", method.service).text("rpc.method", method.method);
            to.text("sre.role", role.name());
        });
        Some(span)
    }
}

/// How a call ended, on its span.
pub(crate) fn note_code(code: &'static str) {
    let _ = spans::with_current(|span, _| {
        span.set_text("rpc.response.status_code", code);
        if matches!(
            code,
            "UNKNOWN" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED"
        ) {
            span.failed_by(code);
        }
    });
}
