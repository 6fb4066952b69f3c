//! What all runs of this engine share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sre_components::Registry;
use sre_components::context::web::Places;
use sre_components::egress;
use sre_proto::error::Reason;
use sre_service::{Host, UsageReporter};
use tonic::{Code, Status};

use super::admission::Admission;
use super::conversations::Conversations;
use super::external::Catalogue;
use super::journal::queue::AppendQueue;
use super::journal::store::JournalStore;
use super::lines::Lines;
use super::live::Live;
use super::models::Models;
use super::plans::Plans;
use super::session::{Lease, Sessions};
use super::summary::Summaries;
use super::takeover::Takeover;
use super::usage::LightRuns;

/// How long a run that must be journalled waits for the engine to have a session.
const SESSION_PATIENCE: Duration = Duration::from_millis(500);

/// The engine. Clones share everything.
#[derive(Clone)]
pub struct Engine(Arc<Parts>);

/// Its parts.
pub struct Parts {
    /// The role's host.
    pub host: Host,
    /// Component types.
    pub registry: &'static Registry,
    /// Compiled agents.
    pub plans: Plans,
    /// Models, as they were a moment ago.
    pub models: Models,
    /// Components out of process.
    pub external: Catalogue,
    /// The ways to the network, by agent.
    pub http: egress::Gate,
    /// Where the services of the web are.
    pub web: Places,
    /// The journal.
    pub journal: JournalStore,
    /// Appends on their way to it.
    pub appends: AppendQueue,
    /// This engine's lease.
    pub sessions: Sessions,
    /// What it works on.
    pub live: Live,
    /// How it finds more.
    pub takeover: Takeover,
    /// How much of it.
    pub admission: Admission,
    /// Runs that answered first.
    pub summaries: Summaries,
    /// Log lines of agents.
    pub lines: Lines,
    /// The near end of the ledger.
    pub usage: UsageReporter,
    /// What runs without a journal use.
    pub light_runs: LightRuns,
    /// What conversations share.
    pub conversations: Conversations,
}

impl Engine {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The lease that new runs are opened under.
    pub async fn lease(&self) -> Result<Lease, Status> {
        self.sessions.wait(SESSION_PATIENCE).await.ok_or_else(without_memory)
    }

    /// The lease that follows one which the journal says is over.
    pub async fn lease_after(&self, ended: &Lease) -> Result<Lease, Status> {
        self.sessions.suspect();
        // Where the keeper does not come to the same view in time, the next attempt is refused like this one.
        let _ = tokio::time::timeout(SESSION_PATIENCE, ended.lost().cancelled()).await;
        self.lease().await
    }
}

impl Deref for Engine {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a caller hears whose run cannot be journalled.
pub fn without_memory() -> Status {
    sre_proto::error::with_metadata(
        Code::Unavailable,
        Reason::RoleUnavailable,
        "memory cannot be reached, and this run must be journalled: try again",
        [("role", "memory".to_owned())],
    )
}

/// A moment as messages carry it.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// Something failed that callers can do nothing about: the cause goes to the log, its number to the caller.
pub fn internal(what: &str, cause: &dyn std::fmt::Display) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(%error_id, %cause, "{what}");
    let message = format!("{what}: look for the error id in the log of engine");
    sre_proto::error::with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
}
