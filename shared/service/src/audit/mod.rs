//! The audit log's near end: what was decided here, on its way to `security.Audit`.
//!
//! Two ways, chosen per call. A handler with a store writes the record in the transaction of its change
//! ([`Granted::record`](crate::Granted::record) into the table of [`MIGRATION_SQL`]); everything else goes
//! through a bounded queue, and when that is full, audited calls are refused rather than done unrecorded.
//! Each way is a writer of its own, chained by digests from its first record on.

mod chain;
mod outbox;
mod pg_outbox;
mod sink;

pub use chain::{chained, digest};
pub use outbox::MIGRATION_SQL;
pub use pg_outbox::PG_MIGRATION_SQL;
pub(crate) use pg_outbox::insert as insert_pg;
pub use sink::AuditSink;

use std::time::SystemTime;

use sre_identity::{Caller, Peer};
use sre_proto::error::{name, status};
use sre_proto::security::v1::{AuditRecord, Decision};
use sre_proto::types::v1::Reason;
use tonic::{Code, Status};

use crate::context::CallContext;

/// A record that may not go missing: its place in the queue is taken.
pub(crate) struct Pending {
    record: AuditRecord,
    place: sink::Place,
}

impl Pending {
    pub(crate) fn new(record: AuditRecord, place: sink::Place) -> Self {
        Self { record, place }
    }

    /// Into the queue.
    pub(crate) fn send(self) {
        self.place.fill(self.record);
    }

    /// Into the outbox, with the caller's change.
    pub(crate) fn write(self, tx: &sre_store::sql::Connection<'_>) -> Result<(), sre_store::StoreError> {
        match outbox::insert(tx, &self.record) {
            Ok(()) => Ok(()),
            Err(error) => {
                // The change fails with it, and what was allowed is on record all the same.
                self.send();
                Err(error)
            }
        }
    }

    /// What is to be recorded.
    pub(crate) fn record(&self) -> &AuditRecord {
        &self.record
    }
}

/// The record of a decision about a call; time, writer and chain are added when it is shipped.
pub(crate) fn record_of(
    caller: &Caller,
    resource: &str,
    team: Option<&str>,
    denied: Option<Reason>,
) -> AuditRecord {
    let mut record = record(caller.policy().path, Some(caller.peer()), denied);
    resource.clone_into(&mut record.resource);
    record.subject = caller.candidate().map(ToString::to_string).unwrap_or_default();
    record.chain = std::iter::once(caller.root().to_owned()).chain(caller.chain().iter().cloned()).collect();
    record.team = team_of(resource).or(team).unwrap_or_default().to_owned();
    record.token_id = caller.token().map(|claims| claims.jti.clone()).unwrap_or_default();
    record
}

/// The record of a call that never reached its handler.
pub(crate) fn record(method: &str, peer: Option<&Peer>, denied: Option<Reason>) -> AuditRecord {
    let decision = if denied.is_some() { Decision::Denied } else { Decision::Allowed };
    AuditRecord {
        time: Some(SystemTime::now().into()),
        method: method.to_owned(),
        peer: peer.map(|peer| peer.spiffe_id().to_string()).unwrap_or_default(),
        subject: peer.and_then(Peer::candidate).map(|candidate| candidate.to_string()).unwrap_or_default(),
        decision: decision.into(),
        reason: denied.map(|reason| name(reason).to_owned()).unwrap_or_default(),
        trace_id: CallContext::current().map(|call| call.trace_id().to_owned()).unwrap_or_default(),
        ..AuditRecord::default()
    }
}

/// `T` of `teams/T/...`.
fn team_of(resource: &str) -> Option<&str> {
    resource.strip_prefix("teams/")?.split('/').next().filter(|team| !team.is_empty() && *team != "-")
}

/// Audited calls are refused while their records cannot be kept.
pub(crate) fn full() -> Status {
    let message = "the audit queue is full, so audited calls are refused: check that security is reachable";
    status(Code::Unavailable, Reason::BackendUnavailable, message)
}

#[cfg(test)]
mod tests;
