//! The contract over every backend, one line each, and what only one of them has.

use sre_service::connectors::grpc::OutOfProcess;

use super::contract::{self, Bench, Time};
use super::*;

async fn memory() -> Option<Bench> {
    let time = Time::new();
    let store = Arc::new(Memory::new(256 << 20, time.clock()));
    Some(Bench { store, time, _keep: Box::new(()) })
}

async fn local() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = LocalEntries::open(dir.path().join("cache"), 256 << 20, time.clock()).unwrap();
    Some(Bench { store: Arc::new(store), time, _keep: Box::new(dir) })
}

async fn redis() -> Option<Bench> {
    static PREFIXES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let server = sre_redis::testing::AnyServer::get().unwrap();
    let number = PREFIXES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let settings = server.settings(&format!("cache-{}-{number}", std::process::id()));
    let redis = sre_redis::Redis::open(&settings).await.unwrap();
    let time = Time::new();
    let store = super::redis::RedisEntries::new(redis, time.clock());
    Some(Bench { store: Arc::new(store), time, _keep: Box::new(server) })
}

#[cfg(feature = "s3")]
async fn s3() -> Option<Bench> {
    let Ok(moto) = std::env::var("SRE_TEST_MOTO") else {
        println!("skipped: SRE_TEST_MOTO holds no url");
        assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_MOTO");
        return None;
    };
    let moto = moto.trim_end_matches('/').to_owned();
    let bucket = format!("cache-{}", sre_proto::ids::new_uuid().simple());
    let made = reqwest::Client::new().put(format!("{moto}/{bucket}")).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let settings = serde_json::json!({
        "bucketName": bucket, "region": "us-east-1", "endpoint": moto, "accessKeyId": "test",
        "secretAccessKey": "test", "sweepMinutes": 1,
    });
    let time = Time::new();
    let settings = serde_json::from_value(settings).unwrap();
    let store = super::s3::S3Entries::new(&settings, time.clock()).await.unwrap();
    Some(Bench { store: Arc::new(store), time, _keep: Box::new(()) })
}

async fn out_of_process() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let opening = sre_service::testing::sample_connector(dir.path())?;
    let way = OutOfProcess::open(&opening, "sre.connector.v1.Cache").await.unwrap();
    let time = Time::new();
    let store = super::grpc::GrpcEntries::new(way, time.clock());
    Some(Bench { store: Arc::new(store), time, _keep: Box::new(dir) })
}

contract::every_case!(in_memory, super::memory);
contract::every_case!(in_a_folder, super::local);
contract::every_case!(in_redis, super::redis);
contract::every_case!(in_the_sample_out_of_process, super::out_of_process);
#[cfg(feature = "s3")]
contract::every_case!(in_s3, super::s3);

fn put(value: &'static [u8], etag: u128) -> Change {
    use crate::cache::record::{Condition, Guard};
    Change::Set {
        value: value.into(),
        etag,
        expires_ms: None,
        notes: Arc::default(),
        guard: Guard::from_text("list"),
        condition: Condition::Always,
    }
}

/// H11: the reference made paths of keys, so that `../other/k` was another's.
#[tokio::test]
async fn h11_files_are_beneath_the_folder_survive_and_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cache");
    let open = || LocalEntries::open(folder.clone(), 8 << 20, Time::new().clock());
    let store = open().unwrap();
    let key = |key: &str| EntryName::parse(format!("teams/t/cache/{key}")).unwrap();
    for name in ["...", "..a", "%2e%2e", "a", "lock", "unfinished"] {
        store.update(&key(name), &Seen(None), put(b"1", 1)).await.unwrap();
    }
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cache"]);
    // A second process does not get it.
    assert!(open().unwrap_err().to_string().contains("in use"));
    drop(store);
    let store = open().unwrap();
    for name in ["...", "..a", "%2e%2e", "a", "lock", "unfinished"] {
        assert_eq!(&store.look(&key(name)).await.unwrap().unwrap().value[..], b"1", "{name}");
    }
    static LARGE: [u8; 1 << 20] = [7; 1 << 20];
    for n in 0..16 {
        store.look(&key("a")).await.unwrap();
        store.update(&key(&format!("large {n}")), &Seen(None), put(&LARGE, n)).await.unwrap();
    }
    let size = |folder: std::fs::DirEntry| -> u64 {
        if !folder.file_type().unwrap().is_dir() {
            return 0;
        }
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let total: u64 = std::fs::read_dir(&folder).unwrap().map(|entry| size(entry.unwrap())).sum();
    assert!(total <= 8 << 20, "{total}");
    assert!(store.look(&key("large 15")).await.unwrap().is_some());
    assert!(store.look(&key("large 0")).await.unwrap().is_none());
    // What is used stays.
    assert!(store.look(&key("a")).await.unwrap().is_some());
    assert!(store.look(&key("...")).await.unwrap().is_none());
}

