//! `sre.<service>/<id>` in gRPC Health, and the probes behind it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::table::State;
use crate::process::Process;
use crate::role::Role;

/// How old an answer of Health may be.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Probes the instances of a role every five seconds and after each opening, all at once, and reports them.
/// Pushed rather than asked for, so that a flood of questions makes no calls, and `Watch` sees changes.
pub(crate) async fn follow(reporter: HealthReporter, role: Role, process: Arc<Process>) {
    let table = &process.connectors;
    let mut changes = table.watch();
    loop {
        changes.mark_unchanged();
        let records = table.of(role);
        join_all(records.iter().map(|record| record.probe())).await;
        for record in &records {
            let serving = match record.state() {
                State::Ready => ServingStatus::Serving,
                _ => ServingStatus::NotServing,
            };
            reporter.set_service_status(record.health_name(), serving).await;
        }
        // A role without instances waits for the first.
        let pause = if records.is_empty() { Duration::MAX } else { PROBE_EVERY };
        // The table outlives this task: an error cannot be, and the pause bounds what it would do.
        drop(tokio::time::timeout(pause, changes.changed()).await);
    }
}
