//! `sre up --split`: each role as a process of its own on loopback.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use sre_identity::{Kind, Principal};
use sre_service::first_start::{DEV_USER, Identities};
use sre_service::{Config, Link, Role};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::settings;

/// The processes of a split suite: what `sre serve` is told in each.
const PROCESSES: [&str; 8] =
    ["security", "agent", "memory", "llm", "io", "compute", "observability", "gateway"];

/// How often a role that does not answer yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The processes of a suite.
pub struct Split {
    processes: Vec<Process>,
    restart: bool,
    drain: Duration,
}

struct Process {
    name: &'static str,
    child: Child,
    command: Box<dyn Fn() -> Result<Command> + Send>,
    pid_file: PathBuf,
}

impl Process {
    fn start(name: &'static str, global: &Global, config: &Config) -> Result<Self> {
        let flags = settings::flags(global, config);
        let log = config.data_dir.join("logs").join(format!("{name}.log"));
        let command = Box::new(move || {
            let log = File::options()
                .create(true)
                .append(true)
                .open(&log)
                .with_context(|| log.display().to_string())?;
            let mut command = std::process::Command::new(std::env::current_exe()?);
            command.args(&flags).args(["serve", name]).stdin(std::process::Stdio::null());
            command.stdout(log.try_clone()?).stderr(log);
            // Ctrl-C is for `sre up` alone, which then stops its processes in order.
            command.process_group(0);
            let mut command = Command::from(command);
            command.kill_on_drop(true);
            Ok(command)
        });
        let child = command()?.spawn().with_context(|| format!("{name} cannot be started"))?;
        let pid_file = config.data_dir.join("run").join(format!("{name}.pid"));
        let process = Self { name, child, command, pid_file };
        process.write_pid()?;
        Ok(process)
    }

    fn write_pid(&self) -> Result<()> {
        let pid = self.child.id().map(|pid| pid.to_string()).unwrap_or_default();
        fs::write(&self.pid_file, pid).with_context(|| self.pid_file.display().to_string())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn start_again(&mut self) -> Result<()> {
        self.child = (self.command)()?.spawn()?;
        self.write_pid()
    }

    fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Split {
    /// Starts every process and returns when all roles serve.
    pub async fn start(global: &Global, config: &Config, restart: bool, progress: &Progress) -> Result<Self> {
        for folder in ["run", "logs"] {
            let folder = config.data_dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        // Certificates first, so that no two processes make them.
        Identities::new(&config.clone().shared()).prepare(&Role::ALL)?;
        let processes =
            PROCESSES.iter().map(|name| Process::start(name, global, config)).collect::<Result<_>>()?;
        let mut split = Self { processes, restart, drain: config.deadlines.drain() };
        if let Err(error) = split.wait_ready(config, progress).await {
            for process in &split.processes {
                process.terminate();
            }
            return Err(error);
        }
        Ok(split)
    }

    async fn wait_ready(&mut self, config: &Config, progress: &Progress) -> Result<()> {
        let shared = Arc::new(config.clone());
        let identity = Identities::new(&shared).source(&Principal::new(Kind::User, DEV_USER)?)?;
        let give_up = Instant::now() + config.deadlines.start();
        for role in Role::ALL {
            progress.say(&format!("waiting for {role}"));
            while !serves(&shared, &identity, role).await {
                self.none_ended(config)?;
                if Instant::now() > give_up {
                    bail!("{role} is not ready: see {}", config.data_dir.join("logs").display());
                }
                sleep(ASK_AGAIN).await;
            }
        }
        Ok(())
    }

    fn none_ended(&mut self, config: &Config) -> Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.ended() {
                let log = config.data_dir.join("logs").join(format!("{}.log", process.name));
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
                return Err(Failure::failed(format!("{} ended ({status}): {last}", process.name)));
            }
        }
        Ok(())
    }

    /// Watches the processes until the suite is told to stop. A role that dies stays down unless asked.
    pub async fn watch(&mut self, output: Output) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut told = vec![false; self.processes.len()];
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = sleep(LOOK) => {}
            }
            for (process, told) in self.processes.iter_mut().zip(&mut told) {
                let Some(status) = process.ended() else { continue };
                if self.restart {
                    output.note(&format!("{} ended ({status}) and is started again", process.name));
                    process.start_again()?;
                } else if !*told {
                    *told = true;
                    output.note(&format!(
                        "{0} ended ({status}); `sre serve {0}` starts it again",
                        process.name
                    ));
                }
            }
        }
    }

    /// Stops the gateway, then the rest, each after its work in flight.
    pub async fn stop(mut self, output: Output) {
        output.note("draining");
        // The gateway first: what it still works on needs the others.
        self.processes.reverse();
        let (gateway, others) = self.processes.split_at_mut(1);
        for group in [gateway, others] {
            group.iter().for_each(Process::terminate);
            for process in group {
                let ended =
                    tokio::time::timeout(self.drain + Duration::from_secs(15), process.child.wait()).await;
                if ended.is_err() {
                    output.note(&format!("{} did not stop in time and is killed", process.name));
                    let _ = process.child.kill().await;
                }
                let _ = fs::remove_file(&process.pid_file);
            }
        }
    }
}

async fn serves(config: &Arc<Config>, identity: &Arc<sre_identity::SvidSource>, role: Role) -> bool {
    let mut client = HealthClient::new(Link::client(Arc::clone(config), identity, role));
    let check = client.check(HealthCheckRequest { service: String::new() });
    match tokio::time::timeout(Duration::from_secs(2), check).await {
        Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
        _ => false,
    }
}
