//! The metrics recorder: counted in memory, rendered for Prometheus, and exported where a collector is
//! configured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::{exemplars, tally};

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Seconds, from a direct call to a slow model.
pub(crate) const BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Samples wait in memory until they are put into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Sets the process's recorder. With a meter, everything is exported too.
pub(super) fn install(meter: Option<Meter>) -> anyhow::Result<()> {
    let prometheus = prometheus()?;
    let handle = prometheus.handle();
    let installed = match meter {
        Some(meter) => metrics::set_global_recorder(Both { prometheus, meter }).is_ok(),
        None => metrics::set_global_recorder(prometheus).is_ok(),
    };
    if installed {
        super::catalogue::describe();
        // The one place that sets it.
        drop(HANDLE.set(handle));
    }
    Ok(())
}

fn prometheus() -> anyhow::Result<PrometheusRecorder> {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?;
    Ok(builder.build_recorder())
}

/// A recorder of its own, for tests: the global one can be set once.
#[cfg(test)]
pub(super) fn both(meter: Meter) -> impl Recorder {
    Both { prometheus: prometheus().unwrap(), meter }
}

/// Whether metrics are counted.
pub(crate) fn counted() -> bool {
    HANDLE.get().is_some()
}

/// The text of `/metrics`; empty where metrics are switched off.
pub(crate) fn render() -> String {
    tally::collect();
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// The same as OpenMetrics, with exemplars.
pub(crate) fn render_open_metrics() -> String {
    exemplars::open_metrics(&render())
}

/// Puts samples into buckets every few seconds, whether anybody scrapes or not.
pub(crate) async fn upkeep() {
    let Some(handle) = HANDLE.get() else { return };
    loop {
        tokio::time::sleep(UPKEEP).await;
        tally::collect();
        handle.run_upkeep();
    }
}

/// Counts for Prometheus and for export.
struct Both {
    prometheus: PrometheusRecorder,
    meter: Meter,
}

impl Recorder for Both {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_counter(name, unit, description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_gauge(name, unit, description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_histogram(name, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let exported = self.meter.u64_counter(key.name().to_owned()).build();
        let seen = AtomicU64::new(0);
        let near = self.prometheus.register_counter(key, metadata);
        Counter::from_arc(Arc::new(BothCounter { near, exported, labels: labels(key), seen }))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let exported = self.meter.f64_gauge(key.name().to_owned()).build();
        let near = self.prometheus.register_gauge(key, metadata);
        Gauge::from_arc(Arc::new(BothGauge { near, exported, labels: labels(key), value: AtomicU64::new(0) }))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let exported =
            self.meter.f64_histogram(key.name().to_owned()).with_boundaries(BUCKETS.to_vec()).build();
        let near = self.prometheus.register_histogram(key, metadata);
        Histogram::from_arc(Arc::new(BothHistogram { near, exported, labels: labels(key) }))
    }
}

fn labels(key: &Key) -> Vec<KeyValue> {
    key.labels().map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned())).collect()
}

struct BothCounter {
    near: Counter,
    exported: opentelemetry::metrics::Counter<u64>,
    labels: Vec<KeyValue>,
    /// For counters that are set: what was exported of them.
    seen: AtomicU64,
}

impl CounterFn for BothCounter {
    fn increment(&self, value: u64) {
        self.near.increment(value);
        self.exported.add(value, &self.labels);
        self.seen.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.near.absolute(value);
        let before = self.seen.fetch_max(value, Ordering::Relaxed);
        self.exported.add(value.saturating_sub(before), &self.labels);
    }
}

struct BothGauge {
    near: Gauge,
    exported: opentelemetry::metrics::Gauge<f64>,
    labels: Vec<KeyValue>,
    /// The value's bits: exported gauges are set, ours also go up and down.
    value: AtomicU64,
}

impl BothGauge {
    fn change(&self, change: impl Fn(f64) -> f64) {
        let changed = |bits| Some(change(f64::from_bits(bits)).to_bits());
        let before = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        if let Ok(before) = before {
            self.exported.record(change(f64::from_bits(before)), &self.labels);
        }
    }
}

impl GaugeFn for BothGauge {
    fn increment(&self, value: f64) {
        self.near.increment(value);
        self.change(|before| before + value);
    }

    fn decrement(&self, value: f64) {
        self.near.decrement(value);
        self.change(|before| before - value);
    }

    fn set(&self, value: f64) {
        self.near.set(value);
        self.change(|_| value);
    }
}

struct BothHistogram {
    near: Histogram,
    exported: opentelemetry::metrics::Histogram<f64>,
    labels: Vec<KeyValue>,
}

impl HistogramFn for BothHistogram {
    fn record(&self, value: f64) {
        self.near.record(value);
        self.exported.record(value, &self.labels);
    }
}
