//! The authentication layer: every request of every transport passes it.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::future::Either;
use sre_proto::error::{self, Reason};
use sre_proto::{MethodPolicy, Rule, Visibility};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::caller::Caller;
use crate::exchange::level_word;
use crate::peer::Peer;
use crate::runs;
use crate::svid::Svid;
use crate::token::{AuthError, METADATA_KEY, Purpose, TokenVerifier, Verified};

/// The role that accepts access calls from the edge alone.
const ENGINE: &str = "engine";
/// The role that faces the network.
const EDGE: &str = "edge";

/// The suite's own metadata.
const OWN_PREFIX: &str = "sre-";
/// Where proxies state the certificate that they saw.
const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

/// Where a layer takes the peer from; never from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The connection's certificate: [`TlsIdentity`].
    Tls,
    /// The link inside this process: [`LinkIdentity`].
    Link,
}

/// The peer of a TLS connection, as a request extension. Use it as tonic's `Connected::ConnectInfo`.
#[derive(Debug, Clone)]
pub struct TlsIdentity(Peer);

/// The peer of an in-process link, as a request extension.
#[derive(Debug, Clone)]
pub struct LinkIdentity(Peer);

/// Marks a peer as that of a TLS connection. Only a verified chain gives a peer.
pub fn tls_extension(peer: Peer) -> TlsIdentity {
    TlsIdentity(peer)
}

/// The identity of whoever holds this private key, for calls over an in-process link.
pub fn link_extension(svid: &Svid) -> LinkIdentity {
    LinkIdentity(svid.peer())
}

impl TlsIdentity {
    /// The peer.
    pub fn peer(&self) -> &Peer {
        &self.0
    }
}

/// A refused request, for metrics and the audit log.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The path that was called.
    pub path: String,
    /// Who called, where that is known.
    pub peer: Option<Peer>,
    /// The method's policy, where there is such a method.
    pub policy: Option<&'static MethodPolicy>,
    /// Why.
    pub reason: Reason,
}

/// Gets told of refusals. Must not block.
pub type RefusalObserver = Arc<dyn Fn(Refusal) + Send + Sync>;

/// Puts a [`Caller`] on every request, or answers it.
#[derive(Clone)]
pub struct AuthLayer {
    gate: Gate,
}

impl AuthLayer {
    /// A layer for the services of `role`.
    pub fn new(source: Source, role: &'static str, verifier: TokenVerifier) -> Self {
        Self { gate: Gate { source, role, verifier, observer: None } }
    }

    /// Tells of refusals.
    #[must_use]
    pub fn on_refusal(mut self, observer: RefusalObserver) -> Self {
        self.gate.observer = Some(observer);
        self
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService { inner, gate: self.gate.clone() }
    }
}

/// The service that [`AuthLayer`] makes.
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    gate: Gate,
}

impl<S> fmt::Debug for AuthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("role", &self.gate.role).finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer").field("role", &self.gate.role).finish_non_exhaustive()
    }
}

type Answer<E> = Ready<Result<http::Response<Body>, E>>;
type Waiting<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for AuthService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Either<Answer<S::Error>, Waiting<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        match self.gate.admit(&mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(Stop::Refuse(status)) => Either::Right(Either::Left(ready(Ok(status.into_http())))),
            Err(Stop::Wait(pending)) => {
                // The service that is ready goes into the future; its clone stays.
                let clone = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, clone);
                let gate = self.gate.clone();
                Either::Right(Either::Right(Box::pin(async move {
                    match gate.admit_fresh(&mut request, pending).await {
                        Ok(()) => inner.call(request).await,
                        Err(status) => Ok(status.into_http()),
                    }
                })))
            }
        }
    }
}

/// Why a request does not go through at once.
enum Stop {
    Refuse(Box<Status>),
    /// The token's key is unknown: wait for a newer key set.
    Wait(Pending),
}

struct Pending {
    peer: Peer,
    policy: &'static MethodPolicy,
    token: String,
}

#[derive(Clone)]
struct Gate {
    source: Source,
    role: &'static str,
    verifier: TokenVerifier,
    observer: Option<RefusalObserver>,
}

impl Gate {
    fn admit(&self, request: &mut http::Request<Body>) -> Result<(), Stop> {
        if self.role == EDGE {
            strip(request.headers_mut());
        }
        let path = request.uri().path();
        let peer = match self.peer(request.extensions()) {
            Ok(peer) => peer,
            Err(cause) => return Err(self.refuse(path, None, None, cause)),
        };
        let Some(policy) = sre_proto::method(path) else {
            if is_infrastructure(path) {
                return Ok(());
            }
            return Err(Stop::Refuse(Box::new(unknown_method(path))));
        };
        match self.authorize(request.headers(), &peer, policy) {
            Ok(Admission::Through(token)) => match runs::said(request.headers(), &peer) {
                Ok(said) => {
                    enter(request, Caller::new(peer, token, policy, said));
                    Ok(())
                }
                Err(cause) => Err(self.refuse(policy.path, Some(&peer), Some(policy), cause)),
            },
            Ok(Admission::Wait(token)) => Err(Stop::Wait(Pending { peer, policy, token })),
            Err(cause) => Err(self.refuse(path, Some(&peer), Some(policy), cause)),
        }
    }

