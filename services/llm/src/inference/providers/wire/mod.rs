//! How providers are spoken with over HTTP: what differs between them is a [`Wire`], what does not is here once:
//! connections, times, limits, reading a stream to its one end.

mod exchange;
mod reader;
mod texts;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use sre_proto::llm::v1 as pb;
use url::Url;

use super::{Call, Piece, Pieces, Provider};
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;

pub use exchange::{Exchange, broken, refusal_in_body};
pub use texts::{Framing, Telling, Texts};

/// Whether the answer comes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In one.
    Whole,
    /// In pieces.
    Stream,
}

/// A request as it goes out. Its key is in its headers and marked sensitive.
#[derive(Debug)]
pub struct WireRequest {
    /// Where to.
    pub url: Url,
    /// Its headers, beside those that every request has.
    pub headers: HeaderMap,
    /// Its body, JSON.
    pub body: bytes::Bytes,
}

/// What one provider's wire format says.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// The request for a call. What needs another exchange first (a token of a cloud) may make it here.
    async fn request(
        &self,
        exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError>;

    /// A whole answer, of [`Delivery::Whole`].
    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError>;

    /// What reads the pieces, of [`Delivery::Stream`].
    fn reading(&self, call: &Call) -> Box<dyn Reading>;
}

/// Reads one stream. It is given bytes as they come, cut anywhere.
pub trait Reading: Send {
    /// Takes bytes; gives the pieces that they complete, never [`Piece::Finished`].
    fn push(&mut self, call: &Call, bytes: &[u8]) -> Result<Vec<Piece>, InferenceError>;

    /// Whether the terminal marker came: what comes after it is not read.
    fn is_done(&self) -> bool;

    /// The body ended: the last pieces. An error where the format says that more was to come.
    fn end(&mut self, call: &Call) -> Result<Vec<Piece>, InferenceError>;

    /// Bytes of the answer that are held.
    fn size_bytes(&self) -> usize;

    /// The whole answer, after its end.
    fn finish(self: Box<Self>, call: &Call) -> pb::GenerateResponse;
}

/// A provider that speaks a wire format.
#[derive(Debug, Clone)]
pub struct Spoken<W> {
    wire: W,
    exchange: Exchange,
}

impl<W: Wire> Spoken<W> {
    /// A client of its own, with these limits.
    pub fn new(wire: W, settings: InferenceSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { wire, exchange: Exchange::new(settings)? })
    }
}

#[async_trait]
impl<W: Wire> Provider for Spoken<W> {
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        let whole = async {
            let request = self.wire.request(&self.exchange, &call, Delivery::Whole).await?;
            let response = self.exchange.send(&call, request).await?;
            self.exchange.read_whole(&call, response).await
        };
        let bytes = self.exchange.in_time(&call, whole).await?;
        let answer = self.wire.whole(&call, &bytes)?;
        self.exchange.check_size(&call, answer.text.len() + answer.thinking.len())?;
        Ok(answer)
    }

    async fn stream(&self, mut call: Call) -> Result<Pieces, InferenceError> {
        let opened = tokio::time::Instant::now();
        let response = async {
            let request = self.wire.request(&self.exchange, &call, Delivery::Stream).await?;
            self.exchange.send(&call, request).await
        };
        let response = self.exchange.in_time(&call, response).await?;
        let first_by = opened + self.exchange.first_token_timeout(&call);
        let reading = self.wire.reading(&call);
        // It was sent, and may be long; the stream may live long.
        call.request.messages = Vec::new();
        Ok(reader::pieces(self.exchange.clone(), call, response, reading, first_by))
    }
}
