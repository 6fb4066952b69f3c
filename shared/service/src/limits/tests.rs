use std::time::Duration;

use sre_proto::compute::v1::ExecuteCodeRequest;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::error::{reason, retry_after};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::*;
use crate::accounts::TeamRole;
use crate::testing::TestSuite;
use crate::testing::scripted::{Script, Scripted};
use crate::{Config, Link};

async fn suite(script: Arc<Script>, change: impl FnOnce(&mut Config)) -> TestSuite {
    TestSuite::builder()
        .role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&script)))
        .member("user/ann", "red", TeamRole::Member)
        .member("user/bob", "red", TeamRole::Member)
        .member("user/eve", "blue", TeamRole::Member)
        .config(change)
        .build()
        .await
        .unwrap()
}

async fn execute(link: &Link, source: &str) -> Result<(), Status> {
    let parent = "teams/red/agents/helper".to_owned();
    let request = ExecuteCodeRequest { parent, source: source.to_owned(), ..Default::default() };
    CodeClient::new(link.clone()).execute_code(Request::new(request)).await.map(|_| ())
}

/// What was let through to the authorization, which may refuse by its own rules.
fn is_limited(answer: &Result<(), Status>) -> bool {
    answer.as_ref().is_err_and(|status| reason(status) == Some(Reason::RateLimited))
}

fn set(config: &mut Config, team: &str, limit: TeamLimit, value: u64) {
    config.limits.teams.entry(team.to_owned()).or_default().insert(limit.name().to_owned(), value);
}

#[tokio::test]
async fn a_team_beyond_its_rate_is_refused_and_no_other() {
    let suite = suite(Arc::default(), |config| {
        config.limits.team.burst_ms = 5_000;
        set(config, "red", TeamLimit::CallsPerSecond, 1);
    });
    let suite = suite.await;
    let (ann, bob, eve) = (
        suite.link_as("user/ann", Role::Compute),
        suite.link_as("user/bob", Role::Compute),
        suite.link_as("user/eve", Role::Compute),
    );
    for call in 0..5 {
        let link = if call % 2 == 0 { &ann } else { &bob };
        assert!(!is_limited(&execute(link, "fine").await), "{call}");
    }
    // The members share what the team may.
    let refused = execute(&bob, "fine").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, Some(Reason::RateLimited)));
    let wait = retry_after(&refused).unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    let info = refused.get_details_error_info().unwrap().metadata;
    assert_eq!((info["limit"].as_str(), info["value"].as_str()), ("calls_per_second", "1"));
    assert_eq!((info["team"].as_str(), info["role"].as_str()), ("red", "compute"));
    let mut refused = 0;
    for _ in 0..20 {
        assert!(!is_limited(&execute(&eve, "fine").await));
        refused += usize::from(is_limited(&execute(&ann, "fine").await));
    }
    // A token a second flows in, however slow the machine is.
    assert!(refused >= 10, "{refused}");
    // However many there were, one is on record.
    let records = suite.audit_records().await;
    let limited: Vec<_> = records.iter().filter(|record| record.reason == "RATE_LIMITED").collect();
    assert_eq!((limited.len(), limited[0].team.as_str()), (1, "red"), "{limited:?}");
    assert_eq!(limited[0].subject, "user/bob");
    suite.stop().await;
}

#[tokio::test]
async fn a_caller_has_a_limit_within_its_teams() {
    let suite = suite(Arc::default(), |config| {
        config.limits.team.burst_ms = 2_000;
        set(config, "red", TeamLimit::SubjectCallsPerSecond, 1);
    });
    let suite = suite.await;
    let (ann, bob) = (suite.link_as("user/ann", Role::Compute), suite.link_as("user/bob", Role::Compute));
    for _ in 0..2 {
        assert!(!is_limited(&execute(&ann, "fine").await));
    }
    let refused = execute(&ann, "fine").await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().metadata["limit"], "subject_calls_per_second");
    assert!(!is_limited(&execute(&bob, "fine").await));
    suite.stop().await;
}

#[tokio::test]
async fn what_account_says_goes_before_the_configuration() {
    let suite = suite(Arc::default(), |config| set(config, "red", TeamLimit::CallsPerSecond, 1_000)).await;
    suite.stand_in().set_limit("red", "calls_per_second", 0);
    let ann = suite.link_as("user/ann", Role::Compute);
    assert!(is_limited(&execute(&ann, "fine").await));
    let quota = |team: &'static str| {
        let limits = suite.host(Role::Compute).limits().clone();
        async move { limits.quota(team, HolderQuota::VALUES).await.unwrap() }
    };
    suite.stand_in().set_member("team/red", "red", TeamRole::Member);
    suite.stand_in().set_limit("red", "values", 7);
    assert_eq!(quota("red").await, Quota { items: 7, bytes: 2 << 30 });
    assert_eq!(quota("blue").await, Quota { items: 1_000_000, bytes: 2 << 30 });
    suite.stop().await;
}

/// Strangers share one pot: a caller that makes up names has no more than one.
#[tokio::test]
async fn callers_without_a_team_share_a_limit() {
    let suite = suite(Arc::default(), |config| {
        config.limits.team.calls_per_second = 1;
        config.limits.team.burst_ms = 3_000;
    });
    let suite = suite.await;
    let mut refused = 0;
    for name in 0..9 {
        let link = suite.link_as(&format!("user/stranger-{name}"), Role::Compute);
        refused += usize::from(is_limited(&execute(&link, "fine").await));
    }
    assert!((3..=6).contains(&refused), "{refused}");
    suite.stop().await;
}

/// A team whose calls all hang takes its share of the places, and others still find one.
#[tokio::test]
async fn hanging_calls_of_one_team_leave_places_for_others() {
    let script = Arc::new(Script::default());
    let suite = suite(Arc::clone(&script), |config| {
        config.limits.max_concurrent_by_role.insert(Role::Compute, 4);
        config.deadlines.drain_ms = 50;
    });
    let suite = suite.await;
    suite.stand_in().set_member("agent/helper", "red", TeamRole::Member);
    let helper = suite.link_as("agent/helper", Role::Compute);
    let mut hanging = Vec::new();
    for _ in 0..3 {
        let link = helper.clone();
        hanging.push(crate::task::spawn("hanging", async move { execute(&link, "hang").await }));
        script.entered.notified().await;
    }
    let refused = execute(&helper, "fine").await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().metadata["limit"], "concurrent", "{refused:?}");
    assert!(!is_limited(&execute(&suite.link_as("user/eve", Role::Compute), "fine").await));
    hanging.into_iter().for_each(|task| task.abort());
    suite.stop().await;
}

/// Services that act for nobody are not limited: their calls follow from those that were.
#[tokio::test]
async fn calls_of_services_for_themselves_pass() {
    let suite = suite(Arc::default(), |config| config.limits.team.calls_per_second = 1).await;
    for _ in 0..20 {
        let accounts = suite.host(Role::Compute).accounts();
        accounts.forget(&Candidate::user("ann").unwrap()).await;
        assert!(accounts.resolve(&Candidate::user("ann").unwrap()).await.is_ok());
    }
    suite.stop().await;
}