    async fn admit_fresh(&self, request: &mut http::Request<Body>, pending: Pending) -> Result<(), Status> {
        let Pending { peer, policy, token } = pending;
        let checked = match self.verifier.verify_fresh(&token, &peer, self.role).await {
            Ok(token) => in_scope(&token, policy).map(|()| token),
            Err(cause) => Err(cause),
        };
        let checked = checked.and_then(|token| Ok((token, runs::said(request.headers(), &peer)?)));
        match checked {
            Ok((token, said)) => {
                enter(request, Caller::new(peer, Some(token), policy, said));
                Ok(())
            }
            Err(cause) => {
                self.observe(policy.path, Some(&peer), Some(policy), cause.reason());
                Err(cause.into())
            }
        }
    }

    /// The peer from this layer's one source.
    fn peer(&self, extensions: &http::Extensions) -> Result<Peer, AuthError> {
        let peer = match self.source {
            Source::Tls => extensions.get::<TlsIdentity>().map(|identity| &identity.0),
            Source::Link => extensions.get::<LinkIdentity>().map(|identity| &identity.0),
        };
        let peer = peer.ok_or(AuthError::Missing("the connection has no verified identity"))?;
        if SystemTime::now() >= peer.not_after() {
            return Err(AuthError::PeerExpired);
        }
        Ok(peer.clone())
    }

    fn authorize(
        &self,
        headers: &http::HeaderMap,
        peer: &Peer,
        policy: &'static MethodPolicy,
    ) -> Result<Admission, AuthError> {
        match policy.rule {
            Rule::System { services } => {
                if services.iter().any(|service| peer.is_service(service)) {
                    return Ok(Admission::Through(None));
                }
                Err(AuthError::NotAllowed(format!(
                    "{} is for {} only, not for {}",
                    policy.method,
                    services.join(", "),
                    peer.principal()
                )))
            }
            Rule::Access { .. } => self.authorize_access(headers, peer, policy),
        }
    }

    fn authorize_access(
        &self,
        headers: &http::HeaderMap,
        peer: &Peer,
        policy: &'static MethodPolicy,
    ) -> Result<Admission, AuthError> {
        let is_client = peer.candidate().is_some();
        if policy.visibility == Visibility::Internal && (is_client || peer.is_service(EDGE)) {
            return Err(AuthError::NotAllowed(format!("{} is internal", policy.method)));
        }
        if self.role == ENGINE && !peer.is_service(EDGE) {
            return Err(AuthError::NotAllowed(
                "the engine takes calls from the edge only: call the edge".to_owned(),
            ));
        }
        let Some(token) = only_token(headers)? else {
            return match is_client {
                true => Ok(Admission::Through(None)),
                false => Err(AuthError::Missing("a service acts for somebody: present a delegation token")),
            };
        };
        match self.verifier.verify_for_layer(token, peer, self.role) {
            Ok(token) => in_scope(&token, policy).map(|()| Admission::Through(Some(token))),
            Err(AuthError::UnknownKey(_)) => Ok(Admission::Wait(token.to_owned())),
            Err(cause) => Err(cause),
        }
    }

    fn refuse(
        &self,
        path: &str,
        peer: Option<&Peer>,
        policy: Option<&'static MethodPolicy>,
        cause: AuthError,
    ) -> Stop {
        self.observe(path, peer, policy, cause.reason());
        Stop::Refuse(Box::new(cause.into()))
    }

    fn observe(
        &self,
        path: &str,
        peer: Option<&Peer>,
        policy: Option<&'static MethodPolicy>,
        reason: Reason,
    ) {
        if let Some(observer) = &self.observer {
            observer(Refusal { path: path.to_owned(), peer: peer.cloned(), policy, reason });
        }
    }
}

enum Admission {
    Through(Option<Arc<Verified>>),
    Wait(String),
}

/// What comes from outside says nothing about identity: the suite's own metadata and a proxy's claims are dropped.
fn strip(headers: &mut http::HeaderMap) {
    let is_ours =
        |name: &http::HeaderName| name.as_str().starts_with(OWN_PREFIX) || *name == FORWARDED_CERTIFICATE;
    // Nearly always there is none, and then nothing is allocated.
    while let Some(name) = headers.keys().find(|name| is_ours(name)).cloned() {
        headers.remove(name);
    }
}

fn enter(request: &mut http::Request<Body>, caller: Caller) {
    // Handlers get at the token through the caller alone, so that no log of metadata shows it.
    request.headers_mut().remove(METADATA_KEY);
    request.headers_mut().remove(runs::METADATA_KEY);
    request.extensions_mut().insert(caller);
}

/// The one token; none, where there is none. Two are refused: which one counts must not be a question.
fn only_token(headers: &http::HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(METADATA_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthError::Malformed);
    }
    value.to_str().map(Some).map_err(|_| AuthError::Malformed)
}

fn in_scope(token: &Verified, policy: &'static MethodPolicy) -> Result<(), AuthError> {
    if token.claims.purpose == Purpose::Component && policy.visibility == Visibility::Internal {
        return Err(AuthError::NotAllowed(format!("{} is internal", policy.method)));
    }
    let Rule::Access { level, .. } = policy.rule else {
        return Ok(());
    };
    let level = level_word(level);
    if token.claims.covers(policy.service, level) {
        return Ok(());
    }
    Err(AuthError::Scope { service: policy.service, level })
}

/// Health and reflection need a verified peer and nothing else.
fn is_infrastructure(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
        || path.starts_with("/grpc.reflection.v1.ServerReflection/")
        || path.starts_with("/grpc.reflection.v1alpha.ServerReflection/")
}

fn unknown_method(path: &str) -> Status {
    error::status(Code::Unimplemented, Reason::NotImplemented, format!("there is no method {path}"))
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
