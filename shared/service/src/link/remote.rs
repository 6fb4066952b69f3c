//! Calls to a role in another process.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use sre_identity::SvidSource;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;

use super::connection::{InFlight, SendError, Tls};
use super::pool::Pool;
use crate::process::Process;
use crate::role::Role;
use crate::server::errors;

/// The mTLS side of a link. Opens nothing before the first call.
pub(super) struct Remote {
    role: Role,
    process: Arc<Process>,
    identity: Arc<SvidSource>,
    tls: OnceLock<Tls>,
    pool: Arc<Pool>,
}

impl Remote {
    pub(super) fn new(process: &Arc<Process>, identity: &Arc<SvidSource>, role: Role) -> Self {
        Self {
            role,
            process: Arc::clone(process),
            identity: Arc::clone(identity),
            tls: OnceLock::new(),
            pool: Arc::new(Pool::new(role)),
        }
    }

    pub(super) async fn call(
        &self,
        mut request: Request<Body>,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, Status> {
        self.address_to_role(&mut request)?;
        let tls = self.tls()?;
        let patience = Instant::now() + self.process.config.deadlines.unavailable();
        let give_up = deadline.map_or(patience, |deadline| deadline.min(patience));
        loop {
            let lease = self
                .pool
                .lease(&self.process, &tls, give_up)
                .await
                .map_err(|(addresses, cause)| errors::role_unavailable(self.role, &addresses, &cause))?;
            let address = lease.address();
            match lease.send(request).await {
                Ok((response, mark)) => return Ok(self.answer(response, address, mark)),
                Err(SendError::Unsent(back)) if Instant::now() < give_up => request = *back,
                Err(SendError::Unsent(_)) => {
                    return Err(errors::role_unavailable(
                        self.role,
                        &address.to_string(),
                        "the connection was closed",
                    ));
                }
                Err(SendError::Sent(cause)) => {
                    return Err(errors::role_unavailable(self.role, &address.to_string(), &cause));
                }
            }
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        address: std::net::SocketAddr,
        mark: InFlight,
    ) -> Response<Body> {
        let role = self.role;
        response.map(|incoming| Body::new(RemoteBody { incoming, role, address, _mark: mark }))
    }

    fn tls(&self) -> Result<Tls, Status> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let config = sre_identity::tls::client_config(&self.identity, self.role.name())
            .map_err(|error| errors::internal(&error.to_string()))?;
        let tls = Tls { connector: TlsConnector::from(config), identity: Arc::clone(&self.identity) };
        Ok(self.tls.get_or_init(|| tls).clone())
    }

    /// HTTP/2 wants scheme and authority; the authority is the role, whatever the address.
    fn address_to_role(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(Authority::from_static(self.role.name()));
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| errors::internal(&error.to_string()))?;
        *request.version_mut() = http::Version::HTTP_2;
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        Ok(())
    }
}

/// An answer's body that says which role broke when it breaks.
struct RemoteBody {
    incoming: Incoming,
    role: Role,
    address: std::net::SocketAddr,
    _mark: InFlight,
}

impl http_body::Body for RemoteBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                errors::role_unavailable(self.role, &self.address.to_string(), &error.to_string())
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
