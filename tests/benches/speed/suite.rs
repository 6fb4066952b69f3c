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
use sre_proto::gateway::v1::{RunSkillRequest, SkillCall};
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
        let data = tempfile::tempdir().unwrap();
        let child = spawn(mode, data.path());
        let suite = Self { child, data };
        suite.wait_ready().await;
        let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/trivial.smyth");
        let put =
            command(suite.data.path()).args(["agents", "put", agent]).stdout(Stdio::null()).status().unwrap();
        assert!(put.success(), "the trivial agent is refused");
        suite
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
        echo::connect(edge(self.data.path()).expect("the edge's address"), &self.certs()).await
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

fn binary() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("sre")
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(data).env("SRE__TELEMETRY__LEVEL", "warn");
    command
}

fn spawn(mode: Mode, data: &Path) -> Child {
    let mut command = command(data);
    command.arg("up").stdout(Stdio::null());
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
    let text = std::fs::read_to_string(data.join("run/endpoints.toml")).ok()?;
    let addresses: BTreeMap<String, String> = text
        .lines()
        .filter_map(|l| l.split_once(" = "))
        .map(|(k, v)| (k.into(), v.trim_matches('"').into()))
        .collect();
    addresses.get("edge")?.parse().ok()
}

/// Start to ready, and memory at rest.
pub async fn start_and_memory() {
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let data = tempfile::tempdir().unwrap();
        // The first start makes certificates and stores; the second is the one that counts.
        for counted in [false, true] {
            let _ = std::fs::remove_file(data.path().join("run/ready"));
            let started = Instant::now();
            let child = spawn(Mode::AllInOne, data.path());
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
pub fn caller(
    channel: &Channel,
) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + 'static {
    let client = RunsClient::new(channel.clone());
    move || {
        let mut client = client.clone();
        Box::pin(async move {
            let request = RunSkillRequest {
                agent: "teams/-/agents/trivial".to_owned(),
                call: Some(Call::Skill(SkillCall {
                    skill: "echo".to_owned(),
                    input_json: "{\"x\":\"v\"}".into(),
                })),
                ..RunSkillRequest::default()
            };
            let answer = client.run_skill(request).await.unwrap().into_inner();
            assert_eq!(answer.legacy_json, "{\"x\":\"v\"}");
        })
    }
}
