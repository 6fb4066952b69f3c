//! The body of a stream's answer: bounded by the call's deadline, safe against panics, counted to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tonic::body::Body;

use super::errors;
use super::gate::Pass;
use super::metrics::Observation;
use crate::context::CallContext;
use crate::limits::HeldPlace;
use crate::role::Role;
use crate::task::panic_text;

/// A stream's answer.
pub(crate) struct StreamBody {
    inner: Body,
    role: Role,
    context: CallContext,
    deadline: Option<Pin<Box<Sleep>>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    observation: Observation,
    /// The places that the stream takes: the role's and the team's.
    _held: (Pass, Option<HeldPlace>),
}

impl StreamBody {
    /// `cut` ends the stream when the process does not wait any longer.
    pub(crate) fn new(
        inner: Body,
        role: Role,
        context: CallContext,
        cut: tokio_util::sync::CancellationToken,
        observation: Observation,
        held: (Pass, Option<HeldPlace>),
    ) -> Self {
        let deadline = context.deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        let cut = Box::pin(cut.cancelled_owned());
        Self { inner, role, context, deadline, cut, ended: false, observation, _held: held }
    }

    /// Ends the stream with trailers.
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.observation.code(status.code());
        // What the handler still holds is freed now.
        self.inner = Body::empty();
        let mut trailers = http::HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let call = this.context.clone();
        let inner = &mut this.inner;
        let polled = call.enter(|| catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context))));
        match polled {
            Ok(Poll::Ready(frame)) => {
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(trailers) = frame.trailers_ref() {
                            this.observation.code_of(trailers);
                        }
                    }
                    Some(Err(status)) => this.observation.code(status.code()),
                    None => this.ended = true,
                }
                return Poll::Ready(frame);
            }
            Ok(Poll::Pending) => {}
            Err(panic) => {
                let status = errors::internal(&format!("panic in a stream: {}", panic_text(&*panic)));
                return this.end(&status);
            }
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            let status = errors::deadline_exceeded(this.role);
            return this.end(&status);
        }
        if this.cut.as_mut().poll(context).is_ready() {
            let status = errors::role_unavailable(this.role, "", "it is shutting down");
            return this.end(&status);
        }
        Poll::Pending
    }

    /// A refusal has no body. It must end with its headers, where its status is: clients of the gRPC core look for
    /// the status of what ends later in trailers, and would find none.
    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::gate::Gate;
    use crate::server::metrics::RoleMetrics;

    fn streamed(inner: Body) -> Body {
        let role = Role::Io;
        let context = CallContext::of_headers(&http::HeaderMap::new(), None);
        let held = (Gate::new(1).enter().unwrap(), None);
        let observation = RoleMetrics::leaked(role).start(None);
        Body::new(StreamBody::new(inner, role, context, CancellationToken::new(), observation, held))
    }

    #[tokio::test]
    async fn a_refusal_ends_with_its_headers() {
        let refused = Status::out_of_range("too far").into_http::<Body>();
        assert!(refused.map(streamed).body().is_end_stream());
        let answer = Body::new(axum::body::Body::from("bytes"));
        assert!(!streamed(answer).is_end_stream());
    }
}