/// COMPAT: entries of the reference, under two keys of one space, with hashed access lists.
#[tokio::test]
async fn entries_of_the_reference_are_read_and_replaced() {
    use sre_redis::{Effect, cmd};
    let server = sre_redis::testing::Server::start(&[]).unwrap();
    let redis = sre_redis::Redis::open(&server.settings("sre")).await.unwrap();
    let write = async |key: &str, value: &str| {
        let _: () =
            redis.query(cmd("SET").arg(key).arg(value).arg("EX").arg(100), Effect::Write).await.unwrap();
    };
    write("smyth:cache:k", "theirs").await;
    write("smyth:metadata:k", r#"{"acl":"h:xxh3|u:6e8417d0fe6613f/o","color":"red"}"#).await;
    write("smyth:cache:without", "no list").await;
    let settings =
        super::redis::LegacySettings { team: "teamA".to_owned(), ..super::redis::LegacySettings::default() };
    let store = super::redis::RedisEntries::new(redis.clone(), Time::new().clock()).with_legacy(settings);
    let key = |name: &str| EntryName::parse(name.to_owned()).unwrap();
    let found = store.look(&key("teams/teamA/cache/k")).await.unwrap().unwrap();
    assert_eq!((&found.value[..], found.head.notes["color"].as_str()), (&b"theirs"[..], "red"));
    let owner = sre_identity::Candidate::user("u1").unwrap();
    let levels = |who: &[sre_identity::Candidate]| found.head.guard.acl(who).unwrap().levels(&owner);
    assert!(levels(std::slice::from_ref(&owner)).contains(sre_identity::Level::Owner));
    assert!(levels(&[]).is_empty());
    let left = found.head.ttl_ms(store.now());
    assert!((90_000..=100_000).contains(&left), "{left}");
    // Of another team, of an agent, or without a list, it is nothing.
    for other in ["teams/t/cache/k", "teams/teamA/agents/a/cache/k", "teams/teamA/cache/without"] {
        assert!(store.look(&key(other)).await.unwrap().is_none(), "{other}");
    }
    let name = key("teams/teamA/cache/k");
    let seen = Seen(Some(Arc::clone(&found.head.guard)));
    let part = store.update(&name, &seen, Change::Touch { expires_ms: None }).await;
    assert!(matches!(part, Err(CacheError::ReadOnly)));
    assert_eq!(store.update(&name, &seen, put(b"ours", 2)).await.unwrap(), Outcome::Done);
    let ours = store.look(&name).await.unwrap().unwrap();
    assert_eq!((&ours.value[..], ours.head.guard.text()), (&b"ours"[..], "list"));
    let left: i64 =
        redis.query(cmd("EXISTS").arg("smyth:cache:k").arg("smyth:metadata:k"), Effect::Read).await.unwrap();
    assert_eq!(left, 0);
}

/// Redis frees what is over by itself.
#[tokio::test]
async fn redis_knows_the_end_of_an_entry() {
    use sre_redis::{Effect, cmd};
    let server = sre_redis::testing::Server::start(&[]).unwrap();
    let redis = sre_redis::Redis::open(&server.settings("sre")).await.unwrap();
    let clock = crate::cache::clock::Clock::system();
    let store = super::redis::RedisEntries::new(redis.clone(), clock.clone());
    let name = EntryName::parse("teams/t/users/u/cache/k".to_owned()).unwrap();
    store.update(&name, &Seen(None), put(b"1", 1)).await.unwrap();
    let left = async || -> i64 {
        redis.query(cmd("PTTL").arg("sre:c:{teams/t/users/u}:k"), Effect::Read).await.unwrap()
    };
    assert_eq!(left().await, -1);
    let seen = Seen(store.head(&name).await.unwrap().map(|head| head.guard));
    let touch = Change::Touch { expires_ms: Some(clock.now() + 60_000) };
    store.update(&name, &seen, touch).await.unwrap();
    assert!((50_000..=60_000).contains(&left().await));
    store.update(&name, &seen, Change::Touch { expires_ms: None }).await.unwrap();
    assert_eq!(left().await, -1);
}

/// services.md D25: the reference's gave `null` for whatever went wrong. Here an error says what it was, and one of
/// which nobody knows whether the change was made is not one that says it was not.
#[cfg(feature = "s3")]
#[tokio::test]
async fn d25_errors_of_a_bucket_say_what_happened() {
    let server = axum::Router::new().fallback(|| async { axum::http::StatusCode::FORBIDDEN });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = sre_service::task::spawn("bucket", async move { axum::serve(listener, server).await });
    let open = async |endpoint: &str| {
        let settings = serde_json::json!({
            "bucketName": "b", "region": "us-east-1", "endpoint": endpoint, "accessKeyId": "test",
            "secretAccessKey": "canary",
        });
        let settings = serde_json::from_value(settings).unwrap();
        super::s3::S3Entries::new(&settings, Time::new().clock()).await.unwrap()
    };
    let name = EntryName::parse("teams/t/cache/k".to_owned()).unwrap();
    let refused = open(&endpoint).await.look(&name).await.unwrap_err();
    assert!(matches!(&refused, CacheError::Broken(text) if !text.contains("canary")), "{refused:?}");
    serving.abort();
    drop(serving.await);
    let away = open(&endpoint).await;
    let read = away.look(&name).await.unwrap_err();
    assert!(matches!(read, CacheError::Unavailable(_)), "{read:?}");
    let written = away.update(&name, &Seen(None), put(b"1", 1)).await.unwrap_err();
    assert!(matches!(written, CacheError::Unavailable(_) | CacheError::Uncertain(_)), "{written:?}");
}

/// D28: the reference's cache in memory had no bound.
#[tokio::test]
async fn d28_the_cache_in_memory_is_bounded_and_new_entries_win() {
    let store = Memory::new(64 * 1024, crate::cache::clock::Clock::steady());
    let name = |n: u32| EntryName::parse(format!("teams/t/cache/{n}")).unwrap();
    for n in 0..1000 {
        assert_eq!(store.update(&name(n), &Seen(None), put(b"0123456789", 1)).await.unwrap(), Outcome::Done);
    }
    assert!(store.weighted_size() <= 64 * 1024);
    assert!(store.look(&name(999)).await.unwrap().is_some());
    assert!(store.look(&name(0)).await.unwrap().is_none());
}
