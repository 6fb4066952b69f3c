//! How long a provider's socket outlives a caller that leaves: a provider of plain TCP in this process says one word,
//! falls silent, and notes when its peer is gone.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The provider.
pub struct Provider {
    address: String,
    closed: mpsc::Receiver<Instant>,
    _serving: JoinSet<()>,
}

impl Provider {
    /// Starts it; it ends with this value.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, closed) = mpsc::channel(16);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                serve(socket, &tell).await;
            }
        });
        Self { address, closed, _serving: serving }
    }

    /// Where its interface is.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// How long after a moment the connection was closed.
    pub async fn closed_after(&mut self, left: Instant) -> Duration {
        let closed = tokio::time::timeout(Duration::from_secs(60), self.closed.recv()).await;
        closed.expect("the socket is closed").unwrap().saturating_duration_since(left)
    }
}

async fn serve(mut socket: TcpStream, tell: &mpsc::Sender<Instant>) {
    // The request is small and comes at once; what it says does not matter.
    let mut request = vec![0; 64 << 10];
    if !matches!(socket.read(&mut request).await, Ok(1..)) {
        return;
    }
    let word = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": "tok "}}]}));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = format!("{head}{:x}\r\n{word}\r\n", word.len());
    socket.write_all(answer.as_bytes()).await.unwrap();
    // A second part of the request is read over.
    while matches!(socket.read(&mut request).await, Ok(1..)) {}
    let _ = tell.send(Instant::now()).await;
}
