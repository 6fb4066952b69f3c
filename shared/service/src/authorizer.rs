//! The check that every handler of an `access` method makes, before it does anything.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sre_identity::scope::{implied, resolve_own, subject_of};
use sre_identity::{Acl, Caller, Candidate, Level, TeamId, TokenVerifier, decide};
use sre_proto::error::status;
use sre_proto::types::v1::Reason;
use sre_proto::{AccessLevel, AuditMode, Guarded, Rule, method_of};
use sre_store::StoreError;
use sre_store::pg::GenericClient;
use sre_store::sql::Connection;
use tonic::{Code, Status};

use crate::accounts::{Accounts, Memberships};
use crate::audit::{self, AuditSink, Pending};
use crate::server::errors;
use crate::telemetry::spans;
use crate::telemetry::tally::Tally;

/// Decides whether a caller may do what a request asks. Clones share everything.
#[derive(Clone)]
pub struct Authorizer {
    accounts: Accounts,
    audit: AuditSink,
    verifier: TokenVerifier,
}

/// A call that may go on. For methods that are audited in full, the record must be written: with the change,
/// [`Self::record`], or at once, [`Self::record_now`]. One that is dropped is queued, so that nothing is lost
/// by forgetting.
#[must_use = "an audited call is recorded through this"]
pub struct Granted {
    candidate: Option<Candidate>,
    memberships: Arc<Memberships>,
    resource: String,
    pending: Mutex<Option<Pending>>,
}

impl Authorizer {
    pub(crate) fn new(accounts: Accounts, audit: AuditSink, verifier: TokenVerifier) -> Self {
        Self { accounts, audit, verifier }
    }

    /// Checks the policy row of the request's method on the resource that the request names. `acl` is the list
    /// stored for it; without one, the rights that follow from its name count.
    ///
    /// The error is the same for what is forbidden and for what does not exist. Where `acl` is none because
    /// the resource is not there, `Ok` means: may know that, answer NOT_FOUND.
    pub async fn check<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        acl: Option<&Acl>,
    ) -> Result<Granted, Status> {
        let row = method_of::<R>();
        match row.rule {
            Rule::Access { level, .. } => {
                self.decide(caller, row.audit, &request.resource(), level_of(level), acl).await
            }
            // The layer has checked who calls.
            Rule::System { .. } => self.granted(caller, row.audit, None, Arc::default(), String::new()),
        }
    }

    /// A further check in the same handler: another resource, or another level. Audited like the method.
    pub async fn check_level(
        &self,
        caller: &Caller,
        resource: &str,
        level: AccessLevel,
        acl: Option<&Acl>,
    ) -> Result<Granted, Status> {
        self.decide(caller, caller.policy().audit, resource, level_of(level), acl).await
    }

    /// Whether the caller has a level, without record: for lists that show only what may be seen.
    pub async fn may(
        &self,
        caller: &Caller,
        resource: &str,
        level: AccessLevel,
        acl: Option<&Acl>,
    ) -> Result<bool, Status> {
        let candidate = caller.require_candidate()?;
        let memberships = self.accounts.resolve(candidate).await?;
        let Some(resource) = resolve_own(candidate, &memberships, resource) else { return Ok(false) };
        self.allowed(candidate, &memberships, &resource, level_of(level), acl).await
    }

    /// The caller's home team: what `teams/-` in a name stands for.
    pub async fn home_team(&self, caller: &Caller) -> Result<TeamId, Status> {
        let memberships = self.accounts.resolve(caller.require_candidate()?).await?;
        memberships.home.clone().ok_or_else(|| {
            status(
                Code::PermissionDenied,
                Reason::NotTeamMember,
                "the caller has no home team: name a team instead of `-`",
            )
        })
    }

    /// The caller's memberships.
    pub async fn memberships(&self, caller: &Caller) -> Result<Arc<Memberships>, Status> {
        self.accounts.resolve(caller.require_candidate()?).await
    }

    /// A resource name with `-` in its first place replaced by what it stands for.
    pub async fn resolve_name(&self, caller: &Caller, name: &str) -> Result<String, Status> {
        if name.split('/').nth(1) != Some(sre_identity::resource::OWN) {
            return Ok(name.to_owned());
        }
        let candidate = caller.require_candidate()?;
        let memberships = self.accounts.resolve(candidate).await?;
        match resolve_own(candidate, &memberships, name) {
            Some(name) => Ok(name.into_owned()),
            None => Err(denied()),
        }
    }

    /// Whether the caller of an open stream may go on: its token is not revoked, its principal still known.
    /// Call it every `deadlines.revalidate_ms`.
    pub async fn revalidate(&self, caller: &Caller) -> Result<(), Status> {
        if let Some(claims) = caller.token() {
            self.verifier.still_valid(claims).map_err(Status::from)?;
        }
        if std::time::SystemTime::now() >= caller.peer().not_after() {
            let message = "the certificate of the caller has ended: connect again";
            return Err(status(Code::Unauthenticated, Reason::CredentialsInvalid, message));
        }
        Ok(())
    }

    async fn decide(
        &self,
        caller: &Caller,
        mode: AuditMode,
        resource: &str,
        level: Level,
        acl: Option<&Acl>,
    ) -> Result<Granted, Status> {
        let candidate = caller.require_candidate()?;
        let memberships = self.accounts.resolve(candidate).await?;
        let name = resolve_own(candidate, &memberships, resource);
        let allowed = match &name {
            Some(name) => self.allowed(candidate, &memberships, name, level, acl).await?,
            None => false,
        };
        let name = name.map_or_else(|| resource.to_owned(), std::borrow::Cow::into_owned);
        spans::note("sre.acl.decision", if allowed { "allowed" } else { "denied" });
        spans::note("sre.acl.step", if acl.is_some() { "list" } else { "name" });
        decisions(level, allowed, acl.is_some()).one_more();
        if allowed {
            return self.granted(caller, mode, Some(candidate.clone()), memberships, name);
        }
        if mode != AuditMode::None {
            let team = memberships.home.as_ref().map(TeamId::as_str);
            self.audit.denied(audit::record_of(caller, &name, team, Some(Reason::AclDenied)));
        }
        Err(denied())
    }

    async fn allowed(
        &self,
        candidate: &Candidate,
        memberships: &Memberships,
        resource: &str,
        level: Level,
        acl: Option<&Acl>,
    ) -> Result<bool, Status> {
        if let Some(acl) = acl {
            return Ok(decide(candidate, &memberships.team_ids(), &[level], acl).is_allowed());
        }
        let home = match subject_of(resource) {
            Some(subject) if subject != *candidate => self.accounts.resolve(&subject).await?.home.clone(),
            Some(_) => memberships.home.clone(),
            None => None,
        };
        Ok(implied(candidate, memberships, resource, home.as_ref()).allows(level))
    }

    fn granted(
        &self,
        caller: &Caller,
        mode: AuditMode,
        candidate: Option<Candidate>,
        memberships: Arc<Memberships>,
        resource: String,
    ) -> Result<Granted, Status> {
        let pending = match mode {
            AuditMode::All => {
                // The place is taken before anything is done: closed when full.
                let place = self.audit.reserve()?;
                let team = memberships.home.as_ref().map(TeamId::as_str);
                Some(Pending::new(audit::record_of(caller, &resource, team, None), place))
            }
            AuditMode::None | AuditMode::Deny => None,
        };
        Ok(Granted { candidate, memberships, resource, pending: Mutex::new(pending) })
    }
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

