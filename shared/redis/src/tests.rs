//! Against real servers: alone, with a password and TLS, behind Sentinels, as a cluster; stopped and frozen.

use std::time::{Duration, Instant};

use crate::testing::{AnyServer, Server, free_port};
use crate::{Effect, Hosts, Redis, RedisError, RedisSettings, Script, cmd};

fn quick(settings: RedisSettings) -> RedisSettings {
    RedisSettings { connect_timeout_ms: 500, command_timeout_ms: 1_000, retry_ms: 200, ..settings }
}

async fn put(redis: &Redis, key: &str, value: &str) -> Result<(), RedisError> {
    redis.query(cmd("SET").arg(key).arg(value), Effect::Write).await
}

async fn get(redis: &Redis, key: &str) -> Result<Option<String>, RedisError> {
    redis.query(cmd("GET").arg(key), Effect::Read).await
}

#[tokio::test]
async fn commands_and_scripts_run() {
    let server = AnyServer::get().unwrap();
    let redis = Redis::open(&server.settings("sre")).await.unwrap();
    let key = format!("sre-redis:{}", std::process::id());
    put(&redis, &key, "1").await.unwrap();
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    // The first call teaches the server the script.
    for sum in [3_i64, 5] {
        let call = script.keys(&[&key]).arg(2);
        assert_eq!(call.run::<i64>(&redis, Effect::Write).await.unwrap(), sum);
    }
    let wrong: Result<i64, _> = redis.query(cmd("HGET").arg(&key).arg("x"), Effect::Read).await;
    assert!(matches!(wrong, Err(RedisError::Refused { .. })), "{wrong:?}");
    let _: i64 = redis.query(cmd("DEL").arg(&key), Effect::Write).await.unwrap();
}

/// D27: a password, and the number of a database.
#[tokio::test]
async fn d27_a_password_and_a_database_are_used() {
    let server = Server::start(&["--requirepass", "s3cret"]).unwrap();
    let without = Redis::open(&quick(server.settings("sre"))).await.unwrap_err();
    assert!(matches!(without, RedisError::Refused { .. }), "{without:?}");
    let wrong = RedisSettings { password: Some("wrong".to_owned().into()), ..server.settings("sre") };
    let wrong = Redis::open(&quick(wrong)).await.unwrap_err();
    assert!(matches!(wrong, RedisError::Refused { .. }), "{wrong:?}");
    let right = RedisSettings { password: Some("s3cret".to_owned().into()), ..server.settings("sre") };
    let first = Redis::open(&right).await.unwrap();
    put(&first, "k", "1").await.unwrap();
    let second = Redis::open(&RedisSettings { db: Some(2), ..right }).await.unwrap();
    assert_eq!(get(&second, "k").await.unwrap(), None);
}

/// D27: TLS with a verified certificate, and a client's own where the server asks for it.
#[tokio::test]
async fn d27_tls_is_spoken_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    // A name of its own: a leaf named like its issuer passes for one that signed itself.
    params.distinguished_name.push(rcgen::DnType::CommonName, "the authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority);
    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(path("leaf.pem"), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(path("leaf.key"), key.serialize_pem()).unwrap();
    let tls_port = free_port().unwrap();
    let server = Server::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &path("leaf.pem"),
        "--tls-key-file",
        &path("leaf.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "yes",
    ])
    .unwrap();
    let settings = RedisSettings {
        tls_ca: Some(path("ca.pem").into()),
        tls_cert: Some(path("leaf.pem").into()),
        tls_key: Some(path("leaf.key").into()),
        ..RedisSettings::at(format!("rediss://127.0.0.1:{tls_port}"))
    };
    let redis = Redis::open(&settings).await.unwrap();
    put(&redis, "k", "1").await.unwrap();
    assert_eq!(get(&redis, "k").await.unwrap().as_deref(), Some("1"));
    // Without its own certificate, and by an authority that is not trusted, there is no connection.
    for wrong in [
        RedisSettings { tls_cert: None, tls_key: None, ..settings.clone() },
        RedisSettings { tls_ca: Some(path("leaf.pem").into()), ..settings.clone() },
        RedisSettings { tls: Some(false), ..settings.clone() },
    ] {
        assert!(Redis::open(&quick(wrong)).await.is_err());
    }
    drop(server);
}

