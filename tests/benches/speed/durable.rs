//! A skill with one effect, journalled: two durable writes and a POST a run. Beside it, in the same run, what
//! the machine allows: the bare echo, and the bare store with as many writers.

use std::time::Duration;

use super::suite::{self, Mode, Running};
use super::{agents, echo, load, micros, peer, seconds};

const CONCURRENCY: usize = 64;

/// Measures on the embedded journal, and on PostgreSQL where `SRE_TEST_POSTGRES` names one.
pub async fn measure() {
    println!("\n## Durable RunSkill over mTLS, one POST to a loopback server, concurrency {CONCURRENCY}\n");
    println!("| journal | runs /s | p50 | p99 | echo /s | ratio to echo | bare durable writes /s |");
    println!("|---|---|---|---|---|---|---|");
    on("SQLite, synchronous=FULL", &[]).await;
    match std::env::var("SRE_TEST_POSTGRES") {
        Ok(url) => on("PostgreSQL over loopback", &postgres(&url)).await,
        Err(_) => println!("\nNo PostgreSQL: SRE_TEST_POSTGRES names none."),
    }
}

fn postgres(url: &str) -> Vec<(String, String)> {
    vec![
        ("SRE__JOURNAL__BACKEND".into(), "postgres".into()),
        ("SRE__STORE__POSTGRES__URL".into(), url.to_owned()),
        // The test cluster has no TLS, and required is the default.
        ("SRE__STORE__POSTGRES__TLS".into(), "disable".into()),
    ]
}

async fn on(journal: &str, settings: &[(String, String)]) {
    let peer = peer::Running::start();
    let mut settings = settings.to_vec();
    settings.push(("SRE__EGRESS__ALLOW".into(), format!("[\"{}\"]", peer.address())));
    let suite = Running::start_with(Mode::AllInOne, &settings).await;
    let files = tempfile::tempdir().unwrap();
    suite.put(&agents::write(files.path(), &agents::sender(&format!("http://{}/", peer.address()))));
    let echo = echo::Running::start(&suite.certs());
    let echo_channel = echo.connect(&suite.certs()).await;
    let channel = suite.connect().await;
    let call = suite::skill(&channel, "sender", "send", r#"{"text":"v"}"#, r#"{"r":{"ok":true}}"#);
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let bare = load::run(CONCURRENCY, seconds(), echo::caller(&echo_channel)).await;
        rounds.push((bare, load::run(CONCURRENCY, seconds(), call.clone()).await));
    }
    rounds.sort_by(|a, b| a.1.rate.total_cmp(&b.1.rate));
    let (bare, runs) = &rounds[1];
    println!(
        "| {journal} | {:.0} | {} | {} | {:.0} | {:.3} | {:.0} |",
        runs.rate,
        micros(runs.p50),
        micros(runs.p99),
        bare.rate,
        runs.rate / bare.rate,
        store_rate(seconds()).await,
    );
}

/// Durable single-row writes of the embedded store with as many writers.
async fn store_rate(time: Duration) -> f64 {
    static MIGRATIONS: &[sre_store::Migration] = &[sre_store::Migration {
        version: 1,
        name: "rows",
        expand: "create table row (id integer primary key, body blob not null) strict;",
        contract: None,
    }];
    let folder = tempfile::tempdir().unwrap();
    let options = sre_store::OpenOptions::new(folder.path().join("bench.db"), "the bench", MIGRATIONS);
    let store = sre_store::Store::open(options).unwrap();
    let write = move || {
        let store = store.clone();
        async move {
            let body = [7u8; 256];
            store
                .write(move |tx| {
                    tx.prepare_cached("insert into row (body) values (?1)")?.execute([&body[..]])?;
                    Ok(())
                })
                .await
                .unwrap();
        }
    };
    load::run(CONCURRENCY, time, write).await.rate
}
