//! The suites under test: which processes there are, where they listen, and how they find each other. Addresses
//! are fixed, so that a process that starts again is found where it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sre_service::Role;
use tokio::sync::Mutex;
use tonic::transport::Channel;

use crate::harness::clients::Client;
use crate::harness::identities::Identities;
use crate::harness::process;
use crate::plan::Store;
use crate::postgres::Cluster;
use crate::processes::{Kill, Process};
use crate::servers::Counting;

/// Roles that are a process each.
const SUBSYSTEMS: [Role; 7] =
    [Role::Security, Role::Agent, Role::Memory, Role::Llm, Role::Io, Role::Compute, Role::Observability];
/// Who answers calls and works on runs.
pub const GATEWAYS: [&str; 2] = ["gateway-a", "gateway-b"];
/// How long everything may take to serve, in a debug build on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A suite.
pub struct Suite {
    folder: PathBuf,
    processes: Mutex<Vec<Process>>,
    edges: Vec<String>,
    memory: String,
    identities: Option<Identities>,
    /// Where its journal lies, where that is a server of its own.
    pub cluster: Option<Cluster>,
}

impl Suite {
    /// Nine processes, two of them gateways.
    pub async fn split(name: &str, store: Store, lease: Duration, servers: &[&Counting]) -> Self {
        let folder = fresh(name);
        let ports = ports(SUBSYSTEMS.len() + 2 * GATEWAYS.len());
        let cluster = (store == Store::Postgres).then(Cluster::start);
        let mut common = settings(lease, servers);
        for (role, port) in SUBSYSTEMS.iter().zip(&ports) {
            common.push(format!("endpoints.{role}=[\"127.0.0.1:{port}\"]"));
        }
        common.push(format!("certs.dir={}", folder.join("certs").display()));
        let memory = format!("127.0.0.1:{}", ports[2]);
        let mut processes = Vec::new();
        for (role, port) in SUBSYSTEMS.iter().zip(&ports) {
            let mut own = common.clone();
            own.push(format!("listen.{role}=127.0.0.1:{port}"));
            let environment = match (&cluster, role) {
                (Some(cluster), Role::Memory) => cluster.environment(),
                _ => Vec::new(),
            };
            let process = Process::new(
                role.name(),
                folder.clone(),
                log(&folder, role.name()),
                serve(&own, role.name()),
            );
            processes.push(process.with_environment(environment));
        }
        let mut edges = Vec::new();
        for (gateway, own_ports) in GATEWAYS.iter().zip(ports[SUBSYSTEMS.len()..].chunks(2)) {
            let mut own = common.clone();
            own.push(format!("listen.edge=127.0.0.1:{}", own_ports[0]));
            own.push(format!("listen.engine=127.0.0.1:{}", own_ports[1]));
            edges.push(format!("127.0.0.1:{}", own_ports[0]));
            // A folder of its own, as if it ran elsewhere; the certificates are the suite's.
            let own_folder = folder.join(gateway);
            processes.push(Process::new(gateway, own_folder, log(&folder, gateway), serve(&own, "gateway")));
        }
        let suite =
            Self { folder, processes: Mutex::new(processes), edges, memory, identities: None, cluster };
        suite.begin().await
    }

    /// One process over a file.
    pub async fn all_in_one(name: &str, lease: Duration, servers: &[&Counting]) -> Self {
        let folder = fresh(name);
        let ports = ports(2);
        let mut own = settings(lease, servers);
        own.push(format!("listen.edge=127.0.0.1:{}", ports[0]));
        own.push(format!("listen.memory=127.0.0.1:{}", ports[1]));
        let mut arguments = flags(&own);
        arguments.push("up".to_owned());
        let process = Process::new("suite", folder.clone(), log(&folder, "suite"), arguments);
        let suite = Self {
            folder,
            processes: Mutex::new(vec![process]),
            edges: vec![format!("127.0.0.1:{}", ports[0])],
            memory: format!("127.0.0.1:{}", ports[1]),
            identities: None,
            cluster: None,
        };
        suite.begin().await
    }

