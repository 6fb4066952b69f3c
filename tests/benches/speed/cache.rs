//! The cache in memory: gets and sets over the link in this process and over mTLS beside a bare echo.

use bytes::Bytes;
use sre_proto::memory::v1::cache_client::CacheClient;
use sre_proto::memory::v1::{GetEntryRequest, SetEntryRequest};
use sre_service::Role;
use sre_service::testing::TestSuite;

use super::calls::{Calls, KEYS, Transport, VALUE, beside, numbers, row};
use super::suite::{Mode, Running};
use super::{echo, load, seconds};

/// Measures both ways.
pub async fn measure() {
    println!("\n## The cache over the link in this process (in memory, 128-byte values)\n");
    println!("| call | callers | /s | p50 | p99 |");
    println!("|---|---|---|---|---|");
    in_process().await;
    println!("\n## The cache over mTLS, beside a bare tonic mTLS echo (median of 3 pairs)\n");
    println!("| call | callers | echo /s | /s | p50 | p99 | part of the echo |");
    println!("|---|---|---|---|---|---|---|");
    over_tls().await;
}

async fn in_process() {
    let suite = TestSuite::builder()
        .role(Role::Security, sre_security::start)
        .role(Role::Memory, sre_memory::start)
        .build()
        .await
        .unwrap();
    let client = CacheClient::new(suite.link_as("user/dev", Role::Memory));
    fill(client.clone()).await;
    for callers in [1, 16, 64] {
        row("get", callers, &load::run(callers, seconds(), get(client.clone())).await);
    }
    row("set", 64, &load::run(64, seconds(), set(client)).await);
    suite.stop().await;
}

async fn over_tls() {
    let settings = [("SRE__LISTEN__MEMORY".to_owned(), "127.0.0.1:0".to_owned())];
    let suite = Running::start_with(Mode::AllInOne, &settings).await;
    let echo = echo::Running::start(&suite.certs());
    let bare = echo.connect(&suite.certs()).await;
    let client = CacheClient::new(suite.connect_role("memory").await);
    fill(client.clone()).await;
    for callers in [16, 64] {
        beside("get", callers, &echo::caller(&bare), &get(client.clone())).await;
    }
    beside("set", 64, &echo::caller(&bare), &set(client)).await;
}

fn name(number: usize) -> String {
    format!("teams/default/users/dev/cache/{number}")
}

fn request(name: String) -> SetEntryRequest {
    SetEntryRequest { name, value: Bytes::from_static(&VALUE), ..SetEntryRequest::default() }
}

async fn fill<T: Transport>(mut client: CacheClient<T>) {
    for number in 0..KEYS {
        client.set_entry(request(name(number))).await.unwrap();
    }
}

fn get<T: Transport>(client: CacheClient<T>) -> impl Calls {
    let next = numbers(name);
    move || {
        let (mut client, name) = (client.clone(), next());
        Box::pin(async move {
            let request = GetEntryRequest { name, ..GetEntryRequest::default() };
            assert!(client.get_entry(request).await.unwrap().into_inner().found);
        })
    }
}

fn set<T: Transport>(client: CacheClient<T>) -> impl Calls {
    let next = numbers(name);
    move || {
        let (mut client, name) = (client.clone(), next());
        Box::pin(async move {
            assert!(client.set_entry(request(name)).await.unwrap().into_inner().stored);
        })
    }
}
