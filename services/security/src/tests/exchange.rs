use sre_identity::{Claims, Purpose};
use sre_proto::types::v1::Role as CandidateRole;

use super::*;

/// What a token says, unverified.
pub fn claims(token: &str) -> Claims {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_run_reaches_the_vault_and_each_service_gets_its_own_token() {
    let fixture = Fixture::new().await;
    let secret = pb::Secret { name: "teams/default/secrets/openai".into(), ..pb::Secret::default() };
    let put = pb::PutSecretRequest { secret: Some(secret), value: "sk-1".into(), ..Default::default() };
    fixture.vault("user/dev").put_secret(put).await.unwrap();

    let run = fixture.run("dev", GREETER).await.unwrap();
    assert_eq!(run.subject, "spiffe://sre.local/agent/greeter");
    assert_eq!(run.root_caller, "spiffe://sre.local/user/dev");
    assert_eq!((run.agent.as_str(), run.team.as_str()), (GREETER, "default"));
    let llm = fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    let key = fixture.hop("llm", &llm.token, "security", USE_KEY).await.unwrap();

    let said = claims(&key.token);
    assert_eq!(said.act, "spiffe://sre.local/service/llm");
    assert_eq!(said.aud, ["security"]);
    assert_eq!(said.purpose, Purpose::NextHop);
    assert_eq!(said.txn, claims(&run.token).txn);
    let request = pb::AccessSecretRequest { name: "teams/-/secrets/openai".into(), ..Default::default() };
    let value = fixture.vault_with("service/llm", &key.token).access_secret(request.clone()).await.unwrap();
    assert_eq!(value.into_inner().value, "sk-1");

    // Nobody else may present it, and nobody may present one of an earlier hop.
    let stolen = fixture.vault_with("service/io", &key.token).access_secret(request.clone()).await;
    assert_eq!(refusal(stolen), (Code::PermissionDenied, Reason::WrongPresenter));
    let earlier = fixture.vault_with("service/llm", &llm.token).access_secret(request).await;
    assert_eq!(refusal(earlier).0, Code::Unauthenticated);
}

/// services.md H37: what is forbidden and what is absent look the same.
#[tokio::test]
async fn h37_an_absent_agent_cannot_be_told_from_a_forbidden_one() {
    let fixture = Fixture::new().await;
    fixture.register("secretive", "default").await.unwrap();
    let forbidden = fixture.run("dev", "teams/default/agents/secretive").await.unwrap_err();
    let absent = fixture.run("dev", "teams/default/agents/nobody").await.unwrap_err();
    let foreign = fixture.run("ghost", GREETER).await.unwrap_err();
    for status in [&forbidden, &absent, &foreign] {
        assert_eq!(reason(status), Some(Reason::AclDenied));
        assert_eq!((status.code(), status.message()), (forbidden.code(), forbidden.message()));
        assert_eq!(status.details(), forbidden.details());
    }
}

/// services.md H13: identity is proven, never named.
#[tokio::test]
async fn h13_only_the_edge_attests_and_never_a_service() {
    let fixture = Fixture::new().await;
    for service in ["engine", "agent", "llm", "io", "memory", "compute", "observability"] {
        let asked = ask(peer("user/dev"), pb::Purpose::Run, GREETER, &["engine"], &[RUN]);
        let refused = refusal(fixture.exchange(service, asked).await);
        assert_eq!(refused, (Code::PermissionDenied, Reason::MethodNotAllowed), "{service}");
    }
    for principal in ["service/engine", "service/edge"] {
        let asked = ask(peer(principal), pb::Purpose::Forward, "", &["io"], &["sre.io.v1.Nkv:read"]);
        let refused = refusal(fixture.exchange("edge", asked).await);
        assert_eq!(refused, (Code::Unauthenticated, Reason::CredentialsInvalid), "{principal}");
    }
    let foreign = Proof::Peer(pb::AttestedPeer { spiffe_id: "spiffe://other.org/user/dev".into() });
    let asked = ask(foreign, pb::Purpose::Run, GREETER, &["engine"], &[RUN]);
    assert_eq!(refusal(fixture.exchange("edge", asked).await).0, Code::Unauthenticated);
    // A user has no business with the token service.
    let asked = ask(peer("user/dev"), pb::Purpose::Run, GREETER, &["engine"], &[RUN]);
    let direct = fixture.identity("user/dev").exchange(asked).await;
    assert_eq!(refusal(direct), (Code::PermissionDenied, Reason::MethodNotAllowed));
}

#[tokio::test]
async fn a_forwarded_call_is_the_callers_own() {
    let fixture = Fixture::new().await;
    let scopes = ["sre.security.v1.Account:read"];
    let asked = ask(peer("user/dev"), pb::Purpose::Forward, "", &["security"], &scopes);
    let token = fixture.exchange("edge", asked).await.unwrap();
    assert_eq!(token.subject, "spiffe://sre.local/user/dev");
    assert_eq!((token.agent.as_str(), token.team.as_str()), ("", "default"));
    let link = fixture.link("service/edge").with_jwt(&token.token);
    let found = AccountClient::new(link.clone()).get_self(pb::GetSelfRequest {}).await.unwrap().into_inner();
    assert_eq!(found.candidate.unwrap().role(), CandidateRole::User);
    // Its scope is its bound, whatever the caller's own rights are.
    let more = AccountClient::new(link).create_team(pb::CreateTeamRequest::default()).await;
    assert_eq!(refusal(more), (Code::PermissionDenied, Reason::ScopeExceeded));
}

#[tokio::test]
async fn nobody_obtains_more_than_the_table_says() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let steer = fixture.hop("engine", &run.token, "security", "sre.security.v1.Account:owner").await;
    assert_eq!(refusal(steer), (Code::PermissionDenied, Reason::ScopeExceeded));
    let llm = fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    let sideways = fixture.hop("llm", &llm.token, "memory", "sre.memory.v1.Cache:read").await;
    assert_eq!(refusal(sideways), (Code::PermissionDenied, Reason::MethodNotAllowed));
    // The token was presented to llm, not to io.
    assert_eq!(refusal(fixture.hop("io", &llm.token, "llm", INFER).await).0, Code::Unauthenticated);
    let asked = ask(peer("user/dev"), pb::Purpose::Run, GREETER, &["engine", "io"], &[RUN]);
    assert_eq!(refusal(fixture.exchange("edge", asked).await).0, Code::PermissionDenied);
}

