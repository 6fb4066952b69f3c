//! One activation, and everything that was seen of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sre_proto::component::v1::component_client::ComponentClient;
use sre_proto::component::v1::process_request::Message as Sent;
use sre_proto::component::v1::process_response::Message as Said;
use sre_proto::component::v1::{Activation, Answer, Cancel, Example, Failure, ProcessRequest};
use sre_proto::ids::new_uuid;
use sre_service::connectors::grpc::with_causes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{Kit, Subject};

/// How long a stream may stay open after its answer.
const ENDING: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: usize = 72 << 20;

/// How a stream ended.
#[derive(Debug)]
pub enum End {
    /// With OK.
    Ok,
    /// With another status: the text has its code, and what it says.
    Status(Code, String),
    /// It did not, in the time given.
    Open,
}

/// What was seen of a stream.
#[derive(Debug)]
pub struct Seen {
    /// Its answer or failure.
    pub last: Option<Last>,
    /// Messages that came after that.
    pub after: usize,
    /// How it ended.
    pub end: End,
    /// How long it took.
    pub took: Duration,
}

/// The last message.
#[derive(Debug)]
pub enum Last {
    /// Done.
    Answer(Answer),
    /// Failed.
    Failure(Failure),
}

impl Seen {
    /// The answer of a stream that went as it should.
    pub fn answer(&self) -> Result<&Answer, String> {
        match self.well_ended()? {
            Last::Answer(answer) => Ok(answer),
            Last::Failure(failure) => {
                Err(format!("it failed with {}: {:?}", failure.kind().as_str_name(), failure.message))
            }
        }
    }

    /// The last message of a stream that went as it should, whichever that is.
    pub fn well_ended(&self) -> Result<&Last, String> {
        match (&self.last, &self.end) {
            (None, End::Ok) => Err("the stream ended without an answer or a failure".to_owned()),
            (None, End::Open) => Err(format!("no answer and no failure came in {:.1?}", self.took)),
            (None, End::Status(code, text)) => Err(format!(
                "the stream broke off with {code:?} ({text}) instead of a failure: answer Failure, and keep the status OK"
            )),
            (Some(_), _) if self.after > 0 => Err(format!(
                "{} messages came after the last one: an answer or a failure ends it",
                self.after
            )),
            (Some(_), End::Open) => Err(format!("the stream was still open {ENDING:?} after its answer")),
            (Some(_), End::Status(code, text)) => {
                Err(format!("after its answer the stream ended with {code:?} ({text}): it is OK then"))
            }
            (Some(last), End::Ok) => Ok(last),
        }
    }
}

/// What is done with an activation while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Wait,
    /// It is cancelled at once.
    Cancel,
}

impl Kit {
    /// An activation of an example.
    pub fn activation(&self, subject: &Subject, example: &Example) -> Activation {
        let settings =
            if example.settings_json.is_empty() { "{}".into() } else { example.settings_json.clone() };
        let deadline = (SystemTime::now() + self.limit).duration_since(UNIX_EPOCH).unwrap_or_default();
        Activation {
            r#type: subject.description.r#type.clone(),
            inputs_json: example.inputs_json.clone(),
            settings_json: settings,
            deadline_time_ms: i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX),
            idempotency_key: new_uuid().to_string(),
            attempt: 1,
            run_id: new_uuid().to_string(),
            agent: "teams/conformance/agents/kit".to_owned(),
            team: "conformance".to_owned(),
            session_id: "rt-conformance".to_owned(),
            root_caller: "spiffe://sre.local/user/kit".to_owned(),
            component_id: "C1".to_owned(),
            activation_id: "C1@1".to_owned(),
            ..Activation::default()
        }
    }

    /// Sends an activation and sees what comes of it.
    pub async fn process(&self, activation: Activation) -> Seen {
        self.stream(vec![Sent::Activation(activation)], self.limit).await
    }

    /// The same; what comes is seen for this long.
    pub async fn process_then(&self, activation: Activation, then: Then, limit: Duration) -> Seen {
        let mut messages = vec![Sent::Activation(activation)];
        if then == Then::Cancel {
            messages.push(Sent::Cancel(Cancel { reason: "the kit cancels it".to_owned() }));
        }
        self.stream(messages, limit).await
    }

    /// Sends these messages; the sending side stays open until the stream ends, as the engine's does.
    pub async fn stream(&self, messages: Vec<Sent>, limit: Duration) -> Seen {
        let began = Instant::now();
        let (sender, receiver) = mpsc::channel(messages.len().max(1));
        let is_silent = messages.is_empty();
        for message in messages {
            // There is room for all of them.
            let _ = sender.try_send(ProcessRequest { message: Some(message) });
        }
        let held = (!is_silent).then_some(sender);
        let mut client = self.client();
        let opening = client.process(ReceiverStream::new(receiver));
        let mut seen = Seen { last: None, after: 0, end: End::Open, took: Duration::ZERO };
        let mut until = began + limit;
        let opened = tokio::time::timeout_at(until, opening).await;
        let mut stream = match opened {
            Err(_) => {
                seen.took = began.elapsed();
                return seen;
            }
            Ok(Err(status)) => {
                seen.end = End::Status(status.code(), with_causes(&status));
                seen.took = began.elapsed();
                return seen;
            }
            Ok(Ok(response)) => response.into_inner(),
        };
        loop {
            match tokio::time::timeout_at(until, stream.message()).await {
                Err(_) => break,
                Ok(Err(status)) => {
                    seen.end = End::Status(status.code(), with_causes(&status));
                    break;
                }
                Ok(Ok(None)) => {
                    seen.end = End::Ok;
                    break;
                }
                Ok(Ok(Some(_))) if seen.last.is_some() => seen.after += 1,
                Ok(Ok(Some(response))) => {
                    seen.last = match response.message {
                        Some(Said::Answer(answer)) => Some(Last::Answer(answer)),
                        Some(Said::Failure(failure)) => Some(Last::Failure(failure)),
                        _ => None,
                    };
                    if seen.last.is_some() {
                        until = Instant::now() + ENDING;
                    }
                }
            }
        }
        drop(held);
        seen.took = began.elapsed();
        seen
    }

    /// A client of what is under test.
    pub fn client(&self) -> ComponentClient<sre_service::dial::Channel> {
        ComponentClient::new(self.channel.clone())
            .max_decoding_message_size(LARGEST_ANSWER)
            .max_encoding_message_size(usize::MAX)
    }
}
