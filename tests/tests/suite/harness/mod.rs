//! Suites under test: the real binary on a fresh folder, addresses and certificates as a client finds them.

pub mod agents;
pub mod clients;
pub mod forms;
pub mod gateways;
pub mod http_server;
pub mod identities;
pub mod journal;
pub mod load;
pub mod logs;
pub mod otlp;
pub mod outside;
pub mod process;
pub mod proxy;
pub mod raw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use identities::Identities;
use sre_service::Role;

/// The secret that no file may hold in clear; `tests/stages/canary.sh` looks for it.
pub const CANARY: &str = "canary-7f3c9e2a-do-not-store";
/// Its key in the vault.
pub const CANARY_KEY: &str = "canary";
/// How long a suite may take to be ready: debug builds on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long it may take to drain and end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// How a suite is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `sre up`.
    AllInOne,
    /// `sre up --split`.
    Split,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AllInOne => "all-in-one",
            Self::Split => "split",
        }
    }
}

/// How a suite differs from a fresh one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    settings: Vec<String>,
    keep_folder: bool,
}

impl Options {
    /// Sets a key of the configuration.
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.settings.push(format!("{key}={value}"));
        self
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find_map(|setting| setting.strip_prefix(key)?.strip_prefix('='))
    }

    /// Starts on what an earlier suite of the same name left.
    pub fn again(mut self) -> Self {
        self.keep_folder = true;
        self
    }

    /// Every role has a TLS address of its own, also in one process.
    pub fn listen_everywhere(mut self) -> Self {
        for role in Role::ALL {
            self = self.set(&format!("listen.{role}"), "127.0.0.1:0");
        }
        self
    }
}

/// A running suite. Dropped, it is killed.
pub struct Suite {
    folder: PathBuf,
    mode: Mode,
    options: Options,
    child: Option<Child>,
    endpoints: BTreeMap<String, String>,
    identities: Identities,
}

impl Suite {
    /// Starts a suite on `target/kept/<name>-<mode>`, which stays there for the canary stage.
    pub async fn start(name: &str, mode: Mode, options: Options) -> Self {
        let folder = process::kept().join(format!("{name}-{}", mode.name()));
        if !options.keep_folder && folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = process::sre(&folder);
        command.arg("up");
        if mode == Mode::Split {
            command.arg("--split");
        }
        for setting in &options.settings {
            command.args(["--set", setting]);
        }
        let ready = folder.join("run/ready");
        // What a killed suite left says nothing about this one.
        let _ = std::fs::remove_file(&ready);
        let mut child = process::spawn(command, &folder.join("sre.log"));
        let started = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the suite ended with {status} before it was ready:\n{}", logs::tail(&folder));
            }
            if started.elapsed() > READY_WITHIN {
                process::terminate(child.id());
                panic!("the suite is not ready after {READY_WITHIN:?}:\n{}", logs::tail(&folder));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let endpoints = process::endpoints(&folder);
        // A replica has those of another.
        let certs = options.setting("certs.dir").map_or_else(|| folder.join("certs"), PathBuf::from);
        let identities = Identities::load(&certs);
        Self { folder, mode, options, child: Some(child), endpoints, identities }
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of a role or door, for example `edge`, `http`, `admin`.
    pub fn address(&self, name: &str) -> String {
        self.endpoints
            .get(name)
            .unwrap_or_else(|| panic!("no address of {name} in {:?}", self.endpoints))
            .clone()
    }

    /// All addresses.
    pub fn endpoints(&self) -> &BTreeMap<String, String> {
        &self.endpoints
    }

    /// Certificates of any principal.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Clients of the edge for a principal.
    pub fn client(&self, principal: &str) -> clients::Client {
        clients::Client::new(self.channel(principal, "edge"))
    }

    /// A TLS channel to a role's own address.
    pub fn channel(&self, principal: &str, to: &str) -> tonic::transport::Channel {
        self.identities.channel(principal, &self.address(to))
    }

    /// The API key that the first start made for `user/dev`.
    pub fn dev_key(&self) -> String {
        std::fs::read_to_string(self.folder.join("keys/dev.key")).unwrap().trim().to_owned()
    }

    /// The settings it was started with, to start one of its roles again.
    pub fn settings(&self) -> &[String] {
        &self.options.settings
    }

    /// The process id of the suite, or of its supervisor where it is split.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Kills the process as a crash would, leaving everything behind.
    pub fn crash(&mut self) {
        assert_eq!(self.mode, Mode::AllInOne, "a split suite has processes of its own");
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells it to stop, waits until it has, and checks how: exit code 0, no unexpected error in any log.
    pub async fn stop(mut self) {
        let mut child = self.child.take().unwrap();
        process::signal(child.id(), "TERM");
        let told = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if told.elapsed() > ENDS_WITHIN {
                process::terminate(child.id());
                panic!("the suite did not end within {ENDS_WITHIN:?}:\n{}", logs::tail(&self.folder));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "the suite ended with {status}:\n{}", logs::tail(&self.folder));
        logs::assert_no_errors(&self.folder);
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let processes = process::pids(&self.folder);
        // Already ended processes are no mistake here: the test failed before.
        let _ = child.kill();
        let _ = child.wait();
        for pid in processes.into_values() {
            process::signal(pid, "KILL");
        }
    }
}

/// Waits until something is there; panics with `what` where it does not come.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The same test in both modes.
macro_rules! in_both_modes {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn all_in_one() {
                super::$name($crate::harness::Mode::AllInOne).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn split() {
                super::$name($crate::harness::Mode::Split).await;
            }
        }
    )*};
}
pub(crate) use in_both_modes;
