//! The role `observability`: what agents write while they run.

mod clock;
mod log;
mod schema;

use std::time::Duration;

use sre_proto::observability::v1::log_server::LogServer;
use sre_service::Host;
use tokio::time::MissedTickBehavior;
use tonic::service::Routes;

pub use log::{Bounds, Entries, LogService};

const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Starts the role: opens its store, and gives its gRPC routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let store = host.store(schema::MIGRATIONS).await?;
    let entries = Entries::new(store, Bounds::default());
    host.spawn("log sweeper", sweep(entries.clone()));
    Ok(Routes::new(LogServer::new(LogService::new(host, entries))).prepare())
}

async fn sweep(entries: Entries) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = entries.sweep(clock::now()).await {
            tracing::warn!(%error, "sweeping the log failed; it goes on with the next sweep");
        }
    }
}
