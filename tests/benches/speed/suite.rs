//! The suite under test: the release binary, started as a user starts it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sre_proto::gateway::v1::run_skill_request::Call;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{
    GetRunRequest, RunSkillRequest, RunState, SkillCall, StartRunRequest, start_run_request,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{echo, memory};

/// How the suite runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// All roles in one process.
    AllInOne,
    /// Each role in its own.
    Split,
}

impl Mode {
    /// For headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::AllInOne => "all in one",
            Self::Split => "split",
        }
    }
}

/// A running suite with the trivial agent.
pub struct Running {
    child: Child,
    data: TempDir,
}

impl Running {
    /// Starts a suite on a fresh folder and waits until a skill answers.
    pub async fn start(mode: Mode) -> Self {
        Self::start_with(mode, &[]).await
    }

    /// The same with settings in its environment.
    pub async fn start_with(mode: Mode, settings: &[(String, String)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let child = spawn(mode, data.path(), settings);
        let suite = Self { child, data };
        suite.wait_ready().await;
        suite.put(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/trivial.smyth")));
        suite
    }

    /// Puts an agent.
    pub fn put(&self, agent: &Path) {
        let mut put = command(self.data.path());
        let status = put.args(["agents", "put"]).arg(agent).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{} is refused", agent.display());
    }

    /// Says something to it on the command line.
    pub fn say(&self, words: &[&str]) {
        let status = command(self.data.path()).args(words).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "sre {words:?} failed");
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn wait_ready(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if healthy(self.data.path()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the suite is not ready after a minute");
    }

    /// The folder of certificates.
    pub fn certs(&self) -> PathBuf {
        self.data.path().join("certs")
    }

    /// A channel to the edge as a plain tonic client makes it.
    pub async fn connect(&self) -> Channel {
        echo::connect(self.edge(), &self.certs()).await
    }

    /// The edge's address.
    pub fn edge(&self) -> SocketAddr {
        edge(self.data.path()).expect("the edge's address")
    }

    /// The same as somebody else, who has a certificate.
    pub async fn connect_as(&self, principal: &str) -> Channel {
        echo::connect_as(self.edge(), &self.certs(), principal).await
    }

    /// Makes a certificate for somebody.
    pub fn issue(&self, principal: &str) {
        let mut issue = command(self.data.path());
        let status = issue.args(["certs", "issue", principal]).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "no certificate for {principal}");
    }

    /// The same to another role; the settings must have named it in `listen`.
    pub async fn connect_role(&self, role: &str) -> Channel {
        echo::connect(address(self.data.path(), role).expect("the role's address"), &self.certs()).await
    }

    /// The suite's processes by name.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let mut all = vec![("sre up".to_owned(), self.child.id())];
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.split('\0').filter(|word| !word.is_empty()).collect();
            all.push((words.last().copied().unwrap_or("?").to_owned(), pid));
        }
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The program under test.
pub fn binary() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("sre")
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(data).env("SRE__TELEMETRY__LEVEL", "warn");
    command
}

fn spawn(mode: Mode, data: &Path, settings: &[(String, String)]) -> Child {
    let mut command = command(data);
    command.arg("up").envs(settings.iter().cloned()).stdout(Stdio::null());
    if mode == Mode::Split {
        command.arg("--split");
    }
    command.spawn().unwrap()
}

fn healthy(data: &Path) -> bool {
    edge(data).is_some()
        && command(data).arg("health").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

fn edge(data: &Path) -> Option<SocketAddr> {
    address(data, "edge")
}

fn address(data: &Path, role: &str) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(data.join("run/endpoints.toml")).ok()?;
    let addresses: BTreeMap<String, String> = text
        .lines()
        .filter_map(|l| l.split_once(" = "))
        .map(|(k, v)| (k.into(), v.trim_matches('"').into()))
        .collect();
    addresses.get(role)?.parse().ok()
}

/// Start to ready, and memory at rest.
pub async fn start_and_memory() {
    println!("## Start and memory (`sre up`, release, median of 5)\n");
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let data = tempfile::tempdir().unwrap();
        // The first start makes certificates and stores; the second is the one that counts.
        for counted in [false, true] {
            let _ = std::fs::remove_file(data.path().join("run/ready"));
            let started = Instant::now();
            let child = spawn(Mode::AllInOne, data.path(), &[]);
            let running = Running { child, data: tempfile::tempdir().unwrap() };
            while !data.path().join("run/ready").exists() {
                assert!(started.elapsed() < Duration::from_secs(60), "not ready after a minute");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let time = started.elapsed();
            if counted {
                tokio::time::sleep(Duration::from_secs(2)).await;
                times.push(time);
                sizes.push(memory::resident_mb(running.child.id()));
            }
        }
    }
    times.sort();
    sizes.sort_by(f64::total_cmp);
    println!(
        "- start to ready: {} ms (all: {:?})",
        times[2].as_millis(),
        times.iter().map(Duration::as_millis).collect::<Vec<_>>()
    );
    println!("- resident idle: {:.0} MB (all: {:.0?})", sizes[2], sizes);
}

/// One run of the trivial skill.
pub fn caller(channel: &Channel) -> impl Fn() -> Calling + Clone + Send + 'static {
    skill(channel, "trivial", "echo", r#"{"x":"v"}"#, r#"{"x":"v"}"#)
}

/// A call under way.
pub type Calling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One run of a skill, its answer checked.
pub fn skill(
    channel: &Channel,
    agent: &'static str,
    skill: &'static str,
    input: &'static str,
    answer: &'static str,
) -> impl Fn() -> Calling + Clone + Send + 'static {
    let client = RunsClient::new(channel.clone());
    move || {
        let mut client = client.clone();
        Box::pin(async move {
            let request = RunSkillRequest {
                agent: format!("teams/-/agents/{agent}"),
                call: Some(Call::Skill(SkillCall { skill: skill.to_owned(), input_json: input.into() })),
                ..RunSkillRequest::default()
            };
            let answered = client.run_skill(request).await.unwrap().into_inner();
            assert_eq!(answered.legacy_json, answer);
        })
    }
}

