//! Processes of the binary, and only those that a test started.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where suites keep their files after the tests: `target/kept`.
pub fn kept() -> PathBuf {
    target().join("kept")
}

fn target() -> PathBuf {
    profile().parent().unwrap().to_owned()
}

/// The folder of one profile: tests are in `<target>/<profile>/deps`, programs in `<target>/<profile>`.
fn profile() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().to_owned() } else { folder.to_owned() }
}

/// The binary; `SRE_BINARY` names another one, of a release build for example.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("SRE_BINARY").map_or_else(|| profile().join("sre"), PathBuf::from);
    assert!(path.exists(), "{} is missing: build it with `cargo build -p sre`", path.display());
    path
}

/// A command of the binary on a data folder, free of this process's own configuration.
pub fn sre(data_dir: &Path) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars() {
        if name.starts_with("SRE_") {
            command.env_remove(name);
        }
    }
    // Where no `sre.toml` lies.
    command.current_dir(data_dir).arg("--data-dir").arg(data_dir).stdin(Stdio::null());
    command
}

/// Starts a command with its output in a file, which grows.
pub fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// Sends a signal to one process. A process that has ended gets none.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "cannot run kill");
}

/// Ends a suite that hangs, with the roles that it started.
pub fn terminate(pid: u32) {
    signal(pid, "TERM");
    std::thread::sleep(std::time::Duration::from_secs(2));
    signal(pid, "KILL");
}

/// Whether a process is there.
pub fn lives(pid: u32) -> bool {
    // A zombie has ended; its parent has not looked yet.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The processes of a split suite by name, from `run/<process>.pid`.
pub fn pids(folder: &Path) -> BTreeMap<String, u32> {
    let Ok(files) = std::fs::read_dir(folder.join("run")) else { return BTreeMap::new() };
    files
        .filter_map(|file| {
            let path = file.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".pid")?.to_owned();
            let pid = std::fs::read_to_string(&path).ok()?.trim().parse().ok()?;
            Some((name, pid))
        })
        .collect()
}

/// The addresses of a running suite, from `run/endpoints.toml`.
pub fn endpoints(folder: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder.join("run/endpoints.toml")).unwrap();
    let line = |line: &str| {
        let (name, address) = line.split_once('=')?;
        Some((name.trim().trim_matches('"').to_owned(), address.trim().trim_matches('"').to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, of a command that must have succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }
}

/// Runs a client command on a data folder to its end.
pub async fn say(data_dir: &Path, words: &[&str]) -> Said {
    let mut command = tokio::process::Command::from(sre(data_dir));
    let done = command.args(words).kill_on_drop(true).output();
    let done = tokio::time::timeout(std::time::Duration::from_secs(60), done).await;
    let done = done.unwrap_or_else(|_| panic!("{words:?} does not end")).unwrap();
    Said {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}
