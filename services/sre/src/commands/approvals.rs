//! `sre approvals`: lists and decides what runs ask people.

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::gateway::v1::{
    Approval, ApprovalKind, ApprovalState, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest,
};

use super::runs::parse;
use crate::cli::args::{Approvals, Global};
use crate::cli::input;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// Runs the command.
pub async fn run(global: &Global, command: Approvals) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    match command {
        Approvals::List { agent, all, limit } => {
            let parent = agent.map_or_else(|| client.team_name(), |id| client.agent_name(&id));
            let state = if all { ApprovalState::Unspecified } else { ApprovalState::Pending };
            list(output, &client, parent, state, limit).await
        }
        Approvals::Get { name } => {
            let approval = client.approvals().get_approval(GetApprovalRequest { name }).await?.into_inner();
            show(output, &approval);
            Ok(())
        }
        Approvals::Approve { name, comment } => {
            let request = DecideApprovalRequest {
                name,
                decision: ApprovalState::Approved.into(),
                comment,
                ..DecideApprovalRequest::default()
            };
            decide(output, &client, request).await
        }
        Approvals::Reject { name, comment, result } => {
            let result = result.map(|text| input::json_object(&text)).transpose()?;
            let request = DecideApprovalRequest {
                name,
                decision: ApprovalState::Rejected.into(),
                comment,
                output_json: result
                    .map(|object| Value::Object(object).to_string().into())
                    .unwrap_or_default(),
            };
            decide(output, &client, request).await
        }
    }
}

async fn list(
    output: Output,
    client: &Client,
    parent: String,
    state: ApprovalState,
    limit: i32,
) -> Result<()> {
    let request =
        ListApprovalsRequest { parent, state: state.into(), page_size: limit, page_token: String::new() };
    let approvals = client.approvals().list_approvals(request).await?.into_inner().approvals;
    output.rows(
        &["approval", "kind", "title", "state", "asked", "expires"],
        approvals.iter().map(row).collect(),
    );
    Ok(())
}

async fn decide(output: Output, client: &Client, request: DecideApprovalRequest) -> Result<()> {
    let approval = client.approvals().decide_approval(request).await?.into_inner();
    output.done(&format!("{} is {} by {}", approval.name, state(&approval), approval.decided_by));
    Ok(())
}

fn row(approval: &Approval) -> Vec<Value> {
    vec![
        json!(approval.name),
        json!(kind(approval)),
        json!(approval.title),
        json!(state(approval)),
        json!(dates::text(approval.create_time.as_ref())),
        json!(dates::text(approval.expire_time.as_ref())),
    ]
}

fn show(output: Output, approval: &Approval) {
    output.record(vec![
        ("approval", json!(approval.name)),
        ("kind", json!(kind(approval))),
        ("component", json!(approval.component)),
        ("title", json!(approval.title)),
        ("details", parse(&approval.details_json)),
        ("approvers", json!(approval.approvers.join(", "))),
        ("asked", json!(dates::text(approval.create_time.as_ref()))),
        ("expires", json!(dates::text(approval.expire_time.as_ref()))),
        ("state", json!(state(approval))),
        ("decided by", json!(approval.decided_by)),
        ("comment", json!(approval.comment)),
        ("decided", json!(dates::text(approval.decide_time.as_ref()))),
    ]);
}

fn state(approval: &Approval) -> String {
    word(approval.state().as_str_name(), "APPROVAL_STATE_")
}

fn kind(approval: &Approval) -> String {
    let kind = approval.kind();
    match kind {
        ApprovalKind::UncertainEffect => "uncertain effect".to_owned(),
        ApprovalKind::Approval | ApprovalKind::Unspecified => word(kind.as_str_name(), "APPROVAL_KIND_"),
    }
}

fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_states_are_words() {
        let approval = Approval {
            kind: ApprovalKind::UncertainEffect.into(),
            state: ApprovalState::Pending.into(),
            ..Approval::default()
        };
        assert_eq!((kind(&approval).as_str(), state(&approval).as_str()), ("uncertain effect", "pending"));
        let approval = Approval { kind: ApprovalKind::Approval.into(), ..approval };
        assert_eq!(kind(&approval), "approval");
    }
}
