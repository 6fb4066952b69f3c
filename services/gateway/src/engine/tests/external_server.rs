//! A component out of process, for tests: in a runtime of its own, so that it can die in the middle of a call as a
//! process does.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use sre_proto::component::v1::component_server::{Component, ComponentServer};
use sre_proto::component::v1::process_request::Message as Sent;
use sre_proto::component::v1::process_response::Message as Said;
use sre_proto::component::v1::{
    Activation, Answer, Content, DescribeRequest, Description, Failure, FailureKind, Log, LookUpRequest,
    LookUpResponse, NotHappened, Port, ProcessRequest, ProcessResponse, Progress, Setting, look_up_response,
};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

pub const TYPE: &str = "Acme.Probe";

/// What one activation meets.
#[derive(Clone, Debug)]
pub enum Act {
    /// The inputs and settings come back.
    Echo,
    /// This is answered.
    Answer(Value),
    /// It fails.
    Fail(FailureKind, &'static str),
    /// It says nothing until it is told to stop.
    Hang,
    /// The stream ends without an answer.
    Silent,
}

#[derive(Default)]
struct Shared {
    acts: VecDeque<Act>,
    seen: Vec<Activation>,
    cancelled: usize,
    happened: bool,
}

/// A component that is served on a socket.
pub struct Server {
    pub socket: PathBuf,
    description: Description,
    shared: Arc<Mutex<Shared>>,
    runtime: Option<Runtime>,
}

/// What it says about itself, before a test changes it.
pub fn description() -> Description {
    let port = |name: &str, optional| Port {
        name: name.into(),
        description: "d".into(),
        optional,
        ..Port::default()
    };
    Description {
        r#type: TYPE.into(),
        version: "1".into(),
        description: "Does what a test wants".into(),
        effect: sre_proto::component::v1::Effect::Pure.into(),
        settings: vec![
            Setting { name: "plain".into(), description: "as it is".into(), ..Setting::default() },
            Setting {
                name: "text".into(),
                description: "a template".into(),
                template: true,
                schema_json: r#"{"type":"string","maxLength":40}"#.into(),
                ..Setting::default()
            },
        ],
        inputs: vec![port("v", false)],
        outputs: vec![Port { r#type: "Object".into(), ..port("Out", false) }],
        ..Description::default()
    }
}

impl Server {
    pub fn start(folder: &Path, name: &str, description: Description) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut server =
            Self { socket: folder.join(name), description, shared: Arc::default(), runtime: None };
        server.start_again();
        server
    }

    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    pub fn start_again(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = std::fs::remove_file(&self.socket);
        let listener = {
            let _in_it = runtime.enter();
            tokio::net::UnixListener::bind(&self.socket).unwrap()
        };
        let probe = Probe { description: self.description.clone(), shared: self.shared.clone() };
        runtime.spawn(async move {
            sre_service::testing::serve_on(listener, Routes::new(ComponentServer::new(probe))).await.unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Dies with everything that it has under way, as by `kill -9`.
    pub fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.lock().acts.extend(acts);
    }

    pub fn it_happened(&self) {
        self.shared.lock().happened = true;
    }

    pub fn seen(&self) -> Vec<Activation> {
        self.shared.lock().seen.clone()
    }

    pub fn cancelled(&self) -> usize {
        self.shared.lock().cancelled
    }

    pub async fn called(&self, times: usize) {
        let reached = async {
            while self.shared.lock().seen.len() < times {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("the component is not called");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Probe {
    description: Description,
    shared: Arc<Mutex<Shared>>,
}

#[tonic::async_trait]
impl Component for Probe {
    type ProcessStream = ReceiverStream<Result<ProcessResponse, Status>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        Ok(Response::new(self.description.clone()))
    }

    async fn process(
        &self,
        request: Request<Streaming<ProcessRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let mut messages = request.into_inner();
        let Some(Sent::Activation(activation)) = messages.message().await?.and_then(|first| first.message)
        else {
            return Err(sre_proto::error::invalid_argument("message", "is no activation"));
        };
        let act = {
            let mut shared = self.shared.lock();
            shared.seen.push(activation.clone());
            shared.acts.pop_front().unwrap_or(Act::Echo)
        };
        let (sender, receiver) = mpsc::channel(8);
        let (shared, idempotent) = (self.shared.clone(), self.description.idempotent);
        sre_service::task::spawn("probe", async move {
            let say = |message| sender.send(Ok(ProcessResponse { message: Some(message) }));
            let answer = |outputs: Value| {
                let key = if idempotent { activation.idempotency_key.clone() } else { String::new() };
                Said::Answer(Answer { outputs_json: outputs.to_string().into(), idempotency_key: key })
            };
            match act {
                Act::Echo => {
                    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
                    let (inputs, settings) = (read(&activation.inputs_json), read(&activation.settings_json));
                    let _ = say(Said::Progress(Progress { fraction: 0.5, message: "half".into() })).await;
                    let _ = say(Said::Log(Log { level: 2, message: "a line".into() })).await;
                    let _ = say(Said::Content(Content { text: "a piece".into(), thinking: false })).await;
                    let _ = say(answer(json!({"Out": {"inputs": inputs, "settings": settings}}))).await;
                }
                Act::Answer(outputs) => drop(say(answer(outputs)).await),
                Act::Fail(kind, message) => {
                    let failure = Failure { kind: kind.into(), message: message.into() };
                    let _ = say(Said::Failure(failure)).await;
                }
                Act::Hang => {
                    if let Ok(Some(ProcessRequest { message: Some(Sent::Cancel(_)) })) =
                        messages.message().await
                    {
                        shared.lock().cancelled += 1;
                    }
                }
                Act::Silent => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn look_up(&self, request: Request<LookUpRequest>) -> Result<Response<LookUpResponse>, Status> {
        let key = request.into_inner().activation.unwrap_or_default().idempotency_key;
        let found = match self.shared.lock().happened {
            true => look_up_response::Found::Happened(Answer {
                outputs_json: r#"{"Out":{"looked":"up"}}"#.into(),
                idempotency_key: key,
            }),
            false => look_up_response::Found::NotHappened(NotHappened {}),
        };
        Ok(Response::new(LookUpResponse { found: Some(found) }))
    }
}
