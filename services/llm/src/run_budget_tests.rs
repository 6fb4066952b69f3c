//! Budgets of runs as callers meet them: which runs a call is made in is what the engine says, or a component's token,
//! and nothing that a request says.

use std::sync::Arc;

use sre_identity::Purpose;
use sre_proto::error::{Reason, reason};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::budgets_client::BudgetsClient;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::observability::v1::usage_server::{Usage, UsageServer};
use sre_proto::observability::v1::{
    QueryUsageRequest, QueryUsageResponse, RecordUsageRequest, RecordUsageResponse, SumUsageRequest,
    UsageEvent, UsageRow,
};
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

const SCOPE: &str = "sre.llm.v1.Inference:read";

/// A ledger in which nothing was used before.
#[derive(Clone, Default)]
struct Ledger {
    events: Arc<watch::Sender<Vec<UsageEvent>>>,
}

#[tonic::async_trait]
impl Usage for Ledger {
    async fn record_usage(
        &self,
        request: Request<RecordUsageRequest>,
    ) -> Result<Response<RecordUsageResponse>, Status> {
        self.events.send_modify(|events| events.extend(request.into_inner().events));
        Ok(Response::new(Default::default()))
    }

    async fn sum_usage(&self, _: Request<SumUsageRequest>) -> Result<Response<UsageRow>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn query_usage(
        &self,
        _: Request<QueryUsageRequest>,
    ) -> Result<Response<QueryUsageResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

async fn suite(ledger: &Ledger) -> TestSuite {
    let kept = ledger.clone();
    TestSuite::builder()
        .role(Role::Llm, crate::start)
        .role(Role::Observability, move |_| {
            let kept = kept.clone();
            async move { Ok(Routes::new(UsageServer::new(kept)).prepare()) }
        })
        .member("agent/helper", "red", TeamRole::Member)
        .member("user/carol", "red", TeamRole::Admin)
        .build()
        .await
        .unwrap()
}

/// Each run of team red makes so many calls, with all that was started from it.
async fn limit_calls_of_runs(suite: &TestSuite, limit: i64) {
    let budget = pb::Budget {
        subject: pb::BudgetSubject::Run.into(),
        unit: pb::BudgetUnit::Requests.into(),
        window: pb::BudgetWindow::Run.into(),
        limit,
        ..pb::Budget::default()
    };
    let request =
        pb::CreateBudgetRequest { parent: "teams/red".into(), budget_id: "run".into(), budget: Some(budget) };
    BudgetsClient::new(suite.link_as("user/carol", Role::Llm)).create_budget(request).await.unwrap();
}

/// Asks under a way, saying in the request that it is of this run.
async fn ask(link: Link, said: &str) -> Result<(), Status> {
    let message =
        pb::ChatMessage { role: pb::ChatRole::User.into(), text: "hi".into(), ..Default::default() };
    let request = pb::GenerateRequest {
        model: "Echo".into(),
        messages: vec![message],
        run_id: said.into(),
        ..Default::default()
    };
    InferenceClient::new(link).generate(request).await.map(drop)
}

fn as_engine(suite: &TestSuite, runs: &[&str]) -> Link {
    let token = suite.token("agent/helper", Role::Engine, Role::Llm, &[SCOPE]);
    let runs: Vec<String> = runs.iter().map(|&run| run.to_owned()).collect();
    suite.link_as("service/engine", Role::Llm).with_jwt(&token).with_runs(&runs)
}

/// A component out of process, whose token says the runs it works for.
fn as_component(suite: &TestSuite, runs: &[&str]) -> Link {
    let mut claims = suite.stand_in().claims("agent/helper", Role::Engine, Role::Llm, &[SCOPE]);
    claims.act = claims.act.replace("service/engine", "service/acme");
    claims.purpose = Purpose::Component;
    claims.runs = runs.iter().map(|&run| run.to_owned()).collect();
    suite.link_as("service/acme", Role::Llm).with_jwt(&suite.stand_in().sign(&claims))
}

fn refused(result: Result<(), Status>) -> Option<Reason> {
    reason(&result.unwrap_err())
}

#[tokio::test]
async fn what_a_run_starts_spends_what_the_run_may() {
    let ledger = Ledger::default();
    let suite = suite(&ledger).await;
    limit_calls_of_runs(&suite, 3).await;
    ask(as_engine(&suite, &["red/root"]), "").await.unwrap();
    ask(as_engine(&suite, &["red/root", "red/child"]), "").await.unwrap();
    ask(as_component(&suite, &["red/root", "red/other", "red/deep"]), "").await.unwrap();
    for link in [
        as_engine(&suite, &["red/root"]),
        as_engine(&suite, &["red/root", "red/another"]),
        as_component(&suite, &["red/root", "red/child"]),
    ] {
        assert_eq!(refused(ask(link, "free").await), Some(Reason::BudgetExceeded));
    }
    // Another run has its own.
    ask(as_engine(&suite, &["red/second"]), "").await.unwrap();
    // The ledger is told of each answer below which runs it was made, so that their counts can begin with it.
    let mut events = ledger.events.subscribe();
    let all = events.wait_for(|events| events.len() == 4);
    let events =
        tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap().unwrap().clone();
    let outer: Vec<(&str, Vec<&str>)> = events
        .iter()
        .map(|event| (event.run_id.as_str(), event.outer_runs.iter().map(String::as_str).collect()))
        .collect();
    assert!(outer.contains(&("root", vec![])) && outer.contains(&("child", vec!["red/root"])), "{outer:?}");
    assert!(outer.contains(&("deep", vec!["red/root", "red/other"])), "{outer:?}");
    let state = pb::GetBudgetStateRequest { name: "teams/red/budgets/run".into(), subject_id: "root".into() };
    let mut budgets = BudgetsClient::new(suite.link_as("user/carol", Role::Llm));
    assert_eq!(budgets.get_budget_state(state).await.unwrap().into_inner().used, 3);
}

#[tokio::test]
async fn no_request_and_no_component_says_which_run_it_is() {
    let ledger = Ledger::default();
    let suite = suite(&ledger).await;
    limit_calls_of_runs(&suite, 1).await;
    // Neither the field of the request nor a component's metadata spends another run's budget, or escapes its own.
    let component = as_component(&suite, &["red/own"]).with_runs(&["red/victim".to_owned()]);
    ask(component.clone(), "victim").await.unwrap();
    assert_eq!(refused(ask(component, "victim").await), Some(Reason::BudgetExceeded));
    ask(suite.link_as("user/carol", Role::Llm).with_runs(&["red/victim".to_owned()]), "victim")
        .await
        .unwrap();
    ask(as_engine(&suite, &["red/victim"]), "own").await.unwrap();
    let mut events = ledger.events.subscribe();
    let all = events.wait_for(|events| events.len() == 3);
    let events =
        tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap().unwrap().clone();
    let mut runs: Vec<String> = events.into_iter().map(|event| event.run_id).collect();
    runs.sort();
    assert_eq!(runs, ["", "own", "victim"], "the ledger has each call under the run that made it");
}
