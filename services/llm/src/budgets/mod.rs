//! Budgets: what calls of models may use.
//!
//! Read in this order: [`budget`] (what one says), [`meters`] (where is counted), [`reservation`] (what becomes of a
//! call's share), [`ledger`] (what was used before), `service.rs` (gRPC).

pub mod budget;
pub mod ledger;
pub mod meters;
pub mod reservation;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sre_identity::Caller;
use sre_proto::error::{Reason, status, try_again};
use sre_proto::llm::v1 as pb;
use sre_service::Host;
use sre_service::accounts::Memberships;
use sre_service::config::TeamLimit;
use tonic::{Code, Status};

use crate::inference::{Failure, Payer, estimate};
use crate::kept::{Kept, Kind, now_ms};
use crate::models::Resolved;
use budget::{Budget, Subject, Unit, Window};
use ledger::{Ledger, Sum};
use meters::{Counting, Line, MeterError, Meters, Millis, Verdict};
use reservation::{Held, HeldLine, Leases};

pub use service::BudgetsService;

/// How long a call's place is kept without hearing of the call.
const LEASE: Millis = 60_000;
/// How often places are renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Longer ids of users, agents and runs are shortened in keys.
const MOST_SUBJECT_BYTES: usize = 200;
/// A reservation looks into the ledger so often before it gives up: each time, another meter may have been lost.
const LOOKS: usize = 4;

/// Whose call it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spender {
    /// The team, the agent, the user.
    pub payer: Payer,
    /// The run and those that it was started from, outermost first; none outside of runs.
    pub runs: Vec<InRun>,
    /// The team's organisation; empty where it has none.
    pub organization: String,
}

/// A run that a call is made in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InRun {
    /// The team of its agent.
    pub team: String,
    /// Its id.
    pub id: String,
}

impl InRun {
    /// The runs of a call: the caller's verified ones, whatever a request says.
    pub fn all_of(caller: &Caller) -> Vec<Self> {
        let parts = caller.runs().iter().filter_map(|run| sre_identity::runs::parts(run));
        parts.map(|(team, id)| Self { team: team.to_owned(), id: id.to_owned() }).collect()
    }
}

/// What a call may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Most {
    /// Tokens.
    pub tokens: i64,
    /// Money.
    pub micros: i64,
}

/// Limits that the deployment sets for a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// [`TeamLimit::ModelCallsAtOnce`].
    pub at_once: u64,
    /// [`TeamLimit::ModelCallsPerMinute`].
    pub per_minute: u64,
    /// [`TeamLimit::ModelMicrosPerMonth`].
    pub micros_per_month: u64,
}

impl Defaults {
    /// Of a team, as the configuration and its setting say.
    pub fn of(host: &Host, team: &str, memberships: &Memberships) -> Self {
        let limits = &host.config().limits;
        let of = |limit| limits.of_team(team, &memberships.limits, limit);
        Self {
            at_once: of(TeamLimit::ModelCallsAtOnce),
            per_minute: of(TeamLimit::ModelCallsPerMinute),
            micros_per_month: of(TeamLimit::ModelMicrosPerMonth),
        }
    }
}

/// Reserves and settles. Clones share everything.
#[derive(Clone)]
pub struct Budgets {
    kept: Kept,
    meters: Arc<dyn Meters>,
    ledger: Arc<dyn Ledger>,
    leases: Leases,
}

/// One budget as it applies to one call.
#[derive(Debug, Clone)]
struct Applied {
    /// Its name in messages.
    name: String,
    unit: Unit,
    soft: bool,
    limit: i64,
    line: Line,
    sum: Sum,
    ends: Millis,
}

impl Budgets {
    /// Budgets that are kept here, counted there, and begun with what the ledger has.
    pub fn new(kept: Kept, meters: Arc<dyn Meters>, ledger: Arc<dyn Ledger>) -> Self {
        Self { kept, leases: Leases::new(Arc::clone(&meters)), meters, ledger }
    }

    /// Renews the places of calls under way, until it is dropped.
    pub async fn renew(self) {
        self.leases.renew(RENEW_EVERY, LEASE).await;
    }

