//! What one team asks for costs no other: limits at the doors, and who may set them.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sre_proto::error::{Reason, reason, retry_after};
use sre_proto::io::v1::quotas_client::QuotasClient;
use sre_proto::io::v1::{GetValueRequest, KeyValue, ListQuotasRequest, SetValueRequest};
use sre_proto::security::v1::{
    CreateTeamRequest, Member, SetMemberRequest, SetSettingRequest, Setting, TeamRole,
};
use sre_proto::types::v1::{Candidate, Role};
use tonic::{Code, Status};

use crate::harness::agents::hasher;
use crate::harness::clients::Client;
use crate::harness::{Mode, Options, Suite, eventually, process};

const LIMIT: u64 = 20;

fn options() -> Options {
    Options::default().set("limits.teams", format!("{{ noisy = {{ edge_calls_per_second = {LIMIT} }} }}"))
}

/// A team with one user, who is its admin.
async fn team(suite: &Suite, team: &str, user: &str) -> Client {
    let dev = suite.client("user/dev");
    dev.account().create_team(CreateTeamRequest { team_id: team.into(), team: None }).await.unwrap();
    let candidate = Some(Candidate { role: Role::User.into(), id: user.into() });
    let member = Some(Member { candidate, role: TeamRole::Admin.into(), home: false });
    dev.account().set_member(SetMemberRequest { parent: format!("teams/{team}"), member }).await.unwrap();
    suite.client(&format!("user/{user}"))
}

async fn put(client: &Client) -> Result<(), Status> {
    let value = KeyValue { name: "teams/-/nkv/n/keys/k".into(), value: "1".into(), ..KeyValue::default() };
    let request = SetValueRequest { value: Some(value), ..SetValueRequest::default() };
    client.nkv().set_value(request).await.map(|_| ())
}

async fn get(client: &Client) -> Result<(), Status> {
    client
        .nkv()
        .get_value(GetValueRequest { name: "teams/-/nkv/n/keys/k".into(), ..Default::default() })
        .await
        .map(|_| ())
}

/// Acceptance 6, without its clock: the bench `neighbour` measures latencies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_team_is_refused_and_its_neighbour_sees_no_error() {
    let suite = Suite::start("neighbour", Mode::AllInOne, options()).await;
    let (noisy, quiet) = (team(&suite, "noisy", "loud").await, team(&suite, "quiet", "calm").await);
    put(&quiet).await.unwrap();
    put(&noisy).await.unwrap();

    let started = Instant::now();
    let flood = async {
        let mut answers = Vec::new();
        for _ in 0..100 {
            answers.extend(join_all((0..100).map(|_| get(&noisy))).await);
        }
        answers
    };
    let calm = async {
        let mut answers = Vec::new();
        for _ in 0..50 {
            answers.push(get(&quiet).await);
        }
        answers
    };
    let (flood, calm) = tokio::join!(flood, calm);
    let failed: Vec<_> = calm.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let (let_through, refused): (Vec<_>, Vec<_>) = flood.into_iter().partition(Result::is_ok);
    // A full bucket, and what flowed in meanwhile.
    let at_most = LIMIT + LIMIT * (started.elapsed().as_secs() + 1);
    assert!(let_through.len() as u64 <= at_most, "{} of at most {at_most}", let_through.len());
    // Refusals in any number close no connection: nobody's call ends with it.
    for status in refused.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((status.code(), reason(status)), (Code::ResourceExhausted, Some(Reason::RateLimited)));
        assert!(retry_after(status).is_some(), "{status:?}");
    }
    assert!(refused.len() > 5_000, "{}", refused.len());
    suite.stop().await;
}

/// The HTTP door has the same limit: 429, and when to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_door_answers_429_with_retry_after() {
    let options = Options::default().set("limits.teams", "{ default = { edge_calls_per_second = 1 } }");
    let suite = Suite::start("limited-door", Mode::AllInOne, options).await;
    let dev = suite.client("user/dev");
    // The door and the edge count together, so the suite's own start may have taken the only token.
    eventually("a token for the agent", Duration::from_secs(30), async || {
        dev.put("teams/default/agents/hasher", &hasher("hasher")).await.ok()
    })
    .await;
    let http = reqwest::Client::new();
    let calls = (0..10).map(|_| {
        http.post(format!("http://{}/api/hash", suite.address("http")))
            .bearer_auth(suite.dev_key())
            .header("x-agent-id", "hasher")
            .header("content-type", "application/json")
            .body(r#"{"text":"x"}"#)
            .send()
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == 429).collect();
    assert!(!refused.is_empty(), "{answers:?}");
    for answer in refused {
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    suite.stop().await;
}

/// An administrator of the deployment sets a team's limits; the team's own admin cannot lift them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_deployments_administrators_set_limits() {
    let suite = Suite::start("set-limits", Mode::AllInOne, Options::default()).await;
    let boss = team(&suite, "small", "boss").await;
    let dev = suite.client("user/dev");
    let candidate = Some(Candidate { role: Role::User.into(), id: "late".into() });
    let member = Some(Member { candidate, role: TeamRole::Member.into(), home: false });
    dev.account().set_member(SetMemberRequest { parent: "teams/small".into(), member }).await.unwrap();
    let set = |client: Client, value: &'static str| async move {
        let name = "teams/small/settings/sre-limits".into();
        let setting = Some(Setting { name, value: value.into(), ..Setting::default() });
        client.account().set_setting(SetSettingRequest { setting }).await.map(|_| ())
    };
    let refused = set(boss.clone(), r#"{"values":1000}"#).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::AclDenied), "{refused:?}");
    let wrong = set(dev.clone(), r#"{"valuse":1000}"#).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("valuse is no limit"), "{wrong:?}");
    set(dev.clone(), r#"{"edge_calls_per_second":0,"values":1000}"#).await.unwrap();

    // Callers that were seen before keep what was known of them for ten seconds; this one was not.
    let refused = put(&suite.client("user/late")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::RateLimited), "{refused:?}");
    let mut quotas = QuotasClient::new(suite.channel("user/dev", "edge"));
    let listed =
        quotas.list_quotas(ListQuotasRequest { parent: "teams/small".into() }).await.unwrap().into_inner();
    let values = listed.quotas.iter().find(|quota| quota.name == "values").unwrap();
    assert_eq!((values.holder.as_str(), values.used, values.limit), ("teams/small", 0, 1000));
    suite.stop().await;
}

/// What an operator types.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_shown_and_set_on_the_command_line() {
    let suite = Suite::start("quota", Mode::AllInOne, Options::default()).await;
    put(&suite.client("user/dev")).await.unwrap();
    let words = ["teams", "quota", "--limit", "values=5", "--limit", "cache_entries=7", "--json"];
    process::say(suite.folder(), &words).await.ok();
    let said = process::say(suite.folder(), &["teams", "quota", "--json"]).await.ok().json();
    let row = |name: &str| {
        let rows = said.as_array().unwrap();
        rows.iter().find(|row| row["quota"] == name && row["holder"] == "teams/default").unwrap().clone()
    };
    assert_eq!((row("values")["used"].as_u64(), row("file_bytes")["used"].as_u64()), (Some(1), Some(0)));
    let wrong = process::say(suite.folder(), &["teams", "quota", "--limit", "valuse=5"]).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    let setting = process::say(suite.folder(), &["teams", "settings", "get", "sre-limits"]).await.ok();
    assert!(setting.out.contains(r#""values":5"#) || setting.out.contains(r#"\"values\":5"#), "{setting:?}");
    suite.stop().await;
}
