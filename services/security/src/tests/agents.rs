//! A stand-in for the agent service: it knows who may invoke which agent, and answers CheckAccess alone.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use sre_identity::Candidate;
use sre_proto::agent::v1::{AclAspect, CheckAccessRequest, CheckAccessResponse};
use sre_proto::types::v1::Level;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// Who may invoke what. Clones share it.
#[derive(Clone, Default)]
pub struct Agents(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Agents {
    /// `caller` (`user/alice`) may invoke `agent` (its full name).
    pub fn allow(&self, caller: &str, agent: &str) {
        self.0.lock().insert((caller.to_owned(), agent.to_owned()));
    }

    /// It may no longer.
    pub fn forbid(&self, caller: &str, agent: &str) {
        self.0.lock().remove(&(caller.to_owned(), agent.to_owned()));
    }

    /// The role.
    pub fn routes(&self) -> Routes {
        Routes::new(self.clone())
    }
}

impl NamedService for Agents {
    const NAME: &'static str = "sre.agent.v1.AgentData";
}

impl UnaryService<CheckAccessRequest> for Agents {
    type Response = CheckAccessResponse;
    type Future = Ready<Result<Response<CheckAccessResponse>, Status>>;

    fn call(&mut self, request: Request<CheckAccessRequest>) -> Self::Future {
        let request = request.into_inner();
        assert_eq!((request.aspect(), request.level()), (AclAspect::Skills, Level::Read));
        let caller = Candidate::try_from(&request.candidate.unwrap()).unwrap().to_string();
        let allowed = self.0.lock().contains(&(caller, request.name.clone()));
        let name = if allowed { request.name } else { String::new() };
        ready(Ok(Response::new(CheckAccessResponse { allowed, name })))
    }
}

impl Service<http::Request<Body>> for Agents {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<CheckAccessResponse, CheckAccessRequest>::default());
            Ok(grpc.unary(this, request).await)
        })
    }
}