    /// Reserves the most that a call may use, of all budgets or of none. None where nobody pays.
    pub async fn reserve(
        &self,
        spender: &Spender,
        model: &Resolved,
        most: Most,
        defaults: Defaults,
    ) -> Result<Option<Held>, Status> {
        if spender.payer.team.is_empty() {
            return Ok(None);
        }
        let now = now_ms();
        let holder = sre_proto::ids::new_uuid().to_string();
        let mut held = Held::new(self.meters.clone(), self.leases.clone(), holder);
        let call = Call { spender, model, most, now };
        let mut scopes = vec![(format!("t/{}", spender.payer.team), self.of_team(&call, defaults))];
        scopes.extend(self.of_other_teams(&call));
        if !spender.organization.is_empty() {
            scopes.push((format!("o/{}", spender.organization), self.of_organization(&call)));
        }
        for (scope, applied) in scopes {
            match self.reserve_all(&scope, held.holder(), applied).await {
                Ok(lines) => held.take(&scope, lines),
                Err(refused) => {
                    held.give_back().await;
                    return Err(refused);
                }
            }
        }
        held.begin();
        Ok(Some(held))
    }

    async fn reserve_all(
        &self,
        scope: &str,
        holder: &str,
        mut applied: Vec<Applied>,
    ) -> Result<Vec<HeldLine>, Status> {
        for _ in 0..LOOKS {
            if applied.is_empty() {
                return Ok(Vec::new());
            }
            let lines: Vec<Line> = applied.iter().map(|one| one.line.clone()).collect();
            match self.meters.reserve(scope, holder, &lines).await {
                Ok(Verdict::Granted(epochs)) => {
                    self.say_soft(scope, &applied).await;
                    let held = applied.into_iter().zip(epochs);
                    return Ok(held.map(|(one, epoch)| HeldLine::new(one.line, epoch, one.unit)).collect());
                }
                Ok(Verdict::Refused { line, used }) => {
                    return Err(applied.get(line).map_or_else(uncounted, |one| one.refusal(used)));
                }
                Ok(Verdict::Unseeded(missing)) => self.seed(scope, &mut applied, &missing).await?,
                Err(error) => {
                    let hard = applied.iter().any(|one| !one.soft);
                    tracing::warn!(%error, "budgets cannot be counted");
                    if hard {
                        return Err(uncounted());
                    }
                    return Ok(Vec::new());
                }
            }
        }
        Err(uncounted())
    }

    /// Begins meters with what the ledger has. One that is only counted is left out where it does not answer.
    async fn seed(&self, scope: &str, applied: &mut Vec<Applied>, missing: &[usize]) -> Result<(), Status> {
        let mut left_out = Vec::new();
        for at in missing {
            let Some(one) = applied.get(*at) else { continue };
            let seeded = match self.ledger.sum(&one.sum, one.unit).await {
                Ok(used) => self
                    .meters
                    .seed(scope, &one.line.key, used, one.ends)
                    .await
                    .map_err(|error| error.to_string()),
                Err(status) => Err(status.message().to_owned()),
            };
            if let Err(error) = seeded {
                tracing::warn!(error, budget = one.name, "what was used of a budget cannot be looked up");
                if !one.soft {
                    return Err(uncounted());
                }
                left_out.push(*at);
            }
        }
        for at in left_out.into_iter().rev() {
            applied.remove(at);
        }
        Ok(())
    }

    /// Soft budgets that were reached are said, and nothing else.
    async fn say_soft(&self, scope: &str, applied: &[Applied]) {
        for one in applied.iter().filter(|one| one.soft) {
            let places = one.unit == Unit::Concurrent;
            if let Ok(Some(used)) = self.meters.used(scope, &one.line.key, places).await
                && used > one.limit
            {
                metrics::counter!("sre_llm_budget_reached_total", "kind" => "soft").increment(1);
                tracing::debug!(budget = one.name, used, "a soft budget was reached");
            }
        }
    }

    fn of_team(&self, call: &Call<'_>, defaults: Defaults) -> Vec<Applied> {
        let team = &call.spender.payer.team;
        let default = |unit, window, limit: u64| Budget {
            subject: Subject::Team,
            subject_id: String::new(),
            model: String::new(),
            unit,
            window,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            soft: false,
        };
        let defaults = [
            (TeamLimit::ModelCallsAtOnce, default(Unit::Concurrent, Window::None, defaults.at_once)),
            (TeamLimit::ModelCallsPerMinute, default(Unit::Requests, Window::Minute, defaults.per_minute)),
            (TeamLimit::ModelMicrosPerMonth, default(Unit::Micros, Window::Month, defaults.micros_per_month)),
        ];
        // What is as large as a number can be is no limit, and needs no counting.
        let finite = defaults.into_iter().filter(|(_, budget)| budget.limit < i64::MAX);
        let defaults = finite.map(|(limit, budget)| (limit.name().to_owned(), budget));
        let defaults =
            defaults.flat_map(|(name, budget)| call.apply(team, &name, &format!("*{name}"), &budget));
        defaults.chain(self.kept_by_team(call, team, |_| true)).collect()
    }

