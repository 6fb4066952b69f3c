//! Spans: a call that is served, an agent's skill, a component, a model's answer. They are for export alone, so that
//! without an exporter none is made, and nothing is put together for one.
//!
//! They are no spans of `tracing`: each attribute of those passes layers with locks and look-ups, which cost more than
//! the work of a small run. Here a span is the message that leaves, see [`super::wire`]; `tracing` is for log lines,
//! which take the ids of the span around them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::task::futures::TaskLocalFuture;

use super::exemplars::{self, Traced};
use super::outbox::Outbox;
use super::propagation;
use super::trace_context::{Sampler, TraceContext, write_hex};
use super::wire::{Kind, Parent, SpanMessage, State};

pub use super::wire::{Attributes, Block};
pub use opentelemetry::Value as SpanValue;

tokio::task_local! {
    static CURRENT: WorkSpan;
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Makes spans and takes them when they end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tracer {
    /// As long as the process: spans that count its holders would meet at that count.
    outbox: &'static Outbox,
    sampler: Sampler,
}

/// The process's tracer; none unless spans are exported.
pub(crate) fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// Spans are made from now on.
pub(super) fn enable(tracer: Tracer) {
    // The process's first exporter stays.
    let _ = TRACER.set(tracer);
}

impl Tracer {
    pub(super) fn new(outbox: &'static Outbox, sampler: Sampler) -> Self {
        Self { outbox, sampler }
    }

    /// Begins a span, below a context from elsewhere, or below this task's span.
    pub(super) fn begin(&self, name: &str, kind: Kind, remote: Option<&TraceContext>) -> WorkSpan {
        if let Some(parent) = remote {
            return self.below(name, kind, parent, true);
        }
        CURRENT
            .try_with(|current| self.below(name, kind, &current.0.context, false))
            .unwrap_or_else(|_| self.root(name, kind))
    }

    /// Begins a span below a context from elsewhere, or else a trace.
    pub(super) fn serve(&self, name: &str, caller: Option<&TraceContext>) -> WorkSpan {
        match caller {
            Some(caller) => self.below(name, Kind::Server, caller, true),
            None => self.root(name, Kind::Server),
        }
    }

    fn below(&self, name: &str, kind: Kind, parent: &TraceContext, remote: bool) -> WorkSpan {
        self.open(name, kind, parent.below(), Some(&Parent { span: parent.span, remote }))
    }

    fn root(&self, name: &str, kind: Kind) -> WorkSpan {
        self.open(name, kind, TraceContext::root(self.sampler), None)
    }

    fn open(&self, name: &str, kind: Kind, context: TraceContext, parent: Option<&Parent>) -> WorkSpan {
        let recording = context.sampled.then(|| Recording {
            message: Mutex::new(SpanMessage::begin(&context, parent, name, kind, now())),
            tracer: *self,
        });
        WorkSpan(Arc::new(Open { context, recording }))
    }
}

/// What a span is to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside.
    Internal,
    /// A call of somebody else's service.
    Client,
}

impl From<SpanKind> for Kind {
    fn from(kind: SpanKind) -> Self {
        match kind {
            SpanKind::Internal => Self::Internal,
            SpanKind::Client => Self::Client,
        }
    }
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

/// A span. It ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct WorkSpan(Arc<Open>);

#[derive(Debug)]
struct Open {
    context: TraceContext,
    /// None for a trace that is not sampled: it only hands its context on.
    recording: Option<Recording>,
}

#[derive(Debug)]
struct Recording {
    message: Mutex<SpanMessage>,
    tracer: Tracer,
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.tracer.outbox.put(self.message.get_mut().end(now()));
    }
}

impl WorkSpan {
    /// Begins a span below a kept context, or below this task's span where that is empty. None unless spans are
    /// exported: ask before anything is put together for it.
    pub fn begin<N: AsRef<str>>(
        name: impl FnOnce() -> N,
        kind: SpanKind,
        parent: &TraceParent,
    ) -> Option<Self> {
        let kept = TraceContext::parse(parent.as_str());
        Some(tracer()?.begin(name().as_ref(), kind.into(), kept.as_ref()))
    }

    /// It is what a histogram shows for times like this one; `labels` in the order in which they are counted.
    pub fn exemplar(&self, histogram: &str, labels: &[(&str, &str)], took: Duration) {
        if let Some(traced) = self.traced() {
            exemplars::of_series(histogram, labels).see(traced, took.as_secs_f64(), Instant::now());
        }
    }

