//! Whether it works on several activations at a time.

use std::time::Duration;

use futures::future::join_all;
use sre_proto::component::v1::Example;
use sre_proto::component::v1::ProcessRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::report::{Checked, Report};
use super::{Kit, Subject, examples, inputs};

/// How long streams that say nothing may take to be opened.
const OPENING: Duration = Duration::from_millis(300);

pub(super) async fn run(kit: &Kit, subject: &Subject, report: &mut Report) {
    let Some(example) = subject.example() else { return };
    let own = subject.declared.bounds.concurrency.unwrap_or(usize::MAX);
    let streams = kit.streams.min(own);
    report.check("streams at the same time are all answered", at_once(kit, subject, example, streams)).await;
    if streams < 2 {
        report.skip("streams that wait do not hold others up", "it says that it works on one at a time");
        return;
    }
    report.check("streams that wait do not hold others up", beside(kit, subject, example, streams - 1)).await;
}

async fn at_once(kit: &Kit, subject: &Subject, example: &Example, streams: usize) -> Checked {
    let all = (0..streams).map(|_| kit.process(kit.activation(subject, example)));
    for (number, seen) in join_all(all).await.into_iter().enumerate() {
        let told = |why| format!("of {streams} streams, number {}: {why}", number + 1);
        let answer = seen.answer().map_err(told)?;
        examples::outputs(subject, &answer.outputs_json).map_err(told)?;
    }
    Ok(())
}

/// Streams are opened and say nothing; one more is answered all the same.
async fn beside(kit: &Kit, subject: &Subject, example: &Example, waiting: usize) -> Checked {
    let mut held = Vec::new();
    let mut open = Vec::new();
    for _ in 0..waiting {
        let (sender, receiver) = mpsc::channel::<ProcessRequest>(1);
        held.push(sender);
        let mut client = kit.client();
        open.push(sre_service::task::spawn("waiting stream", async move {
            // Servers may wait for the first message before they answer anything.
            let stream = client.process(ReceiverStream::new(receiver)).await;
            if let Ok(stream) = stream {
                let mut stream = stream.into_inner();
                while let Ok(Some(_)) = stream.message().await {}
            }
        }));
    }
    tokio::time::sleep(OPENING).await;
    let worked = inputs::works(kit, subject, example).await;
    drop(held);
    for stream in open {
        stream.abort();
    }
    worked.map_err(|why| format!("beside {waiting} streams that say nothing: {why}"))
}