    /// Whoever started the run that calls may be of another team: what its budgets say of its runs holds for all that
    /// follows from them.
    fn of_other_teams(&self, call: &Call<'_>) -> Vec<(String, Vec<Applied>)> {
        let payer = &call.spender.payer.team;
        let others: BTreeSet<&String> =
            call.spender.runs.iter().map(|run| &run.team).filter(|team| *team != payer).collect();
        let of_runs = |budget: &Budget| budget.subject == Subject::Run;
        others.into_iter().map(|team| (format!("t/{team}"), self.kept_by_team(call, team, of_runs))).collect()
    }

    fn kept_by_team(&self, call: &Call<'_>, team: &str, fits: impl Fn(&Budget) -> bool) -> Vec<Applied> {
        let own = self.budgets_of(&format!("teams/{team}"));
        let own = own.into_iter().filter(|(_, budget)| fits(budget));
        own.flat_map(|(id, budget)| call.apply(team, &format!("teams/{team}/budgets/{id}"), &id, &budget))
            .collect()
    }

    fn of_organization(&self, call: &Call<'_>) -> Vec<Applied> {
        let holder = format!("organizations/{}", call.spender.organization);
        let team = &call.spender.payer.team;
        let own = self.budgets_of(&holder);
        own.into_iter()
            .flat_map(|(id, budget)| call.apply(team, &format!("{holder}/budgets/{id}"), &id, &budget))
            .collect()
    }

    fn budgets_of(&self, holder: &str) -> Vec<(String, Budget)> {
        let shelf = self.kept.shelf(Kind::Budget, holder);
        let read = shelf.iter().filter_map(|(id, document)| {
            // What was written here reads here.
            serde_json::from_str(&document.json).ok().map(|budget| (id.clone(), budget))
        });
        read.collect()
    }

    /// What is used of a budget, and the window it is used in.
    async fn state(
        &self,
        scope: &str,
        id: &str,
        budget: &Budget,
        spender: &Spender,
    ) -> Result<(i64, Option<(Millis, Millis)>), Status> {
        let now = now_ms();
        let model = Resolved { entry: budget.model.clone(), ..Resolved::default() };
        let most = Most { tokens: 1, micros: 1 };
        let call = Call { spender, model: &model, most, now };
        let applied = call.apply(&spender.payer.team, "", id, budget);
        let Some(one) = applied.into_iter().next() else { return Ok((0, None)) };
        let used = self.meters.used(scope, &one.line.key, budget.unit == Unit::Concurrent).await;
        let used = match used.map_err(|_| uncounted())? {
            Some(used) => used,
            None if budget.window.is_seeded() => self.ledger.sum(&one.sum, budget.unit).await?,
            None => 0,
        };
        let window = budget.window.around(now);
        let counted = !matches!(budget.window, Window::None | Window::Run);
        Ok((used, counted.then_some(window)))
    }
}

/// The most that a call may use: all of what it says, and the longest answer, at the dearest of the models that may
/// answer.
pub fn most_of(request: &pb::GenerateRequest, models: impl Iterator<Item = Arc<Resolved>>) -> Most {
    let input = estimate::of_request(request);
    let now = std::time::SystemTime::now();
    let mut most = Most::default();
    for model in models.filter(|model| !model.provider.eq_ignore_ascii_case("Echo")) {
        let limit =
            [model.completion_tokens, model.tokens].into_iter().find(|limit| *limit > 0).unwrap_or(512);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let asked = request.max_tokens.filter(|asked| *asked > 0).unwrap_or(limit).min(limit);
        let micros = model.prices_at(now).map_or(0, |prices| prices.most_micros(input, asked));
        most.tokens = most.tokens.max(input.saturating_add(asked));
        most.micros = most.micros.max(micros);
    }
    most
}

