//! Agents without the network: what the domain promises to the adapter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sre_identity::{Acl, Candidate};
use sre_store::sql::Database;
use sre_store::{OpenOptions, Store, StoreError};
use tonic::{Code, Status};

use super::registration::{Created, RegistrationError};
use super::{AgentName, AgentRow, Agents, Aspect, Content, Creation, Record, Registry, Which, document};
use crate::error::AgentError;
use crate::schema::MIGRATIONS;

/// Account, with what may go wrong.
#[derive(Default)]
struct FakeRegistry {
    homes: Mutex<BTreeMap<String, String>>,
    fails: Mutex<Option<Code>>,
}

impl FakeRegistry {
    fn fail(&self, code: Option<Code>) {
        *self.fails.lock().unwrap() = code;
    }

    fn answer(&self) -> Result<(), Status> {
        match *self.fails.lock().unwrap() {
            Some(code) => Err(refusal(code)),
            None => Ok(()),
        }
    }

    fn home(&self, agent: &str) -> Option<String> {
        self.homes.lock().unwrap().get(agent).cloned()
    }
}

#[async_trait]
impl Registry for FakeRegistry {
    async fn register(&self, agent: &str, team: &str) -> Result<(), Status> {
        self.answer()?;
        let mut homes = self.homes.lock().unwrap();
        let home = homes.entry(agent.to_owned()).or_insert_with(|| team.to_owned());
        if home == team { Ok(()) } else { Err(refusal(Code::AlreadyExists)) }
    }

    async fn unregister(&self, agent: &str) -> Result<(), Status> {
        self.answer()?;
        self.homes.lock().unwrap().remove(agent);
        Ok(())
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    agents: Agents,
    registry: Arc<FakeRegistry>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::from(
            Store::open(OpenOptions::new(dir.path().join("agent.db"), "data_dir", MIGRATIONS)).unwrap(),
        );
        let registry = Arc::new(FakeRegistry::default());
        let agents = Agents::new(store, Arc::clone(&registry) as Arc<dyn Registry>, 100);
        Self { _dir: dir, agents, registry }
    }

    async fn create(&self, id: &str, text: &'static str) -> AgentRow {
        match self.agents.create(creation(id, text), nothing()).await.unwrap() {
            Created::New(row) | Created::Before(row) => row,
        }
    }

    async fn now(&self, id: &str) -> AgentRow {
        self.agents.find_anywhere(id).await.unwrap().unwrap().row.clone()
    }
}

fn content(text: &'static str) -> Content {
    Content { document: text.into(), display_name: text.to_owned(), creator: "user/alice".into() }
}

fn creation(id: &str, text: &'static str) -> Creation {
    let acl = Acl::owned_by(&Candidate::user("alice").unwrap()).to_text();
    Creation {
        id: id.into(),
        team: "t".into(),
        content: content(text),
        acl_definition: acl.clone(),
        acl_skills: acl,
        request_id: String::new(),
    }
}

fn refusal(code: Code) -> Status {
    sre_proto::error::status(code, sre_proto::error::Reason::Unspecified, "refused")
}

fn nothing() -> Record {
    Box::new(|_| Ok(()))
}

fn failing() -> Record {
    Box::new(|_| Err(StoreError::Closed))
}

#[tokio::test]
async fn content_names_versions_and_is_stored_once() {
    let fx = Fixture::new();
    let first = fx.create("a", "one").await;
    let digest = document::digest(b"one");
    assert_eq!(first.latest, digest["b3:".len()..][..16]);
    let second = fx.agents.update(&first, "", content("two"), nothing()).await.unwrap();
    assert_ne!(first.latest, second.latest);
    assert_eq!(second.display_name, "two");
    // The same content again is the same version, and no new row.
    let again = fx.agents.update(&second, "", content("two"), nothing()).await.unwrap();
    assert_eq!(again.latest, second.latest);
    let back = fx.agents.update(&second, "", content("one"), nothing()).await.unwrap();
    assert_eq!(back.latest, first.latest);
    let versions = fx.agents.versions(&back, i64::MAX, 10).await.unwrap();
    let names: Vec<_> = versions.iter().map(|row| row.version.as_str()).collect();
    assert_eq!(names, [second.latest.as_str(), first.latest.as_str()], "newest first, two rows");
    let stored = fx.agents.version(&back, Which::Exactly(second.latest)).await.unwrap();
    assert_eq!((&stored.document[..], stored.row.digest.clone()), (&b"two"[..], document::digest(b"two")));
}

