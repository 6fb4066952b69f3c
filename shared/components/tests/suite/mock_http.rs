//! The conformance suite's HTTP fixture, in this process and on a free port.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running fixture; it ends when dropped.
pub struct MockHttp {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl MockHttp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream));
            }
        });
        Self { address, _tasks: tasks }
    }
}

#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

async fn answer(mut stream: TcpStream) {
    let Some(request) = read(&mut stream).await else { return };
    let (status, content_type, body) = respond(&request);
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if status == 302 {
        head.push_str("location: /echo/redirected\r\n");
    }
    if !content_type.is_empty() {
        head.push_str(&format!("content-type: {content_type}\r\n"));
    }
    if status != 204 {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.ok();
    stream.write_all(&body).await.ok();
    stream.shutdown().await.ok();
}

pub async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
        let mut piece = [0; 4096];
        let n = stream.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&piece[..n]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes[head_end + 4..].to_vec();
    while body.len() < length {
        let mut piece = [0; 4096];
        let n = stream.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&piece[..n]);
    }
    Some(Received { method, target, headers, body })
}

fn respond(request: &Received) -> (u16, &'static str, Vec<u8>) {
    let json = |status: u16, value: Json| (status, "application/json", value.to_string().into_bytes());
    let url = url::Url::parse("http://x").unwrap().join(&request.target).unwrap();
    let path = url.path().to_owned();
    if path.starts_with("/echo") {
        let shown = ["content-type", "accept", "x-tok", "x-vault", "x-smyth-error", "content-length"];
        let headers: serde_json::Map<String, Json> = shown
            .iter()
            .filter_map(|name| request.headers.iter().find(|(known, _)| known == name))
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let query: serde_json::Map<String, Json> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), json!(value))).collect();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        return json(
            200,
            json!({"method": request.method, "url": request.target, "query": query, "headers": headers, "body": body}),
        );
    }
    if let Some(status) = path.strip_prefix("/status/") {
        return json(status.parse().unwrap(), json!({"error": format!("status {status}")}));
    }
    match path.as_str() {
        "/text" => (200, "text/plain; charset=utf-8", "plain ✓ text".into()),
        "/badjson" => (200, "application/json", b"{\"broken\": ".to_vec()),
        "/empty" => (204, "", Vec::new()),
        "/png" => (200, "image/png", b"\x89PNG\r\n\x1a\n".to_vec()),
        "/redirect" => (302, "", Vec::new()),
        "/nested" => {
            json(200, json!({"data": {"x": "deep", "y": 2}, "list": [{"id": "first"}, {"id": "second"}]}))
        }
        _ => json(404, json!({"error": "no route"})),
    }
}
