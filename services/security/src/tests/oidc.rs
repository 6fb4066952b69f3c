use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use serde_json::json;
use sre_service::config::Issuer;

use super::exchange::claims;
use super::*;
use crate::oidc::tests::{Fake, Pair, with};

fn run_by(token: &str) -> pb::ExchangeRequest {
    ask(Proof::OidcToken(token.into()), pb::Purpose::Run, GREETER, &["engine"], &[RUN])
}

async fn provider() -> (Fake, Pair) {
    let pair = Pair::new("k", Algorithm::ES256);
    (Fake::start(vec![pair.jwk()]).await, pair)
}

#[tokio::test]
async fn a_providers_token_runs_what_its_user_may_run_and_no_longer_than_it_lives() {
    let (fake, pair) = provider().await;
    let issuer = fake.config();
    let fixture = Fixture::with(|config| config.security.issuers = vec![issuer]).await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    let token = pair.sign(&fake.claims());
    // Who the token names may run what the lists allow, like everybody.
    let denied = (Code::PermissionDenied, Reason::AclDenied);
    assert_eq!(refusal(fixture.exchange("edge", run_by(&token)).await), denied);
    fixture.agents.allow("user/alice", GREETER);
    let run = fixture.exchange("edge", run_by(&token)).await.unwrap();
    assert_eq!(
        (run.subject.as_str(), run.root_caller.as_str()),
        ("spiffe://sre.local/agent/greeter", "spiffe://sre.local/user/alice")
    );
    let ends = fake.claims()["exp"].as_i64().unwrap() - 200;
    let short = pair.sign(&with(fake.claims(), json!({"exp": ends})));
    let run = fixture.exchange("edge", run_by(&short)).await.unwrap();
    assert_eq!(claims(&run.token).exp, ends);
    // Only the edge takes credentials of callers.
    let not_allowed = (Code::PermissionDenied, Reason::MethodNotAllowed);
    for service in ["engine", "io", "llm"] {
        assert_eq!(refusal(fixture.exchange(service, run_by(&token)).await), not_allowed, "{service}");
    }
    let invalid = (Code::Unauthenticated, Reason::CredentialsInvalid);
    let other = pair.sign(&with(fake.claims(), json!({"aud": "other"})));
    assert_eq!(refusal(fixture.exchange("edge", run_by(&other)).await), invalid);
    // A removed user is refused at once, whatever the provider says.
    let candidate = Some(user_message("alice"));
    let remove = pb::RemoveMemberRequest { parent: "teams/default".into(), candidate };
    fixture.account("user/dev").remove_member(remove).await.unwrap();
    let revoked = (Code::Unauthenticated, Reason::CredentialsRevoked);
    assert_eq!(refusal(fixture.hop("engine", &run.token, "llm", INFER).await), revoked);
}

/// services.md H12: a provider's groups give no team. They can only take access away.
#[tokio::test]
async fn h12_groups_of_a_provider_give_nothing_that_account_does_not() {
    let (fake, pair) = provider().await;
    let groups =
        BTreeMap::from([("staff".to_owned(), "default".to_owned()), ("red".to_owned(), "red".to_owned())]);
    let issuer = Issuer { groups_claim: Some("groups".into()), groups, ..fake.config() };
    let fixture = Fixture::with(|config| config.security.issuers = vec![issuer]).await;
    fixture.team("red", "ruth").await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    fixture.agents.allow("user/alice", GREETER);
    fixture.agents.allow("user/bob", GREETER);
    let run = async |sub: &str, groups: serde_json::Value| {
        let token = pair.sign(&with(fake.claims(), json!({"sub": sub, "groups": groups})));
        fixture.exchange("edge", run_by(&token)).await
    };
    run("alice", json!(["staff"])).await.unwrap();
    let none = (Code::PermissionDenied, Reason::NotTeamMember);
    assert_eq!(refusal(run("alice", json!(["red"])).await), none);
    assert_eq!(refusal(run("alice", json!([])).await), none);
    // Somebody whom Account does not know is of no team, with every group there is.
    assert_eq!(refusal(run("bob", json!(["staff", "red"])).await), none);
}

#[tokio::test]
async fn without_providers_no_token_is_believed() {
    let (fake, pair) = provider().await;
    let fixture = Fixture::new().await;
    let refused = refusal(fixture.exchange("edge", run_by(&pair.sign(&fake.claims()))).await);
    assert_eq!(refused, (Code::Unauthenticated, Reason::CredentialsInvalid));
}
