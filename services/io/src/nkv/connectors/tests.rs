//! The contract over every store, one line each, and what only one of them has.

use sre_service::connectors::grpc::OutOfProcess;
use sre_store::{OpenOptions, Store};

use super::contract::{self, Bench, Time};
use super::sqlite::SqliteValues;
use crate::schema::MIGRATIONS;

async fn sqlite() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(OpenOptions::new(dir.path().join("io.db"), "data_dir", MIGRATIONS)).unwrap();
    let time = Time::new();
    let store = std::sync::Arc::new(SqliteValues::new(store, time.clock()));
    Some(Bench { store, time, _keep: Box::new(dir) })
}

async fn redis() -> Option<Bench> {
    static PREFIXES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let server = sre_redis::testing::AnyServer::get().unwrap();
    let number = PREFIXES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let settings = server.settings(&format!("nkv-{}-{number}", std::process::id()));
    let redis = sre_redis::Redis::open(&settings).await.unwrap();
    let time = Time::new();
    let store = super::redis::RedisValues::new(redis, time.clock());
    Some(Bench { store: std::sync::Arc::new(store), time, _keep: Box::new(server) })
}

async fn postgres() -> Option<Bench> {
    let config = sre_service::testing::postgres("nkv", super::postgres::SESSION)?;
    let pg = sre_store::pg::Pg::connect(&config, super::postgres::MIGRATIONS).await.unwrap();
    let time = Time::new();
    let store = super::postgres::PostgresValues::new(pg.clone(), time.clock());
    let schema = sre_service::testing::Schema(pg);
    Some(Bench { store: std::sync::Arc::new(store), time, _keep: Box::new(schema) })
}

async fn out_of_process() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let opening = sre_service::testing::sample_connector(dir.path())?;
    let way = OutOfProcess::open(&opening, "sre.connector.v1.Nkv").await.unwrap();
    let time = Time::new();
    let store = super::grpc::GrpcValues::new(way, time.clock());
    Some(Bench { store: std::sync::Arc::new(store), time, _keep: Box::new(dir) })
}

contract::every_case!(in_sqlite, super::sqlite);
contract::every_case!(in_postgres, super::postgres);
contract::every_case!(in_redis, super::redis);
contract::every_case!(in_the_sample_out_of_process, super::out_of_process);

/// services.md D31: the reference kept a sentinel for each namespace, and wrote it anew with every value. There is
/// none: a namespace is its record, a key of Redis is a value, and both go with it.
#[tokio::test]
async fn d31_a_namespace_is_its_record_and_its_values() {
    use sre_redis::{Effect, cmd};

    use crate::basis::{Basis, Condition, Unrecorded};
    use crate::nkv::connectors::NkvStore as _;
    use crate::nkv::model::Set;
    use crate::nkv::name::{KeyName, NamespaceName};
    let server = sre_redis::testing::Server::start(&[]).unwrap();
    let redis = sre_redis::Redis::open(&server.settings("nkv")).await.unwrap();
    let store = super::redis::RedisValues::new(redis.clone(), Time::new().clock());
    let set = async |key: &str, basis: Basis| {
        let set = Set {
            name: KeyName::parse(&format!("teams/t/nkv/a/keys/{key}")).unwrap(),
            value: "v".into(),
            content_type: "text/plain".into(),
            condition: Condition::Always,
            basis,
            list_when_new: "list".into(),
            time_to_live: None,
            quota: crate::usage::Quota { items: 10, bytes: 1 << 20 },
        };
        store.set(set, std::sync::Arc::new(Unrecorded)).await.unwrap();
    };
    let keys = async || -> Vec<String> {
        let mut keys: Vec<String> = redis.query(cmd("KEYS").arg("*"), Effect::Read).await.unwrap();
        keys.sort();
        keys
    };
    set("k", Basis::absent()).await;
    let first = keys().await;
    for _ in 0..3 {
        set("k", Basis::row("list")).await;
    }
    assert_eq!(keys().await, first, "setting again makes nothing more");
    let name = NamespaceName::parse("teams/t/nkv/a").unwrap();
    store.delete_namespace(&name, Basis::row("list"), std::sync::Arc::new(Unrecorded)).await.unwrap();
    store.sweep().await.unwrap();
    let left = keys().await;
    let of_it = |key: &&String| {
        ["lists", "names", "dropped", "ends", "v:a", "k:a"]
            .iter()
            .any(|what| key.ends_with(&format!(":{what}")))
    };
    assert!(first.iter().filter(of_it).count() >= 4, "{first:?}");
    assert_eq!(left.iter().filter(of_it).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A server that dies takes no acknowledged value with it; what happens meanwhile is an error in time, and it goes on
/// by itself afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_dies_keeps_what_it_acknowledged() {
    use crate::basis::{Basis, Condition, Unrecorded};
    use crate::error::IoError;
    use crate::nkv::connectors::NkvStore as _;
    use crate::nkv::model::Set;
    use crate::nkv::name::KeyName;
    let mut server =
        sre_redis::testing::Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    let settings =
        sre_redis::RedisSettings { command_timeout_ms: 1_000, retry_ms: 200, ..server.settings("nkv") };
    let redis = sre_redis::Redis::open(&settings).await.unwrap();
    let store = super::redis::RedisValues::new(redis, Time::new().clock());
    let set = async |number: u32, basis: Basis| {
        let set = Set {
            name: KeyName::parse(&format!("teams/t/nkv/a/keys/{number}")).unwrap(),
            value: number.to_string().into(),
            content_type: "text/plain".into(),
            condition: Condition::Always,
            basis,
            list_when_new: "list".into(),
            time_to_live: None,
            quota: crate::usage::Quota { items: 10_000, bytes: 1 << 20 },
        };
        store.set(set, std::sync::Arc::new(Unrecorded)).await
    };
    set(0, Basis::absent()).await.unwrap();
    let mut acknowledged = vec![0];
    for number in 1..200 {
        if number == 100 {
            server.kill();
        }
        if number == 110 {
            server.restart().unwrap();
        }
        match set(number, Basis::row("list")).await {
            Ok(_) => acknowledged.push(number),
            Err(IoError::Unavailable(_) | IoError::Uncertain(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(acknowledged.len() > 150, "{}", acknowledged.len());
    for number in acknowledged {
        let name = KeyName::parse(&format!("teams/t/nkv/a/keys/{number}")).unwrap();
        let (_, row) = store.get(&name).await.unwrap();
        assert_eq!(row.unwrap().value, number.to_string());
    }
}
