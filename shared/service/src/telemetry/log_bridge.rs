//! Log lines as OTLP log records.

use std::fmt;
use std::time::SystemTime;

use opentelemetry::Key;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::spans;

/// The layer. The record takes trace and span from the span around it.
pub(super) struct LogBridge(SdkLogger);

impl LogBridge {
    pub(super) fn new(provider: &SdkLoggerProvider) -> Self {
        Self(provider.logger("sre"))
    }
}

impl<S: Subscriber> Layer<S> for LogBridge {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let mut record = self.0.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_target(event.metadata().target());
        record.set_severity_text(level.as_str());
        record.set_severity_number(severity(level));
        event.record(&mut Fields(&mut record));
        let _ = spans::with_current(|_, context| {
            let (trace, span) = (TraceId::from_bytes(context.trace), SpanId::from_bytes(context.span));
            let flags = TraceFlags::default().with_sampled(context.sampled);
            record.set_trace_context(trace, span, Some(flags));
        });
        self.0.emit(record);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

/// The message is the body, other fields are attributes.
struct Fields<'r, R>(&'r mut R);

impl<R: LogRecord> Fields<'_, R> {
    fn put(&mut self, field: &Field, value: impl Into<AnyValue>) {
        match field.name() {
            "message" => self.0.set_body(value.into()),
            name => self.0.add_attribute(Key::from_static_str(name), value),
        }
    }
}

impl<R: LogRecord> Visit for Fields<'_, R> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
