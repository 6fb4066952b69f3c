//! A stream's body, read piece by piece to exactly one end.

use std::collections::VecDeque;

use futures::stream;
use reqwest::Response;
use tokio::time::Instant;

use super::{Exchange, Reading};
use crate::inference::error::InferenceError;
use crate::inference::providers::{Call, Piece, Pieces};

/// The pieces of a response; the first one must come by a moment.
pub fn pieces(
    exchange: Exchange,
    call: Call,
    response: Response,
    reading: Box<dyn Reading>,
    first_by: Instant,
) -> Pieces {
    let reader = Reader {
        exchange,
        call,
        response,
        reading: Some(reading),
        ready: VecDeque::new(),
        received_bytes: 0,
        first_by: Some(first_by),
        stage: Stage::Reading,
    };
    Box::pin(stream::unfold(reader, async |mut reader| {
        let piece = reader.next().await?;
        Some((piece, reader))
    }))
}

#[derive(Debug)]
enum Stage {
    Reading,
    /// The terminal marker came: what is ready, and then the whole answer.
    Done,
    /// What is ready, and then the error.
    Failed(InferenceError),
    Ended,
}

struct Reader {
    exchange: Exchange,
    call: Call,
    response: Response,
    /// None once the whole answer was given.
    reading: Option<Box<dyn Reading>>,
    ready: VecDeque<Piece>,
    received_bytes: usize,
    /// Until the first piece: when it must have come.
    first_by: Option<Instant>,
    stage: Stage,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Piece, InferenceError>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.first_by = None;
                return Some(Ok(piece));
            }
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Reading => self.stage = Stage::Reading,
                Stage::Done => {
                    let answer = self.reading.take()?.finish(&self.call);
                    return Some(Ok(Piece::Finished(Box::new(answer))));
                }
                Stage::Failed(error) => return Some(Err(error)),
                Stage::Ended => return None,
            }
            if let Err(error) = self.read().await {
                self.stage = Stage::Failed(error);
            }
        }
    }

    /// Reads one piece of the body, or its end.
    async fn read(&mut self) -> Result<(), InferenceError> {
        let chunk = self.exchange.next_chunk(&self.call, &mut self.response, self.first_by).await?;
        let Some(reading) = &mut self.reading else { return Ok(()) };
        match chunk {
            Some(chunk) => {
                self.received_bytes += chunk.len();
                self.exchange.check_body(&self.call, self.received_bytes)?;
                self.ready.extend(reading.push(&self.call, &chunk)?);
                self.exchange.check_size(&self.call, reading.size_bytes())?;
                if reading.is_done() {
                    self.stage = Stage::Done;
                }
            }
            None => {
                self.ready.extend(reading.end(&self.call)?);
                self.stage = Stage::Done;
            }
        }
        Ok(())
    }
}
