//! The size of messages, read from their gRPC frames before they are collected.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::errors;

/// Compression flag and length.
const PREFIX_BYTES: usize = 5;

/// A request's body whose messages are bounded.
pub(crate) struct SizedBody {
    inner: Body,
    limit_bytes: usize,
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    message_left: usize,
}

impl SizedBody {
    pub(crate) fn new(inner: Body, limit_bytes: usize) -> Self {
        Self { inner, limit_bytes, prefix: [0; PREFIX_BYTES], prefix_filled: 0, message_left: 0 }
    }

    /// Follows the frames through a piece of the body.
    fn check(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            let skipped = self.message_left.min(data.len());
            self.message_left -= skipped;
            data = &data[skipped..];
            let taken = (PREFIX_BYTES - self.prefix_filled).min(data.len());
            self.prefix[self.prefix_filled..self.prefix_filled + taken].copy_from_slice(&data[..taken]);
            self.prefix_filled += taken;
            data = &data[taken..];
            if self.prefix_filled == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length) as usize;
                if length > self.limit_bytes {
                    return Err(errors::too_large(self.limit_bytes));
                }
                self.message_left = length;
                self.prefix_filled = 0;
            }
        }
        Ok(())
    }
}

impl http_body::Body for SizedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.check(data)
        {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(std::iter::repeat_n(7, length as usize));
        bytes
    }

    #[test]
    fn every_message_counts_however_the_body_is_cut() {
        let fine = [message(10), message(0), message(10)].concat();
        let wrong = [message(10), message(11)].concat();
        for piece in 1..fine.len() {
            let follow = |body: &[u8]| {
                let mut sized = SizedBody::new(Body::empty(), 10);
                body.chunks(piece).try_for_each(|data| sized.check(data))
            };
            assert!(follow(&fine).is_ok(), "{piece}");
            assert_eq!(follow(&wrong).unwrap_err().code(), tonic::Code::ResourceExhausted, "{piece}");
        }
    }
}