    async fn begin(mut self) -> Self {
        {
            let mut processes = self.processes.lock().await;
            // The first makes the certificates of all.
            for (n, process) in processes.iter_mut().enumerate() {
                process.start();
                let certificate = self.folder.join("certs/ca.pem");
                while n == 0 && !certificate.exists() {
                    assert_eq!(process.ended(), None, "see {}", self.folder.display());
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        self.identities = Some(Identities::load(&self.folder.join("certs")));
        let began = std::time::Instant::now();
        for gateway in 0..self.edges.len() {
            while !self.serves(gateway).await {
                let ended: Vec<String> = self.ended().await;
                assert!(ended.is_empty(), "{ended:?}: see {}", self.folder.display());
                assert!(began.elapsed() < READY_WITHIN, "not ready: see {}", self.folder.display());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self
    }

    /// Whether a gateway answers a call that needs the token service and the agents.
    pub async fn serves(&self, gateway: usize) -> bool {
        let list =
            sre_proto::agent::v1::ListAgentsRequest { parent: "teams/default".into(), ..Default::default() };
        let mut agents = self.client(gateway).agents();
        let answered = tokio::time::timeout(Duration::from_secs(2), agents.list_agents(list)).await;
        answered.is_ok_and(|answer| answer.is_ok())
    }

    /// How many gateways there are.
    pub fn gateways(&self) -> usize {
        self.edges.len()
    }

    /// A client of a gateway, as `user/dev`.
    pub fn client(&self, gateway: usize) -> Client {
        Client::new(self.identities().channel("user/dev", &self.edges[gateway]))
    }

    /// The memory service, under the engine's name.
    pub fn memory(&self) -> Channel {
        self.identities().channel("service/engine", &self.memory)
    }

    fn identities(&self) -> &Identities {
        self.identities.as_ref().unwrap()
    }

    /// Its processes by name.
    pub async fn names(&self) -> Vec<String> {
        self.processes.lock().await.iter().map(|process| process.name.clone()).collect()
    }

    /// Kills a process and starts it again at once.
    pub async fn kill(&self, name: &str) -> Kill {
        let mut processes = self.processes.lock().await;
        let process = processes.iter_mut().find(|process| process.name == name).unwrap();
        let kill = process.kill();
        process.start();
        kill
    }

    /// Processes that ended by themselves.
    pub async fn ended(&self) -> Vec<String> {
        self.processes.lock().await.iter_mut().filter_map(Process::ended).collect()
    }

    /// Ends it in order, gateways first; says what ended badly.
    pub async fn stop(&self) -> Vec<String> {
        let mut processes = self.processes.lock().await;
        processes.iter_mut().rev().filter_map(|process| process.stop().err()).collect()
    }

    /// The logs of the processes that execute components.
    pub async fn engine_logs(&self) -> Vec<PathBuf> {
        let processes = self.processes.lock().await;
        let engines = processes.iter().filter(|process| is_engine(&process.name));
        engines.map(|process| process.log().clone()).collect()
    }

    /// Every log.
    pub async fn logs(&self) -> Vec<PathBuf> {
        self.processes.lock().await.iter().map(|process| process.log().clone()).collect()
    }
}

/// Whether a process works on runs.
pub fn is_engine(name: &str) -> bool {
    name == "suite" || GATEWAYS.contains(&name)
}

fn fresh(name: &str) -> PathBuf {
    let folder = process::kept().join("chaos").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(folder.join("logs")).unwrap();
    folder
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join("logs").join(format!("{name}.log"))
}

fn settings(lease: Duration, servers: &[&Counting]) -> Vec<String> {
    let allowed: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
    vec![
        format!("egress.allow=[{}]", allowed.join(", ")),
        format!("journal.session_ttl_ms={}", lease.as_millis()),
        // Engines that die twice a second leave runs without a record again and again; none of them is to blame.
        "journal.barren_claims=1000".to_owned(),
        "telemetry.format=json".to_owned(),
        "telemetry.level=info,sre_gateway::executions=debug".to_owned(),
    ]
}

fn flags(settings: &[String]) -> Vec<String> {
    settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]).collect()
}

fn serve(settings: &[String], role: &str) -> Vec<String> {
    let mut arguments = flags(settings);
    arguments.extend(["serve".to_owned(), role.to_owned()]);
    arguments
}

/// Free ports below those that the system hands out, so that they are free again after a kill.
fn ports(count: usize) -> Vec<u16> {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let found: Vec<u16> = (first..32_000).chain(20_000..first).filter(is_free).take(count).collect();
    assert_eq!(found.len(), count, "not enough free ports");
    found
}
