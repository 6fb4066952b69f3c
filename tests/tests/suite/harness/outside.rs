//! Servers of others, each the test's own, so that it may end and hold them: by the scripts in `tests/stages`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Redis, every write synced.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// moto: S3 and Secrets Manager.
    Moto,
}

impl Program {
    fn script(self) -> &'static str {
        match self {
            Self::Redis => "redis.sh",
            Self::Postgres => "postgres.sh",
            Self::Moto => "moto.sh",
        }
    }

    /// The variable that says where such a server is.
    fn variable(self) -> &'static str {
        match self {
            Self::Redis => "SRE_TEST_REDIS",
            Self::Postgres => "SRE_TEST_POSTGRES",
            Self::Moto => "SRE_TEST_MOTO",
        }
    }
}

/// A server; dropped, it is ended.
pub struct Outside {
    program: Program,
    folder: PathBuf,
    url: String,
    /// PostgreSQL runs as a user who cannot reach every folder.
    _temporary: Option<tempfile::TempDir>,
}

impl Outside {
    /// Starts one with a fresh folder, or none where a developer has no such server.
    pub async fn start(name: &str, program: Program) -> Option<Self> {
        sre_service::testing::backend(program.variable())?;
        let (folder, temporary) = if program == Program::Postgres {
            let temporary = tempfile::tempdir().unwrap();
            (temporary.path().to_owned(), Some(temporary))
        } else {
            // Kept for the canary stage.
            let folder = process::kept().join(name);
            if folder.exists() {
                std::fs::remove_dir_all(&folder).unwrap();
            }
            std::fs::create_dir_all(&folder).unwrap();
            (folder, None)
        };
        let said = run(program, "start", &folder).await;
        Some(Self { program, folder, url: url(program, &said), _temporary: temporary })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        let parsed: reqwest::Url = self.url.parse().unwrap();
        format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap())
    }

    /// Where it is by way of a proxy.
    pub fn url_through(&self, proxy: &str) -> String {
        self.url.replace(&self.address(), proxy)
    }

    /// Ends it as a power cut would.
    pub async fn crash(&self) {
        run(self.program, "crash", &self.folder).await;
    }

    /// Starts it again, on its data and its port.
    pub async fn start_again(&self) {
        let said = run(self.program, "start", &self.folder).await;
        assert_eq!(url(self.program, &said), self.url, "the server came back elsewhere");
    }

    /// Holds it: connections are open, and nothing answers.
    pub async fn pause(&self) {
        run(self.program, "pause", &self.folder).await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        run(self.program, "resume", &self.folder).await;
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let ended = command(self.program, "stop", &self.folder).status();
        assert!(ended.is_ok() || std::thread::panicking(), "cannot run the script of {:?}", self.program);
    }
}

fn command(program: Program, what: &str, folder: &Path) -> Command {
    let stages = Path::new(env!("CARGO_MANIFEST_DIR")).join("stages");
    let mut command = Command::new(stages.join(program.script()));
    command.arg(what).arg(folder).stdin(Stdio::null());
    command
}

async fn run(program: Program, what: &str, folder: &Path) -> String {
    let done = tokio::process::Command::from(command(program, what, folder)).kill_on_drop(true).output();
    let done = tokio::time::timeout(std::time::Duration::from_secs(120), done).await;
    let done = done.unwrap_or_else(|_| panic!("{program:?} {what} does not end")).unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program:?} {what} failed: {error}");
    String::from_utf8(done.stdout).unwrap()
}

/// What a start said: a URL, or lines of the form `export NAME=value`.
fn url(program: Program, said: &str) -> String {
    let variables: BTreeMap<&str, &str> =
        said.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
    variables.get(program.variable()).map_or_else(|| said.trim().to_owned(), |url| (*url).to_owned())
}
