//! Approvals: a run asks people, holds no memory while it waits, and goes on as they say.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    Approval, ApprovalKind, ApprovalState, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest,
    Run, RunState,
};
use sre_proto::security::v1::{CreateTeamRequest, ListRecordsRequest, Member, SetMemberRequest, TeamRole};
use sre_proto::types::v1::{Candidate, Role};
use tonic::{Code, Status};

use crate::harness::agents::asker;
use crate::harness::clients::{Client, json as parsed};
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, eventually, in_both_modes};

in_both_modes!(approvals, over_a_restart);

const AGENT: &str = "teams/default/agents/asker";

async fn asking(client: &Client, settings: Value) -> (Run, Approval) {
    client.put(AGENT, &asker("asker", settings)).await.unwrap();
    let run = client.start(AGENT, "pay", &json!({ "amount": 5 })).await.unwrap();
    let approval = pending(client, &run.name).await;
    (run, approval)
}

/// What a run asks.
async fn pending(client: &Client, run: &str) -> Approval {
    eventually("the run asks", Duration::from_secs(20), async || {
        let request = ListApprovalsRequest {
            parent: AGENT.into(),
            state: ApprovalState::Pending.into(),
            ..ListApprovalsRequest::default()
        };
        let list = client.approvals().list_approvals(request).await.unwrap().into_inner().approvals;
        list.into_iter().find(|approval| approval.name.starts_with(run))
    })
    .await
}

async fn decide(client: &Client, name: &str, decision: ApprovalState) -> Result<Approval, Status> {
    let request = DecideApprovalRequest {
        name: name.to_owned(),
        decision: decision.into(),
        comment: "as agreed".into(),
        ..DecideApprovalRequest::default()
    };
    Ok(client.approvals().decide_approval(request).await?.into_inner())
}

async fn approvals(mode: Mode) {
    let suite = Suite::start("approvals", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    people(&dev).await;

    let settings = json!({ "title": "pay {{amount}}?", "message": "for the cake", "approvers": "user/bob" });
    let (run, approval) = asking(&dev, settings.clone()).await;
    assert_eq!((approval.title.as_str(), approval.component.as_str()), ("pay 5?", "ask"));
    assert_eq!((approval.kind(), approval.state()), (ApprovalKind::Approval, ApprovalState::Pending));
    assert_eq!(approval.approvers, ["user/bob"]);
    let details = parsed(&approval.details_json).to_string();
    assert!(details.contains("for the cake") && details.contains('5'), "{details}");
    dev.reached(&run.name, &[RunState::Waiting]).await;

    refused(&suite, &approval.name).await;
    // Whoever may decide sees it; the first decision counts.
    let bob = suite.client("user/bob");
    let request = GetApprovalRequest { name: approval.name.clone() };
    assert_eq!(bob.approvals().get_approval(request.clone()).await.unwrap().into_inner().title, "pay 5?");
    let decided = decide(&bob, &approval.name, ApprovalState::Approved).await.unwrap();
    assert_eq!((decided.state(), decided.decided_by.as_str()), (ApprovalState::Approved, "user/bob"));
    assert_eq!(decided.comment, "as agreed");
    let again = decide(&bob, &approval.name, ApprovalState::Approved).await.unwrap();
    assert_eq!(again.decide_time, decided.decide_time);
    let other = decide(&bob, &approval.name, ApprovalState::Rejected).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition, "{other:?}");

    let run = dev.reached(&run.name, &[RunState::Done]).await;
    assert_eq!(parsed(&run.legacy_json), json!({ "approved": { "amount": 5 }, "by": "user/bob" }));
    let events = dev.watch(&run.name).await.unwrap();
    let asked = events.iter().find_map(|event| match &event.event {
        Some(Event::ApprovalRequested(asked)) => Some(asked.clone()),
        _ => None,
    });
    assert_eq!(asked.map(|asked| (asked.approval, asked.component)), Some((approval.name, "ask".into())));

    on_the_command_line(&suite).await;
    too_late(&dev).await;
    audited(&suite).await;
    suite.stop().await;
}

/// Bob is a member of the team, mallory the admin of another.
async fn people(dev: &Client) {
    dev.account().create_team(CreateTeamRequest { team_id: "other".into(), team: None }).await.unwrap();
    for (team, id, role) in [
        ("default", "bob", TeamRole::Member),
        ("default", "carol", TeamRole::Member),
        ("other", "mallory", TeamRole::Admin),
    ] {
        let candidate = Some(Candidate { role: Role::User.into(), id: id.into() });
        let member = Some(Member { candidate, role: role.into(), home: true });
        let request = SetMemberRequest { parent: format!("teams/{team}"), member };
        dev.account().set_member(request).await.unwrap();
    }
}

