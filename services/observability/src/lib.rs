//! The role `observability`: what agents write while they run, what they used, and the traces of their runs.

mod clock;
mod log;
mod schema;
mod traces;
mod usage;

use std::time::Duration;

use sre_proto::observability::v1::log_server::LogServer;
use sre_proto::observability::v1::telemetry_server::TelemetryServer;
use sre_proto::observability::v1::usage_server::UsageServer;
use sre_service::config::TeamLimit;
use sre_service::{Host, Routes};
use tokio::time::MissedTickBehavior;

pub use log::{Entries, LogService, Sinks};
pub use traces::TelemetryService;
pub use usage::{Ledger, UsageService};

const SWEEP_EVERY: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Starts the role: opens its store, and gives its gRPC routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let store = host.database(schema::MIGRATIONS).await?;
    let entries = Entries::new(store.clone());
    let ledger = Ledger::new(store);
    let sinks = Sinks::open(&host.config().telemetry.agent_log, host.data_dir())?;
    host.spawn("log and usage sweeper", sweep(host.clone(), entries.clone(), ledger.clone()));
    Ok(Routes::new(LogServer::new(LogService::new(host.clone(), entries, sinks)))
        .add_service(UsageServer::new(UsageService::new(host.clone(), ledger.clone())))
        .add_service(TelemetryServer::new(TelemetryService::new(host, ledger))))
}

async fn sweep(host: Host, entries: Entries, ledger: Ledger) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = sweep_lines(&host, &entries).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "sweeping the log failed; it goes on with the next sweep"
            );
        }
        if let Err(error) = ledger.sweep(clock::now()).await {
            tracing::warn!(%error, "sweeping the ledger failed; it goes on with the next sweep");
        }
    }
}

/// Removes lines that are older than their team wants.
async fn sweep_lines(host: &Host, entries: &Entries) -> anyhow::Result<()> {
    for team in entries.teams().await? {
        let [days] = host.limits().of_team(&team, [TeamLimit::LogDays]).await?;
        let age = i64::try_from(days.saturating_mul(DAY_MS)).unwrap_or(i64::MAX);
        entries.sweep(&team, clock::now().saturating_sub(age)).await?;
    }
    Ok(())
}
