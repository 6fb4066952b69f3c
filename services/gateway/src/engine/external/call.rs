//! One stream of one activation: it is sent what to do, and says what comes of it.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use sre_components::Context;
use sre_proto::component::v1::component_client::ComponentClient;
use sre_proto::component::v1::process_request::Message as Sent;
use sre_proto::component::v1::process_response::Message as Said;
use sre_proto::component::v1::{Activation, Answer, Cancel, Failure, ProcessRequest};
use sre_service::connectors::grpc::with_causes;
use sre_service::dial::Channel;
use sre_service::task;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::endpoint::never_connected;
use super::telling::Telling;

/// How long a component that was told to stop may go on.
const GRACE: Duration = Duration::from_secs(2);
/// How long a stream whose answer is there may take to end.
const ENDING: Duration = Duration::from_secs(2);
/// What a message holds beside outputs.
const MESSAGE_ROOM: usize = 64 << 10;

/// How a stream ended.
#[derive(Debug)]
pub enum Ended {
    /// With an answer.
    Answered(Answer),
    /// With a failure.
    Failed(Failure),
    /// Nothing was sent.
    Unreached(String),
    /// In the middle: nobody knows what was done.
    Broken(String),
    /// It refused the call as such, or said something that makes no sense.
    Wrong(String),
    /// Its time is over.
    Late,
    /// It was told to stop.
    Cancelled,
}

impl Ended {
    /// For metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Failed(_) => "failed",
            Self::Unreached(_) => "unreached",
            Self::Broken(_) => "broken",
            Self::Wrong(_) => "wrong",
            Self::Late => "late",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Sends an activation and hears what the component says, until it is done, its time is over or it is cancelled.
pub async fn run(
    client: ComponentClient<Channel>,
    activation: Activation,
    until: Instant,
    max_output: usize,
    context: &dyn Context,
) -> Ended {
    let mut client = client
        .max_decoding_message_size(max_output.saturating_add(MESSAGE_ROOM))
        .max_encoding_message_size(usize::MAX);
    let (sender, receiver) = mpsc::channel(2);
    // There is room for both messages that are ever sent.
    let send = |message| sender.try_send(ProcessRequest { message: Some(message) }).is_ok();
    let traceparent = activation.traceparent.parse().ok();
    send(Sent::Activation(activation));
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.set_timeout(until.saturating_duration_since(Instant::now()));
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent);
    }
    let opening = async move { client.process(request).await };
    let mut said = Box::pin(opening.map_ok(Response::into_inner).try_flatten_stream());
    let (cancelled, deadline) = (context.cancelled(), tokio::time::sleep_until(until));
    let grace = tokio::time::sleep(GRACE);
    tokio::pin!(deadline, grace);
    let mut is_told = false;
    let mut telling = Telling::new(context);
    loop {
        let next = tokio::select! {
            biased;
            () = cancelled.cancelled(), if !is_told => {
                is_told = true;
                grace.as_mut().reset(Instant::now() + GRACE);
                send(Sent::Cancel(Cancel { reason: "the run was cancelled".to_owned() }));
                continue;
            }
            () = &mut grace, if is_told => return Ended::Cancelled,
            () = &mut deadline => return Ended::Late,
            next = said.next() => next,
        };
        let message = match next {
            None if is_told => return Ended::Cancelled,
            None => return Ended::Broken("the stream ended without an answer".to_owned()),
            Some(Err(_)) if is_told => return Ended::Cancelled,
            Some(Err(status)) => return of_status(&status, until),
            Some(Ok(response)) => response.message,
        };
        let ended = match message {
            Some(Said::Answer(answer)) => Ended::Answered(answer),
            Some(Said::Failure(failure)) => Ended::Failed(failure),
            Some(Said::Progress(progress)) => {
                telling.progress(&progress);
                continue;
            }
            Some(Said::Log(log)) => {
                telling.log(&log);
                continue;
            }
            Some(Said::Content(content)) => match telling.content(&content) {
                Ok(()) => continue,
                Err(problem) => return Ended::Wrong(problem),
            },
            // A message of a later version of the contract.
            None => continue,
        };
        drop(sender);
        if said.next().now_or_never().is_none() {
            // It has said all that counts. That it ends its stream itself is politeness.
            task::spawn("component stream", async move {
                let rest = async { while said.next().await.is_some_and(|next| next.is_ok()) {} };
                let _ = tokio::time::timeout(ENDING, rest).await;
            });
        }
        return if is_told { Ended::Cancelled } else { ended };
    }
}

fn of_status(status: &Status, until: Instant) -> Ended {
    let text = with_causes(status);
    if never_connected(status) {
        return Ended::Unreached(text);
    }
    let from_transport = std::error::Error::source(status).is_some();
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled if Instant::now() + Duration::from_millis(20) >= until => {
            Ended::Late
        }
        Code::Unimplemented => Ended::Wrong("it does not serve sre.component.v1.Component".to_owned()),
        Code::InvalidArgument
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::AlreadyExists
            if !from_transport =>
        {
            Ended::Wrong(text)
        }
        Code::ResourceExhausted | Code::OutOfRange => Ended::Wrong(text),
        _ => Ended::Broken(text),
    }
}
