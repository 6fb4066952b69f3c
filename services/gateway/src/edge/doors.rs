//! The HTTP door: `GET|POST /api/<endpoint>` runs a skill for the bearer's principal, so that `curl` works, and
//! `POST /api/` debugs one. Events of runs are server-sent events: [`events`] and [`monitors`].

mod answer;
mod events;
mod monitors;
mod request;
mod sse;
mod trigger;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{any, get};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, StatusCode};
use sre_identity::{Candidate, SpiffeId};
use sre_proto::gateway::v1::run_skill_request::Call;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{RawRequest, RunSkillRequest, StartRunRequest, start_run_request};
use sre_service::limits::Place;
use sre_service::{Host, Link, Proof, Role, Token};
use tonic::{Code, Status};

use super::forward::{forward_key, run_key};
use answer::Refusal;
use monitors::{Attached, Monitors};

/// What records call a request at this door.
const METHOD: &str = "http";
const RUN: &str = "sre.gateway.v1.Runs:read";
/// The longest bearer that is passed on; providers put groups into their tokens.
const MAX_BEARER_BYTES: usize = 16 << 10;

/// What the routes share.
#[derive(Clone)]
struct Door {
    host: Host,
    monitors: Monitors,
}

/// The routes of the door.
pub fn router(host: Host) -> Router {
    let door = Door { host: host.clone(), monitors: Monitors::default() };
    let events = Router::new().route("/runs/{run}/events", get(events::watch)).with_state(host);
    Router::new()
        .route("/api/", any(run))
        .route("/api/{*endpoint}", any(run))
        .route("/{version}/api/", any(run))
        .route("/{version}/api/{*endpoint}", any(run))
        .route("/trigger/{*endpoint}", any(trigger))
        .route("/{version}/trigger/{*endpoint}", any(trigger))
        .route("/agent/{id}/monitor", get(monitor))
        .with_state(door)
        .merge(events)
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "Endpoint not found"))
}

async fn run(State(door): State<Door>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let proof = bearer(request.headers())?;
    let agent = agent(&door.host, request.headers())?;
    let raw = request::raw(request, door.host.config().http.max_body_bytes).await?;
    answer(&door, proof, agent, raw).await
}

/// Other services call triggers: they send what they send, so that key and agent may be in the address too.
async fn trigger(State(door): State<Door>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let (request, given) = trigger::taken_out(request);
    let proof = match given.key {
        Some(key) if !request.headers().contains_key(AUTHORIZATION) => trigger::key(key)?,
        _ => bearer(request.headers())?,
    };
    let agent = match given.agent {
        Some(id) if !request.headers().contains_key("x-agent-id") => agent_id(&id, "`agent`")?,
        _ => agent(&door.host, request.headers())?,
    };
    // It travels twice: as it came, and as what it says.
    let raw = trigger::raw(request, door.host.config().http.max_body_bytes / 2).await?;
    answer(&door, proof, agent, raw).await
}

async fn answer(door: &Door, proof: Proof, agent: String, raw: RawRequest) -> Result<Response, Refusal> {
    let host = &door.host;
    let key = run_key(proof.clone(), format!("teams/-/agents/{agent}"), RUN.to_owned());
    let token = host.tokens().exchange(key.clone()).await.map_err(|status| refuse(&status, &agent))?;
    let _place = admit(host, &token).await.map_err(|status| refuse(&status, &agent))?;
    let monitors = raw.headers.get("x-monitor-id").filter(|_| !debugs(&raw.headers));
    let attached = monitors.and_then(|ids| door.monitors.named(ids, &agent, &token.root));
    let link = host.link(Role::Engine).with_token(&token);
    let session_id = raw.headers.get("x-session-id").cloned().unwrap_or_default();
    let version = raw.headers.get("x-agent-version").cloned().unwrap_or_default();
    let mut call = RunSkillRequest {
        agent: token.agent.clone().unwrap_or_default(),
        session_id,
        version,
        call: Some(Call::Raw(raw)),
        ..RunSkillRequest::default()
    };
    let started = match attached {
        Some(attached) => start_monitored(host, link.clone(), &mut call, attached, proof).await,
        None => Ok(()),
    };
    let answered = match started {
        Ok(()) => RunsClient::new(link).run_skill(call).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(response) => answer::of(response.into_inner()),
        Err(status) => {
            if status.code() == Code::Unauthenticated {
                host.tokens().forget(&key).await;
            }
            answer::of_status(&status).map_err(|()| refuse(&status, &agent))
        }
    }
}

