//! The frames of a stream: AWS's binary format, each frame with a checksum, decoded by AWS's own crate.

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use bytes::{Buf as _, BytesMut};
use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::answer::Assembly;
use crate::inference::error::{InferenceError, Refusal};
use crate::inference::providers::wire::{Reading, broken};
use crate::inference::providers::{Call, Piece};

/// A longer frame is none that this interface sends: what waits for one is not held.
const LONGEST_FRAME: usize = 4 << 20;

/// Reads the frames of a stream.
#[derive(Debug)]
pub struct Frames {
    decoder: MessageFrameDecoder,
    waiting: BytesMut,
    assembly: Assembly,
    /// What the answer used came: it is the last frame.
    done: bool,
}

impl Frames {
    /// The frames of the answer to a call.
    pub fn of(call: &Call) -> Self {
        Self {
            decoder: MessageFrameDecoder::new(),
            waiting: BytesMut::new(),
            assembly: Assembly::of(call),
            done: false,
        }
    }

    fn take(&mut self, call: &Call, frame: &Message) -> Result<Option<Piece>, InferenceError> {
        let header = |name: &str| {
            let header = frame.headers().iter().find(|header| header.name().as_str() == name)?;
            header.value().as_string().ok().map(|value| value.as_str().to_owned())
        };
        let payload: Value = if frame.payload().is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(frame.payload())
                .map_err(|error| broken(call, format!("a frame holds no JSON: {error}")))?
        };
        match header(":message-type").as_deref() {
            Some("exception") => {
                return Err(exception(call, &header(":exception-type").unwrap_or_default(), &payload));
            }
            Some("error") => {
                let message = header(":error-message").unwrap_or_default();
                let payload = serde_json::json!({"message": message});
                return Err(exception(call, &header(":error-code").unwrap_or_default(), &payload));
            }
            _ => {}
        }
        let index = payload["contentBlockIndex"].as_u64().unwrap_or_default();
        Ok(match header(":event-type").unwrap_or_default().as_str() {
            "contentBlockStart" => self.assembly.begin(index, &payload["start"]),
            "contentBlockDelta" => self.assembly.go_on(index, &payload["delta"]),
            "messageStop" => {
                self.assembly.stop(&payload);
                None
            }
            "metadata" => {
                self.assembly.count(&payload["usage"]);
                self.done = self.assembly.has_ended();
                None
            }
            _ => None,
        })
    }
}

impl Reading for Frames {
    fn push(&mut self, call: &Call, bytes: &[u8]) -> Result<Vec<Piece>, InferenceError> {
        self.waiting.extend_from_slice(bytes);
        let mut seen = Vec::new();
        while !self.done {
            let decoded = self.decoder.decode_frame(&mut self.waiting);
            match decoded
                .map_err(|error| broken(call, format!("a frame of the stream is broken: {error}")))?
            {
                DecodedFrame::Complete(frame) => seen.extend(self.take(call, &frame)?),
                DecodedFrame::Incomplete if self.waiting.remaining() > LONGEST_FRAME => {
                    return Err(broken(call, format!("a frame is longer than {LONGEST_FRAME} bytes")));
                }
                DecodedFrame::Incomplete => break,
            }
        }
        Ok(seen)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn end(&mut self, call: &Call) -> Result<Vec<Piece>, InferenceError> {
        if !self.assembly.has_ended() || self.waiting.has_remaining() {
            return Err(broken(call, "the stream ended in the middle of the answer"));
        }
        Ok(Vec::new())
    }

    fn size_bytes(&self) -> usize {
        self.assembly.size_bytes()
    }

    fn finish(self: Box<Self>, call: &Call) -> pb::GenerateResponse {
        self.assembly.finish(call)
    }
}

/// An exception in the middle of a stream: its type stands for the status that it would have had.
fn exception(call: &Call, kind: &str, payload: &Value) -> InferenceError {
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let lower = kind.to_ascii_lowercase();
    let status = match lower.as_str() {
        "throttlingexception" | "servicequotaexceededexception" | "modelnotreadyexception" => 429,
        "validationexception" => 400,
        "accessdeniedexception" => 403,
        "resourcenotfoundexception" => 404,
        "modeltimeoutexception" => 408,
        "serviceunavailableexception" => 503,
        _ => 500,
    };
    let message = payload["message"].as_str().or_else(|| payload["Message"].as_str());
    InferenceError::Refused(Box::new(Refusal {
        provider: call.model.provider.clone(),
        status,
        message: message.unwrap_or("no reason given").chars().take(2000).collect(),
        code: kind.to_owned(),
        ..Refusal::default()
    }))
}
