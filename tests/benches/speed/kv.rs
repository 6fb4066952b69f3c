//! Namespaces: gets, and durable sets with their audit records, over the link in this process and over mTLS beside
//! a bare echo.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sre_proto::io::v1::nkv_client::NkvClient;
use sre_proto::io::v1::{GetValueRequest, KeyValue, SetValueRequest};
use sre_service::Role;
use sre_service::testing::TestSuite;

use super::calls::{Calls, KEYS, Transport, VALUE, beside, numbers, row};
use super::suite::{Mode, Running};
use super::{echo, load, seconds};

const WRITERS: usize = 64;

/// Measures both ways.
pub async fn measure() {
    println!("\n## Namespaces over the link in this process (embedded store, 128-byte values, audit on)\n");
    println!("| call | callers | /s | p50 | p99 |");
    println!("|---|---|---|---|---|");
    in_process().await;
    println!("\n## Namespaces over mTLS, beside a bare tonic mTLS echo (median of 3 pairs)\n");
    println!("| call | callers | echo /s | /s | p50 | p99 | part of the echo |");
    println!("|---|---|---|---|---|---|---|");
    over_tls().await;
}

async fn in_process() {
    let suite = TestSuite::builder()
        .role(Role::Security, sre_security::start)
        .role(Role::Io, sre_io::start)
        .build()
        .await
        .unwrap();
    let client = NkvClient::new(suite.link_as("user/dev", Role::Io));
    fill(client.clone()).await;
    for callers in [1, 16, 64] {
        row("get", callers, &load::run(callers, seconds(), get(client.clone())).await);
    }
    for callers in [1, WRITERS] {
        row("set", callers, &load::run(callers, seconds(), set(client.clone())).await);
    }
    let began = Instant::now();
    let waiting = outbox(&suite);
    while outbox(&suite) > 0 && began.elapsed() < Duration::from_secs(300) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "\n- audit records that waited to be shipped after the last set: {waiting}; shipped within {} ms",
        began.elapsed().as_millis()
    );
    suite.stop().await;
}

fn outbox(suite: &TestSuite) -> i64 {
    let path = suite.data_dir().join("store/io.db");
    let connection =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row("select count(*) from audit_outbox", [], |row| row.get(0)).unwrap()
}

async fn over_tls() {
    let settings = [("SRE__LISTEN__IO".to_owned(), "127.0.0.1:0".to_owned())];
    let suite = Running::start_with(Mode::AllInOne, &settings).await;
    let echo = echo::Running::start(&suite.certs());
    let bare = echo.connect(&suite.certs()).await;
    let client = NkvClient::new(suite.connect_role("io").await);
    fill(client.clone()).await;
    for callers in [16, WRITERS] {
        beside("get", callers, &echo::caller(&bare), &get(client.clone())).await;
    }
    beside("set", WRITERS, &echo::caller(&bare), &set(client)).await;
}

fn name(number: usize) -> String {
    format!("teams/default/nkv/bench/keys/{number}")
}

fn request(name: String) -> SetValueRequest {
    let value = Bytes::from_static(&VALUE);
    SetValueRequest {
        value: Some(KeyValue { name, value, ..KeyValue::default() }),
        ..SetValueRequest::default()
    }
}

async fn fill<T: Transport>(client: NkvClient<T>) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = client.clone();
        writers.spawn(async move {
            for number in (writer..KEYS).step_by(WRITERS) {
                client.set_value(request(name(number))).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
}

fn get<T: Transport>(client: NkvClient<T>) -> impl Calls {
    let next = numbers(name);
    move || {
        let (mut client, name) = (client.clone(), next());
        Box::pin(async move {
            let request = GetValueRequest { name, ..GetValueRequest::default() };
            assert_eq!(client.get_value(request).await.unwrap().into_inner().value.len(), VALUE.len());
        })
    }
}

fn set<T: Transport>(client: NkvClient<T>) -> impl Calls {
    let next = numbers(name);
    move || {
        let (mut client, name) = (client.clone(), next());
        Box::pin(async move {
            client.set_value(request(name)).await.unwrap();
        })
    }
}
