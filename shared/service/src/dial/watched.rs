//! A connection whose end is noticed.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Wire;

/// The connection, and what is called when it is given up.
struct Watched<F: FnMut() + Send + Unpin> {
    inner: Box<dyn Wire>,
    on_end: F,
}

/// Calls something when a connection is given up, by whomever.
pub fn watched(
    io: TokioIo<Box<dyn Wire>>,
    on_end: impl FnMut() + Send + Unpin + 'static,
) -> TokioIo<Box<dyn Wire>> {
    TokioIo::new(Box::new(Watched { inner: io.into_inner(), on_end }))
}

impl<F: FnMut() + Send + Unpin> Drop for Watched<F> {
    fn drop(&mut self) {
        (self.on_end)();
    }
}

impl<F: FnMut() + Send + Unpin> AsyncRead for Watched<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<F: FnMut() + Send + Unpin> AsyncWrite for Watched<F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
