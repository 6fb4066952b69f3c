//! Records of this role's own system methods, which say more than the call: whom a token is for, which agent.

use prost::Message;
use sre_identity::{Caller, Candidate};
use sre_proto::error::{Reason, name};
use sre_proto::security::v1::{AuditRecord, Decision};
use sre_store::sql::Connection;
use tonic::{Request, Status};

use crate::error::Error;
use crate::moment::Moment;

/// A record on its way into the outbox, where it gets its place in this role's chain.
#[derive(Debug, Clone)]
pub struct Entry(AuditRecord);

impl Entry {
    /// An allowed call of a service.
    pub fn of_call<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = Caller::of(request.extensions())?;
        let trace =
            request.metadata().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(AuditRecord {
            time: Some(Moment::now().into()),
            method: caller.policy().path.to_owned(),
            peer: caller.peer().spiffe_id().to_string(),
            decision: Decision::Allowed.into(),
            trace_id: trace.split('-').nth(1).unwrap_or_default().to_owned(),
            ..AuditRecord::default()
        }))
    }

    /// On a resource.
    #[must_use]
    pub fn on(mut self, resource: String) -> Self {
        self.0.resource = resource;
        self
    }

    /// Of a team.
    #[must_use]
    pub fn of_team(mut self, team: &str) -> Self {
        team.clone_into(&mut self.0.team);
        self
    }

    /// For somebody, who is acted for through a chain.
    #[must_use]
    pub fn acting_for(mut self, subject: &Candidate, chain: Vec<String>) -> Self {
        self.0.subject = subject.to_string();
        self.0.chain = chain;
        self
    }

    /// About a token.
    #[must_use]
    pub fn with_token(mut self, id: &str) -> Self {
        id.clone_into(&mut self.0.token_id);
        self
    }

    /// Refused.
    #[must_use]
    pub fn refused(mut self, reason: Reason) -> Self {
        self.0.decision = Decision::Denied.into();
        name(reason).clone_into(&mut self.0.reason);
        self
    }

    /// The record.
    pub fn into_record(self) -> AuditRecord {
        self.0
    }

    /// Writes it in the transaction of the change it is about.
    pub fn write(&self, tx: &Connection<'_>) -> Result<(), Error> {
        tx.prepare_cached("insert into audit_outbox (record) values (?1)")?
            .execute([self.0.encode_to_vec()])?;
        Ok(())
    }
}
