//! Export over OTLP. Batches leave behind what makes them and are dropped when a collector is slow: nothing here ever
//! blocks a call. Log lines and metrics leave by the SDK; spans, of which there are many, in a way of their own.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_otlp::{LogExporter, MetricExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::collector::Collector;
use super::log_bridge::LogBridge;
use super::outbox::{Outbox, Sender};
use super::spans::Tracer;
use super::trace_context::Sampler;

/// What the exporter itself says must not be exported: it would never end.
const OWN_NOISE: &str = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,tonic=off,h2=off,hyper=off,\
                         hyper_util=off,tower=off";
/// How long the last spans have.
const FLUSH: Duration = Duration::from_secs(5);

/// The exporters of a process.
#[derive(Clone)]
pub(crate) struct Exporters {
    tracer: Tracer,
    logs: SdkLoggerProvider,
    metrics: SdkMeterProvider,
    /// Asks the sender of spans to end, and says that it has.
    stop: CancellationToken,
    stopped: CancellationToken,
}

/// A layer for any subscriber.
type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Starts the exporters. Call within the runtime: their connections live on it.
pub(super) fn start(endpoint: &str, sample_ratio: f64) -> anyhow::Result<Exporters> {
    let wrong = || format!("telemetry.otlp_endpoint: cannot export to {endpoint}");
    let resource = Resource::builder().with_service_name("sre").build();
    let logs = LogExporter::builder().with_tonic().with_endpoint(endpoint).build().with_context(wrong)?;
    let metrics =
        MetricExporter::builder().with_tonic().with_endpoint(endpoint).build().with_context(wrong)?;
    let collector = Collector::new(endpoint, &resource).with_context(wrong)?;
    let logs = SdkLoggerProvider::builder().with_batch_exporter(logs).with_resource(resource.clone()).build();
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).with_resource(resource).build();
    let outbox = Outbox::leaked();
    let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
    let sender = Sender::new(outbox, collector, stop.clone());
    let ended = stopped.clone().drop_guard();
    drop(crate::task::spawn("spans", async move {
        sender.run().await;
        drop(ended);
    }));
    Ok(Exporters { tracer: Tracer::new(outbox, Sampler::share(sample_ratio)), logs, metrics, stop, stopped })
}

impl Exporters {
    pub(super) fn meter(&self) -> Meter {
        self.metrics.meter("sre")
    }

    pub(super) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Log records, as the log level says.
    pub(super) fn layer<S>(&self, level: &str) -> anyhow::Result<BoxedLayer<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let filter = EnvFilter::try_new(format!("{level},{OWN_NOISE}"))?;
        Ok(Box::new(LogBridge::new(&self.logs).with_filter(filter)))
    }

    /// Sends what is left, within a few seconds.
    pub(super) async fn shut_down(&self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH, self.stopped.cancelled()).await.is_err() {
            tracing::debug!("spans were not flushed");
        }
        let (logs, metrics) = (self.logs.clone(), self.metrics.clone());
        // These block; a thread may.
        let blocking = tokio::task::spawn_blocking(move || {
            for error in [logs.shutdown(), metrics.shutdown()].into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "telemetry was not flushed");
            }
        });
        drop(blocking.await);
    }
}

#[cfg(test)]
mod tests;
