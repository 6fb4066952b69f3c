//! Faults under load: the servers behind the suite end, are held, answer slowly, are half open, refuse and reset,
//! while clients write and read. Clients get clear errors in time, nothing that was acknowledged is lost, Health says
//! what is going on, and everything comes back by itself.

mod calls;
mod judge;
mod trouble;

use std::time::{Duration, Instant};

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use calls::{Call, Calls};
use trouble::Trouble;

use crate::harness::load::Load;
use crate::harness::outside::{Outside, Program};
use crate::harness::proxy::Proxy;
use crate::harness::{Mode, Options, Suite};

/// How long a call may take, by its deadline or by the suite's default.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a trouble lasts at least: longer than a call that waits for its end.
const LASTS: Duration = Duration::from_secs(7);
/// Health knows of a trouble within this time: probes are five seconds apart and take two.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
/// Everything succeeds again within this time after the trouble's end,
const RECOVERS_WITHIN: Duration = Duration::from_secs(40);
/// and for so long without one failure.
const QUIET: Duration = Duration::from_secs(2);

/// A server behind the suite, and what it is for.
struct Behind<'a> {
    server: &'a Outside,
    proxy: &'a Proxy,
    calls: &'a [Call],
    /// Role and name in Health of each connector that uses it.
    health: &'a [(&'static str, &'static str)],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_under_load() {
    let Some(server) = Outside::start("outages-redis-server", Program::Redis).await else { return };
    let proxy = Proxy::start(&server.address()).await;
    let settings = format!(
        "{{url=\"{}\",connect_timeout_ms=1000,command_timeout_ms=2000}}",
        server.url_through(proxy.address())
    );
    let options = options()
        .set("connectors.nkv", format!("[{{Connector=\"Redis\",Id=\"kv\",Settings={settings}}}]"))
        .set("connectors.cache", format!("[{{Connector=\"Redis\",Id=\"fast\",Settings={settings}}}]"));
    let suite = Suite::start("outages-redis", Mode::AllInOne, options).await;
    let behind = Behind {
        server: &server,
        proxy: &proxy,
        calls: &[Call::Value, Call::Entry],
        health: &[("io", "sre.nkv/kv"), ("memory", "sre.cache/fast")],
    };
    endure(suite, behind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_under_load() {
    let Some(server) = Outside::start("outages-postgres-server", Program::Postgres).await else { return };
    let proxy = Proxy::start(&server.address()).await;
    let url = server.url_through(proxy.address());
    let options = options()
        .set("journal.backend", "postgres")
        .set("store.postgres.url", &url)
        .set("store.postgres.tls", "disable")
        .set("store.postgres.connect_timeout_ms", 1000)
        .set("store.postgres.acquire_timeout_ms", 2000)
        .set("store.postgres.statement_timeout_ms", 2000);
    let suite = Suite::start("outages-postgres", Mode::AllInOne, options).await;
    let behind = Behind { server: &server, proxy: &proxy, calls: &[Call::Run], health: &[] };
    endure(suite, behind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_under_load() {
    let Some(server) = Outside::start("outages-s3-server", Program::Moto).await else { return };
    let made = reqwest::Client::new().put(format!("{}/outages", server.url())).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let proxy = Proxy::start(&server.address()).await;
    let settings = format!(
        "{{region=\"us-east-1\",accessKeyId=\"test\",secretAccessKey=\"test\",bucket=\"outages\",endpoint=\"{}\"}}",
        server.url_through(proxy.address())
    );
    let options =
        options().set("connectors.storage", format!("[{{Connector=\"S3\",Id=\"far\",Settings={settings}}}]"));
    let suite = Suite::start("outages-s3", Mode::AllInOne, options).await;
    let behind =
        Behind { server: &server, proxy: &proxy, calls: &[Call::File], health: &[("io", "sre.storage/far")] };
    endure(suite, behind).await;
}

fn options() -> Options {
    Options::default().listen_everywhere().set("deadlines.default_ms", DEADLINE.as_millis())
}

/// Every trouble in turn, under load.
async fn endure(suite: Suite, behind: Behind<'_>) {
    let calls = Calls::prepare(&suite, behind.calls).await;
    let mut wrong = Vec::new();
    for trouble in Trouble::ALL {
        let found = through(&suite, &behind, &calls, trouble).await;
        wrong.extend(found.into_iter().map(|wrong| format!("{trouble:?}: {wrong}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    suite.stop().await;
}

/// One trouble, and what was not as it must be.
async fn through(suite: &Suite, behind: &Behind<'_>, calls: &Calls, trouble: Trouble) -> Vec<String> {
    let load = calls.load(suite);
    let mut wrong = Vec::new();
    if !quiet(&load, behind.calls).await {
        return vec!["not everything succeeds before".to_owned()];
    }
    let begun = Instant::now();
    trouble.begin(behind.server, behind.proxy).await;
    let begins = Instant::now();
    if trouble.is_deadly() {
        for (role, name) in behind.health {
            if !says(suite, role, name, ServingStatus::NotServing, KNOWN_WITHIN).await {
                wrong.push(format!("Health of {name} says nothing of it"));
            }
        }
    }
    tokio::time::sleep(LASTS.saturating_sub(begins.elapsed())).await;
    let ends = Instant::now();
    trouble.end(behind.server, behind.proxy).await;
    let recovered = quiet(&load, behind.calls).await;
    for (role, name) in behind.health {
        if !says(suite, role, name, ServingStatus::Serving, KNOWN_WITHIN).await {
            wrong.push(format!("Health of {name} does not come back"));
        }
    }
    let outcomes = load.finish().await;
    if !recovered {
        wrong.push(judge::never_recovered(&outcomes, ends));
    }
    wrong.extend(judge::unclear(&outcomes, begun));
    if trouble.is_deadly() {
        wrong.extend(judge::untouched(&outcomes, begins, ends, behind.calls));
    }
    wrong.extend(calls.lost(suite, &outcomes).await);
    eprintln!("{}", judge::summary(trouble, &outcomes, begins, ends));
    wrong
}

/// Waits until every kind of call succeeds, and none fails for a while.
async fn quiet(load: &Load, calls: &[Call]) -> bool {
    let waited = Instant::now();
    while waited.elapsed() < RECOVERS_WITHIN {
        let Some(from) = Instant::now().checked_sub(QUIET).filter(|from| *from >= waited) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let latest = load.since(from).await;
        let each = calls.iter().flat_map(|call| [call.writing(), call.reading()]);
        let all_there = each.into_iter().all(|what| latest.iter().any(|outcome| outcome.what == what));
        if all_there && !latest.iter().any(|outcome| outcome.failed()) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// Whether Health comes to say this of a connector.
async fn says(suite: &Suite, role: &str, name: &str, expected: ServingStatus, within: Duration) -> bool {
    let mut client = HealthClient::new(suite.channel("user/dev", role));
    let asked = Instant::now();
    while asked.elapsed() < within {
        let request = HealthCheckRequest { service: name.to_owned() };
        if let Ok(answer) = client.check(request).await
            && answer.get_ref().status() == expected
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}
