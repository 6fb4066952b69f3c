//! Spans of work: an agent's skill, a component, a model's answer. They are for export alone, so that without an
//! exporter none is made, and nothing is put together for one.

use http::HeaderValue;
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Array, KeyValue, StringValue};
use tracing::Span;
use tracing::instrument::{Instrument as _, Instrumented};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::propagation::{self, TARGET};

pub use opentelemetry::Value as SpanValue;

/// What a span is to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside.
    Internal,
    /// A call of somebody else's service.
    Client,
}

/// The W3C context that a span hands on, `00-<trace>-<span>-<flags>`, to be kept or sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceParent(String);

impl TraceParent {
    /// One that was kept; anything else than a context counts as none.
    pub fn kept(text: &str) -> Self {
        let whole = text.len() == 55 && text.is_ascii() && text.matches('-').count() == 3;
        Self(if whole { text.to_owned() } else { String::new() })
    }

    /// The context of this task's span or call; empty where nothing is traced.
    pub fn current() -> Self {
        let headers = propagation::outgoing(crate::context::CallContext::current());
        let parent = headers.as_ref().and_then(|(parent, _)| parent.to_str().ok());
        parent.map(Self::kept).unwrap_or_default()
    }

    /// As a header says it; empty where there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace, 32 hex digits; empty where there is none.
    pub fn trace_id(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }
}

/// A span of work. It ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct WorkSpan(Span);

impl WorkSpan {
    /// Begins a span below a kept context, or below this task's span where that is empty. None unless spans are
    /// exported: ask before anything is put together for it.
    pub fn begin(name: impl FnOnce() -> String, kind: SpanKind, parent: &TraceParent) -> Option<Self> {
        if !propagation::exporting() {
            return None;
        }
        let kind = match kind {
            SpanKind::Internal => "internal",
            SpanKind::Client => "client",
        };
        let span = match parent.as_str() {
            "" => tracing::info_span!(target: TARGET, "work", otel.name = name(), otel.kind = kind),
            kept => {
                let span = tracing::info_span!(target: TARGET, parent: None, "work", otel.name = name(), otel.kind = kind);
                if let Ok(header) = HeaderValue::from_str(kept) {
                    propagation::set_parent(&span, header);
                }
                span
            }
        };
        (!span.is_disabled()).then_some(Self(span))
    }

    /// A span below this one.
    pub fn child(&self, name: impl FnOnce() -> String, kind: SpanKind) -> Option<Self> {
        self.0.in_scope(|| Self::begin(name, kind, &TraceParent::default()))
    }

    /// Sets an attribute.
    pub fn set(&self, key: &'static str, value: impl Into<SpanValue>) {
        self.0.set_attribute(key, value);
    }

    /// Sets an attribute where there is something to say.
    pub fn set_text(&self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.0.set_attribute(key, value.to_owned());
        }
    }

    /// Sets an attribute that is a list of texts.
    pub fn set_list(&self, key: &'static str, values: Vec<String>) {
        let values: Vec<StringValue> = values.into_iter().map(StringValue::from).collect();
        self.0.set_attribute(key, SpanValue::Array(Array::String(values)));
    }

    /// Something happened.
    pub fn event<const N: usize>(&self, name: &'static str, attributes: [(&'static str, SpanValue); N]) {
        self.0.add_event(name, attributes.map(|(key, value)| KeyValue::new(key, value)).to_vec());
    }

    /// It went well.
    pub fn succeeded(&self) {
        self.0.set_status(Status::Ok);
    }

    /// It failed. The message must hold no content.
    pub fn failed(&self, error_type: &'static str, message: &str) {
        self.0.set_attribute("error.type", error_type);
        self.0.set_status(Status::error(message.to_owned()));
    }

    /// Work that belongs to it, and whose calls carry its context.
    pub fn around<F: Future>(&self, work: F) -> Instrumented<F> {
        work.instrument(self.0.clone())
    }

    /// The context that calls under it carry.
    pub fn context(&self) -> TraceParent {
        let context = self.0.context();
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return TraceParent::default();
        }
        TraceParent(format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags()))
    }
}

/// Sets an attribute on the span of the call that this task handles, if it is exported.
pub(crate) fn note(key: &'static str, value: &'static str) {
    if propagation::exporting() {
        Span::current().set_attribute(key, value);
    }
}

/// The context of this task's span or call as a header, for calls of others.
pub fn outgoing_header() -> Option<HeaderValue> {
    let parent = TraceParent::current();
    HeaderValue::from_str(parent.as_str()).ok().filter(|value| !value.is_empty())
}

/// A name that says nothing of whom it stands for, and the same thing for the same one.
pub fn pseudonym(principal: &str) -> String {
    let digest = blake3::derive_key("sre telemetry 2026 enduser", principal.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_contexts_are_kept() {
        let whole = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::kept(whole).trace_id(), "0af7651916cd43dd8448eb211c80319c");
        for wrong in ["", "x", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"] {
            assert_eq!(TraceParent::kept(wrong).trace_id(), "", "{wrong}");
        }
    }

    #[test]
    fn a_pseudonym_is_stable_and_short() {
        assert_eq!(pseudonym("user/alice"), pseudonym("user/alice"));
        assert_ne!(pseudonym("user/alice"), pseudonym("user/bob"));
        assert_eq!(pseudonym("user/alice").len(), 16);
    }
}
