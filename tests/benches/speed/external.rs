//! A component out of process over a Unix socket: what it adds to a run, beside the bare hop that it takes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sre_proto::component::v1::component_client::ComponentClient;
use sre_proto::component::v1::component_server::{Component, ComponentServer};
use sre_proto::component::v1::process_request::Message as Sent;
use sre_proto::component::v1::process_response::Message as Said;
use sre_proto::component::v1::{
    Activation, Answer, DescribeRequest, Description, Effect, LookUpRequest, LookUpResponse, Port,
    ProcessRequest, ProcessResponse,
};
use sre_service::dial::{self, Channel, Place, Proof};
use tokio::net::UnixListener;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::suite::{Calling, Mode, Running};
use super::{agents, load, micros, seconds, suite};

struct Echo;

#[tonic::async_trait]
impl Component for Echo {
    type ProcessStream = tokio_stream::Once<Result<ProcessResponse, Status>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        let port = |name: &str| Port { name: name.into(), description: "a text".into(), ..Port::default() };
        Ok(Response::new(Description {
            r#type: "Bench.Echo".into(),
            version: "1".into(),
            description: "Gives its text back".into(),
            effect: Effect::Pure.into(),
            inputs: vec![port("text")],
            outputs: vec![port("text")],
            ..Description::default()
        }))
    }

    async fn process(
        &self,
        request: Request<Streaming<ProcessRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let first = request.into_inner().message().await?.and_then(|first| first.message);
        let Some(Sent::Activation(activation)) = first else {
            return Err(sre_proto::error::invalid_argument("message", "is no activation"));
        };
        let answer = Said::Answer(Answer { outputs_json: activation.inputs_json, ..Answer::default() });
        Ok(Response::new(tokio_stream::once(Ok(ProcessResponse { message: Some(answer) }))))
    }

    async fn look_up(&self, _: Request<LookUpRequest>) -> Result<Response<LookUpResponse>, Status> {
        Err(sre_proto::error::not_implemented("LookUp"))
    }
}

/// Serves on a socket until it is killed; says when it does.
pub fn serve(socket: &str) {
    // One thread: it takes the least of the cores that it shares with what is measured.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = UnixListener::bind(socket).unwrap();
        println!("{socket}");
        sre_service::testing::serve_on(listener, Routes::new(ComponentServer::new(Echo))).await.unwrap();
    });
}

struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let socket = folder.join("echo.sock");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("component")
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Self { child, socket }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One stream of a plain client: the hop that the engine takes for an activation.
fn bare(channel: &Channel) -> impl Fn() -> Calling + Clone + Send + 'static {
    let client = ComponentClient::new(channel.clone());
    move || {
        let mut client = client.clone();
        Box::pin(async move {
            let activation = Activation { inputs_json: r#"{"text":"v"}"#.into(), ..Activation::default() };
            let request = ProcessRequest { message: Some(Sent::Activation(activation)) };
            let mut answers = client.process(tokio_stream::once(request)).await.unwrap().into_inner();
            while let Some(answer) = answers.message().await.unwrap() {
                assert!(matches!(answer.message, Some(Said::Answer(_))));
            }
        })
    }
}

const INPUT: &str = r#"{"text":"v"}"#;

/// Measures, one call at a time, a skill through a component of the suite and through one out of process.
pub async fn measure() {
    println!(
        "\n## A component out of process over a Unix socket, beside one of the suite and the bare hop\n"
    );
    let suite = Running::start(Mode::AllInOne).await;
    let server = Server::start(&suite.data().join("components"));
    let target = format!("unix:{}", server.socket.display());
    suite.say(&["component", "register", "--target", &target]);
    for agent in [agents::hopper("inside", "JSONFilter"), agents::hopper("outside", "Bench.Echo")] {
        suite.put(&agents::write(suite.data(), &agent));
    }
    let channel = suite.connect().await;
    let place = Place::parse(&target).unwrap();
    let hop = dial::channel(place, Proof::Socket);
    let through = async |agent: &'static str| {
        let answer = suite::answer(&channel, agent, "hop", INPUT).await;
        assert!(answer.contains(r#""v""#), "{agent}: {answer}");
        suite::skill(&channel, agent, "hop", INPUT, answer)
    };
    let (inside, outside) = (through("inside").await, through("outside").await);
    println!(
        "| bare hop p50 | hop p99 | in process p50 | in process p99 | out of process p50 | p99 | added p50 |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let hop = load::run(1, seconds(), bare(&hop)).await;
        let own = load::run(1, seconds(), inside.clone()).await;
        let other = load::run(1, seconds(), outside.clone()).await;
        rounds.push((other.p50.saturating_sub(own.p50), hop, own, other));
    }
    rounds.sort_by_key(|(added, ..)| *added);
    let (added, hop, own, other) = &rounds[1];
    println!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        micros(hop.p50),
        micros(hop.p99),
        micros(own.p50),
        micros(own.p99),
        micros(other.p50),
        micros(other.p99),
        micros(*added)
    );
}