#[tokio::test]
async fn what_follows_from_a_token_ends_with_it() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let llm = fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    assert!(claims(&llm.token).exp <= claims(&run.token).exp);
}

#[tokio::test]
async fn a_chain_of_agents_grows_by_one_and_ends_at_its_limit() {
    let fixture = Fixture::new().await;
    let name = |n: usize| format!("teams/default/agents/a{n}");
    for n in 0..=9 {
        fixture.register(&format!("a{n}"), "default").await.unwrap();
        fixture.agents.allow(&format!("agent/a{n}"), &name(n + 1));
    }
    fixture.agents.allow("user/dev", &name(0));
    let mut token = fixture.run("dev", &name(0)).await.unwrap().token;
    for n in 1..=8 {
        let asked = ask(Proof::Token(token), pb::Purpose::SubAgent, &name(n), &["engine"], &[RUN]);
        let next = fixture.exchange("engine", asked).await.unwrap();
        assert_eq!(next.root_caller, "spiffe://sre.local/user/dev");
        assert_eq!(claims(&next.token).via.len(), n);
        token = next.token;
    }
    let asked = ask(Proof::Token(token.clone()), pb::Purpose::SubAgent, &name(9), &["engine"], &[RUN]);
    assert_eq!(
        refusal(fixture.exchange("engine", asked).await),
        (Code::PermissionDenied, Reason::ChainTooDeep)
    );
    // It still acts for itself.
    fixture.hop("engine", &token, "llm", INFER).await.unwrap();
}

#[tokio::test]
async fn a_sub_agent_needs_the_right_of_the_agent_that_calls_it() {
    let fixture = Fixture::new().await;
    fixture.register("other", "default").await.unwrap();
    // The root caller may, the agent in between may not.
    fixture.agents.allow("user/dev", "teams/default/agents/other");
    let run = fixture.run("dev", GREETER).await.unwrap();
    let other = "teams/default/agents/other";
    let asked = ask(Proof::Token(run.token), pb::Purpose::SubAgent, other, &["engine"], &[RUN]);
    assert_eq!(refusal(fixture.exchange("engine", asked).await), (Code::PermissionDenied, Reason::AclDenied));
}

#[tokio::test]
async fn an_agent_of_another_team_than_its_name_says_is_refused() {
    let fixture = Fixture::new().await;
    // The agent service would allow it; Account says the agent is of `default` (services.md H12).
    fixture.agents.allow("user/dev", "teams/other/agents/greeter");
    let refused = fixture.run("dev", "teams/other/agents/greeter").await;
    assert_eq!(refusal(refused), (Code::PermissionDenied, Reason::AclDenied));
}

