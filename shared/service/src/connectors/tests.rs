use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use sre_proto::error::reason;
use sre_proto::types::v1::Reason;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::testing::TestSuite;
use crate::{Config, Role};

/// What the toys of a data folder did, and which of them are sick.
#[derive(Default)]
struct World {
    events: Vec<String>,
    sick: Vec<String>,
    instances: Option<Instances<dyn Toy>>,
}

static WORLDS: LazyLock<Mutex<BTreeMap<PathBuf, World>>> = LazyLock::new(Mutex::default);

fn world<T>(dir: &Path, work: impl FnOnce(&mut World) -> T) -> T {
    work(WORLDS.lock().entry(dir.to_owned()).or_default())
}

trait Toy: Connector {
    fn word(&self) -> &str;
}

struct Real {
    id: String,
    word: String,
    dir: PathBuf,
    closes: bool,
}

#[async_trait]
impl Connector for Real {
    async fn check(&self) -> Result<(), Unhealthy> {
        match world(&self.dir, |world| world.sick.contains(&self.id)) {
            true => Err(Unhealthy::new("has a cold")),
            false => Ok(()),
        }
    }

    async fn close(&self) {
        world(&self.dir, |world| world.events.push(format!("close {}", self.id)));
        if !self.closes {
            std::future::pending::<()>().await;
        }
    }
}

impl Toy for Real {
    fn word(&self) -> &str {
        &self.word
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    word: String,
    opens: bool,
    closes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { word: String::new(), opens: true, closes: true }
    }
}

async fn open(opening: Opening) -> anyhow::Result<Arc<dyn Toy>> {
    let Settings { word, opens, closes } = opening.settings()?;
    let (id, dir) = (opening.id, opening.data_dir);
    if !opens {
        std::future::pending::<()>().await;
    }
    world(&dir, |world| {
        anyhow::ensure!(!world.sick.contains(&id), "is not at home");
        world.events.push(format!("open {id}"));
        Ok(())
    })?;
    Ok(Arc::new(Real { id, word, dir, closes }))
}

static TOYS: Registry<dyn Toy> = Registry {
    role: Role::Io,
    service: "nkv",
    kinds: &[
        Kind { name: "wooden", open: |it| Box::pin(open(it)), check: Opening::check::<Settings> },
        crate::connector_compiled_out!("electric", "sre-io/electric"),
    ],
    built_in: "wooden",
};

async fn start(host: crate::Host) -> anyhow::Result<Routes> {
    let sick = host.config().gateway.hosts.keys().cloned().collect();
    world(host.data_dir(), |world| world.sick = sick);
    let instances = TOYS.open(&host).await?;
    world(host.data_dir(), |world| world.instances = Some(instances));
    Ok(Routes::default())
}

fn config(toml: &str) -> Config {
    toml::from_str(toml).unwrap()
}

/// A suite of one role with the connectors of this configuration; `sick` ones do not open.
async fn suite(toml: &str, sick: &[&str]) -> anyhow::Result<TestSuite> {
    let connectors = config(toml).connectors;
    let builder = TestSuite::builder().role(Role::Io, start).config(|config| {
        config.connectors = connectors;
        // Any list of names that reaches `start`.
        config.gateway.hosts = sick.iter().map(|id| ((*id).to_owned(), String::new())).collect();
    });
    builder.build().await
}

fn instances(suite: &TestSuite) -> Instances<dyn Toy> {
    world(suite.data_dir(), |world| world.instances.clone()).unwrap()
}

async fn fails(toml: &str) -> String {
    format!("{:#}", suite(toml, &[]).await.unwrap_err())
}

const TWO: &str = "[[connectors.nkv]]\nConnector = 'wooden'\nId = 'a'\nSettings = {word = 'one'}\n\
                   [[connectors.nkv]]\nConnector = 'wooden'\nId = 'b'\nDefault = true\nSettings = {word = 'two'}\n";

/// services.md D1: an unknown connector, and settings it does not know, end the start.
#[tokio::test]
async fn d1_an_unknown_connector_or_setting_ends_the_start_and_names_the_nearest() {
    let text = fails("[connectors.nkv]\nConnector = 'woden'").await;
    assert!(text.contains("`woden`") && text.contains("did you mean `wooden`?"), "{text}");
    assert!(text.contains("electric"), "{text}");
    let text = fails("[connectors.nkv]\nConnector = 'wooden'\nSettings = {wird = 'x'}").await;
    assert!(text.contains("nkv/wooden") && text.contains("did you mean `word`?"), "{text}");
}

/// services.md D1: no proxy that hangs; the answer is there at once and names service and id.
#[tokio::test]
async fn d1_an_unknown_instance_is_a_failed_precondition_at_once() {
    let suite = suite(TWO, &[]).await.unwrap();
    let status = Status::from(instances(&suite).get("c").unwrap_err());
    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, Some(Reason::InstanceUnknown)));
    assert!(status.message().contains("nkv") && status.message().contains("\"c\""), "{status}");
    suite.stop().await;
}

/// services.md D2: instances are known by their ids; two of one connector are two.
#[tokio::test]
async fn d2_two_instances_of_one_connector_are_two_and_need_ids() {
    let suite = suite(TWO, &[]).await.unwrap();
    let instances = instances(&suite);
    assert_eq!(instances.get("a").unwrap().word(), "one");
    assert_eq!(instances.get("b").unwrap().word(), "two");
    assert_eq!((instances.default().id(), instances.get("").unwrap().id()), ("b", "b"));
    assert_eq!(instances.all().iter().map(|it| it.id().to_owned()).collect::<Vec<_>>(), ["a", "b"]);
    suite.stop().await;
    let twice = "[[connectors.nkv]]\nConnector = 'wooden'\n[[connectors.nkv]]\nConnector = 'wooden'";
    assert!(fails(twice).await.contains("two entries have the id \"wooden\""));
}

