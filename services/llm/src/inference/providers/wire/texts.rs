//! Streams of texts: events or lines, each of which says something of the answer. How they are told apart is a
//! [`Framing`], what they mean a [`Telling`]; reading them to their end is here once.

use sre_proto::llm::v1 as pb;

use super::{Reading, broken};
use crate::inference::error::InferenceError;
use crate::inference::providers::{Call, Piece};

/// Puts texts together from bytes cut anywhere.
pub trait Framing: Default + Send {
    /// A text without end.
    type TooLong: std::fmt::Display;

    /// Takes bytes; gives the texts that they complete.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, Self::TooLong>;

    /// The text that the end of the stream completes: servers leave out the last mark.
    fn finish(self) -> Result<Option<String>, Self::TooLong>;
}

/// What the texts of a provider's stream tell of its answer.
pub trait Telling: Send {
    /// Takes a text; adds what a watcher sees of it.
    fn take(&mut self, call: &Call, text: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError>;

    /// Whether the terminal marker came: no text is taken after it.
    fn is_done(&self) -> bool;

    /// Whether the stream may end here, with or without a marker.
    fn may_end(&self) -> bool {
        self.is_done()
    }

    /// Bytes of the answer that are held.
    fn size_bytes(&self) -> usize;

    /// The whole answer.
    fn finish(self, call: &Call) -> pb::GenerateResponse;
}

/// Reads a stream of texts.
#[derive(Debug, Default)]
pub struct Texts<F, T> {
    framing: F,
    telling: T,
}

impl<F: Framing, T: Telling> Texts<F, T> {
    /// A stream that tells this.
    pub fn of(telling: T) -> Self {
        Self { framing: F::default(), telling }
    }

    fn take(
        &mut self,
        call: &Call,
        texts: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Piece>, InferenceError> {
        let mut seen = Vec::new();
        for text in texts {
            if self.telling.is_done() {
                break;
            }
            self.telling.take(call, &text, &mut seen)?;
        }
        Ok(seen)
    }
}

impl<F: Framing, T: Telling> Reading for Texts<F, T> {
    fn push(&mut self, call: &Call, bytes: &[u8]) -> Result<Vec<Piece>, InferenceError> {
        let texts = self.framing.push(bytes).map_err(|error| broken(call, error.to_string()))?;
        self.take(call, texts)
    }

    fn is_done(&self) -> bool {
        self.telling.is_done()
    }

    fn end(&mut self, call: &Call) -> Result<Vec<Piece>, InferenceError> {
        let last = std::mem::take(&mut self.framing).finish();
        let last = last.map_err(|error| broken(call, error.to_string()))?;
        let seen = self.take(call, last)?;
        if !self.telling.may_end() {
            return Err(broken(call, "the stream ended in the middle of the answer"));
        }
        Ok(seen)
    }

    fn size_bytes(&self) -> usize {
        self.telling.size_bytes()
    }

    fn finish(self: Box<Self>, call: &Call) -> pb::GenerateResponse {
        self.telling.finish(call)
    }
}