#[tokio::test]
async fn an_update_from_an_older_version_is_refused() {
    let fx = Fixture::new();
    let first = fx.create("a", "one").await;
    fx.agents.update(&first, &first.latest, content("two"), nothing()).await.unwrap();
    let stale = fx.agents.update(&first, &first.latest, content("three"), nothing()).await;
    assert!(matches!(stale, Err(AgentError::OtherVersion(_))));
}

#[tokio::test]
async fn deploying_points_and_rolls_back() {
    let fx = Fixture::new();
    let first = fx.create("a", "one").await;
    assert!(matches!(fx.agents.version(&first, Which::Deployed).await, Err(AgentError::NotFound(_))));
    let current = fx.agents.version(&first, Which::Current).await.unwrap();
    assert_eq!(current.row.version, first.latest);
    let second = fx.agents.update(&first, "", content("two"), nothing()).await.unwrap();
    let deployed = fx.agents.deploy(&second, "", nothing()).await.unwrap();
    assert_eq!(deployed.deployed.as_deref(), Some(second.latest.as_str()));
    let back = fx.agents.deploy(&deployed, &first.latest, nothing()).await.unwrap();
    assert_eq!(&fx.agents.version(&back, Which::Current).await.unwrap().document[..], b"one");
    assert_eq!(&fx.agents.version(&back, Which::Latest).await.unwrap().document[..], b"two");
    assert!(matches!(fx.agents.deploy(&back, "nope", nothing()).await, Err(AgentError::NotFound(_))));
}

/// What was acknowledged is seen by the next reader, cache or not.
#[tokio::test]
async fn the_cache_is_never_older_than_an_acknowledged_change() {
    let fx = Fixture::new();
    let mut row = fx.create("a", "one").await;
    for text in ["two", "three", "four"] {
        row = fx.agents.update(&row, "", content(text), nothing()).await.unwrap();
        assert_eq!(fx.now("a").await, row);
        assert_eq!(fx.now("a").await, row);
    }
    fx.agents.delete(&row, nothing()).await.unwrap();
    assert!(fx.agents.find_anywhere("a").await.unwrap().is_none());
    // One of the same id that comes later has nothing of the old one.
    let new = fx.create("a", "five").await;
    let old = fx.agents.version(&new, Which::Exactly(row.latest)).await;
    assert!(matches!(old, Err(AgentError::NotFound(_))));
    fx.agents.sweep().await.unwrap();
    assert_eq!(fx.agents.versions(&new, i64::MAX, 10).await.unwrap().len(), 1);
}

/// H33: a change is not made under another list than the one it was decided on.
#[tokio::test]
async fn h33_a_list_changed_between_check_and_act_is_noticed() {
    let fx = Fixture::new();
    let before = fx.create("a", "one").await;
    let other = Acl::owned_by(&Candidate::user("bob").unwrap()).to_text();
    fx.agents.set_acl(&before, Aspect::Definition, other.clone(), nothing()).await.unwrap();
    let agents = &fx.agents;
    assert!(matches!(agents.update(&before, "", content("x"), nothing()).await, Err(AgentError::AclChanged)));
    assert!(matches!(agents.deploy(&before, "", nothing()).await, Err(AgentError::AclChanged)));
    let acl = agents.set_acl(&before, Aspect::Definition, "x".into(), nothing()).await;
    assert!(matches!(acl, Err(AgentError::AclChanged)));
    let deleted = agents.delete(&before, nothing()).await;
    assert!(matches!(deleted, Err(RegistrationError::Agent(AgentError::AclChanged))));
    // The skills' list is another list.
    agents.set_acl(&before, Aspect::Skills, other.clone(), nothing()).await.unwrap();
    let now = fx.now("a").await;
    assert_eq!((now.latest, now.deployed, now.acl_definition), (before.latest, None, other));
}

#[tokio::test]
async fn what_is_not_recorded_is_not_done() {
    let fx = Fixture::new();
    let row = fx.create("a", "one").await;
    assert!(fx.agents.update(&row, "", content("two"), failing()).await.is_err());
    assert!(fx.agents.delete(&row, failing()).await.is_err());
    assert!(fx.agents.create(creation("b", "one"), failing()).await.is_err());
    assert_eq!(fx.now("a").await, row);
    assert!(fx.agents.find_anywhere("b").await.unwrap().is_none());
    // Account heard of an agent that never came to be: it is taken back.
    assert!(fx.registry.home("b").is_some());
    fx.agents.settle_registrations().await.unwrap();
    assert_eq!((fx.registry.home("b"), fx.registry.home("a").as_deref()), (None, Some("t")));
}

