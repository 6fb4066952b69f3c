//! Gateways beside that of a split suite, as if they ran on other machines: a data folder of their own, the
//! suite's certificates, and its other roles by address.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use super::clients::Client;
use super::{Suite, eventually, logs, process};

/// A gateway; dropped, it is killed.
pub struct Gateway {
    folder: PathBuf,
    address: String,
    child: Option<Child>,
}

impl Gateway {
    /// Starts one and waits until it serves.
    pub async fn start(suite: &Suite, name: &str) -> Self {
        let folder = suite.folder().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = process::sre(&folder);
        for setting in suite.settings() {
            // Where the suite's own gateway listens nobody else can.
            if !setting.starts_with("listen.") {
                command.args(["--set", setting]);
            }
        }
        command.args(["--set", &format!("certs.dir={}", suite.folder().join("certs").display())]);
        for role in ["agent", "memory", "llm", "io", "security", "compute", "observability"] {
            let address = suite.address(role);
            command.args(["--set", &format!("endpoints.{role}=[\"{address}\"]")]);
        }
        command.args(["serve", "gateway"]);
        let child = process::spawn(command, &suite.folder().join("logs").join(format!("{name}.log")));
        let mut gateway = Self { folder, address: String::new(), child: Some(child) };
        let http = reqwest::Client::new();
        let ready = async || {
            if !gateway.folder.join("run/endpoints.toml").exists() {
                return None;
            }
            let endpoints = process::endpoints(&gateway.folder);
            let admin = endpoints.get("admin-edge-engine")?;
            let answer = http.get(format!("http://{admin}/readyz")).send().await.ok()?;
            answer.status().is_success().then(|| endpoints["edge"].clone())
        };
        gateway.address = eventually(&format!("{name} is ready"), Duration::from_secs(60), ready).await;
        gateway
    }

    /// The address of its edge.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its clients for a principal.
    pub fn client(&self, suite: &Suite, principal: &str) -> Client {
        Client::new(suite.identities().channel(principal, &self.address))
    }

    /// Kills it as a crash would.
    pub fn crash(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it in order, before the suite.
    pub fn stop(mut self) {
        let mut child = self.child.take().unwrap();
        process::signal(child.id(), "TERM");
        let status = child.wait().unwrap();
        assert!(status.success(), "a gateway ended with {status}:\n{}", logs::tail(&self.folder));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
