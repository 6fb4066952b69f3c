//! Export over OTLP. Batches leave on threads of their own and are dropped when a collector is slow: nothing
//! here ever blocks a call.

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::propagation;

/// The exporters of a process.
#[derive(Clone)]
pub(crate) struct Exporters {
    traces: SdkTracerProvider,
}

pub(super) fn start(endpoint: &str, sample_ratio: f64) -> anyhow::Result<Exporters> {
    let resource = Resource::builder().with_service_name("sre").build();
    let spans = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("telemetry.otlp_endpoint: cannot export to {endpoint}"))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    let traces = SdkTracerProvider::builder()
        .with_batch_exporter(spans)
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    propagation::enable();
    Ok(Exporters { traces })
}

impl Exporters {
    pub(super) fn layer<S>(&self, level: &str) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let filter = EnvFilter::try_new(format!("{level},{}=info", propagation::TARGET))?;
        let tracer = self.traces.tracer("sre");
        Ok(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter).boxed())
    }

    pub(super) fn shut_down(&self) {
        if let Err(error) = self.traces.shutdown() {
            tracing::debug!(%error, "traces were not flushed");
        }
    }
}
