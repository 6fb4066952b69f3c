//! A Map of 1,000 calls to a server that takes 5 ms for each, 64 at a time, through the engine: 1,000 / 64 rounds of
//! 5 ms would be ideal. Beside it, what a bare client takes for the same calls.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::agents;
use crate::suite::{self, Mode, Running};

const CALLS: usize = 1_000;
const AT_A_TIME: usize = 64;
const TAKES: Duration = Duration::from_millis(5);
const ROUNDS: usize = 9;
/// Two agents, and how they call.
const MAPPERS: [(&str, &str); 2] = [("looking", "GET"), ("posting", "POST")];

/// Measures, and prints.
pub async fn measure() {
    let address = serve();
    let url = format!("http://{address}/");
    let settings = [("SRE__EGRESS__ALLOW".to_owned(), format!("[\"{address}\"]"))];
    let suite = Running::start_with(Mode::AllInOne, &settings).await;
    let files = tempfile::tempdir().unwrap();
    for (id, method) in MAPPERS {
        suite.put(&agents::write(files.path(), &agents::mapper(id, method, &url, AT_A_TIME)));
    }
    let channel = suite.connect().await;
    let list: Vec<usize> = (0..CALLS).collect();
    let (body, answer) = (json!({ "list": list }), json!({ "all": vec![200; CALLS] }));
    // Once in the life of the bench.
    let text = |json: serde_json::Value| -> &'static str { Box::leak(json.to_string().into_boxed_str()) };
    let (body, answer) = (text(body), text(answer));
    let calls = MAPPERS.map(|(id, _)| suite::skill(&channel, id, "map", body, answer));
    let ideal = TAKES.mul_f64(CALLS as f64 / AT_A_TIME as f64);
    let (mut looking, mut posting, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        for (call, took) in calls.iter().zip([&mut looking, &mut posting]) {
            let began = Instant::now();
            call().await;
            took.push(began.elapsed());
        }
        bare.push(by_a_bare_client(&url).await);
    }
    // The first of each makes connections.
    let median = |took: &mut Vec<Duration>| {
        took.remove(0);
        took.sort_unstable();
        took[took.len() / 2]
    };
    let rows = [
        ("ideal", ideal),
        ("a bare client", median(&mut bare)),
        ("the Map, GET", median(&mut looking)),
        ("the Map, POST: an intent is durable before each", median(&mut posting)),
    ];
    println!(
        "\nA Map of {CALLS} calls of {} ms, {AT_A_TIME} at a time, the median of {ROUNDS}:\n",
        TAKES.as_millis()
    );
    println!("| | took | of the ideal |");
    println!("|---|---|---|");
    for (what, took) in rows {
        let ratio = took.as_secs_f64() / ideal.as_secs_f64();
        println!("| {what} | {:.1} ms | {:.0} % |", took.as_secs_f64() * 1_000.0, ratio * 100.0);
    }
}

/// A server that costs as little as one can, for it shares the cores: a thread a connection, which sleeps. Threads are
/// exact to some 50 µs, where the runtime's timer has a grain of a millisecond. It ends with the process.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Answers one request after the other until its client is gone.
fn answer(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let mut requests = BufReader::new(stream.try_clone().unwrap());
    while read(&mut requests).is_some() {
        std::thread::sleep(TAKES);
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}

/// Reads a request over.
fn read(requests: &mut BufReader<TcpStream>) -> Option<()> {
    let (mut line, mut body) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        requests.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().ok()?;
        }
    }
    io::copy(&mut requests.take(body), &mut io::sink()).ok().map(drop)
}

async fn by_a_bare_client(url: &str) -> Duration {
    let client = reqwest::Client::new();
    let left = Arc::new(AtomicUsize::new(CALLS));
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..AT_A_TIME {
        let (client, url, left) = (client.clone(), url.to_owned(), left.clone());
        callers.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                client.post(&url).body("{}").send().await.unwrap().bytes().await.unwrap();
            }
        });
    }
    callers.join_all().await;
    began.elapsed()
}
