//! Runs parked in sleep: they must hold no memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sre_proto::gateway::v1::runs_client::RunsClient;
use tokio::task::JoinSet;

use super::suite::{self, Mode, Running};
use super::{agents, memory};

const STARTERS: usize = 64;
/// Longer than the chapter takes, so that all of them sleep at its end.
const SLEEP_SECONDS: u32 = 3_600;

/// Starts 10,000 and then 100,000 sleepers and measures.
pub async fn measure() {
    println!("\n## Runs parked in sleep, started by StartRun\n");
    println!("| parked | started /s | resident above idle |");
    println!("|---|---|---|");
    let suite = Running::start(Mode::AllInOne).await;
    let files = tempfile::tempdir().unwrap();
    suite.put(&agents::write(files.path(), &agents::sleeper(SLEEP_SECONDS)));
    let channel = suite.connect().await;
    // What any call loads once (the plan, the tokens, the pools) is not the sleepers'.
    start(&channel, 200).await;
    settle(&suite, 200).await;
    let idle = memory::resident_mb(suite.pid());
    let mut started = 200;
    for target in [10_000, 100_000] {
        let began = Instant::now();
        start(&channel, target - started).await;
        let rate = (target - started) as f64 / began.elapsed().as_secs_f64();
        started = target;
        settle(&suite, target).await;
        let above = memory::resident_mb(suite.pid()) - idle;
        println!("| {target} | {rate:.0} | {above:.1} MB (idle {idle:.0} MB) |");
    }
}

async fn start(channel: &tonic::transport::Channel, count: usize) {
    let left = Arc::new(AtomicUsize::new(count));
    let mut starters = JoinSet::new();
    for _ in 0..STARTERS {
        let (mut client, left) = (RunsClient::new(channel.clone()), left.clone());
        starters.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                suite::start(&mut client, "sleeper", "sleep", r#"{"text":"v"}"#).await;
            }
        });
    }
    while let Some(done) = starters.join_next().await {
        done.unwrap();
    }
}

/// Ready when all of them are parked, and a little after.
async fn settle(suite: &Running, parked: usize) {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let waiting = waiting(suite);
        if waiting >= parked {
            break;
        }
        assert!(Instant::now() < end, "{waiting} of {parked} runs are parked after two minutes");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
}

fn waiting(suite: &Running) -> usize {
    let path = suite.data().join("store/memory.db");
    let connection =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let count: i64 =
        connection.query_row("select count(*) from run where state = 4", [], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}
