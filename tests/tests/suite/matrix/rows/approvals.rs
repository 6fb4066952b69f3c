//! `sre.gateway.v1.Approvals`.

use std::time::Duration;

use anyhow::{bail, ensure};
use sre_proto::gateway::v1::*;

use super::super::case::{Case, OWNER, READER, WRITER};
use super::super::world::{World, agent_name};
use crate::harness::agents::asker;

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let id = world.fresh("asker");
    let settings = serde_json::json!({ "title": "may it?", "approvers": [OWNER, WRITER, "members"] });
    world.create_agent(&id, asker(&id, settings).to_string()).await?;
    let agent = agent_name(&id);
    let name = asked(world, &agent).await?;
    let absent = format!("{agent}/runs/{}/approvals/absent", sre_proto::ids::new_id());
    Ok(Some(match method {
        "ListApprovals" => {
            let request = |parent: &str| ListApprovalsRequest {
                parent: parent.into(),
                state: ApprovalState::Pending.into(),
                page_size: 1000,
                ..ListApprovalsRequest::default()
            };
            // Anybody may be asked: every person may look, and sees what they may decide.
            Case::of(&request(&agent)).open().answers(move |list: ListApprovalsResponse| {
                ensure!(list.approvals.iter().any(|approval| approval.name == name), "{list:?}");
                Ok(())
            })
        }
        "GetApproval" => {
            let request = |name: &str| GetApprovalRequest { name: name.into() };
            // Whoever may decide may look.
            Case::of(&request(&name)).absent(&request(&absent)).exact(WRITER).weaker(&[READER]).answers(
                |approval: Approval| {
                    ensure!(approval.title == "may it?", "{approval:?}");
                    ensure!(approval.state() == ApprovalState::Pending, "{approval:?}");
                    Ok(())
                },
            )
        }
        "DecideApproval" => {
            let request = |name: &str| DecideApprovalRequest {
                name: name.into(),
                decision: ApprovalState::Approved.into(),
                comment: "the matrix".into(),
                ..DecideApprovalRequest::default()
            };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .exact(WRITER)
                .weaker(&[READER])
                .stores()
                .answers(|approval: Approval| {
                    ensure!(approval.state() == ApprovalState::Approved, "{approval:?}");
                    ensure!([OWNER, WRITER].contains(&approval.decided_by.as_str()), "{approval:?}");
                    Ok(())
                })
        }
        _ => return Ok(None),
    }))
}

/// Starts a run that asks; the approval's name once it does.
async fn asked(world: &World, agent: &str) -> anyhow::Result<String> {
    let call = SkillCall { skill: "pay".into(), input_json: r#"{"amount":5}"#.into() };
    let request = StartRunRequest {
        agent: agent.into(),
        call: Some(start_run_request::Call::Skill(call)),
        ..StartRunRequest::default()
    };
    let run: Run = world.ask(OWNER, request).await?;
    for _ in 0..200 {
        let list = ListApprovalsRequest { parent: agent.into(), ..ListApprovalsRequest::default() };
        let list: ListApprovalsResponse = world.ask(OWNER, list).await?;
        let now: Run = world.ask(OWNER, GetRunRequest { name: run.name.clone() }).await?;
        // Parked: nothing of it changes by itself any more.
        if let Some(approval) = list.approvals.first()
            && now.state() == RunState::Waiting
        {
            return Ok(approval.name.clone());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("{} asks nothing", run.name)
}