impl Granted {
    /// On whose behalf.
    pub fn candidate(&self) -> Result<&Candidate, Status> {
        self.candidate.as_ref().ok_or_else(|| errors::internal("a system method was asked for its candidate"))
    }

    /// The Candidate's memberships.
    pub fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    /// The resource as it was checked: `-` replaced.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Writes the record in the transaction of the change, into the table of [`audit::MIGRATION_SQL`]. Does
    /// nothing for methods that are not audited in full.
    pub fn record<'a>(&self, tx: impl Into<Connection<'a>>) -> Result<(), StoreError> {
        match self.pending.lock().take() {
            Some(pending) => pending.write(&tx.into()),
            None => Ok(()),
        }
    }

    /// Writes the record in the transaction of the change in PostgreSQL, into the table of
    /// [`audit::PG_MIGRATION_SQL`]. A transaction that is tried again writes it again. Once it is committed, say
    /// so with [`Self::recorded`]; without that the record is queued, so that nothing is lost by a failure.
    pub async fn record_pg(&self, tx: &impl GenericClient) -> Result<(), StoreError> {
        // It stays here until the commit: a call that is given up meanwhile is on record all the same.
        let record = self.pending.lock().as_ref().map(|pending| pending.record().clone());
        match record {
            Some(record) => audit::insert_pg(tx, &record).await,
            None => Ok(()),
        }
    }

    /// The transaction of [`Self::record_pg`] was committed.
    pub fn recorded(&self) {
        drop(self.pending.lock().take());
    }

    /// Queues the record now.
    pub fn record_now(&self) {
        if let Some(pending) = self.pending.lock().take() {
            pending.send();
        }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.record_now();
    }
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted")
            .field("candidate", &self.candidate)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// The counter of such decisions, looked up once.
fn decisions(level: Level, allowed: bool, by_list: bool) -> &'static Tally {
    static TALLIES: [[[OnceLock<&Tally>; 2]; 2]; 4] =
        [const { [const { [const { OnceLock::new() }; 2] }; 2] }; 4];
    TALLIES[level as usize][usize::from(allowed)][usize::from(by_list)].get_or_init(|| {
        Tally::leaked(metrics::counter!(
            "sre_acl_decisions_total",
            "level" => level.as_str(),
            "result" => if allowed { "allowed" } else { "denied" },
            "step" => if by_list { "list" } else { "name" }
        ))
    })
}

/// The one refusal: it says neither whether the resource exists nor what would be needed.
fn denied() -> Status {
    status(Code::PermissionDenied, Reason::AclDenied, "access denied")
}

fn level_of(level: AccessLevel) -> Level {
    match level {
        AccessLevel::Read => Level::Read,
        AccessLevel::Write => Level::Write,
        AccessLevel::Owner => Level::Owner,
    }
}
