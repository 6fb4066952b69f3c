//! A redis-server of the test's own, on a free port of the loopback, in a fresh folder.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::RedisSettings;

const STARTS: usize = 10;
const READY: Duration = Duration::from_secs(20);

/// A running server; it ends with this.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// Starts one with further arguments, such as `["--requirepass", "secret"]`.
    pub fn start(arguments: &[&str]) -> std::io::Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut last = std::io::Error::other("redis-server did not start");
        // Another process may take the port in between.
        for _ in 0..STARTS {
            let port = free_port()?;
            let folder = tempfile::tempdir()?;
            let child = spawn("redis-server", port, &folder, &arguments)?;
            let mut server = Self { child, port, folder, arguments: arguments.clone() };
            match server.wait() {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Starts a Sentinel that watches the master on `port` under a name, alone and impatient.
    pub fn sentinel(name: &str, port: u16) -> std::io::Result<Self> {
        let own_port = free_port()?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("sentinel.conf");
        std::fs::write(
            &file,
            format!(
                "port {own_port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {port} 1\n\
                 sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n",
                folder.path().display()
            ),
        )?;
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self { child, port: own_port, folder, arguments: Vec::new() };
        server.wait()?;
        Ok(server)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Settings for it, with a prefix of their own.
    pub fn settings(&self, prefix: &str) -> RedisSettings {
        RedisSettings { prefix: prefix.to_owned(), ..RedisSettings::at(self.url()) }
    }

    /// Stops it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Goes on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Starts it again on its port and its folder.
    pub fn restart(&mut self) -> std::io::Result<()> {
        self.kill();
        self.child = spawn("redis-server", self.port, &self.folder, &self.arguments)?;
        self.wait()
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
    }

    fn wait(&mut self) -> std::io::Result<()> {
        let end = Instant::now() + READY;
        loop {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(std::io::Error::other(format!("redis-server ended with {status}")));
            }
            if Instant::now() >= end {
                return Err(std::io::Error::other("redis-server does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thaw();
        self.kill();
    }
}

/// The server that the environment names, or else one of the test's own.
#[derive(Debug)]
pub struct AnyServer {
    own: Option<Server>,
    url: String,
}

impl AnyServer {
    /// `SRE_TEST_REDIS`, or a new one.
    pub fn get() -> std::io::Result<Self> {
        match std::env::var("SRE_TEST_REDIS") {
            Ok(url) if !url.is_empty() => Ok(Self { own: None, url }),
            _ => {
                let own = Server::start(&[])?;
                Ok(Self { url: own.url(), own: Some(own) })
            }
        }
    }

    /// Settings for it; tests that share a server have prefixes of their own.
    pub fn settings(&self, prefix: &str) -> RedisSettings {
        RedisSettings { prefix: prefix.to_owned(), ..RedisSettings::at(self.url.clone()) }
    }

    /// Whether the test owns it.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn spawn(program: &str, port: u16, folder: &TempDir, arguments: &[String]) -> std::io::Result<Child> {
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder.path())
        .args(["--port", &port.to_string()])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
