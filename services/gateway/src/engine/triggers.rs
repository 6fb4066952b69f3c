//! Requests that a trigger takes: what it collects before its run begins.

use std::sync::Arc;

use bytes::Bytes;
use sre_components::Call;
use sre_components::trigger::{Collected, Refused, Reply, TriggerRequest};
use sre_engine::ActivationKey;
use sre_proto::error::{Reason, status};
use sre_proto::gateway::v1::RunSkillResponse;
use tonic::{Code, Status};

use super::answers::Closed;
use super::context::ActivationContext;
use super::requests::with_answer;
use super::scope::RunScope;
use super::start::Answered;

const HTTP_OK: i32 = 200;

/// Asks the trigger at which the run would start. It acts as its agent, with what the plan declares of it.
pub async fn collect(scope: Arc<RunScope>, request: &TriggerRequest) -> Result<Collected, Status> {
    let plan = scope.subject.compiled.plan.clone();
    let node = plan.entry_node(scope.subject.entry).clone();
    let missing = || {
        let message = format!("Component {} not found", node.type_name);
        status(Code::FailedPrecondition, Reason::InvalidArgument, message)
    };
    let component = scope.engine.registry.component(&node.type_name).ok_or_else(missing)?;
    if let Err(message) = sre_engine::validate::validate(&node) {
        return Err(refused(&Refused { status: 500, message }));
    }
    let secrets = scope.variable_secrets().await?;
    let input = plan.resolve_variables(&secrets).values();
    let key = ActivationKey { component: node.id.clone(), path: Arc::from([]), round: 0 };
    let deadline = scope.deadline;
    let context = ActivationContext::new(scope, key);
    let call = Call { input: &input, node: &node, context: &context };
    let late = || Refused { status: 504, message: "the trigger took too long".to_owned() };
    let collected = tokio::time::timeout_at(deadline, component.collect(call, request)).await;
    collected.unwrap_or_else(|_| Err(late())).map_err(|error| refused(&error))
}

/// A request that was not taken, with the status of a door.
fn refused(error: &Refused) -> Status {
    let (code, reason) = match error.status {
        // Whoever called is known; the request is not what it says.
        401 | 403 => (Code::PermissionDenied, Reason::MethodNotAllowed),
        400..=499 => (Code::InvalidArgument, Reason::InvalidArgument),
        502..=504 => (Code::Unavailable, Reason::RoleUnavailable),
        _ => (Code::FailedPrecondition, Reason::InvalidArgument),
    };
    with_answer(code, reason, &error.message, error.status, None)
}

/// The answer of a trigger that answered by itself.
pub fn response(reply: Reply) -> RunSkillResponse {
    RunSkillResponse {
        legacy_json: serde_json::Value::from(reply.text).to_string().into(),
        http_status: i32::from(reply.status),
        ..RunSkillResponse::default()
    }
}

/// What a sender hears whose event was taken.
pub fn taken(name: String) -> Answered {
    let legacy = Bytes::from(serde_json::json!({ "run": name }).to_string());
    let closed = Closed { legacy, http_status: HTTP_OK, ..Closed::default() };
    Answered { name, closed: Arc::new(closed) }
}