#[tokio::test]
async fn garbage_is_refused() {
    let fixture = Fixture::new().await;
    let with = |proof| ask(proof, pb::Purpose::Run, GREETER, &["engine"], &[RUN]);
    let oidc = fixture.exchange("edge", with(Proof::OidcToken("x".into()))).await;
    assert_eq!(refusal(oidc), (Code::Unauthenticated, Reason::CredentialsInvalid));
    let key = fixture.exchange("edge", with(Proof::ApiKey("sre_x".into()))).await;
    assert_eq!(refusal(key), (Code::Unauthenticated, Reason::CredentialsInvalid));
    assert_eq!(refusal(fixture.hop("engine", "a.b.c", "llm", INFER).await).0, Code::Unauthenticated);
    // services.md H4: asking for nothing is not asking for everything.
    let nothing = ask(peer("user/dev"), pb::Purpose::Run, GREETER, &["engine"], &[]);
    assert_eq!(refusal(fixture.exchange("edge", nothing).await).0, Code::InvalidArgument);
    let none = pb::ExchangeRequest { proof: None, ..with(peer("user/dev")) };
    assert_eq!(refusal(fixture.exchange("edge", none).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn minting_and_refusing_are_on_record() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let minted = claims(&run.token).jti;
    let found = eventually(|| async {
        let request =
            pb::ListRecordsRequest { parent: "teams/-".into(), page_size: 1000, ..Default::default() };
        let records = fixture.audit("user/dev").list_records(request).await.unwrap().into_inner().records;
        records.into_iter().find(|record| record.token_id == minted)
    })
    .await;
    assert_eq!(found.subject, "agent/greeter");
    assert_eq!(found.peer, "spiffe://sre.local/service/edge");
    assert_eq!(found.resource, GREETER);
    assert_eq!(found.chain, ["spiffe://sre.local/user/dev"]);
    assert_eq!(found.decision(), pb::Decision::Allowed);
}

/// What a component out of process may do with the agent's name: what was asked for, itself, and no more.
#[tokio::test]
async fn a_components_token_is_bound_to_it_and_leads_nowhere() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let asked = |presenter: &str, audience: &str, scope: &str| pb::ExchangeRequest {
        presenter: presenter.into(),
        ..ask(Proof::Token(run.token.clone()), pb::Purpose::Component, "", &[audience], &[scope])
    };
    let got = fixture.exchange("engine", asked("service/acme", "llm", INFER)).await.unwrap();
    let said = claims(&got.token);
    assert_eq!((said.act.as_str(), said.purpose), ("spiffe://sre.local/service/acme", Purpose::Component));
    assert_eq!(
        (said.sub.as_str(), said.scope.as_slice()),
        ("spiffe://sre.local/agent/greeter", &[INFER.into()][..])
    );
    // The model's service may go on for it as for everybody: it needs its key.
    fixture.hop("llm", &got.token, "security", USE_KEY).await.unwrap();
    // What it uses, and has others use, counts for the runs it works for: its own word for them is not asked.
    let runs = vec!["default/00-root".to_owned(), "default/00-child".to_owned()];
    let of_runs = pb::ExchangeRequest { runs: runs.clone(), ..asked("service/acme", "llm", INFER) };
    let of_runs = fixture.exchange("engine", of_runs).await.unwrap();
    let next = fixture.hop("llm", &of_runs.token, "security", USE_KEY).await.unwrap();
    assert_eq!((claims(&of_runs.token).runs, claims(&next.token).runs), (runs.clone(), runs.clone()));
    let wrong = pb::ExchangeRequest { runs: vec!["nowhere".into()], ..asked("service/acme", "llm", INFER) };
    let refused = refusal(fixture.exchange("engine", wrong).await);
    assert_eq!(refused, (Code::InvalidArgument, Reason::InvalidArgument));
    let hop = ask(Proof::Token(run.token.clone()), pb::Purpose::NextHop, "", &["llm"], &[INFER]);
    let refused = refusal(fixture.exchange("engine", pb::ExchangeRequest { runs, ..hop }).await);
    assert_eq!(refused, (Code::InvalidArgument, Reason::InvalidArgument));
    // The engine gave it away: it is nothing for itself.
    assert!(fixture.hop("engine", &got.token, "llm", INFER).await.is_err());

    for presenter in ["", "acme", "service/llm", "service/engine", "user/dev", "service/"] {
        let refused = refusal(fixture.exchange("engine", asked(presenter, "llm", INFER)).await);
        assert_eq!(refused, (Code::InvalidArgument, Reason::InvalidArgument), "{presenter:?}");
    }
    let vault = refusal(fixture.exchange("engine", asked("service/acme", "security", USE_KEY)).await);
    assert_eq!(vault, (Code::PermissionDenied, Reason::MethodNotAllowed));
    assert!(fixture.exchange("llm", asked("service/acme", "io", "sre.io.v1.Storage:read")).await.is_err());
    let hop = pb::ExchangeRequest {
        presenter: "service/acme".into(),
        ..ask(Proof::Token(run.token.clone()), pb::Purpose::NextHop, "", &["llm"], &[INFER])
    };
    let refused = refusal(fixture.exchange("engine", hop).await);
    assert_eq!(refused, (Code::InvalidArgument, Reason::InvalidArgument));
}
