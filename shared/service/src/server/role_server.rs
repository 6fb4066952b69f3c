//! A role's gRPC services behind the layers that every call passes, whichever way it came.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use http::{Request, Response};
use sre_identity::layer::{AuthService, RefusalObserver};
use sre_identity::{AuthLayer, Source, TokenVerifier};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Layer, Service};

use super::body::StreamBody;
use super::errors;
use super::gate::Gate;
use super::leftover::IncomingBody;
use super::metrics::RoleMetrics;
use super::sized::SizedBody;
use crate::config::Config;
use crate::context::{CallContext, timeout_of};
use crate::limits::{HeldPlace, LimitService, Limiter};
use crate::process::{Answer, Local};
use crate::role::Role;
use crate::routes::Routes;
use crate::task::panic_text;
use crate::telemetry::propagation;

/// A role's services and layers. Shared by its listener and the links of its process.
pub(crate) struct RoleServer {
    role: Role,
    config: Arc<Config>,
    max_message_bytes: usize,
    /// The same routes behind the two sources of identity, which never mix.
    over_tls: AuthService<LimitService>,
    over_link: AuthService<LimitService>,
    pub(crate) calls: Arc<Gate>,
    pub(crate) streams: Arc<Gate>,
    /// Cancelled when streams are not waited for any longer.
    cut: CancellationToken,
    metrics: &'static RoleMetrics,
}

impl RoleServer {
    pub(crate) fn new(
        role: Role,
        config: &Arc<Config>,
        routes: Routes,
        verifier: &TokenVerifier,
        refusals: &RefusalObserver,
        limiter: &Limiter,
        cut: CancellationToken,
    ) -> Arc<Self> {
        let limited = LimitService::new(routes, limiter.clone());
        let layered = |source| {
            AuthLayer::new(source, role.name(), verifier.clone())
                .on_refusal(Arc::clone(refusals))
                .layer(limited.clone())
        };
        Arc::new(Self {
            role,
            config: Arc::clone(config),
            max_message_bytes: config.limits.max_message_bytes,
            over_tls: layered(Source::Tls),
            over_link: layered(Source::Link),
            calls: Gate::new(config.limits.concurrent(role)),
            streams: Gate::new(config.limits.max_streams),
            cut,
            metrics: RoleMetrics::leaked(role),
        })
    }

    /// Serves a call whose peer the listener put on it.
    pub(crate) fn serve_tls(self: &Arc<Self>, request: Request<Body>) -> Answer {
        self.serve(self.over_tls.clone(), request, None)
    }

    fn serve(
        &self,
        mut stack: AuthService<LimitService>,
        request: Request<Body>,
        deadline: Option<Instant>,
    ) -> Answer {
        let method = sre_proto::method(request.uri().path());
        // Health watches and reflection are in no table; they are streams or may be.
        let streams = method.is_none_or(|row| row.client_streaming || row.server_streaming);
        let gate = if streams { &self.streams } else { &self.calls };
        let mut observation = self.metrics.start(method);
        let Some(pass) = gate.enter() else {
            let status = errors::overloaded(self.role, if streams { "streams" } else { "calls" });
            observation.code(status.code());
            return Box::pin(std::future::ready(Ok(status.into_http())));
        };
        let deadline =
            deadline.or_else(|| timeout_of(request.headers()).map(|timeout| Instant::now() + timeout));
        let default = || Instant::now() + self.config.unary_deadline(request.uri().path());
        let deadline = deadline.or_else(|| (!streams).then(default));
        let context = CallContext::of_headers(request.headers(), deadline);
        let span = propagation::server_span(self.role, method, &context);
        let traced = span.is_some();
        if let Some(span) = &span {
            observation.traced(span);
        }
        let (role, cut) = (self.role, self.cut.clone());
        let limit = self.max_message_bytes;
        let request = request.map(|body| Body::new(SizedBody::new(body, limit)));
        let handled = context.clone().scope(stack.call(request));
        let handled = AssertUnwindSafe(handled).catch_unwind();
        let answer = async move {
            let handled = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, handled).await,
                None => Ok(handled.await),
            };
            let mut response = match handled {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(panic)) => {
                    errors::internal(&format!("panic in a handler: {}", panic_text(&*panic))).into_http()
                }
                Err(_) => errors::deadline_exceeded(role).into_http(),
            };
            observation.code_of(response.headers());
            if traced {
                propagation::note_code(observation.code_name());
            }
            observation.count_refused_credentials(role, response.headers());
            let place = response.extensions_mut().remove::<HeldPlace>();
            if streams {
                let held = (pass, place);
                let stream = |body| Body::new(StreamBody::new(body, role, context, cut, observation, held));
                return Ok::<_, Infallible>(response.map(stream));
            }
            drop((observation, pass, place));
            Ok(response)
        };
        match span {
            Some(span) => Box::pin(span.around(answer)),
            None => Box::pin(answer),
        }
    }
}

impl Local for RoleServer {
    fn serve_link(&self, request: Request<Body>, deadline: Option<Instant>) -> Answer {
        self.serve(self.over_link.clone(), request, deadline)
    }
}

/// The TLS side as a hyper service: one per connection, with the peer read once.
#[derive(Clone)]
pub(crate) struct ConnectionService {
    server: Arc<RoleServer>,
    peer: sre_identity::TlsIdentity,
}

impl ConnectionService {
    pub(crate) fn new(server: Arc<RoleServer>, peer: sre_identity::TlsIdentity) -> Self {
        Self { server, peer }
    }
}

impl hyper::service::Service<Request<hyper::body::Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Answer {
        let mut request = request.map(|body| Body::new(IncomingBody::new(body)));
        request.extensions_mut().insert(self.peer.clone());
        self.server.serve_tls(request)
    }
}