    /// Where to find it, if it is exported.
    pub(crate) fn traced(&self) -> Option<Traced> {
        self.is_recorded().then(|| Traced::from(&self.0.context))
    }

    /// A span below this one.
    pub fn child<N: AsRef<str>>(&self, name: impl FnOnce() -> N, kind: SpanKind) -> Self {
        match &self.0.recording {
            Some(recording) => recording.tracer.below(name().as_ref(), kind.into(), &self.0.context, false),
            None => Self(Arc::new(Open { context: self.0.context.below(), recording: None })),
        }
    }

    /// Whether it is exported: nothing needs to be put together for one that is not.
    pub fn is_recorded(&self) -> bool {
        self.0.recording.is_some()
    }

    /// Sets attributes: all that are known at a time, in one piece. Where the trace is not sampled, `write` is not
    /// called.
    pub fn write(&self, write: impl FnOnce(&mut Attributes<'_>)) {
        if let Some(recording) = &self.0.recording {
            write(&mut recording.message.lock().attributes());
        }
    }

    /// Sets an attribute.
    pub fn set(&self, key: &'static str, value: impl Into<SpanValue>) {
        self.write(|to| {
            to.value(key, &value.into());
        });
    }

    /// Sets an attribute where there is something to say.
    pub fn set_text(&self, key: &'static str, value: &str) {
        self.write(|to| {
            to.text(key, value);
        });
    }

    /// Something happened.
    pub fn event(&self, name: &str, write: impl FnOnce(&mut Attributes<'_>)) {
        if let Some(recording) = &self.0.recording {
            recording.message.lock().event(name, now(), write);
        }
    }

    /// It went well.
    pub fn succeeded(&self) {
        self.state(State::Ok, "");
    }

    /// It failed. The message must hold no content.
    pub fn failed(&self, error_type: &str, message: &str) {
        self.set_text("error.type", error_type);
        self.state(State::Error, message);
    }

    fn state(&self, state: State, message: &str) {
        if let Some(recording) = &self.0.recording {
            recording.message.lock().state(state, message);
        }
    }

    /// It failed, by a code that says it all.
    pub(super) fn failed_by(&self, code: &str) {
        self.state(State::Error, code);
    }

    /// Work that belongs to it, and whose calls carry its context.
    pub fn around<F: Future>(&self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self.clone(), work)
    }

    /// One step of such work.
    pub fn enter<T>(&self, step: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), step)
    }

    /// The context that calls under it carry.
    pub fn context(&self) -> TraceParent {
        TraceParent(self.0.context.to_text())
    }
}

/// Does something with this task's span.
pub(crate) fn with_current<T>(look: impl FnOnce(&WorkSpan, &TraceContext) -> T) -> Option<T> {
    CURRENT.try_with(|span| look(span, &span.0.context)).ok()
}

/// Sets an attribute on the span of the call that this task handles, if it is exported.
pub(crate) fn note(key: &'static str, value: &'static str) {
    let _ = with_current(|span, _| span.set_text(key, value));
}

/// This task's span is what a histogram shows for times like this one, see [`WorkSpan::exemplar`].
pub fn exemplar(histogram: &str, labels: &[(&str, &str)], took: Duration) {
    let _ = with_current(|span, _| span.exemplar(histogram, labels, took));
}

/// The context of this task's span or call as a header, for calls of others.
pub fn outgoing_header() -> Option<HeaderValue> {
    let parent = TraceParent::current();
    HeaderValue::from_str(parent.as_str()).ok().filter(|value| !value.is_empty())
}

/// A name that says nothing of whom it stands for, and the same thing for the same one.
pub fn pseudonym(principal: &str) -> String {
    static KEYED: OnceLock<blake3::Hasher> = OnceLock::new();
    let keyed = KEYED.get_or_init(|| blake3::Hasher::new_derive_key("sre telemetry 2026 enduser"));
    let digest = keyed.clone().update(principal.as_bytes()).finalize();
    let mut text = [0; 16];
    write_hex(&mut text, &digest.as_bytes()[..8]);
    text.map(char::from).iter().collect()
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
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

    #[test]
    fn what_is_not_sampled_hands_its_context_on_and_costs_nothing() {
        let tracer = Tracer::new(Outbox::leaked(), Sampler::share(0.0));
        let span = tracer.begin("work", Kind::Internal, None);
        span.write(|_| panic!("nobody looks"));
        let below = span.enter(|| tracer.begin("below", Kind::Internal, None));
        assert_eq!(below.context().trace_id(), span.context().trace_id());
        assert!(below.context().as_str().ends_with("-00"));
        assert_ne!(below.context(), span.context());
    }
}
