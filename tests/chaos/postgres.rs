//! The PostgreSQL cluster of a suite, by the script that tests use.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A cluster; dropped, it is stopped and removed.
pub struct Cluster {
    folder: TempDir,
    url: String,
}

impl Cluster {
    /// Makes and starts one, in a folder of the system's: its own user may not reach what lies below ours.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = script("start", folder.path());
        Self { folder, url }
    }

    /// What tells a service to keep its state there.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("SRE__STORE__BACKEND", "postgres"),
            ("SRE__STORE__POSTGRES__URL", &self.url),
            ("SRE__STORE__POSTGRES__TLS", "disable"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Stops it as a power cut would.
    pub fn crash(&self) {
        script("crash", self.folder.path());
    }

    /// Starts it again; it recovers.
    pub fn start_again(&self) {
        let url = script("start", self.folder.path());
        assert_eq!(url, self.url, "the cluster came back elsewhere");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = command("stop", self.folder.path()).output();
    }
}

fn command(what: &str, folder: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/stages/postgres.sh"));
    command.arg(what).arg(folder);
    command
}

fn script(what: &str, folder: &Path) -> String {
    let done = command(what, folder).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "postgres.sh {what} failed: {error}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
