//! Everything that proves who is who rotates while a split suite works: certificates of every role, the authority
//! with its bundle, the keys that sign tokens. Every connection lives for moments only, so that each new one meets
//! the certificates of its moment. No call fails.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sre_proto::security::v1::GetSelfRequest;
use sre_proto::security::v1::account_client::AccountClient;
use sre_service::first_start::Identities;
use sre_service::{Config, Link, Role};

use crate::harness::agents::hasher;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, eventually, logs};

const CALLERS: usize = 4;
const ROUNDS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// What runs all the time.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn new() -> Self {
        Self { stop: Arc::default(), calls: Arc::default(), failures: Arc::default(), tasks: Vec::new() }
    }

    #[expect(clippy::disallowed_methods, reason = "load of a test alone")]
    fn add<F, Fut>(&mut self, call: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send,
    {
        let (stop, calls, failures) =
            (Arc::clone(&self.stop), Arc::clone(&self.calls), Arc::clone(&self.failures));
        self.tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Acquire) {
                match call().await {
                    Ok(()) => drop(calls.fetch_add(1, Ordering::AcqRel)),
                    Err(failure) => failures.lock().unwrap().push(failure),
                }
            }
        }));
    }

    /// Waits for more calls: what was changed was used.
    async fn more(&self, count: usize) {
        let seen = self.calls.load(Ordering::Acquire);
        let enough = async || (self.calls.load(Ordering::Acquire) >= seen + count).then_some(());
        eventually("more calls", PATIENCE, enough).await;
        assert_eq!(*self.failures.lock().unwrap(), Vec::<String>::new());
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert_eq!(*self.failures.lock().unwrap(), Vec::<String>::new());
        self.calls.load(Ordering::Acquire)
    }
}

/// How often each role has taken over certificates, by the logs of their processes.
fn reloads(folder: &Path) -> usize {
    logs::count(folder, "certificate reloaded")
}

/// Does something to the certificates, and waits until every role has taken it over.
async fn taken_over(folder: &Path, words: &[&str]) {
    let before = reloads(folder);
    say(folder, words).await.ok();
    // Bundle and certificates are files of their own, so a role may reload twice: it is over when nobody did for a
    // while, ten looks of theirs.
    let last = Cell::new((reloads(folder), Instant::now()));
    let all = async || {
        let now = reloads(folder);
        if now != last.get().0 {
            last.set((now, Instant::now()));
        }
        (now >= before + Role::ALL.len() && last.get().1.elapsed() > Duration::from_secs(1)).then_some(())
    };
    eventually(&words.join(" "), PATIENCE, all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_authorities_and_signing_keys_rotate_without_a_failed_call() {
    let options = Options::default()
        .set("certs.reload_interval_ms", 100)
        .set("deadlines.connection_age_ms", 300)
        // As many handshakes as this makes are slow on a machine that also does other tests; no role is away here.
        .set("deadlines.connect_ms", 900)
        .set("deadlines.unavailable_ms", 900)
        .set("deadlines.key_refresh_ms", 500)
        .set("security.token_ttl_seconds", 6);
    let suite = Suite::start("rotation", Mode::Split, options).await;
    let folder = suite.folder().to_owned();
    suite.client("user/dev").put("teams/default/agents/hasher", &hasher("hasher")).await.unwrap();

    let mut load = Load::new();
    let (http, key) = (reqwest::Client::new(), suite.dev_key());
    let url = format!("http://{}/api/hash", suite.address("http"));
    for _ in 0..CALLERS {
        let (http, url, key) = (http.clone(), url.clone(), key.clone());
        // The edge, the engine, agent, memory and security: over their links.
        load.add(move || {
            let body = json!({ "text": "hello" }).to_string();
            let request = http.post(&url).header("x-agent-id", "hasher").bearer_auth(&key).body(body);
            async move {
                let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                if status == 200 { Ok(()) } else { Err(format!("{status}: {text}")) }
            }
        });
    }
    // A client with a certificate of its own, which is renewed like those of the roles.
    let mut config = Config::in_dir(&folder);
    config.deadlines.connection_age_ms = 300;
    config.deadlines.connect_ms = 900;
    config.deadlines.unavailable_ms = 900;
    config.endpoints.0.insert(Role::Edge, vec![suite.address("edge")]);
    let config = config.shared();
    let identities = Identities::new(&config);
    let client = identities.source(&"user/dev".parse().unwrap()).unwrap();
    let link = Link::client(config, &client, Role::Edge);
    for _ in 0..CALLERS {
        let link = link.clone();
        load.add(move || {
            let mut account = AccountClient::new(link.clone());
            async move {
                account.get_self(GetSelfRequest {}).await.map(drop).map_err(|status| format!("{status:?}"))
            }
        });
    }
    let renew_client = || {
        let fresh = identities.source(&"user/dev".parse().unwrap()).unwrap();
        client.replace(fresh.svid(), fresh.roots()).unwrap();
    };

    load.more(20).await;
    for _ in 0..ROUNDS {
        taken_over(&folder, &["certs", "renew"]).await;
        renew_client();
        load.more(40).await;
        say(&folder, &["certs", "rotate-signing-key"]).await.ok();
        load.more(40).await;
        for step in ["stage", "activate", "retire"] {
            taken_over(&folder, &["certs", "rotate-authority", step]).await;
            renew_client();
            load.more(40).await;
        }
    }
    // Tokens of the first key have ended by now, and are exchanged for others.
    let calls = load.end().await;
    println!("{calls} calls over {ROUNDS} rounds of rotation, none failed");
    suite.stop().await;
}
