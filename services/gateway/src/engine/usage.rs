//! What runs add to the ledger.
//!
//! A journalled run adds with the records of its journal, in their transactions: an activation that finished counts
//! once, however often it was started, and what a run did counts whatever dies afterwards. Forks copy records
//! without what they added, and a replay writes none. Runs that answer before they are written down are added up
//! in memory and reported now and then: a crash loses the last moments of them, as it loses their summaries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use sre_components::Charge;
use sre_engine::ActivationKey;
use sre_engine::run::Settled;
use sre_proto::memory::v1::{RunKind, RunRecord, RunState};
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{
    ComponentUse, LightRunsUse, RecordUsageRequest, RunUse, ServiceUse, UsageEvent,
};
use sre_service::UsageReporter;

use super::core::timestamp;
use super::flight::Landed;
use super::scope::RunScope;
use super::steps;
use crate::engine::flight::What;

/// How often runs that left no journal are reported.
const REPORT: Duration = Duration::from_secs(1);
/// Agents and callers that are added up between two reports; beyond it, it is reported at once.
const MOST_SUMS: usize = 10_000;

/// `user/alice` of a SPIFFE id.
pub fn named(spiffe_id: &str) -> &str {
    let principal = spiffe_id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    principal.map_or(spiffe_id, |(_, principal)| principal)
}

/// A duration in microseconds.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// An event as records carry it.
pub fn encoded(event: UsageEvent) -> Bytes {
    RecordUsageRequest { events: vec![event] }.encode_to_vec().into()
}

fn of_row(run: &RunRecord, id: &str, used: RunUse) -> UsageEvent {
    UsageEvent {
        id: format!("{}/{id}", run.run_id),
        team: run.team.clone(),
        agent: run.agent.clone(),
        user: run.caller.clone(),
        run_id: run.run_id.clone(),
        time: Some(timestamp(SystemTime::now())),
        r#use: Some(Use::Run(used)),
        ..UsageEvent::default()
    }
}

/// A run is opened. None for debug sessions, which are no runs.
pub fn opened(run: &RunRecord, trace_id: &str) -> Option<Bytes> {
    (run.kind() != RunKind::Debug).then(|| {
        encoded(of_row(
            run,
            "opened",
            RunUse {
                skill: run.label.clone(),
                parent_run: run.parent_run.clone(),
                trace_id: trace_id.to_owned(),
                version: run.version.clone(),
                ..RunUse::default()
            },
        ))
    })
}

/// A run ended.
pub fn ended(run: &RunRecord, state: RunState) -> Option<Bytes> {
    (run.kind() != RunKind::Debug).then(|| {
        let used = RunUse { state: word(state).to_owned(), ..RunUse::default() };
        encoded(UsageEvent { failed: state == RunState::Failed, ..of_row(run, "closed", used) })
    })
}

/// The run of a scope ended.
pub fn ended_here(scope: &RunScope, state: RunState) -> Option<Bytes> {
    let agent = &scope.subject.version.agent;
    let run = RunRecord {
        run_id: scope.id.clone(),
        team: agent.team.clone(),
        agent: agent.agent.clone(),
        caller: named(&scope.subject.root).to_owned(),
        ..RunRecord::default()
    };
    ended(&run, state)
}

fn word(state: RunState) -> &'static str {
    match state {
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
        _ => "done",
    }
}

/// An activation finished: its execution, and what the models said it used. Empty where only inputs were resolved.
pub fn landed(scope: &RunScope, landed: &Landed) -> Vec<Bytes> {
    let What::Finished(outcome) = &landed.what else { return Vec::new() };
    let name = scope.subject.compiled.plan.node(&landed.key.component);
    let used = Use::Component(ComponentUse {
        r#type: landed.component_type.to_string(),
        name: name.map(|node| node.title.to_string()).unwrap_or_default(),
    });
    let execution = UsageEvent {
        duration_micros: micros(landed.took),
        failed: outcome.output.as_ref().and_then(steps::error_of).is_some(),
        ..of_step(scope, &landed.key, "", landed.started, used)
    };
    let mut used = landed.used.clone();
    used.push(encoded(execution));
    used
}

/// A service outside charged an activation. Executed again, it has the same answers: they are counted once.
pub fn charged(scope: &RunScope, key: &ActivationKey, charge: Charge) -> UsageEvent {
    let Charge { source, provider, answer, credits, cost_micros } = charge;
    let used = Use::Service(ServiceUse {
        source: source.to_owned(),
        provider: provider.to_owned(),
        credits,
        cost_micros,
    });
    of_step(scope, key, &format!("/{source}/{answer}"), SystemTime::now(), used)
}

