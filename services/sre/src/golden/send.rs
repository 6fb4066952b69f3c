//! Sends a vector's request as a raw request, and gives the answer the shape of a recorded result.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::gateway::v1::run_skill_request::Call;
use sre_proto::gateway::v1::{RawRequest, RunSkillRequest};
use tonic_types::StatusExt as _;

use super::vectors::Request;
use crate::client::Client;

/// Longer than any vector needs; a run that hangs is an answer too.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the reference answers where no route matches: the one answer that carries a status of its own.
const NO_ROUTE: &str = "Endpoint not found";

pub(super) async fn send(client: &Client, agent: &str, request: &Request) -> Result<Value> {
    let raw = RawRequest {
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone().into_iter().collect(),
        query_json: text(request.query.as_ref()).into(),
        body_json: text(request.body.as_ref()).into(),
        ..RawRequest::default()
    };
    let request = RunSkillRequest {
        agent: agent.to_owned(),
        session_id: request.session_id.clone().unwrap_or_default(),
        call: Some(Call::Raw(raw)),
        ..RunSkillRequest::default()
    };
    let mut runs = client.runs();
    let answer: Value = match tokio::time::timeout(DEADLINE, runs.run_skill(request)).await {
        Err(_) => return Ok(json!({ "timeout_s": DEADLINE.as_secs() })),
        Ok(Ok(response)) => serde_json::from_slice(&response.into_inner().legacy_json)?,
        Ok(Err(status)) => {
            let legacy = status.get_details_error_info().and_then(|i| i.metadata.get("legacy_json").cloned());
            match legacy {
                Some(text) => serde_json::from_str(&text)?,
                None => {
                    return Ok(json!({"code": format!("{:?}", status.code()), "message": status.message()}));
                }
            }
        }
    };
    if answer.get("error").and_then(Value::as_str) == Some(NO_ROUTE) {
        return Ok(json!({"status": 404, "data": answer}));
    }
    Ok(json!({ "data": answer }))
}

fn text(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_default()
}
