//! Frames as a body: cut, slowed down, broken off, and counted.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream;

use crate::answer::Answer;
use crate::scenario::{Framing, Usage, UsageStyle};
use crate::server::Connection;
use crate::state::{Ended, Place, State};
use crate::wires::Frame;

/// Time to read what came before a reset.
const BEFORE_RESET: Duration = Duration::from_millis(50);

/// What is known of an answer while it is sent. What a provider generated it charges for, also where nobody heard it.
pub(crate) struct Sent {
    pub state: State,
    pub number: u64,
    pub key: String,
    pub usage: Usage,
    pub tokens: u64,
    pub whole: bool,
    pub place: Option<Place>,
}

impl Sent {
    /// An answer that begins.
    pub fn begin(state: &State, answer: &Answer, key: &str, place: Place) -> Self {
        let (number, usage) = (answer.asked.number, answer.usage);
        let place = Some(place);
        Self { state: state.clone(), number, key: key.to_owned(), usage, tokens: 0, whole: false, place }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut usage = self.usage;
        if !self.whole {
            usage.output = usage.output.min(self.tokens);
            usage.reasoning = usage.reasoning.min(usage.output);
        }
        self.place = None;
        self.state.used(&self.key, usage);
        self.state.ended(self.number, if self.whole { Ended::Whole } else { Ended::Dropped });
    }
}

/// The body of a stream.
pub(crate) fn body(frames: Vec<Frame>, answer: &Answer, sent: Sent, connection: Option<Connection>) -> Body {
    let rate = sent.state.load().tokens_per_second;
    // The ledger tells the truth also where the answer does not say what was used.
    debug_assert!(answer.usage_style != UsageStyle::Absent || sent.usage == answer.usage);
    let frames = cut(frames, answer.scenario.framing);
    let steps = Steps { frames, sent, connection, rate };
    Body::from_stream(stream::unfold(steps, Steps::next))
}

struct Steps {
    frames: VecDeque<Frame>,
    sent: Sent,
    connection: Option<Connection>,
    rate: u64,
}

impl Steps {
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Self)> {
        loop {
            match self.frames.pop_front() {
                Some(Frame::Data(bytes, tokens)) => {
                    if self.rate > 0 && tokens > 0 {
                        tokio::time::sleep(Duration::from_secs_f64(tokens as f64 / self.rate as f64)).await;
                    }
                    self.sent.tokens += tokens;
                    return Some((Ok(bytes), self));
                }
                Some(Frame::Pause(wait)) => tokio::time::sleep(wait).await,
                Some(Frame::Stall) => std::future::pending().await,
                Some(Frame::Reset) => {
                    // A reset throws away what the client has not read yet.
                    tokio::time::sleep(BEFORE_RESET).await;
                    if let Some(connection) = self.connection.take() {
                        connection.reset_at_close();
                    }
                    self.frames.clear();
                    let error =
                        std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the scenario says so");
                    return Some((Err(error), self));
                }
                None => {
                    self.sent.whole = true;
                    return None;
                }
            }
        }
    }
}

/// Frames as segments.
fn cut(frames: Vec<Frame>, framing: Framing) -> VecDeque<Frame> {
    if framing.bytes == 0 && !framing.together {
        return frames.into();
    }
    let mut cut = VecDeque::new();
    let mut held = BytesMut::new();
    let mut held_tokens = 0;
    let flush = |held: &mut BytesMut, tokens: &mut u64, cut: &mut VecDeque<Frame>| {
        let size = if framing.bytes == 0 { held.len().max(1) } else { framing.bytes };
        let mut tokens = std::mem::take(tokens);
        while !held.is_empty() {
            let piece = held.split_to(size.min(held.len())).freeze();
            cut.push_back(Frame::Data(piece, std::mem::take(&mut tokens)));
        }
    };
    for frame in frames {
        match frame {
            Frame::Data(bytes, tokens) => {
                held.extend_from_slice(&bytes);
                held_tokens += tokens;
                if !framing.together {
                    flush(&mut held, &mut held_tokens, &mut cut);
                }
            }
            other => {
                flush(&mut held, &mut held_tokens, &mut cut);
                cut.push_back(other);
            }
        }
    }
    flush(&mut held, &mut held_tokens, &mut cut);
    cut
}
