//! Tokens of a real OpenID Connect provider at the HTTP door: `SRE_TEST_OIDC` names it, `tests/stages/oidc.sh`
//! starts one.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::agent::v1::{AclAspect, SetAgentAclRequest};
use sre_proto::security::v1::{Member, RemoveMemberRequest, SetMemberRequest, TeamRole};
use sre_proto::types::v1::{Acl, AclEntry, Candidate, Level, Role};
use sre_service::testing::backend;

use crate::harness::agents::hasher;
use crate::harness::{Mode, Options, Suite, eventually};

const AGENT: &str = "teams/default/agents/hasher";

/// A token that the provider gives a user for a resource.
async fn token(issuer: &str, user: &str, resource: &str) -> String {
    let form = format!("grant_type=client_credentials&scope=run&resource={resource}");
    let answer = reqwest::Client::new()
        .post(format!("{issuer}/token"))
        .basic_auth(user, Some("a secret of the tests"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn user(id: &str) -> Option<Candidate> {
    Some(Candidate { role: Role::User.into(), id: id.into() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_token_opens_the_http_door() {
    let Some(issuer) = backend("SRE_TEST_OIDC") else { return };
    let issuers = format!(r#"[{{ issuer = "{issuer}", audiences = ["sre"], refetch_ms = 200 }}]"#);
    let options = Options::default().set("security.issuers", issuers).set("deadlines.membership_ms", 500);
    let suite = Suite::start("oidc", Mode::Split, options).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &hasher("hasher")).await.unwrap();
    let member = Member { candidate: user("alice"), role: TeamRole::Member.into(), home: false };
    let add = SetMemberRequest { parent: "teams/default".into(), member: Some(member) };
    dev.account().set_member(add).await.unwrap();
    let entry = |who: &str, level: Level| AclEntry { candidate: user(who), levels: vec![level.into()] };
    let entries = vec![entry("dev", Level::Owner), entry("alice", Level::Read)];
    let acl = Some(Acl { entries, etag: String::new() });
    let request = SetAgentAclRequest { name: AGENT.into(), aspect: AclAspect::Skills.into(), acl };
    dev.agents().set_agent_acl(request).await.unwrap();

    let http = reqwest::Client::new();
    let url = format!("http://{}/api/hash", suite.address("http"));
    let call = async |bearer: &str| {
        let body = json!({ "text": "hello" }).to_string();
        let request = http.post(&url).header("x-agent-id", "hasher").bearer_auth(bearer).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    let alice = token(&issuer, "alice", "urn:sre").await;
    assert_eq!(call(&alice).await, 200);
    // Somebody else of the same provider may not see the agent; a token for somebody else's service is none.
    assert_eq!(call(&token(&issuer, "bob", "urn:sre").await).await, 404);
    assert_eq!(call(&token(&issuer, "alice", "urn:other").await).await, 401);
    // A changed signature, a cut one, and none.
    let (rest, signature) = alice.rsplit_once('.').unwrap();
    let flipped: String = signature.chars().rev().collect();
    for broken in [format!("{rest}.{flipped}"), format!("{rest}."), format!("{alice}x")] {
        assert_eq!(call(&broken).await, 401, "{broken}");
    }

    // The provider rotates its keys: tokens of the old key and of the new one are both good, and afterwards those
    // of the old one are not.
    reqwest::Client::new().post(format!("{issuer}/test/rotate")).send().await.unwrap();
    let fresh = token(&issuer, "alice", "urn:sre").await;
    eventually("the new key is found", Duration::from_secs(10), async || {
        (call(&fresh).await == 200).then_some(())
    })
    .await;
    assert_eq!(call(&alice).await, 200);

    // Account has the last word: a removed member is refused, with a token that is good for minutes.
    let remove = RemoveMemberRequest { parent: "teams/default".into(), candidate: user("alice") };
    dev.account().remove_member(remove).await.unwrap();
    let entries = vec![entry("dev", Level::Owner)];
    let acl = Some(Acl { entries, etag: String::new() });
    let request = SetAgentAclRequest { name: AGENT.into(), aspect: AclAspect::Skills.into(), acl };
    dev.agents().set_agent_acl(request).await.unwrap();
    eventually("alice is refused", Duration::from_secs(30), async || {
        (call(&fresh).await != 200).then_some(())
    })
    .await;
    suite.stop().await;
}
