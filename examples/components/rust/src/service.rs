//! Streams in and out, so that the component itself is a function.

use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::contract::component_server::Component;
use crate::contract::process_request::Message as Sent;
use crate::contract::process_response::Message as Said;
use crate::contract::{
    Activation, Answer, Content, DescribeRequest, Description, Failure, FailureKind, LookUpRequest,
    LookUpResponse, ProcessRequest, ProcessResponse, Progress,
};
use crate::countdown;

/// What is said and not yet sent; whoever says more waits.
const QUEUED: usize = 16;

/// A failure that is an answer.
pub struct Failed {
    kind: FailureKind,
    message: String,
}

impl Failed {
    /// A failure.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// The way to whoever waits for an activation.
pub struct Work {
    said: mpsc::Sender<Result<ProcessResponse, Status>>,
    stopped: watch::Receiver<bool>,
    until: Instant,
}

impl Work {
    /// Says how far it is.
    pub async fn progress(&self, fraction: f64, message: &str) {
        self.say(Said::Progress(Progress { fraction, message: message.to_owned() })).await;
    }

    /// Passes a piece of the answer on.
    pub async fn content(&self, text: &str) {
        self.say(Said::Content(Content { text: text.to_owned(), thinking: false })).await;
    }

    /// Waits, unless nobody waits for the answer any more.
    ///
    /// # Errors
    /// If it was told to stop, its time is over, or the caller is gone.
    pub async fn sleep(&self, time: Duration) -> Result<(), Failed> {
        let mut stopped = self.stopped.clone();
        let stop = |why: &str| Err(Failed::new(FailureKind::Cancelled, why));
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => stop("it was told to stop"),
            () = self.said.closed() => stop("the caller is gone"),
            () = tokio::time::sleep_until(self.until) => stop("its time is over"),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    async fn say(&self, message: Said) {
        // The caller may be gone: the next sleep sees it.
        let _ = self.said.send(Ok(ProcessResponse { message: Some(message) })).await;
    }
}

/// Serves the type.
pub struct Countdown;

type Answers = Pin<Box<ReceiverStream<Result<ProcessResponse, Status>>>>;

#[tonic::async_trait]
impl Component for Countdown {
    type ProcessStream = Answers;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        Ok(Response::new(countdown::description()))
    }

    async fn process(
        &self,
        request: Request<Streaming<ProcessRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (said, answers) = mpsc::channel(QUEUED);
        #[expect(
            clippy::disallowed_methods,
            reason = "a program of its own, which has no other home for tasks"
        )]
        tokio::spawn(serve(request.into_inner(), said));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn look_up(&self, _: Request<LookUpRequest>) -> Result<Response<LookUpResponse>, Status> {
        Err(Status::unimplemented("nothing here has to be looked up"))
    }
}

async fn serve(mut messages: Streaming<ProcessRequest>, said: mpsc::Sender<Result<ProcessResponse, Status>>) {
    let first = messages.message().await.ok().flatten().and_then(|first| first.message);
    let ended = match first {
        Some(Sent::Activation(activation)) => execute(activation, messages, &said).await,
        _ => Err(Failed::new(FailureKind::InvalidInput, "the first message is no activation")),
    };
    let last = match ended {
        Ok(outputs) => Said::Answer(Answer { outputs_json: outputs.to_string().into(), ..Answer::default() }),
        Err(failed) => Said::Failure(Failure { kind: failed.kind.into(), message: failed.message }),
    };
    let _ = said.send(Ok(ProcessResponse { message: Some(last) })).await;
}

async fn execute(
    activation: Activation,
    mut messages: Streaming<ProcessRequest>,
    said: &mpsc::Sender<Result<ProcessResponse, Status>>,
) -> Result<Value, Failed> {
    let inputs = object("inputs_json", &activation.inputs_json, FailureKind::InvalidInput)?;
    let settings = object("settings_json", &activation.settings_json, FailureKind::InvalidSetting)?;
    let (stop, stopped) = watch::channel(false);
    let work = Work { said: said.clone(), stopped, until: until(activation.deadline_time_ms) };
    let told = async {
        // Whatever comes after the activation, or the end of the stream by an error, means that.
        if !matches!(messages.message().await, Ok(None)) {
            let _ = stop.send(true);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = countdown::process(inputs, settings, &work) => done,
        () = told => Err(Failed::new(FailureKind::Cancelled, "it was told to stop")),
    }
}

fn object(what: &str, text: &[u8], kind: FailureKind) -> Result<Value, Failed> {
    if text.is_empty() {
        return Ok(Value::Object(Default::default()));
    }
    match serde_json::from_slice(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Failed::new(kind, format!("{what} is no object"))),
        Err(error) => Err(Failed::new(kind, format!("{what} is no JSON: {error}"))),
    }
}

/// A deadline in milliseconds since 1970; a year from now where there is none.
fn until(deadline_ms: i64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = match u64::try_from(deadline_ms) {
        Ok(ms) if ms > 0 => Duration::from_millis(ms).saturating_sub(now),
        _ => Duration::from_secs(365 * 24 * 3600),
    };
    Instant::now() + left.min(Duration::from_secs(365 * 24 * 3600))
}
