//! Spans on their way out, counted: how many ended, and how many reached the collector. What is between them waits in
//! a bounded queue, or was dropped because a collector is slow: a call never waits for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

/// Spans that may wait.
const QUEUE: usize = 32_768;
/// Spans of one export: some hundred bytes each, and a collector takes 4 MiB.
const BATCH: usize = 2_048;
/// How long the first of a batch waits.
const LINGER: Duration = Duration::from_secs(1);

/// Counts what ended, and hands it to the queue.
#[derive(Debug)]
pub(super) struct Counted {
    next: BatchSpanProcessor,
    /// Made with the first span: the recorder is not there before.
    ended: OnceLock<metrics::Counter>,
}

impl Counted {
    /// A queue in front of an exporter.
    pub(super) fn new(exporter: impl SpanExporter + 'static) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(LINGER)
            .build();
        let counting = Counting { exporter, failures: AtomicUsize::new(0) };
        let next = BatchSpanProcessor::builder(counting).with_batch_config(config).build();
        Self { next, ended: OnceLock::new() }
    }
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let ended =
            self.ended.get_or_init(|| metrics::counter!("sre_telemetry_spans_total", "result" => "ended"));
        ended.increment(1);
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Counts what was exported.
#[derive(Debug)]
struct Counting<E> {
    exporter: E,
    /// In a row.
    failures: AtomicUsize,
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let size = batch.len() as u64;
        let exported = self.exporter.export(batch).await;
        let result = if exported.is_ok() { "exported" } else { "failed" };
        metrics::counter!("sre_telemetry_spans_total", "result" => result).increment(size);
        match &exported {
            Ok(()) => self.failures.store(0, Ordering::Relaxed),
            Err(error) if self.failures.fetch_add(1, Ordering::Relaxed) == 0 => {
                tracing::warn!(%error, "spans cannot be exported: they are dropped until the collector is back");
            }
            Err(_) => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
