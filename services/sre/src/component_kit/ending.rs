//! Whether it stops when nobody wants its answer any more.

use std::time::Duration;

use sre_proto::component::v1::{Activation, Example};

use super::report::{Checked, Report};
use super::stream::{End, Seen, Then};
use super::{Kit, Subject, inputs};

/// The engine cuts a stream two seconds after it said stop; there is some slack for slow machines.
const STOPS_WITHIN: Duration = Duration::from_secs(4);
/// Streams that are given up at once.
const GIVEN_UP: usize = 32;

pub(super) async fn run(kit: &Kit, subject: &Subject, report: &mut Report) {
    let Some(example) = subject.example() else { return };
    report.check("Cancel ends the stream", cancelled(kit, subject, example)).await;
    report.check("an activation whose time is over ends", late(kit, subject, example)).await;
    report.check("streams that are given up leave nothing behind", given_up(kit, subject, example)).await;
}

async fn cancelled(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    for _ in 0..3 {
        let seen = kit.process_then(kit.activation(subject, example), Then::Cancel, STOPS_WITHIN).await;
        ended(&seen, "that was cancelled")?;
    }
    inputs::works(kit, subject, example).await
}

async fn late(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let activation = Activation { deadline_time_ms: 1, ..kit.activation(subject, example) };
    let seen = kit.process_then(activation, Then::Wait, STOPS_WITHIN).await;
    ended(&seen, "whose deadline has passed")?;
    inputs::works(kit, subject, example).await
}

/// An answer is right, a failure is, and so is any status; only an open stream is not.
fn ended(seen: &Seen, which: &str) -> Checked {
    match seen.end {
        End::Open => Err(format!("a stream {which} was still open after {:.1?}", seen.took)),
        End::Ok | End::Status(..) => Ok(()),
    }
}

async fn given_up(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    for _ in 0..GIVEN_UP {
        let stream = kit.process(kit.activation(subject, example));
        // Dropped in the middle: the server sees a reset.
        let _ = tokio::time::timeout(Duration::from_millis(1), stream).await;
    }
    inputs::works(kit, subject, example).await
}
