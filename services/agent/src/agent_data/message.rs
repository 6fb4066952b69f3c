//! Agents as contracts carry them.

use sre_engine::issue::{Issue, Severity};
use sre_engine::node::InputPort;
use sre_engine::plan::Skill;
use sre_proto::agent::v1 as proto;

use super::{AgentRow, Stored, VersionRow};
use crate::clock::timestamp;

/// An agent without a document.
pub(super) fn agent(row: &AgentRow) -> proto::Agent {
    proto::Agent {
        name: row.name(),
        display_name: row.display_name.clone(),
        deployed_version: row.deployed.clone().unwrap_or_default(),
        latest_version: row.latest.clone(),
        create_time: Some(timestamp(row.created_ms)),
        update_time: Some(timestamp(row.updated_ms)),
        etag: row.latest.clone(),
        ..proto::Agent::default()
    }
}

/// An agent with a version's document.
pub(super) fn agent_at(row: &AgentRow, stored: &Stored, skills: &[Skill]) -> proto::Agent {
    proto::Agent {
        document_json: stored.document.clone(),
        version: stored.row.version.clone(),
        skills: skills.iter().map(skill).collect(),
        ..agent(row)
    }
}

/// A version without its document.
pub(super) fn version(agent: &AgentRow, row: &VersionRow) -> proto::AgentVersion {
    proto::AgentVersion {
        name: format!("{}/versions/{}", agent.name(), row.version),
        version: row.version.clone(),
        digest: row.digest.clone(),
        create_time: Some(timestamp(row.created_ms)),
        creator: row.creator.clone(),
        deployed: agent.deployed.as_ref() == Some(&row.version),
        document_json: bytes::Bytes::new(),
    }
}

/// A finding.
pub(super) fn issue(issue: &Issue) -> proto::Issue {
    let severity = match issue.severity {
        Severity::Warning => proto::Severity::Warning,
        Severity::Error => proto::Severity::Error,
    };
    proto::Issue {
        severity: severity.into(),
        component: issue.component.clone().unwrap_or_default(),
        field: issue.field.clone().unwrap_or_default(),
        message: issue.message.clone(),
        hint: issue.hint.clone().unwrap_or_default(),
    }
}

/// A skill.
pub(super) fn skill(skill: &Skill) -> proto::Skill {
    proto::Skill {
        endpoint: skill.endpoint.clone(),
        method: skill.method.clone(),
        description: skill.description.clone(),
        ai_exposed: skill.ai_exposed,
        inputs: skill.inputs.iter().map(input).collect(),
    }
}

fn input(port: &InputPort) -> proto::SkillInput {
    proto::SkillInput {
        name: port.name.to_string(),
        r#type: port.type_name.to_string(),
        optional: port.optional,
        description: port.description.to_string(),
    }
}
