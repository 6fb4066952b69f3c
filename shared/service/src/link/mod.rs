//! The way from one role to another: one type for a direct call and for a balanced mTLS channel.
//!
//! Generated clients are generic over their transport, so `FooClient::new(host.link(Role::Foo))` is all a
//! service writes. Which transport it is, the process decides at each call.

mod address;
mod connection;
mod pool;
mod remote;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use sre_identity::SvidSource;
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service;

use crate::context::{CallContext, GRPC_TIMEOUT, TRACEPARENT, TRACESTATE, timeout_of, timeout_value};
use crate::process::{Process, Sockets};
use crate::role::Role;
use crate::server::errors;
use crate::tokens::Token;
use remote::Remote;

/// The header that carries a delegation token.
pub const DELEGATION: HeaderName = HeaderName::from_static("sre-delegation");

/// The way to a role, under the identity of the role that made it. Cheap to clone.
///
/// Every call has a deadline: the caller's own, no later than that of the call being handled, 30 s where
/// neither is given (streams excepted). A failure of the way itself is the status UNAVAILABLE with reason
/// ROLE_UNAVAILABLE, naming role and address; hence the service's error type is `Infallible`.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
    token: Option<HeaderValue>,
    runs: Option<HeaderValue>,
}

struct Inner {
    to: Role,
    identity: Arc<SvidSource>,
    process: Arc<Process>,
    remote: Remote,
}

impl Link {
    pub(crate) fn new(process: &Arc<Process>, identity: &Arc<SvidSource>, to: Role) -> Self {
        let remote = Remote::new(process, identity, to);
        let inner = Inner { to, identity: Arc::clone(identity), process: Arc::clone(process), remote };
        Self { inner: Arc::new(inner), token: None, runs: None }
    }

    /// A way into a suite from outside any role: for command lines and tools, under a certificate of their
    /// own. The address comes from `[endpoints]` or from the run file of the data folder.
    pub fn client(config: Arc<crate::Config>, identity: &Arc<SvidSource>, to: Role) -> Self {
        Self::new(&Process::new(config, &[], Sockets::Configured), identity, to)
    }

    /// The role at the other end.
    pub fn role(&self) -> Role {
        self.inner.to
    }

    /// The same link, presenting a token with every call.
    #[must_use]
    pub fn with_token(&self, token: &Token) -> Self {
        Self { token: Some(token.header.clone()), ..self.clone() }
    }

    /// The same link, presenting a token that was not made by [`crate::Tokens`]; for tests and tools.
    #[must_use]
    pub fn with_jwt(&self, jwt: &str) -> Self {
        let token = HeaderValue::try_from(jwt).ok().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self { token, ..self.clone() }
    }

    /// The same link without a token.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The same link, whose calls are made in these runs: see [`sre_identity::runs`]. It counts from the engine, and
    /// from services that go on for it.
    #[must_use]
    pub fn with_runs(&self, runs: &[String]) -> Self {
        Self { runs: sre_identity::runs::header(runs), ..self.clone() }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("to", &self.inner.to).field("token", &self.token.is_some()).finish()
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Load is shed by the server, per call; nothing is reserved here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(DELEGATION, token.clone());
        }
        if let Some(runs) = &self.runs {
            request.headers_mut().insert(sre_identity::runs::METADATA_KEY, runs.clone());
        }
        let deadline = self.inner.prepare(&mut request);
        if let Some(local) = self.inner.process.switchboard.get(self.inner.to) {
            request.extensions_mut().insert(sre_identity::link_extension(&self.inner.identity.svid()));
            return local.serve_link(request, deadline);
        }
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { Ok(inner.call(request, deadline).await) })
    }
}

impl Inner {
    /// Puts trace and deadline on the request.
    fn prepare(&self, request: &mut Request<Body>) -> Option<Instant> {
        let streams = sre_proto::method(request.uri().path())
            .is_some_and(|row| row.client_streaming || row.server_streaming);
        let now = Instant::now();
        let own = timeout_of(request.headers()).map(|timeout| now + timeout);
        let current = CallContext::current();
        let inherited = current.as_ref().and_then(|call| call.deadline);
        let given = [own, inherited].into_iter().flatten().min();
        let deadline = given
            .or_else(|| (!streams).then(|| now + self.process.config.unary_deadline(request.uri().path())));
        let headers = request.headers_mut();
        if !headers.contains_key(TRACEPARENT) {
            let trace = crate::telemetry::propagation::outgoing(current);
            if let Some((parent, state)) = trace {
                headers.insert(TRACEPARENT, parent);
                if let Some(state) = state {
                    headers.insert(TRACESTATE, state);
                }
            }
        }
        deadline
    }

    async fn call(&self, mut request: Request<Body>, deadline: Option<Instant>) -> Response<Body> {
        // A role of this process that is still starting is waited for, within the call's deadline.
        if self.process.switchboard.is_planned(self.to) {
            let until = deadline.unwrap_or_else(|| Instant::now() + self.process.config.deadlines.unary());
            let Ok(local) = tokio::time::timeout_at(until, self.process.switchboard.wait(self.to)).await
            else {
                return errors::role_unavailable(self.to, "", "it is still starting in this process")
                    .into_http();
            };
            request.extensions_mut().insert(sre_identity::link_extension(&self.identity.svid()));
            let Ok(response) = local.serve_link(request, deadline).await;
            return response;
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            request.headers_mut().insert(GRPC_TIMEOUT, timeout_value(left));
        }
        let call = self.remote.call(request, deadline);
        let answered = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, call).await,
            None => Ok(call.await),
        };
        match answered {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => status.into_http(),
            Err(_) => errors::deadline_exceeded(self.to).into_http(),
        }
    }
}

#[cfg(test)]
mod tests;
