//! One stream of one activation: it is sent what to do, and says what comes of it.

use std::pin::Pin;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _, TryFutureExt as _};
use sre_components::Context;
use sre_proto::component::v1::component_client::ComponentClient;
use sre_proto::component::v1::process_request::Message as Sent;
use sre_proto::component::v1::process_response::Message as Said;
use sre_proto::component::v1::{Activation, Answer, Cancel, Failure, ProcessRequest, ProcessResponse};
use sre_service::connectors::grpc::with_causes;
use sre_service::dial::Channel;
use sre_service::task;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::endpoint::never_connected;
use super::telling::Telling;

/// How long a component that was told to stop, or has answered, may go on.
const GRACE: Duration = Duration::from_secs(2);
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

/// What a component says, as it comes.
type Pieces = Pin<Box<dyn Stream<Item = Result<ProcessResponse, Status>> + Send>>;

/// A stream under way. However it is left, the component hears of it: one that is given up in the middle is told to
/// stop, and has a moment for it.
struct Open {
    sender: Option<mpsc::Sender<ProcessRequest>>,
    said: Option<Pieces>,
    /// What it is told when it is left.
    farewell: Option<&'static str>,
}

impl Open {
    fn begin(client: ComponentClient<Channel>, activation: Activation, until: Instant) -> Self {
        let mut client = client;
        // There is room for both messages that are ever sent.
        let (sender, receiver) = mpsc::channel(2);
        let traceparent = activation.traceparent.parse().ok();
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        if let Some(traceparent) = traceparent {
            request.metadata_mut().insert("traceparent", traceparent);
        }
        let opening = async move { client.process(request).await };
        let said = opening.map_ok(Response::into_inner).try_flatten_stream();
        let open =
            Self { sender: Some(sender), said: Some(Box::pin(said)), farewell: Some("the run is over") };
        open.send(Sent::Activation(activation));
        open
    }

    fn send(&self, message: Sent) {
        if let Some(sender) = &self.sender {
            // Full or closed: the stream has ended.
            let _ = sender.try_send(ProcessRequest { message: Some(message) });
        }
    }

    fn cancel(&self, reason: &str) {
        self.send(Sent::Cancel(Cancel { reason: reason.to_owned() }));
    }

    async fn next(&mut self) -> Option<Result<ProcessResponse, Status>> {
        self.said.as_mut()?.next().await
    }

    /// It has said all that counts: that it ends its stream itself is politeness.
    fn answered(mut self) {
        self.farewell = None;
        self.sender = None;
        if let Some(said) = &mut self.said
            && said.next().now_or_never().is_some_and(|next| next.is_none())
        {
            self.said = None;
        }
    }

    /// It is over.
    fn over(mut self) {
        self.said = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut said) = self.said.take() else { return };
        if let Some(reason) = self.farewell {
            self.cancel(reason);
        }
        self.sender = None;
        // Where everything ends there is nobody to wait.
        if tokio::runtime::Handle::try_current().is_ok() {
            task::spawn("component stream", async move {
                let rest = async { while said.next().await.is_some_and(|next| next.is_ok()) {} };
                let _ = tokio::time::timeout(GRACE, rest).await;
            });
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
    let client = client
        .max_decoding_message_size(max_output.saturating_add(MESSAGE_ROOM))
        .max_encoding_message_size(usize::MAX);
    let mut open = Open::begin(client, activation, until);
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
                open.cancel("the run was cancelled");
                continue;
            }
            () = &mut grace, if is_told => {
                open.over();
                return Ended::Cancelled;
            }
            () = &mut deadline => {
                open.farewell = Some("its time is over");
                return Ended::Late;
            }
            next = open.next() => next,
        };
        let message = match next {
            Some(Ok(response)) => response.message,
            ended => {
                open.over();
                return match ended {
                    _ if is_told => Ended::Cancelled,
                    Some(Err(status)) => of_status(&status, until),
                    _ => Ended::Broken("the stream ended without an answer".to_owned()),
                };
            }
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
        open.answered();
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
