//! All instances of a process: their states, their probes, and their end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Connector, Unhealthy};
use crate::role::Role;
use crate::task::panic_text;

/// How long a probe may take.
pub(super) const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// How long closing one instance may take.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Is being opened.
    Starting,
    /// Is open, and its last probe was well.
    Ready,
    /// Is open, and its last probe was not well: why.
    Degraded(String),
    /// Could not be opened: why.
    Failed(String),
    /// Is being closed.
    Stopping,
    /// Is closed.
    Stopped,
}

impl State {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded(_) => "degraded",
            Self::Failed(_) => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Why it is not well.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Degraded(reason) | Self::Failed(reason) => Some(reason),
            Self::Starting | Self::Ready | Self::Stopping | Self::Stopped => None,
        }
    }
}

/// An instance as it stands at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its service, `storage`.
    pub service: &'static str,
    /// Its id.
    pub id: String,
    /// Its kind.
    pub connector: &'static str,
    /// Whether requests that name no instance get it.
    pub is_default: bool,
    /// Whether the service starts without it.
    pub is_optional: bool,
    /// Where it stands.
    pub state: State,
    /// When it was probed last.
    pub probed: Option<SystemTime>,
}

/// One instance of this process.
pub(crate) struct Record {
    role: Role,
    service: &'static str,
    id: String,
    kind: &'static str,
    is_default: bool,
    is_optional: bool,
    now: Mutex<Now>,
}

struct Now {
    state: State,
    connector: Option<Arc<dyn Connector>>,
    probed: Option<SystemTime>,
}

impl Record {
    pub(super) fn new(
        role: Role,
        service: &'static str,
        id: &str,
        kind: &'static str,
        is_default: bool,
        is_optional: bool,
    ) -> Self {
        let now = Now { state: State::Starting, connector: None, probed: None };
        Self { role, service, id: id.to_owned(), kind, is_default, is_optional, now: Mutex::new(now) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Its name in gRPC Health.
    pub(super) fn health_name(&self) -> String {
        format!("sre.{}/{}", self.service, self.id)
    }

    pub(super) fn state(&self) -> State {
        self.now.lock().state.clone()
    }

    pub(super) fn opened(&self, connector: Arc<dyn Connector>) {
        let mut now = self.now.lock();
        now.connector = Some(connector);
        now.state = State::Ready;
    }

    pub(super) fn failed(&self, reason: String) {
        self.now.lock().state = State::Failed(reason);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.now.lock();
        Snapshot {
            service: self.service,
            id: self.id.clone(),
            connector: self.kind,
            is_default: self.is_default,
            is_optional: self.is_optional,
            state: now.state.clone(),
            probed: now.probed,
        }
    }

    /// Probes it where it is open, and tells the operator where it got worse or better.
    pub(super) async fn probe(&self) {
        let connector = self.now.lock().connector.clone();
        if let Some(connector) = connector {
            let outcome = checked(&*connector).await;
            let mut now = self.now.lock();
            // It may be closing by now.
            if matches!(now.state, State::Ready | State::Degraded(_)) {
                let was_well = now.state == State::Ready;
                let (service, id) = (self.service, &self.id);
                match &outcome {
                    Err(Unhealthy(reason)) if was_well => {
                        tracing::warn!(service, id, reason, "a connector is not well");
                    }
                    Ok(()) if !was_well => tracing::info!(service, id, "a connector is well again"),
                    _ => {}
                }
                now.state =
                    outcome.map_or_else(|Unhealthy(reason)| State::Degraded(reason), |()| State::Ready);
                now.probed = Some(SystemTime::now());
            }
        }
        let well = if self.state() == State::Ready { 1.0 } else { 0.0 };
        metrics::gauge!("sre_connector_health", "service" => self.service, "id" => self.id.clone()).set(well);
    }

    async fn close(&self) {
        let Some(connector) = self.now.lock().connector.take() else { return };
        self.now.lock().state = State::Stopping;
        let closing = AssertUnwindSafe(connector.close()).catch_unwind();
        match timeout(CLOSE_DEADLINE, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => {
                let panic = panic_text(&*panic);
                tracing::error!(service = self.service, id = self.id, panic, "closing a connector panicked");
            }
            Err(_) => {
                tracing::warn!(service = self.service, id = self.id, "a connector was not closed in time");
            }
        }
        self.now.lock().state = State::Stopped;
    }
}

/// One probe within its deadline; a panic is an answer, too.
pub(super) async fn checked(connector: &dyn Connector) -> Result<(), Unhealthy> {
    let probe = AssertUnwindSafe(connector.check()).catch_unwind();
    match timeout(PROBE_DEADLINE, probe).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(Unhealthy(format!("the probe panicked: {}", panic_text(&*panic)))),
        Err(_) => Err(Unhealthy(format!("does not answer within {} s", PROBE_DEADLINE.as_secs()))),
    }
}

/// All instances of this process, in order of opening.
pub(crate) struct Table {
    records: Mutex<Vec<Arc<Record>>>,
    changes: watch::Sender<()>,
}

impl Default for Table {
    fn default() -> Self {
        Self { records: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl Table {
    pub(super) fn add(&self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        self.records.lock().push(Arc::clone(&record));
        self.changed();
        record
    }

    /// Something was opened: probe now.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The instances of one role.
    pub(super) fn of(&self, role: Role) -> Vec<Arc<Record>> {
        self.records.lock().iter().filter(|record| record.role == role).cloned().collect()
    }

    /// Closes all, the last one opened first, each within its deadline.
    pub(crate) async fn close(&self) {
        let records = std::mem::take(&mut *self.records.lock());
        for record in records.into_iter().rev() {
            record.close().await;
        }
    }
}
