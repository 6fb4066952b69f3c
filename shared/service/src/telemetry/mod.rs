//! Logs, traces, metrics: set up once per process.

pub mod catalogue;
mod collector;
pub mod content;
pub(crate) mod exemplars;
mod log_bridge;
pub(crate) mod metrics;
pub(crate) mod otlp;
mod outbox;
pub(crate) mod propagation;
pub mod spans;
pub(crate) mod tally;
mod trace_context;
mod wire;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, Telemetry};

/// What must be flushed at the end.
#[derive(Default)]
pub struct Guard {
    exporters: Option<otlp::Exporters>,
}

impl Guard {
    /// Sends what is left, within a few seconds.
    pub async fn flush(&self) {
        if let Some(exporters) = &self.exporters {
            tally::collect();
            exporters.shut_down().await;
        }
    }
}

/// Sets up logs, metrics and export. Only the first call in a process does something: tests start many suites.
pub fn init(config: &Telemetry) -> anyhow::Result<Guard> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.set(()).is_err() {
        return Ok(Guard::default());
    }
    let exporters =
        config.otlp_endpoint.as_deref().map(|to| otlp::start(to, config.sample_ratio)).transpose()?;
    if config.metrics {
        metrics::install(exporters.as_ref().map(otlp::Exporters::meter))?;
    }
    if let Some(exporters) = &exporters {
        spans::enable(*exporters.tracer());
    }
    let filter =
        EnvFilter::try_new(&config.level).map_err(|error| anyhow::anyhow!("telemetry.level: {error}"))?;
    let to_terminal = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match to_terminal {
        true => lines.with_target(false).with_filter(filter).boxed(),
        false => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let export = exporters.as_ref().map(|exporters| exporters.layer(&config.level)).transpose()?;
    // Somebody else's subscriber (a test's) stays.
    drop(tracing_subscriber::registry().with(lines).with(export).try_init());
    Ok(Guard { exporters })
}
