//! A caller that leaves costs nothing more: the provider's socket is closed. Measured at a provider of plain TCP, which
//! notes when its peer is gone, on a call that came through the layer and a link as every other.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;
use sre_proto::llm::v1 as pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::reliability_tests::{Bench, ask, entry};

/// Times are printed; what is asserted is that it happens at all, on a machine that does other things too. The provider
/// would go on for minutes.
const GENEROUS: Duration = Duration::from_secs(2);
/// Most of what a socket tells is that nothing came.
const WHOLE: Duration = Duration::from_secs(60);

/// What a provider saw of a connection.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// All of a request.
    Asked,
    /// The end of the connection.
    Closed(Instant),
}

/// How far the provider goes before it falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    OneWord,
}

/// A provider that falls silent and listens; gives its base address.
async fn provider(tasks: &mut JoinSet<()>, says: Says) -> (String, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let (seen, told) = mpsc::channel(16);
    tasks.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            watch(socket, says, &seen).await;
        }
    });
    (base, told)
}

async fn watch(mut socket: TcpStream, says: Says, seen: &mpsc::Sender<Seen>) {
    read_request(&mut socket).await;
    if says == Says::OneWord {
        let word = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": "a"}}]}));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = format!("{head}{:x}\r\n{word}\r\n", word.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
    }
    seen.send(Seen::Asked).await.unwrap();
    let mut rest = [0; 64];
    // Zero bytes are an orderly end, an error is a reset: either way nobody listens any more.
    let end = socket.read(&mut rest).await;
    assert!(matches!(end, Ok(0) | Err(_)), "the caller said something more: {end:?}");
    seen.send(Seen::Closed(Instant::now())).await.unwrap();
}

/// Reads a request to the end of its body.
async fn read_request(socket: &mut TcpStream) {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "the request was broken off");
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text[..head].lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if read.len() >= head + 4 + length {
            return;
        }
    }
}

async fn next(told: &mut mpsc::Receiver<Seen>) -> Seen {
    tokio::time::timeout(WHOLE, told.recv()).await.expect("the provider sees something").unwrap()
}

async fn closed(told: &mut mpsc::Receiver<Seen>, left: Instant, when: &str) {
    let Seen::Closed(closed) = next(told).await else { panic!("the provider was asked again") };
    let took = closed.saturating_duration_since(left);
    println!("the provider's socket was closed {} µs after its caller left, {when}", took.as_micros());
    assert!(took < GENEROUS, "{took:?} {when}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_in_the_middle_of_an_answer_closes_the_providers_socket() {
    let mut tasks = JoinSet::new();
    let (base, mut told) = provider(&mut tasks, Says::OneWord).await;
    let bench = Bench::start(tasks, &json!({"m": entry(&base, json!({}))})).await;
    for _ in 0..10 {
        let request = pb::GenerateStreamRequest { request: Some(ask("m")) };
        let mut events = bench.calls().generate_stream(request).await.unwrap().into_inner();
        assert!(matches!(events.next().await, Some(Ok(_))));
        assert!(matches!(next(&mut told).await, Seen::Asked));
        let left = Instant::now();
        drop(events);
        closed(&mut told, left, "in the middle of an answer").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_before_the_first_word_closes_the_providers_socket() {
    let mut tasks = JoinSet::new();
    let (base, mut told) = provider(&mut tasks, Says::Nothing).await;
    let bench = Bench::start(tasks, &json!({"m": entry(&base, json!({}))})).await;
    for _ in 0..10 {
        let request = pb::GenerateStreamRequest { request: Some(ask("m")) };
        let mut calls = bench.calls();
        let mut call = Box::pin(calls.generate_stream(request));
        tokio::select! {
            answer = &mut call => panic!("nobody said anything: {answer:?}"),
            seen = next(&mut told) => assert!(matches!(seen, Seen::Asked)),
        }
        let left = Instant::now();
        drop(call);
        closed(&mut told, left, "before its first word").await;
    }
}