/// A call that budgets may apply to.
struct Call<'a> {
    spender: &'a Spender,
    model: &'a Resolved,
    most: Most,
    now: Millis,
}

impl Call<'_> {
    /// A budget that a team keeps, or its organisation, as it applies to the call: once, or of runs once for each that
    /// the call is made in, or not at all.
    fn apply(&self, team: &str, name: &str, id: &str, budget: &Budget) -> Vec<Applied> {
        if !budget.model.is_empty() && budget.model != self.model.entry {
            return Vec::new();
        }
        let payer = &self.spender.payer;
        let subjects: Vec<&str> = match budget.subject {
            Subject::Organization | Subject::Team => {
                return self.of_subject(team, name, id, budget, "").into_iter().collect();
            }
            Subject::User => vec![&payer.user],
            Subject::Agent => vec![&payer.agent],
            Subject::Run => {
                let runs = self.spender.runs.iter().filter(|run| run.team == team);
                runs.map(|run| run.id.as_str()).collect()
            }
        };
        let meant = |subject: &&str| {
            !subject.is_empty() && (budget.subject_id.is_empty() || budget.subject_id == *subject)
        };
        let subjects = subjects.into_iter().filter(meant);
        subjects.filter_map(|subject| self.of_subject(team, name, id, budget, subject)).collect()
    }

    fn of_subject(
        &self,
        team: &str,
        name: &str,
        id: &str,
        budget: &Budget,
        subject: &str,
    ) -> Option<Applied> {
        let amount = match budget.unit {
            Unit::Requests | Unit::Concurrent => 1,
            Unit::Tokens => self.most.tokens,
            Unit::Micros => self.most.micros,
        };
        if amount == 0 {
            // It uses nothing of this, so it needs no place.
            return None;
        }
        let (began, ends) = budget.window.around(self.now);
        let counting = match budget.window {
            Window::None => Counting::Places { lease: LEASE },
            window => Counting::Window { ends, seeded: window.is_seeded() },
        };
        // A key has the length of a name, however long its subject's is.
        let key = if subject.len() > MOST_SUBJECT_BYTES {
            blake3::hash(subject.as_bytes()).to_hex().to_string()
        } else {
            subject.to_owned()
        };
        let of = |which: Subject| if budget.subject == which { subject.to_owned() } else { String::new() };
        let sum = Sum {
            team: team.to_owned(),
            organization: match budget.subject {
                Subject::Organization => self.spender.organization.clone(),
                _ => String::new(),
            },
            agent: of(Subject::Agent),
            user: of(Subject::User),
            run: of(Subject::Run),
            model: budget.model.clone(),
            from: began,
            to: ends,
        };
        Some(Applied {
            name: name.to_owned(),
            unit: budget.unit,
            soft: budget.soft,
            limit: budget.limit,
            line: Line {
                key: format!("{id}/{}{began}/{key}", budget.window.letter()),
                limit: (!budget.soft).then_some(budget.limit),
                amount,
                counting,
            },
            sum,
            ends,
        })
    }
}

impl Applied {
    fn refusal(&self, used: i64) -> Status {
        metrics::counter!("sre_llm_budget_reached_total", "kind" => "hard").increment(1);
        let after = match self.line.counting {
            Counting::Places { .. } => Duration::from_secs(1),
            Counting::Window { ends, .. } => {
                Duration::from_millis(u64::try_from(ends - now_ms()).unwrap_or_default().max(1))
            }
        };
        let message = format!(
            "the budget {} is {} {}, of which {used} are used: this call may need {}; try again in {} s, ask for a \
             shorter answer, or have the budget raised",
            self.name,
            self.limit,
            self.unit.word(),
            self.line.amount,
            after.as_secs().max(1),
        );
        let metadata = [
            ("limit", self.name.clone()),
            ("value", self.limit.to_string()),
            ("used", used.to_string()),
            ("needed", self.line.amount.to_string()),
            ("failure", Failure::Budget.as_str().to_owned()),
        ];
        try_again(Reason::BudgetExceeded, message, after, metadata)
    }
}

/// Hard budgets deny until they can be counted.
fn uncounted() -> Status {
    let message = "what was used of a budget cannot be counted at the moment, and until then nothing more is: try again";
    status(Code::Unavailable, Reason::BackendUnavailable, message)
}

impl From<MeterError> for Status {
    fn from(_: MeterError) -> Self {
        uncounted()
    }
}
