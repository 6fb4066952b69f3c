//! What a refused call's client still sends is read and forgotten.
//!
//! A refusal answers before the request's body has come. HTTP/2 would reset the stream then, and take what still
//! comes for it as an error of the client: after about a thousand of those the connection is closed, with every call
//! on it, also those of others that share it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::task;

/// What is read of one body at most; a stream that goes on is reset after all.
const LEFTOVER_BYTES: usize = 64 << 10;
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request's body from the network.
pub(crate) struct IncomingBody {
    /// None when it has ended.
    inner: Option<Incoming>,
}

impl IncomingBody {
    pub(crate) fn new(inner: Incoming) -> Self {
        Self { inner: Some(inner).filter(|inner| !inner.is_end_stream()) }
    }
}

impl http_body::Body for IncomingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || inner.is_end_stream() {
            self.inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        let Some(body) = self.inner.take() else { return };
        let mut rest = Rest { body, left_bytes: LEFTOVER_BYTES };
        // Mostly it is there already, and nothing need be waited for.
        let read = Pin::new(&mut rest).poll_all(&mut Context::from_waker(Waker::noop()));
        if read.is_pending() && tokio::runtime::Handle::try_current().is_ok() {
            drop(task::spawn("leftover of a refused call", async move {
                let read = std::future::poll_fn(|context| Pin::new(&mut rest).poll_all(context));
                // A client that is slower is cut off.
                drop(tokio::time::timeout(PATIENCE, read).await);
            }));
        }
    }
}

/// What is left of a body.
struct Rest {
    body: Incoming,
    left_bytes: usize,
}

impl Rest {
    /// Reads what has come.
    fn poll_all(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
            if !self.goes_on(frame) {
                return Poll::Ready(());
            }
        }
    }

    fn goes_on(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> bool {
        let Some(Ok(frame)) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        self.left_bytes > 0 && !self.body.is_end_stream()
    }
}
