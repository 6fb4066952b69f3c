//! Processes of the binary that this program started, killed without a warning and started again.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use crate::harness::process;

/// A suite says that it is ready within this time.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A process, and how to start it.
pub struct Process {
    /// What it is called here.
    pub name: String,
    /// The role that others wait for.
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// A process that was killed.
#[derive(Debug, Clone)]
pub struct Kill {
    /// Which one.
    pub name: String,
    /// Before this moment it lived.
    pub before: SystemTime,
    /// From this moment on it is dead.
    pub dead: SystemTime,
}

impl Process {
    /// A process that is not started yet.
    pub fn new(name: &str, data_dir: PathBuf, log: PathBuf, arguments: Vec<String>) -> Self {
        Self { name: name.to_owned(), arguments, environment: Vec::new(), data_dir, log, child: None }
    }

    /// Sets what it finds in its environment.
    pub fn with_environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    /// Starts it; its log grows.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        std::fs::create_dir_all(&self.data_dir).unwrap();
        let mut command: Command = process::sre(&self.data_dir);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        self.child = Some(process::spawn(command, &self.log));
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> Kill {
        let before = SystemTime::now();
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // What a killed process says of itself is about the one before.
        let _ = std::fs::remove_file(self.ready());
        Kill { name: self.name.clone(), before, dead: SystemTime::now() }
    }

    /// Whether it ended by itself, and how: nobody may but by a kill.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        Some(format!("{} ended by itself with {status}", self.name))
    }

    /// Asks it to end, and waits: the error says how it ended where that is not as it should be.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // One that was started a moment ago does not listen yet.
        let is_suite = self.arguments.iter().any(|argument| argument == "up");
        let until = Instant::now() + STARTS_WITHIN;
        while is_suite && !self.ready().exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        process::signal(child.id(), "TERM");
        let status = child.wait().unwrap();
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status} when told to", self.name)) }
    }

    /// Where a whole suite says that it can be told to end.
    fn ready(&self) -> PathBuf {
        self.data_dir.join("run/ready")
    }

    /// Where it logs.
    pub fn log(&self) -> &PathBuf {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