/// Counts a call against the limits of whoever the bearer is, like one over gRPC.
async fn admit(host: &Host, token: &Token) -> Result<Place, Status> {
    let caller = token.root.parse::<SpiffeId>().ok();
    let candidate = caller.and_then(|id| Candidate::try_from(id.principal()).ok());
    host.limits().admit(&candidate.unwrap_or_else(Candidate::public), METHOD).await
}

/// Whether a request is for the debugger, which has no run that could be watched.
fn debugs(headers: &std::collections::HashMap<String, String>) -> bool {
    headers.keys().any(|name| name.starts_with("x-debug-") && name != "x-debug-skip")
}

/// Starts the run that the call then attaches to: its name is known before it ends, so that it can be watched.
async fn start_monitored(
    host: &Host,
    link: Link,
    call: &mut RunSkillRequest,
    attached: Attached,
    proof: Proof,
) -> Result<(), Status> {
    let Some(Call::Raw(raw)) = &call.call else { return Ok(()) };
    call.request_id = sre_proto::ids::new_uuid().to_string();
    let start = StartRunRequest {
        agent: call.agent.clone(),
        session_id: call.session_id.clone(),
        version: call.version.clone(),
        call: Some(start_run_request::Call::Raw(raw.clone())),
        request_id: call.request_id.clone(),
        timeout: host.config().gateway.run_deadline().try_into().ok(),
    };
    let run = RunsClient::new(link).start_run(start).await?.into_inner().name;
    let key = forward_key(proof, Role::Engine, vec![RUN.to_owned()]);
    let agent = call.agent.rsplit('/').next().unwrap_or_default().to_owned();
    host.spawn("monitor", Box::pin(attached.follow(host.clone(), key, agent, run)));
    Ok(())
}

/// Opens a monitor for whoever may run the agent.
async fn monitor(
    State(Door { host, monitors }): State<Door>,
    Path(agent): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let key = run_key(bearer(&headers)?, format!("teams/-/agents/{agent}"), RUN.to_owned());
    let token = host.tokens().exchange(key).await.map_err(|status| refuse(&status, &agent))?;
    let _place = admit(&host, &token).await.map_err(|status| refuse(&status, &agent))?;
    monitors.open(host, &agent, &token.root)
}

/// The bearer of a request: always asked for. What it is worth is the token service's to say.
fn bearer(headers: &HeaderMap) -> Result<Proof, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let bearer = match value.split_once(' ') {
        Some((scheme, bearer)) if scheme.eq_ignore_ascii_case("bearer") => bearer.trim(),
        _ => "",
    };
    let refuse = |message: &str| Err(Refusal::new(StatusCode::UNAUTHORIZED, message));
    match bearer {
        "" => refuse(
            "send `Authorization: Bearer <API key>`, `sre keys create` makes one, or an OpenID Connect token",
        ),
        long if long.len() > MAX_BEARER_BYTES => refuse("the bearer is too long: send a smaller token"),
        // The shape of a JSON Web Token; a key has no full stops.
        token if token.bytes().filter(|byte| *byte == b'.').count() == 2 => Ok(Proof::Oidc(token.to_owned())),
        key => Ok(Proof::ApiKey(key.to_owned())),
    }
}

/// The agent that a request is for: `X-AGENT-ID`, else by host name.
fn agent(host: &Host, headers: &HeaderMap) -> Result<String, Refusal> {
    if let Some(id) = headers.get("x-agent-id") {
        return agent_id(id.to_str().unwrap_or_default(), "X-AGENT-ID");
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

fn agent_id(id: &str, named: &str) -> Result<String, Refusal> {
    let fits = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    fits.then(|| id.to_owned()).ok_or_else(|| {
        let message = format!("{named} is not an agent id: letters, digits, - and _");
        Refusal::new(StatusCode::BAD_REQUEST, message)
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
        Code::ResourceExhausted => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, status.message()).retry_after(status)
        }
        Code::Unavailable => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, status.message()),
        Code::DeadlineExceeded => Refusal::new(StatusCode::GATEWAY_TIMEOUT, status.message()),
        _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, status.message()),
    }
}
