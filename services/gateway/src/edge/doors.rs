//! The HTTP door: `GET|POST /api/<endpoint>` runs a skill for the bearer's principal, so that `curl` works.

mod answer;
mod request;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, StatusCode};
use sre_proto::gateway::v1::RunSkillRequest;
use sre_proto::gateway::v1::run_skill_request::Call;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_service::{Host, Proof, Role};
use tonic::Code;

use super::forward::run_key;
use answer::Refusal;

const RUN: &str = "sre.gateway.v1.Runs:read";

/// The routes of the door.
pub fn router(host: Host) -> Router {
    Router::new()
        .route("/api/{*endpoint}", any(run))
        .route("/{version}/api/{*endpoint}", any(run))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "Endpoint not found"))
        .with_state(host)
}

async fn run(State(host): State<Host>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let bearer = bearer(request.headers())?;
    let agent = agent(&host, request.headers())?;
    let limit = host.config().http.max_body_bytes;
    let raw = request::raw(request, limit).await?;
    let key = run_key(Proof::ApiKey(bearer), format!("teams/-/agents/{agent}"), RUN.to_owned());
    let token = host.tokens().exchange(key.clone()).await.map_err(|status| refuse(&status, &agent))?;
    let mut client = RunsClient::new(host.link(Role::Engine).with_token(&token));
    let session_id = raw.headers.get("x-session-id").cloned().unwrap_or_default();
    let version = raw.headers.get("x-agent-version").cloned().unwrap_or_default();
    let call = RunSkillRequest {
        agent: token.agent.clone().unwrap_or_default(),
        session_id,
        version,
        call: Some(Call::Raw(raw)),
        ..RunSkillRequest::default()
    };
    match client.run_skill(call).await {
        Ok(response) => answer::of(response.into_inner()),
        Err(status) => {
            if status.code() == Code::Unauthenticated {
                host.tokens().forget(&key).await;
            }
            answer::of_status(&status).map_err(|()| refuse(&status, &agent))
        }
    }
}

/// The bearer of a request: always asked for.
fn bearer(headers: &HeaderMap) -> Result<String, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty() => {
            Ok(key.trim().to_owned())
        }
        _ => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer <API key>`: `sre keys create` makes one",
        )),
    }
}

/// The agent that a request is for: `X-AGENT-ID`, else by host name.
fn agent(host: &Host, headers: &HeaderMap) -> Result<String, Refusal> {
    if let Some(id) = headers.get("x-agent-id") {
        let id = id.to_str().unwrap_or_default();
        if !id.is_empty()
            && id.len() <= 64
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            return Ok(id.to_owned());
        }
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "X-AGENT-ID is not an agent id: letters, digits, - and _",
        ));
    }
    let name = headers.get(HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    host.config().gateway.hosts.get(name).cloned().ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "which agent: send X-AGENT-ID, or map this host name in [gateway.hosts]",
        )
    })
}

/// What the door says where no run was started. An agent that the caller may not see does not exist for it.
fn refuse(status: &tonic::Status, agent: &str) -> Refusal {
    match status.code() {
        Code::Unauthenticated => Refusal::new(StatusCode::UNAUTHORIZED, status.message()),
        Code::PermissionDenied | Code::NotFound => {
            Refusal::new(StatusCode::NOT_FOUND, format!("Agent '{agent}' not found"))
        }
        Code::InvalidArgument => Refusal::new(StatusCode::BAD_REQUEST, status.message()),
        Code::FailedPrecondition => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, status.message()),
        Code::ResourceExhausted => Refusal::new(StatusCode::TOO_MANY_REQUESTS, status.message()),
        Code::Unavailable => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, status.message()),
        Code::DeadlineExceeded => Refusal::new(StatusCode::GATEWAY_TIMEOUT, status.message()),
        _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, status.message()),
    }
}
