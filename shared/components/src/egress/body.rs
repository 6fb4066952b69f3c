//! Reading the body of an answer: piece by piece, decompressed here, so that a compressed one cannot grow unseen.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use super::error::EgressError;
use super::request::Limits;

/// What is asked for where the request says nothing.
pub(super) const ACCEPT_ENCODING: &str = "gzip, deflate, br";
/// Below this size an answer may expand as it likes.
const SMALL_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    /// What the headers name. What nobody asked for is left as it came.
    fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match value.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            _ => Self::Identity,
        }
    }
}

/// The headers as they fit the body, and the body.
pub(super) async fn read(
    response: reqwest::Response,
    limits: Limits,
    explain: impl Fn(&reqwest::Error) -> EgressError,
) -> Result<(HeaderMap, Bytes), EgressError> {
    let limit_bytes = limits.response_bytes;
    if response.content_length().is_some_and(|length| length > limit_bytes as u64) {
        return Err(EgressError::TooLarge { limit_bytes });
    }
    let mut headers = response.headers().clone();
    let coding = Coding::of(&headers);
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    let pieces = response.bytes_stream().map_err(io::Error::other).inspect_ok(move |piece| {
        count.fetch_add(piece.len(), Ordering::Relaxed);
    });
    let mut source = StreamReader::new(Box::pin(pieces));
    let broken = |error: io::Error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
        inner.map_or_else(
            || EgressError::Broken("the compressed answer is damaged or cut off".to_owned()),
            &explain,
        )
    };
    if source.fill_buf().await.map_err(broken)?.is_empty() {
        // The answer to HEAD names a coding and has no body.
        return Ok((headers, Bytes::new()));
    }
    let mut body: Pin<Box<dyn AsyncRead + Send>> = match coding {
        Coding::Identity => Box::pin(source),
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(source);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Coding::Deflate => Box::pin(ZlibDecoder::new(source)),
        Coding::Brotli => Box::pin(BrotliDecoder::new(source)),
    };
    let mut read = BytesMut::new();
    loop {
        read.reserve(PIECE_BYTES);
        if body.read_buf(&mut read).await.map_err(broken)? == 0 {
            break;
        }
        if read.len() > limit_bytes {
            return Err(EgressError::TooLarge { limit_bytes });
        }
        let compressed = arrived.load(Ordering::Relaxed);
        if coding != Coding::Identity
            && read.len() > SMALL_BYTES
            && read.len() / compressed.max(1) > limits.expansion
        {
            return Err(EgressError::Expands { times: limits.expansion });
        }
    }
    if coding != Coding::Identity {
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
    }
    Ok((headers, read.freeze()))
}