#[tokio::test]
async fn account_and_agents_agree_whatever_fails() {
    let fx = Fixture::new();
    fx.registry.fail(Some(Code::Unavailable));
    let refused = fx.agents.create(creation("a", "one"), nothing()).await;
    assert!(matches!(refused, Err(RegistrationError::Account(_))));
    assert!(fx.agents.find_anywhere("a").await.unwrap().is_none());
    fx.registry.fail(None);
    let row = fx.create("a", "one").await;
    // A deletion is done, though Account hears of it later.
    fx.registry.fail(Some(Code::Unavailable));
    fx.agents.delete(&row, nothing()).await.unwrap();
    assert!(fx.agents.settle_registrations().await.is_err());
    fx.registry.fail(None);
    // The id is free for another team, though the sweep has not run.
    let elsewhere = Creation { team: "u".into(), ..creation("a", "one") };
    fx.agents.create(elsewhere, nothing()).await.unwrap();
    assert_eq!(fx.registry.home("a").as_deref(), Some("u"));
    fx.agents.settle_registrations().await.unwrap();
    assert_eq!(fx.registry.home("a").as_deref(), Some("u"));
}

#[tokio::test]
async fn an_id_is_taken_once_in_the_deployment() {
    let fx = Fixture::new();
    fx.create("a", "one").await;
    for team in ["t", "u"] {
        let second = Creation { team: team.into(), ..creation("a", "one") };
        let refused = fx.agents.create(second, nothing()).await;
        assert!(matches!(refused, Err(RegistrationError::Agent(AgentError::Exists(_)))));
    }
    assert_eq!(fx.registry.home("a").as_deref(), Some("t"));
    // An id that only Account knows is not ours to take, nor to give back.
    fx.registry.homes.lock().unwrap().insert("b".into(), "u".into());
    let refused = fx.agents.create(creation("b", "one"), nothing()).await;
    assert!(matches!(refused, Err(RegistrationError::Agent(AgentError::Exists(_)))));
    fx.agents.settle_registrations().await.unwrap();
    assert_eq!(fx.registry.home("b").as_deref(), Some("u"));
}

/// H12: an agent is found in its own team alone, whatever a name claims.
#[tokio::test]
async fn h12_a_name_with_another_team_finds_nothing() {
    let fx = Fixture::new();
    fx.create("a", "one").await;
    let name = |name: &str| AgentName::parse("name", name).unwrap();
    assert!(fx.agents.find(&name("teams/t/agents/a")).await.unwrap().is_some());
    assert!(fx.agents.find(&name("teams/u/agents/a")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_repeated_request_creates_once() {
    let fx = Fixture::new();
    let request = |text| Creation { request_id: "r".into(), ..creation("a", text) };
    let first = fx.agents.create(request("one"), nothing()).await.unwrap();
    let again = fx.agents.create(request("one"), nothing()).await.unwrap();
    match (first, again) {
        (Created::New(first), Created::Before(again)) => assert_eq!(first, again),
        other => panic!("{other:?}"),
    }
    let reused = fx.agents.create(request("two"), nothing()).await;
    assert!(matches!(reused, Err(RegistrationError::Agent(AgentError::RequestReused(_)))));
}

#[tokio::test]
async fn old_versions_go_but_not_those_that_are_pointed_at() {
    let mut fx = Fixture::new();
    fx.agents.max_versions = 3;
    let first = fx.create("a", "1").await;
    let mut row = fx.agents.deploy(&first, "", nothing()).await.unwrap();
    for text in ["2", "3", "4", "5"] {
        row = fx.agents.update(&row, "", content(text), nothing()).await.unwrap();
    }
    let versions = fx.agents.versions(&row, i64::MAX, 10).await.unwrap();
    let mut documents = Vec::new();
    for version in versions {
        let stored = fx.agents.version(&row, Which::Exactly(version.version)).await.unwrap();
        documents.push(String::from_utf8(stored.document.to_vec()).unwrap());
    }
    // Three are kept, and the deployed one besides.
    assert_eq!(documents, ["5", "4", "3", "1"]);
}
