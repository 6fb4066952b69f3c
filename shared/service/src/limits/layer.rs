//! The limits as a tower service, between authentication and the role's routes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use sre_identity::Caller;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::{Limiter, Place, Subject, Work};
use crate::routes::Routes;

/// The place of a call, on its response: a stream holds it to its end.
#[derive(Debug, Clone)]
pub(crate) struct HeldPlace {
    _place: Arc<Place>,
}

/// Routes behind the limits.
#[derive(Clone)]
pub(crate) struct LimitService {
    inner: Arc<Routes>,
    limiter: Limiter,
}

impl LimitService {
    pub(crate) fn new(inner: Routes, limiter: Limiter) -> Self {
        Self { inner: Arc::new(inner), limiter }
    }
}

impl Service<Request<Body>> for LimitService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Work is bounded per call, by the role's gate and by the limits.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(who) = request.extensions().get::<Caller>().and_then(Caller::candidate) else {
            // Health, reflection, and calls of services for themselves.
            return self.inner.call(request);
        };
        if let Some(subject) = self.limiter.known(who) {
            return match place_for(&self.limiter, &subject, &request) {
                Ok(place) => Box::pin(held(self.inner.call(request), place)),
                Err(refused) => Box::pin(std::future::ready(Ok(refused.into_http()))),
            };
        }
        let (who, limiter, inner) = (who.clone(), self.limiter.clone(), Arc::clone(&self.inner));
        Box::pin(async move {
            let subject = limiter.look_up(&who).await;
            match place_for(&limiter, &subject, &request) {
                Ok(place) => held(inner.call(request), place).await,
                Err(refused) => Ok(refused.into_http()),
            }
        })
    }
}

async fn held<F>(call: F, place: Place) -> Result<Response<Body>, Infallible>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut response = call.await?;
    response.extensions_mut().insert(HeldPlace { _place: Arc::new(place) });
    Ok(response)
}

fn place_for(limiter: &Limiter, subject: &Subject, request: &Request<Body>) -> Result<Place, Status> {
    let caller = request.extensions().get::<Caller>();
    let streams = caller.is_none_or(|caller| {
        let policy = caller.policy();
        policy.client_streaming || policy.server_streaming
    });
    let work = if streams { Work::Stream } else { Work::Call };
    limiter.enter(subject, work).map_err(|refusal| {
        if let Some(caller) = caller {
            limiter.observe_call(&refusal, caller);
        }
        refusal.status(limiter.0.role)
    })
}
