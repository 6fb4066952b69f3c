//! A run asks people.

use serde_json::{Value, json};
use sre_proto::error::{Reason, reason};
use sre_proto::gateway::v1::{
    Approval, ApprovalState, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest, RunState,
};
use tonic::{Code, Status};

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};

async fn asking(world: &World, settings: Value) -> String {
    let mut data = json!({"title": "pay {{x}}?", "message": "it is much"});
    data.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let ask = component("ask", "Approval", data, &["x"], &["Approved", "Rejected", "Comment", "DecidedBy"]);
    let agent = document(
        "asker",
        vec![
            endpoint(),
            ask,
            post("pay", &world.server.url("/pay"), json!({})),
            post("refuse", &world.server.url("/refuse"), json!({})),
        ],
        &["go.x > ask.x", "ask.Approved > pay.v", "ask.Rejected > refuse.v"],
    );
    world.put(&agent).await
}

async fn asked(world: &World, run: &str) -> Approval {
    world.until(run, RunState::Waiting).await;
    let list = ListApprovalsRequest {
        parent: "teams/default".into(),
        state: ApprovalState::Pending.into(),
        ..ListApprovalsRequest::default()
    };
    let found = world.approvals("user/dev").list_approvals(list).await.unwrap().into_inner().approvals;
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

async fn decide(world: &World, who: &str, name: &str, decision: ApprovalState) -> Result<Approval, Status> {
    let request = DecideApprovalRequest {
        name: name.into(),
        decision: decision.into(),
        comment: "fine".into(),
        ..DecideApprovalRequest::default()
    };
    Ok(world.approvals(who).decide_approval(at(1, request)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_without_memory_for_what_people_say() {
    let world = World::new().await;
    let agent = asking(&world, json!({})).await;
    let run = world.start(0, &agent, json!(5)).await;
    let approval = asked(&world, &run.name).await;
    assert!(world.nothing_lives(&run.name).await, "a run that waits for people is in memory");
    assert_eq!((approval.title.as_str(), approval.component.as_str()), ("pay 5?", "ask"));
    let details: Value = serde_json::from_slice(&approval.details_json).unwrap();
    assert_eq!(details, json!({"message": "it is much", "inputs": {"x": 5}}));
    assert!(approval.name.starts_with(&format!("{}/approvals/", run.name)), "{}", approval.name);

    let decided = decide(&world, "user/dev", &approval.name, ApprovalState::Approved).await.unwrap();
    assert_eq!((decided.state(), decided.decided_by.as_str()), (ApprovalState::Approved, "user/dev"));
    world.done(&run.name).await;
    assert_eq!((world.server.count("/pay"), world.server.count("/refuse")), (1, 0));
    let again = decide(&world, "user/dev", &approval.name, ApprovalState::Approved).await.unwrap();
    assert_eq!(again.state(), ApprovalState::Approved, "a repeat changes nothing");
    let otherwise = decide(&world, "user/dev", &approval.name, ApprovalState::Rejected).await.unwrap_err();
    assert_eq!(reason(&otherwise), Some(Reason::AlreadyDecided), "{otherwise}");
    let audited = world.suite.audit_records().await;
    assert!(audited.iter().any(|record| record.method.ends_with("DecideApproval")), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_whom_the_component_names_decides() {
    let world = World::new().await;
    let agent = asking(&world, json!({"approvers": "user/alice"})).await;
    let run = world.start(0, &agent, json!(5)).await;
    let approval = asked(&world, &run.name).await;
    let absent = format!("{}/approvals/000000000000000000000000", run.name);
    // The admin of the team, an admin of another, the agent itself.
    for who in ["user/dev", "user/eve", "agent/asker"] {
        let there = decide(&world, who, &approval.name, ApprovalState::Approved).await.unwrap_err();
        let not_there = decide(&world, who, &absent, ApprovalState::Approved).await.unwrap_err();
        assert_eq!(there.code(), Code::PermissionDenied, "{who}: {there}");
        assert_eq!(there.message(), not_there.message(), "{who}");
    }
    let get = GetApprovalRequest { name: approval.name.clone() };
    assert!(world.approvals("user/alice").get_approval(get.clone()).await.is_ok());
    assert!(world.approvals("user/dev").get_approval(get.clone()).await.is_ok(), "an admin may look");
    let refused = world.approvals("user/eve").get_approval(get).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    decide(&world, "user/alice", &approval.name, ApprovalState::Rejected).await.unwrap();
    world.done(&run.name).await;
    assert_eq!((world.server.count("/pay"), world.server.count("/refuse")), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_a_rejection_in_the_end() {
    let world = World::new().await;
    let agent = asking(&world, json!({"timeLimit": 1})).await;
    let run = world.start(0, &agent, json!(5)).await;
    let approval = asked(&world, &run.name).await;
    world.done(&run.name).await;
    assert_eq!((world.server.count("/pay"), world.server.count("/refuse")), (0, 1));
    let late = decide(&world, "user/dev", &approval.name, ApprovalState::Approved).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
}
