//! Export over OTLP. Batches leave on threads of their own and are dropped when a collector is slow: nothing
//! here ever blocks a call.

use anyhow::Context as _;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::counted::Counted;
use super::log_bridge::LogBridge;
use super::propagation;

/// What the exporter itself says must not be exported: it would never end.
const OWN_NOISE: &str = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,tonic=off,h2=off,hyper=off,\
                         hyper_util=off,tower=off";

/// The exporters of a process.
#[derive(Clone)]
pub(crate) struct Exporters {
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
    metrics: SdkMeterProvider,
}

/// A layer for any subscriber.
type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Starts the exporters. Call within the runtime: their connections live on it.
pub(super) fn start(endpoint: &str, sample_ratio: f64) -> anyhow::Result<Exporters> {
    let wrong = || format!("telemetry.otlp_endpoint: cannot export to {endpoint}");
    let resource = Resource::builder().with_service_name("sre").build();
    let spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().with_context(wrong)?;
    let logs = LogExporter::builder().with_tonic().with_endpoint(endpoint).build().with_context(wrong)?;
    let metrics =
        MetricExporter::builder().with_tonic().with_endpoint(endpoint).build().with_context(wrong)?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    let traces = SdkTracerProvider::builder()
        .with_span_processor(Counted::new(spans))
        .with_sampler(sampler)
        .with_resource(resource.clone())
        .build();
    let logs = SdkLoggerProvider::builder().with_batch_exporter(logs).with_resource(resource.clone()).build();
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).with_resource(resource).build();
    propagation::enable();
    Ok(Exporters { traces, logs, metrics })
}

impl Exporters {
    pub(super) fn meter(&self) -> Meter {
        self.metrics.meter("sre")
    }

    /// Spans of calls, and log records, as the log level says.
    pub(super) fn layer<S>(&self, level: &str) -> anyhow::Result<BoxedLayer<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let filter =
            |calls: &str| EnvFilter::try_new(format!("{level},{OWN_NOISE},{}={calls}", propagation::TARGET));
        let tracer = self.traces.tracer("sre");
        let spans = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter("info")?);
        let logs = LogBridge::new(&self.logs).with_filter(filter("off")?);
        Ok(Box::new(spans.and_then(logs)))
    }

    pub(super) fn shut_down(&self) {
        let ended = [self.traces.shutdown(), self.logs.shutdown(), self.metrics.shutdown()];
        for error in ended.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "telemetry was not flushed");
        }
    }
}

#[cfg(test)]
mod tests;