#[tokio::test]
async fn a_stopped_server_is_an_error_in_time_and_comes_back_by_itself() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    let redis = Redis::open(&quick(server.settings("sre"))).await.unwrap();
    put(&redis, "k", "1").await.unwrap();
    server.kill();
    let began = Instant::now();
    // Each connection finds out for itself; after that it is known that nothing was sent.
    for _ in 0..2 {
        let failed = put(&redis, "k", "2").await.unwrap_err();
        assert!(matches!(failed, RedisError::Unavailable { .. } | RedisError::NoAnswer { .. }), "{failed:?}");
    }
    let failed = put(&redis, "k", "2").await.unwrap_err();
    assert!(matches!(failed, RedisError::Unavailable { .. }), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    server.restart().unwrap();
    put(&redis, "k2", "3").await.unwrap();
    // What was acknowledged is there.
    assert_eq!(get(&redis, "k").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_frozen_server_is_an_error_in_time_and_reads_go_on_after_it() {
    let server = Server::start(&[]).unwrap();
    let redis = Redis::open(&quick(server.settings("sre"))).await.unwrap();
    put(&redis, "k", "1").await.unwrap();
    server.freeze();
    let failed = put(&redis, "k", "2").await.unwrap_err();
    assert!(matches!(failed, RedisError::NoAnswer { .. } | RedisError::Unavailable { .. }), "{failed:?}");
    server.thaw();
    assert!(get(&redis, "k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = Server::start(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]).unwrap();
    let redis = Redis::open(&server.settings("sre")).await.unwrap();
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]) return 'done'");
    let large = "x".repeat(1 << 20);
    let mut last = Ok(String::new());
    for n in 0..4 {
        last = script.keys(&[format!("k{n}")]).arg(&large).run::<String>(&redis, Effect::Write).await;
    }
    assert!(matches!(last, Err(RedisError::Full { .. })), "{last:?}");
}

#[tokio::test]
async fn a_cluster_is_one_store() {
    let server = Server::start(&["--cluster-enabled", "yes"]).unwrap();
    let alone = Redis::open(&server.settings("sre")).await.unwrap();
    let slots = cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).to_owned();
    let _: String = alone.query(&slots, Effect::Write).await.unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let info: String = alone.query(cmd("CLUSTER").arg("INFO"), Effect::Read).await.unwrap();
        if info.contains("cluster_state:ok") {
            break;
        }
        assert!(Instant::now() < end, "{info}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let hosts = Some(Hosts::Text(format!("127.0.0.1:{}", server.port())));
    let settings = RedisSettings { hosts, cluster: true, ..RedisSettings::default() };
    let redis = Redis::open(&settings).await.unwrap();
    put(&redis, "k", "1").await.unwrap();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    assert_eq!(script.keys(&["k"]).run::<i64>(&redis, Effect::Write).await.unwrap(), 2);
}

/// Three processes: master, replica, Sentinel. The master dies, the replica takes over, and the handle finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_master_is_found() {
    let mut master = Server::start(&[]).unwrap();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port().to_string()]).unwrap();
    let sentinel = Server::sentinel("watched", master.port()).unwrap();
    let settings = RedisSettings {
        hosts: Some(Hosts::Text(format!("127.0.0.1:{}", sentinel.port()))),
        name: Some("watched".into()),
        ..quick(RedisSettings::default())
    };
    let redis = Redis::open(&settings).await.unwrap();
    put(&redis, "k", "1").await.unwrap();
    // Replicated, and the Sentinel knows the replica: only then can it take over.
    let at_replica = Redis::open(&replica.settings("sre")).await.unwrap();
    let at_sentinel = Redis::open(&sentinel.settings("sre")).await.unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let known: Vec<redis::Value> =
            at_sentinel.query(cmd("SENTINEL").arg("REPLICAS").arg("watched"), Effect::Read).await.unwrap();
        let copied = get(&at_replica, "k").await.unwrap_or_default();
        if copied.as_deref() == Some("1") && known.len() == 1 {
            break;
        }
        assert!(Instant::now() < end, "the replica never caught up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    master.kill();
    let end = Instant::now() + Duration::from_secs(60);
    while put(&redis, "k", "2").await.is_err() {
        assert!(Instant::now() < end, "no failover within a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(get(&redis, "k").await.unwrap().as_deref(), Some("2"));
    assert_eq!(get(&at_replica, "k").await.unwrap().as_deref(), Some("2"));
}
