//! How much a team, and each caller in it, may ask of a role at a time.
//!
//! Every call that acts for somebody passes here after it was authenticated and before anything is looked up for
//! it. The key is the home team that Account says, never what the request says. A refusal touches no store and
//! writes no record of its own: it is counted, and recorded once a minute per team. Calls between services that
//! act for nobody are not limited: they follow from calls that were.
//!
//! Each process of a role counts for itself, without asking another: with N replicas behind a balancer a team
//! gets up to N times its limit.

mod bucket;
mod layer;
mod quota;
mod refusal;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use moka::sync::Cache;
use sre_identity::{Caller, Candidate};
use sre_proto::types::v1::Reason;
use tokio::time::Instant;
use tonic::Status;

pub(crate) use layer::{HeldPlace, LimitService};
pub use quota::{HolderQuota, Quota};

use crate::accounts::Accounts;
use crate::audit::{self, AuditSink};
use crate::config::{Config, TeamLimit};
use crate::role::Role;
use bucket::Bucket;
use refusal::{Refusal, Sampler};
use shares::{Held, Shares};

/// How long a caller's home team and limits are taken for granted.
const FRESH: Duration = Duration::from_secs(10);
/// The same where Account knows no such caller, or could not be asked: it may be made known any moment.
const FRESH_UNKNOWN: Duration = Duration::from_secs(1);
/// Who was not seen for so long is forgotten, and starts again with a full bucket.
const FORGET: Duration = Duration::from_secs(600);
const MAX_SUBJECTS: u64 = 100_000;
const MAX_TEAMS: u64 = 20_000;
/// What a caller is told to wait for a place: nobody knows when there is one.
const PLACE_WAIT: Duration = Duration::from_millis(100);

/// The limits of one role in this process. Clones share everything.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    role: Role,
    config: Arc<Config>,
    accounts: Accounts,
    audit: AuditSink,
    subjects: Cache<Candidate, Arc<Subject>>,
    teams: Cache<Arc<str>, Arc<Team>>,
    /// What the settings of teams say, for quotas.
    set: Cache<Arc<str>, Arc<BTreeMap<String, u64>>>,
    calls: Shares,
    streams: Shares,
}

/// A caller.
#[derive(Debug)]
struct Subject {
    team: Arc<Team>,
    bucket: Arc<Bucket>,
    fresh_until: Instant,
}

/// A team; the one without a name is for callers that have none.
#[derive(Debug)]
struct Team {
    name: Arc<str>,
    bucket: ArcSwap<Bucket>,
    concurrent: AtomicU64,
    calls: Held,
    streams: Held,
    refusals: Sampler,
}

impl Team {
    fn name(&self) -> &str {
        &self.name
    }
}

/// What a call occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A place among the unary calls.
    Call,
    /// A place among the streams.
    Stream,
}

/// A call within its limits; dropped, its place is free.
#[must_use = "the place is held by this"]
pub struct Place {
    limiter: Arc<Inner>,
    team: Arc<Team>,
    work: Work,
}

impl Limiter {
    pub(crate) fn new(role: Role, config: &Arc<Config>, accounts: Accounts, audit: AuditSink) -> Self {
        let limits = &config.limits;
        let percent = limits.team.concurrent_percent;
        Self(Arc::new(Inner {
            role,
            accounts,
            audit,
            subjects: Cache::builder().max_capacity(MAX_SUBJECTS).time_to_idle(FORGET).build(),
            teams: Cache::builder().max_capacity(MAX_TEAMS).time_to_idle(FORGET).build(),
            set: Cache::builder().max_capacity(MAX_TEAMS).time_to_live(FRESH).build(),
            calls: Shares::new(limits.concurrent(role), percent),
            streams: Shares::new(limits.max_streams, percent),
            config: Arc::clone(config),
        }))
    }

    /// Admits a call that passes no layer of a role: one at an HTTP door. `method` is for the record.
    pub async fn admit(&self, who: &Candidate, method: &str) -> Result<Place, Status> {
        let subject = match self.known(who) {
            Some(subject) => subject,
            None => self.look_up(who).await,
        };
        self.enter(&subject, Work::Call).map_err(|refusal| {
            let status = refusal.status(self.0.role);
            self.observe(&refusal, || {
                let mut record = audit::record(method, None, Some(Reason::RateLimited));
                record.subject = who.to_string();
                record
            });
            status
        })
    }

    /// The caller, where it is known and not for too long.
    fn known(&self, who: &Candidate) -> Option<Arc<Subject>> {
        self.0.subjects.get(who).filter(|subject| Instant::now() < subject.fresh_until)
    }

