//! The loopback server that effects reach, in a process of its own: it answers every POST with a short JSON.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;

/// Serves until it is killed; prints its address first.
pub fn serve() {
    // One thread: it takes the least of the cores that it shares with what is measured.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(async |_: Bytes| {
            ([(CONTENT_TYPE, "application/json")], Bytes::from_static(b"{\"ok\":true}"))
        });
        axum::serve(listener, router).await.unwrap();
    });
}

/// The server's process.
pub struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts it.
    pub fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("peer")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().to_owned() }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
