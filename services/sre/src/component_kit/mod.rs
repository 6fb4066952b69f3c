//! What `sre component test` holds an implementation of `sre.component.v1.Component` to. Whoever writes one can run it
//! against what they serve; nothing of a suite has to run.
//!
//! [`stream`]: one activation, and everything that was seen of it. The checks, in the order in which they run:
//! [`describing`], [`examples`], [`inputs`], [`ending`], [`together`], [`promises`].

mod describing;
mod ending;
mod examples;
mod inputs;
mod promises;
mod report;
mod stream;
mod together;

use std::time::Duration;

use sre_components::external::Declaration;
use sre_proto::component::v1::{Description, Example, FailureKind};
use sre_service::dial::Channel;

pub use report::{Report, Verdict};

/// How long what should be quick may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An implementation under test.
pub struct Kit {
    channel: Channel,
    /// How long one activation may take.
    limit: Duration,
    /// How many streams are opened together.
    streams: usize,
}

/// What it says it is.
pub struct Subject {
    /// As it says it.
    pub description: Description,
    /// As the engine reads it.
    pub declared: &'static Declaration,
}

impl Subject {
    /// The first example that succeeds.
    pub fn example(&self) -> Option<&Example> {
        self.description.examples.iter().find(|example| example.failure() == FailureKind::Unspecified)
    }
}

impl Kit {
    /// Tests what is behind this channel.
    pub fn new(channel: Channel, limit: Duration, streams: usize) -> Self {
        Self { channel, limit, streams: streams.max(1) }
    }

    /// Runs every check.
    pub async fn run(&self) -> Report {
        let mut report = Report::default();
        let subject = describing::run(self, &mut report).await;
        let Some(subject) = subject else {
            report.skip_rest("what it says it is cannot be used, so nothing can be sent to it");
            return report;
        };
        report.name(&subject.description);
        examples::run(self, &subject, &mut report).await;
        inputs::run(self, &subject, &mut report).await;
        ending::run(self, &subject, &mut report).await;
        together::run(self, &subject, &mut report).await;
        promises::run(self, &subject, &mut report).await;
        describing::still_there(self, &subject, &mut report).await;
        report
    }
}
