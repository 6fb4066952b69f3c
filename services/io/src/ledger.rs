//! What teams hold, for the ledger: once an hour, so that bytes become byte-hours. The event of an hour has the same
//! id whoever reports it, so that replicas and restarts count it once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{StorageUse, UsageEvent};
use sre_service::UsageReporter;
use tokio::time::MissedTickBehavior;

use crate::database::Database;
use crate::error::IoError;
use crate::vector_db::Vectors;

/// How often it is looked whether an hour began.
const LOOK: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Rows of one read.
const BATCH: u32 = 500;

/// Reports what teams hold.
pub struct Reports {
    reporter: UsageReporter,
    database: Database,
    vectors: Vectors,
}

impl Reports {
    /// Over what counts.
    pub fn new(reporter: UsageReporter, database: Database, vectors: Vectors) -> Self {
        Self { reporter, database, vectors }
    }

    /// Reports each hour until the process ends.
    pub async fn report_forever(self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = None;
        loop {
            ticks.tick().await;
            let hour =
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / HOUR.as_secs();
            if reported == Some(hour) {
                continue;
            }
            match self.report(hour).await {
                Ok(()) => reported = Some(hour),
                Err(error) => tracing::debug!(%error, "what teams hold is not in the ledger yet"),
            }
        }
    }

    async fn report(&self, hour: u64) -> Result<(), IoError> {
        let mut after = (String::new(), String::new());
        loop {
            let held = self.database.held(&after, BATCH).await?;
            let Some((team, kind, _)) = held.last() else { return Ok(()) };
            let next = (team.clone(), kind.clone());
            let mut seen = after.0.clone();
            for (team, kind, bytes) in held {
                if team != seen {
                    let (_, vectors) = self.vectors.usage(&team).await?;
                    self.send(hour, &team, "vectors", vectors);
                    seen.clone_from(&team);
                }
                if kind != "vectors" {
                    self.send(hour, &team, &kind, bytes);
                }
            }
            after = next;
        }
    }

    fn send(&self, hour: u64, team: &str, kind: &str, bytes: i64) {
        if bytes <= 0 {
            return;
        }
        self.reporter.report(event(hour, team, kind, bytes));
    }
}

fn event(hour: u64, team: &str, kind: &str, bytes: i64) -> UsageEvent {
    let began = UNIX_EPOCH + HOUR * u32::try_from(hour).unwrap_or_default();
    UsageEvent {
        id: format!("storage/{kind}/{hour}"),
        team: team.to_owned(),
        time: Some(began.into()),
        r#use: Some(Use::Storage(StorageUse { kind: kind.to_owned(), byte_hours: bytes })),
        ..UsageEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_one_event_whoever_reports_it() {
        let (first, second) = (event(480_000, "red", "files", 10), event(480_000, "red", "files", 11));
        assert_eq!(first.id, second.id);
        assert_eq!(first.time.unwrap().seconds, 480_000 * 3_600);
        assert_ne!(first.id, event(480_001, "red", "files", 10).id);
        assert_ne!(first.id, event(480_000, "red", "values", 10).id);
    }
}