/// What a skill answers, to compare later answers with. It lives as long as the bench.
pub async fn answer(channel: &Channel, agent: &str, skill: &str, input: &str) -> &'static str {
    let request = RunSkillRequest {
        agent: format!("teams/-/agents/{agent}"),
        call: Some(Call::Skill(SkillCall { skill: skill.to_owned(), input_json: input.to_owned().into() })),
        ..RunSkillRequest::default()
    };
    let answered = RunsClient::new(channel.clone()).run_skill(request).await.unwrap().into_inner();
    Box::leak(String::from_utf8(answered.legacy_json.to_vec()).unwrap().into_boxed_str())
}

/// Starts a run; gives its name.
pub async fn start(client: &mut RunsClient<Channel>, agent: &str, skill: &str, input: &str) -> String {
    let request = StartRunRequest {
        agent: format!("teams/-/agents/{agent}"),
        call: Some(start_run_request::Call::Skill(SkillCall {
            skill: skill.to_owned(),
            input_json: input.to_owned().into(),
        })),
        ..StartRunRequest::default()
    };
    client.start_run(request).await.unwrap().into_inner().name
}

/// Starts a run and waits for its end.
pub async fn start_and_wait(client: &mut RunsClient<Channel>, agent: &str, skill: &str, input: &str) {
    let name = start(client, agent, skill, input).await;
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        let run = client.get_run(GetRunRequest { name: name.clone() }).await.unwrap().into_inner();
        match run.state() {
            RunState::Done => return,
            RunState::Failed | RunState::Cancelled => panic!("{name} ended as {:?}", run.state()),
            _ => assert!(Instant::now() < end, "{name} is {:?} after five minutes", run.state()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