#[tokio::test]
async fn without_configuration_the_built_in_one_is_there() {
    let suite = suite("", &[]).await.unwrap();
    assert_eq!(instances(&suite).default().id(), "wooden");
    suite.stop().await;
}

#[tokio::test]
async fn what_this_build_leaves_out_names_its_feature() {
    let text = fails("[connectors.nkv]\nConnector = 'electric'").await;
    assert!(text.contains("--features sre-io/electric"), "{text}");
}

/// services.md D3: states are what the backend says, not what a timer says.
#[tokio::test(start_paused = true)]
async fn d3_health_follows_the_backend_by_instance() {
    let suite = suite(TWO, &[]).await.unwrap();
    let mut client = HealthClient::new(suite.link_as("service/edge", Role::Io));
    let watch = HealthCheckRequest { service: "sre.nkv/a".into() };
    let mut states = client.watch(watch).await.unwrap().into_inner();
    let mut next = async || states.message().await.unwrap().unwrap().status();
    let first = next().await;
    // The watch may begin before the first probe.
    if first == ServingStatus::ServiceUnknown {
        assert_eq!(next().await, ServingStatus::Serving);
    }
    world(suite.data_dir(), |world| world.sick.push("a".into()));
    assert_eq!(next().await, ServingStatus::NotServing);
    let listed = list(suite.host(Role::Io), false).await;
    assert_eq!((listed[0].reason.as_str(), listed[1].reason.as_str()), ("has a cold", ""));
    assert!(listed[0].probe_time.is_some());
    let other = HealthCheckRequest { service: "sre.nkv/b".into() };
    assert_eq!(client.check(other).await.unwrap().into_inner().status(), ServingStatus::Serving);
    world(suite.data_dir(), |world| world.sick.clear());
    assert_eq!(next().await, ServingStatus::Serving);
    suite.stop().await;
}

/// services.md D4 and D56: opened in order, closed in reverse order, each once and waited for.
#[tokio::test(start_paused = true)]
async fn d4_and_d56_instances_are_closed_once_in_reverse_order_and_one_that_hangs_is_left() {
    let hanging = TWO.replace("word = 'two'", "closes = false");
    let suite = suite(&hanging, &[]).await.unwrap();
    let dir = suite.data_dir().to_owned();
    let begin = Instant::now();
    suite.stop().await;
    let took = begin.elapsed();
    assert_eq!(world(&dir, |world| world.events.clone()), ["open a", "open b", "close b", "close a"]);
    assert!(took >= table::CLOSE_DEADLINE && took < table::CLOSE_DEADLINE * 2, "{took:?}");
}

/// services.md D4: a start that fails closes what it had opened.
#[tokio::test]
async fn d4_a_start_that_fails_closes_what_was_open() {
    let seen: Vec<PathBuf> = WORLDS.lock().keys().cloned().collect();
    let broken = TWO.replace("Id = 'b'", "Id = 'breaks-the-start'");
    let error = suite(&broken, &["breaks-the-start"]).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("nkv/breaks-the-start") && text.contains("is not at home"), "{text}");
    let worlds = WORLDS.lock();
    let mine = worlds.iter().filter(|(dir, _)| !seen.contains(dir));
    let closed = mine.filter(|(_, world)| world.sick == ["breaks-the-start"]);
    let events: Vec<_> = closed.map(|(_, world)| world.events.clone()).collect();
    assert_eq!(events, [vec!["open a".to_owned(), "close a".to_owned()]]);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_open_in_time_ends_the_start() {
    let begin = Instant::now();
    let text = fails("[connectors.nkv]\nConnector = 'wooden'\nSettings = {opens = false}").await;
    assert!(text.contains("did not open within 60 s"), "{text}");
    assert!(begin.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn an_optional_one_may_come_later() {
    let optional = TWO.replace("Id = 'a'", "Id = 'a'\nOptional = true");
    let suite = suite(&optional, &["a"]).await.unwrap();
    let instances = instances(&suite);
    let status = Status::from(instances.get("a").unwrap_err());
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some(Reason::BackendUnavailable)));
    assert_eq!(list(suite.host(Role::Io), true).await[0].reason, "is not at home");
    world(suite.data_dir(), |world| world.sick.clear());
    // Tried again every 30 s of a clock that is paused.
    let opened = tokio::time::timeout(Duration::from_secs(120), async {
        while instances.get("a").is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    opened.await.unwrap();
    assert_eq!(instances.get("a").unwrap().word(), "one");
    suite.stop().await;
}

#[tokio::test]
async fn a_configuration_is_checked_and_probed_without_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&format!(
        "{TWO}[[connectors.nkv]]\nConnector = 'woden'\n[[connectors.nkv]]\nConnector = 'wooden'\n\
         Settings = {{wird = 1}}"
    ));
    config.data_dir = dir.path().to_owned();
    let config = config.shared();
    let found = TOYS.check(&config);
    let problems: Vec<bool> = found.iter().map(|finding| finding.problem.is_some()).collect();
    assert_eq!(problems, [false, false, true, true], "{found:?}");
    assert!(world(dir.path(), |world| world.events.is_empty()), "checking opens nothing");
    world(dir.path(), |world| world.sick.push("a".into()));
    let found = TOYS.probe(&config, Some("a")).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].problem.as_deref(), Some("is not at home"));
    let found = TOYS.probe(&config, Some("b")).await;
    assert_eq!((found[0].problem.as_deref(), found[0].is_default), (None, true));
    assert_eq!(world(dir.path(), |world| world.events.clone()), ["open b", "close b"]);
}