    /// Asks Account where a caller belongs. Whether the call may be made is not decided here, so where Account
    /// does not answer the caller is who it was, or one without a team.
    async fn look_up(&self, who: &Candidate) -> Arc<Subject> {
        let previous = self.0.subjects.get(who);
        let resolved = self.0.accounts.resolve(who).await;
        let subject = match (resolved, previous) {
            (Ok(memberships), previous) => {
                let home = memberships.home.as_ref().map(sre_identity::TeamId::as_str);
                let fresh = if home.is_some() { FRESH } else { FRESH_UNKNOWN };
                self.subject(home.unwrap_or_default(), &memberships.limits, previous.as_deref(), fresh)
            }
            (Err(_), Some(previous)) => Subject {
                team: Arc::clone(&previous.team),
                bucket: Arc::clone(&previous.bucket),
                fresh_until: Instant::now() + FRESH_UNKNOWN,
            },
            (Err(_), None) => self.subject("", &BTreeMap::new(), None, FRESH_UNKNOWN),
        };
        let subject = Arc::new(subject);
        self.0.subjects.insert(who.clone(), Arc::clone(&subject));
        subject
    }

    fn subject(
        &self,
        team: &str,
        set: &BTreeMap<String, u64>,
        previous: Option<&Subject>,
        fresh: Duration,
    ) -> Subject {
        let (_, limit) = self.rates();
        let limits = &self.0.config.limits;
        let rate = limits.of_team(team, set, limit);
        // A caller keeps its bucket while its limit stays: a new one would be full.
        let kept = previous.filter(|previous| previous.bucket.calls_per_second() == rate);
        let bucket = kept.map(|previous| Arc::clone(&previous.bucket));
        Subject {
            team: self.team(team, set),
            bucket: bucket.unwrap_or_else(|| Arc::new(Bucket::new(rate, limits.team.burst_ms))),
            fresh_until: Instant::now() + fresh,
        }
    }

    fn team(&self, name: &str, set: &BTreeMap<String, u64>) -> Arc<Team> {
        let limits = &self.0.config.limits;
        let (limit, _) = self.rates();
        let rate = limits.of_team(name, set, limit);
        let name: Arc<str> = Arc::from(name);
        let team = self.0.teams.get_with(Arc::clone(&name), || {
            Arc::new(Team {
                name: Arc::clone(&name),
                bucket: ArcSwap::from_pointee(Bucket::new(rate, limits.team.burst_ms)),
                concurrent: AtomicU64::new(u64::MAX),
                calls: Held::default(),
                streams: Held::default(),
                refusals: Sampler::default(),
            })
        });
        if team.bucket.load().calls_per_second() != rate {
            team.bucket.store(Arc::new(Bucket::new(rate, limits.team.burst_ms)));
        }
        team.concurrent.store(limits.of_team(&name, set, TeamLimit::Concurrent), Ordering::Relaxed);
        team
    }

    /// The limits of a team's and of a caller's rate here.
    fn rates(&self) -> (TeamLimit, TeamLimit) {
        match self.0.role {
            Role::Edge => (TeamLimit::EdgeCallsPerSecond, TeamLimit::SubjectEdgeCallsPerSecond),
            _ => (TeamLimit::CallsPerSecond, TeamLimit::SubjectCallsPerSecond),
        }
    }

    fn enter(&self, subject: &Subject, work: Work) -> Result<Place, Refusal> {
        let refusal = |limit: &'static str, value: u64, retry_after| Refusal {
            team: Arc::clone(&subject.team),
            limit,
            value,
            retry_after,
        };
        let (team_limit, subject_limit) = self.rates();
        subject
            .bucket
            .take()
            .map_err(|wait| refusal(subject_limit.name(), subject.bucket.calls_per_second(), wait))?;
        let bucket = subject.team.bucket.load();
        bucket.take().map_err(|wait| refusal(team_limit.name(), bucket.calls_per_second(), wait))?;
        let (shares, held) = self.0.places(&subject.team, work);
        shares
            .enter(held, subject.team.concurrent.load(Ordering::Relaxed))
            .map_err(|may| refusal(TeamLimit::Concurrent.name(), may as u64, PLACE_WAIT))?;
        Ok(Place { limiter: Arc::clone(&self.0), team: Arc::clone(&subject.team), work })
    }

    /// Counts a refusal, and records it when that is due.
    fn observe(&self, refusal: &Refusal, record: impl FnOnce() -> sre_proto::security::v1::AuditRecord) {
        let role = self.0.role.name();
        metrics::counter!("sre_limit_refusals_total", "role" => role, "limit" => refusal.limit).increment(1);
        let Some(count) = refusal.team.refusals.count() else { return };
        let (team, limit) = (refusal.team.name(), refusal.limit);
        tracing::warn!(role, team, limit, count, "a team is beyond its limit; this is said once a minute");
        let mut record = record();
        record.team = team.to_owned();
        self.0.audit.denied(record);
    }

    fn observe_call(&self, refusal: &Refusal, caller: &Caller) {
        self.observe(refusal, || audit::record_of(caller, "", None, Some(Reason::RateLimited)));
    }
}

impl Inner {
    fn places<'a>(&'a self, team: &'a Team, work: Work) -> (&'a Shares, &'a Held) {
        match work {
            Work::Call => (&self.calls, &team.calls),
            Work::Stream => (&self.streams, &team.streams),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (shares, held) = self.limiter.places(&self.team, self.work);
        shares.leave(held);
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("team", &self.team.name).field("work", &self.work).finish()
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("role", &self.0.role).finish_non_exhaustive()
    }
}