/// Who is not named may not decide: not the run's owner, not another member, not the agent itself.
async fn refused(suite: &Suite, name: &str) {
    for who in ["user/dev", "user/carol", "user/mallory", "agent/asker"] {
        let status = decide(&suite.client(who), name, ApprovalState::Approved).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{who}: {status:?}");
    }
}

/// `sre approvals`: the team's admins decide, here by rejecting.
async fn on_the_command_line(suite: &Suite) {
    let dev = suite.client("user/dev");
    let (run, approval) = asking(&dev, json!({ "title": "sure?", "approvers": "admins" })).await;
    let list = say(suite.folder(), &["approvals", "list", "--agent", "asker", "--json"]).await.ok().json();
    assert_eq!(list[0]["approval"], approval.name.as_str(), "{list}");
    assert_eq!((&list[0]["title"], &list[0]["state"]), (&json!("sure?"), &json!("pending")));
    let got = say(suite.folder(), &["approvals", "get", &approval.name, "--json"]).await.ok().json();
    assert_eq!(got["details"]["inputs"], json!({ "amount": 5 }), "{got}");
    let words = ["approvals", "reject", &approval.name, "--comment", "too much"];
    let said = say(suite.folder(), &words).await.ok();
    assert!(said.out.contains("rejected by user/dev"), "{said:?}");
    let run = dev.reached(&run.name, &[RunState::Done]).await;
    let expected = json!({ "rejected": { "amount": 5 }, "by": "user/dev", "comment": "too much" });
    assert_eq!(parsed(&run.legacy_json), expected);
    let said = say(suite.folder(), &["approvals", "approve", &approval.name]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let all = say(suite.folder(), &["approvals", "list", "--all", "--json"]).await.ok().json();
    assert!(all.as_array().unwrap().len() >= 2, "{all}");
}

/// Nobody decides in time.
async fn too_late(dev: &Client) {
    let (run, approval) = asking(dev, json!({ "title": "quick?", "timeLimit": 1 })).await;
    let run = dev.reached(&run.name, &[RunState::Done]).await;
    let answer = parsed(&run.legacy_json);
    assert_eq!((&answer["rejected"], &answer["by"]), (&json!({ "amount": 5 }), &json!("")), "{answer}");
    let late = decide(dev, &approval.name, ApprovalState::Approved).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");
    let request = GetApprovalRequest { name: approval.name };
    let expired = dev.approvals().get_approval(request).await.unwrap().into_inner();
    assert_eq!(expired.state(), ApprovalState::Expired);
}

/// Decisions and refusals are in the audit log.
async fn audited(suite: &Suite) {
    let channel = suite.channel("user/dev", "edge");
    let audit = sre_proto::security::v1::audit_client::AuditClient::new(channel);
    eventually("the decision is audited", Duration::from_secs(20), async || {
        let request =
            ListRecordsRequest { parent: "teams/default".into(), page_size: 1000, ..Default::default() };
        let records = audit.clone().list_records(request).await.unwrap().into_inner().records;
        let decisions = records.iter().filter(|record| record.method.ends_with("DecideApproval"));
        let outcomes: Vec<String> = decisions.map(|record| format!("{record:?}")).collect();
        let has = |who: &str| outcomes.iter().any(|text| text.contains(who));
        (has("bob") && has("carol")).then_some(())
    })
    .await;
}

/// The suite stops while nobody has decided, and the run goes on in the next.
async fn over_a_restart(mode: Mode) {
    let suite = Suite::start("approval-restart", mode, Options::default()).await;
    let (run, approval) = asking(&suite.client("user/dev"), json!({ "title": "later?" })).await;
    suite.client("user/dev").reached(&run.name, &[RunState::Waiting]).await;
    suite.stop().await;
    let suite = Suite::start("approval-restart", mode, Options::default().again()).await;
    let dev = suite.client("user/dev");
    assert_eq!(pending(&dev, &run.name).await.name, approval.name);
    decide(&dev, &approval.name, ApprovalState::Approved).await.unwrap();
    let run = dev.reached(&run.name, &[RunState::Done]).await;
    assert_eq!(parsed(&run.legacy_json), json!({ "approved": { "amount": 5 }, "by": "user/dev" }));
    suite.stop().await;
}
