//! Forwards PUBLIC methods to the services that own them, frame by frame: back-pressure, cancellation,
//! deadline and trailers pass through, and no message is decoded but the one field that names a run's agent.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use sre_identity::Caller;
use sre_proto::error::{invalid_argument, status};
use sre_proto::types::v1::Reason;
use sre_proto::{AccessLevel, MethodPolicy, Rule, Visibility};
use sre_service::tokens::Purpose;
use sre_service::{ExchangeKey, Host, Proof, Role};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::{agent_field, headers};

/// The methods that start a run: their token is for the agent they name.
const RUN_METHODS: [&str; 6] = [
    "/sre.gateway.v1.Runs/RunSkill",
    "/sre.gateway.v1.Runs/StartRun",
    "/sre.gateway.v1.Runs/ForkRun",
    "/sre.gateway.v1.Debugger/StartDebugSession",
    "/sre.gateway.v1.Conversations/CreateConversation",
    "/sre.gateway.v1.Conversations/Prompt",
];

/// The service behind the edge's gRPC address.
#[derive(Clone)]
pub struct Forward {
    host: Host,
}

impl Forward {
    /// Forwards under the edge's identity.
    pub fn new(host: Host) -> Self {
        Self { host }
    }

    async fn forward(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let caller = Caller::of(request.extensions())?;
        let policy = caller.policy();
        if policy.visibility != Visibility::Public {
            return Err(internal_method(policy));
        }
        let Rule::Access { level, .. } = policy.rule else { return Err(internal_method(policy)) };
        let target = Role::of_package(policy.package).ok_or_else(|| internal_method(policy))?;
        if caller.candidate().is_none() {
            return Err(status(
                Code::PermissionDenied,
                Reason::MethodNotAllowed,
                "services call each other directly: the gateway forwards for agents, users and teams",
            ));
        }
        let proof = Proof::Peer(caller.peer().spiffe_id().to_string());
        let (request, key) = if RUN_METHODS.contains(&policy.path) {
            let limit = self.host.config().limits.max_message_bytes;
            let (request, agent) = read_agent(request, limit).await?;
            (request, run_key(proof, agent, scope_of(policy, level)))
        } else {
            let key = forward_key(proof, target, scopes_of(policy, level));
            (request, key)
        };
        let token = self.host.tokens().exchange(key.clone()).await?;
        let response = match self.host.link(target).with_token(&token).call(prepare(request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if is_unauthenticated(&response) {
            // A kept token that was revoked meanwhile: the next call asks for a new one, and learns whether the
            // caller still may.
            self.host.tokens().forget(&key).await;
        }
        Ok(response)
    }
}

/// What the edge asks for to run an agent in somebody's name.
pub fn run_key(proof: Proof, agent: String, scope: String) -> ExchangeKey {
    ExchangeKey {
        proof,
        purpose: Purpose::Run,
        agent: Some(agent),
        audience: vec![Role::Engine.name().to_owned()],
        scopes: vec![scope],
        resume_grant: None,
        presenter: None,
        runs: Vec::new(),
    }
}

/// What the edge asks for to hand a call on in its caller's name.
pub fn forward_key(proof: Proof, target: Role, scopes: Vec<String>) -> ExchangeKey {
    ExchangeKey {
        proof,
        purpose: Purpose::Forward,
        agent: None,
        audience: vec![target.name().to_owned()],
        scopes,
        resume_grant: None,
        presenter: None,
        runs: Vec::new(),
    }
}

/// Methods that do more than their own level on the resource they name, and the scope for that.
const ALSO_NEEDED: &[(&str, &str)] = &[("/sre.io.v1.Storage/CopyFile", "sre.io.v1.Storage:read")];

/// What a forwarded call's token covers: its method's level, and what else that method does.
fn scopes_of(policy: &MethodPolicy, level: AccessLevel) -> Vec<String> {
    let also =
        ALSO_NEEDED.iter().filter(|(path, _)| *path == policy.path).map(|(_, scope)| (*scope).to_owned());
    std::iter::once(scope_of(policy, level)).chain(also).collect()
}

fn scope_of(policy: &MethodPolicy, level: AccessLevel) -> String {
    let level = match level {
        AccessLevel::Read => "read",
        AccessLevel::Write => "write",
        AccessLevel::Owner => "owner",
    };
    format!("{}:{level}", policy.service)
}

fn is_unauthenticated(response: &Response<Body>) -> bool {
    const UNAUTHENTICATED: &[u8] = b"16";
    response.headers().get("grpc-status").is_some_and(|code| code.as_bytes() == UNAUTHENTICATED)
}

fn internal_method(policy: &MethodPolicy) -> Status {
    status(
        Code::PermissionDenied,
        Reason::MethodNotAllowed,
        format!("{} is internal to the suite and is not forwarded", policy.path),
    )
}

/// Reads a unary request to find the agent it names; the same bytes go on.
async fn read_agent(request: Request<Body>, limit: usize) -> Result<(Request<Body>, String), Status> {
    let (parts, body) = request.into_parts();
    // The frame header comes on top of the message.
    let collected = Limited::new(body, limit + 5).collect().await.map_err(|_| {
        status(
            Code::ResourceExhausted,
            Reason::TooLarge,
            format!(
                "the request is larger than {limit} bytes, or its stream broke: send large content as files"
            ),
        )
    })?;
    let body: Bytes = collected.to_bytes();
    let agent = agent_field::agent_of(&body).map_err(|e| invalid_argument("request", e.to_string()))?;
    if agent.is_empty() {
        return Err(invalid_argument("agent", "is empty: name an agent, for example teams/-/agents/greeter"));
    }
    Ok((Request::from_parts(parts, Body::new(Full::new(body))), agent))
}

/// A request as it goes on: without the caller's credentials and the edge's own notes.
fn prepare(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    headers::strip(&mut parts.headers);
    // What this side learned about the caller stays on this side; the token says it to the next.
    parts.extensions = http::Extensions::new();
    Request::from_parts(parts, body)
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Load is shed before this service, and every link bounds its own calls.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.forward(request).await.unwrap_or_else(|status| status.into_http())) })
    }
}