/// An event of an activation; what ends its id tells it from others of the same one.
fn of_step(scope: &RunScope, key: &ActivationKey, end: &str, time: SystemTime, used: Use) -> UsageEvent {
    let agent = &scope.subject.version.agent;
    let step = key.to_string();
    UsageEvent {
        id: format!("{}/{step}{end}", scope.id),
        team: agent.team.clone(),
        agent: agent.agent.clone(),
        user: named(&scope.subject.root).to_owned(),
        run_id: scope.id.clone(),
        time: Some(timestamp(time)),
        step,
        r#use: Some(used),
        ..UsageEvent::default()
    }
}

/// The engine settled an activation by itself: a span of the run's trace, which the end of its id keeps from being
/// counted as an execution.
pub fn settled(scope: &RunScope, settled: &Settled) -> Bytes {
    let used = Use::Component(ComponentUse {
        r#type: settled.node.type_name.to_string(),
        name: settled.node.title.to_string(),
    });
    encoded(UsageEvent {
        failed: settled.outcome.output.as_ref().and_then(steps::error_of).is_some(),
        ..of_step(scope, &settled.key, "/settled", SystemTime::now(), used)
    })
}

/// What a run without a journal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Executions of components.
    pub executions: i64,
    /// Their time.
    pub micros: i64,
}

impl Tally {
    /// An activation finished.
    pub fn add(&mut self, landed: &Landed) {
        if matches!(landed.what, What::Finished(_)) {
            self.executions += 1;
            self.micros = self.micros.saturating_add(micros(landed.took));
        }
    }
}

/// Runs that left no journal, added up by agent and caller. Clones share them.
#[derive(Clone)]
pub struct LightRuns {
    reporter: UsageReporter,
    sums: Arc<Mutex<HashMap<String, Sum>>>,
}

struct Sum {
    team: String,
    agent: String,
    user: String,
    runs: i64,
    tally: Tally,
}

impl LightRuns {
    /// None yet.
    pub fn new(reporter: UsageReporter) -> Self {
        Self { reporter, sums: Arc::default() }
    }

    /// A run ended.
    pub fn add(&self, scope: &RunScope, tally: Tally) {
        let agent = &scope.subject.version.agent;
        let user = named(&scope.subject.root);
        let key = format!("{}/{}/{user}", agent.team, agent.agent);
        let mut sums = self.sums.lock();
        let sum = sums.entry(key).or_insert_with(|| Sum {
            team: agent.team.clone(),
            agent: agent.agent.clone(),
            user: user.to_owned(),
            runs: 0,
            tally: Tally::default(),
        });
        sum.runs += 1;
        sum.tally.executions += tally.executions;
        sum.tally.micros = sum.tally.micros.saturating_add(tally.micros);
        let full = sums.len() >= MOST_SUMS;
        drop(sums);
        if full {
            self.report();
        }
    }

    /// Hands over what was added up.
    pub fn report(&self) {
        let sums = std::mem::take(&mut *self.sums.lock());
        for sum in sums.into_values() {
            self.reporter.report(UsageEvent {
                id: format!("light/{}", sre_proto::ids::new_uuid()),
                team: sum.team,
                agent: sum.agent,
                user: sum.user,
                time: Some(timestamp(SystemTime::now())),
                duration_micros: sum.tally.micros,
                r#use: Some(Use::LightRuns(LightRunsUse {
                    runs: sum.runs,
                    executions: sum.tally.executions,
                })),
                ..UsageEvent::default()
            });
        }
    }

    /// Reports now and then, and once more at the end.
    pub async fn report_forever(self, end: sre_service::CancellationToken) {
        while end.run_until_cancelled(tokio::time::sleep(REPORT)).await.is_some() {
            self.report();
        }
        self.report();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Option<Bytes>) -> UsageEvent {
        RecordUsageRequest::decode(bytes.unwrap()).unwrap().events.pop().unwrap()
    }

    #[test]
    fn a_run_is_named_after_its_beginning_and_its_end() {
        let run = RunRecord {
            run_id: "00-r".into(),
            team: "t".into(),
            agent: "a".into(),
            caller: "user/alice".into(),
            label: "ask".into(),
            ..RunRecord::default()
        };
        let (opened, ended) = (read(opened(&run, "trace")), read(ended(&run, RunState::Failed)));
        assert_eq!((opened.id.as_str(), ended.id.as_str()), ("00-r/opened", "00-r/closed"));
        assert!(ended.failed && !opened.failed);
        let Some(Use::Run(used)) = ended.r#use else { panic!("a run's use") };
        assert_eq!(used.state, "failed");
        let session = RunRecord { kind: RunKind::Debug.into(), ..run };
        assert_eq!(super::opened(&session, ""), None);
    }

    #[test]
    fn whoever_is_at_the_beginning_is_named_without_the_trust_domain() {
        assert_eq!(named("spiffe://sre.local/user/alice"), "user/alice");
        assert_eq!(named("strange"), "strange");
    }
}
