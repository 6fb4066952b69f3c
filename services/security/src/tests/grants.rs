use super::exchange::claims;
use super::*;

const DAY: i64 = 24 * 3600;

fn with_grant(mut request: pb::ExchangeRequest, seconds: i64) -> pb::ExchangeRequest {
    request.want_resume_grant = true;
    request.resume_grant_time_to_live = Some(prost_types::Duration { seconds, nanos: 0 });
    request
}

fn resume(grant: &str) -> pb::ExchangeRequest {
    ask(Proof::ResumeGrant(grant.into()), pb::Purpose::NextHop, "", &["llm"], &[INFER])
}

/// The grant that the engine gets for a run of the greeter.
async fn grant(fixture: &Fixture, run: &pb::ExchangeResponse, seconds: i64) -> Result<String, Status> {
    let proof = Proof::Token(run.token.clone());
    let asked = ask(proof, pb::Purpose::NextHop, "", &["llm"], &[INFER]);
    Ok(fixture.exchange("engine", with_grant(asked, seconds)).await?.resume_grant)
}

#[tokio::test]
async fn a_run_goes_on_by_its_grant_as_long_as_its_caller_may() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let grant = grant(&fixture, &run, DAY).await.unwrap();
    let resumed = fixture.exchange("engine", resume(&grant)).await.unwrap();
    assert_eq!(resumed.subject, "spiffe://sre.local/agent/greeter");
    assert_eq!(claims(&resumed.token).txn, claims(&run.token).txn);

    fixture.agents.forbid("user/dev", GREETER);
    let refused = fixture.exchange("engine", resume(&grant)).await;
    assert_eq!(refusal(refused), (Code::PermissionDenied, Reason::AclDenied));
    fixture.agents.allow("user/dev", GREETER);
    fixture.exchange("engine", resume(&grant)).await.unwrap();
}

#[tokio::test]
async fn a_grant_is_the_engines_alone_and_is_no_token() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let grant = grant(&fixture, &run, DAY).await.unwrap();
    for service in ["edge", "llm", "io", "agent", "memory", "compute"] {
        let refused = refusal(fixture.exchange(service, resume(&grant)).await);
        assert_eq!(refused, (Code::PermissionDenied, Reason::WrongPresenter), "{service}");
    }
    assert_eq!(refusal(fixture.hop("engine", &grant, "llm", INFER).await).0, Code::Unauthenticated);
    let list = pb::ListSecretsRequest { parent: "teams/-".into(), ..Default::default() };
    let presented = fixture.vault_with("service/engine", &grant).list_secrets(list).await;
    assert_eq!(refusal(presented).0, Code::Unauthenticated);
    // Only the engine is given any.
    let asked = ask(peer("user/dev"), pb::Purpose::Run, GREETER, &["engine"], &[RUN]);
    let edge = fixture.exchange("edge", with_grant(asked, DAY)).await;
    assert_eq!(refusal(edge), (Code::PermissionDenied, Reason::MethodNotAllowed));
}

#[tokio::test]
async fn a_grant_ends_and_cannot_be_renewed_by_itself() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    assert_eq!(refusal(grant(&fixture, &run, 31 * DAY).await).0, Code::InvalidArgument);
    assert_eq!(refusal(grant(&fixture, &run, 0).await).0, Code::InvalidArgument);
    let first = grant(&fixture, &run, DAY).await.unwrap();
    let again = fixture.exchange("engine", with_grant(resume(&first), 30 * DAY)).await.unwrap();
    let end = again.resume_grant_expire_time.unwrap().seconds;
    assert!(end <= claims(&run.token).iat + DAY + 5, "a grant obtained with a grant ends with it");
}

#[tokio::test]
async fn revoking_the_subject_or_root_voids_the_grant() {
    for target in [
        pb::revocation::Target::Subject("spiffe://sre.local/agent/greeter".into()),
        pb::revocation::Target::RootCaller("spiffe://sre.local/user/dev".into()),
    ] {
        let fixture = Fixture::new().await;
        let run = fixture.run("dev", GREETER).await.unwrap();
        let grant = grant(&fixture, &run, DAY).await.unwrap();
        let revocation = pb::Revocation { target: Some(target), time: None };
        let request = pb::RevokeRequest { parent: "teams/default".into(), revocation: Some(revocation) };
        fixture.identity("user/dev").revoke(request).await.unwrap();
        let refused = fixture.exchange("engine", resume(&grant)).await;
        assert_eq!(refusal(refused), (Code::Unauthenticated, Reason::CredentialsRevoked));
    }
}

#[tokio::test]
async fn a_deleted_agent_runs_on_by_nothing() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let grant = grant(&fixture, &run, DAY).await.unwrap();
    let gone = pb::UnregisterAgentRequest { agent: "greeter".into() };
    fixture.account("service/agent").unregister_agent(gone).await.unwrap();
    let refused = fixture.exchange("engine", resume(&grant)).await;
    assert_eq!(refusal(refused), (Code::Unauthenticated, Reason::CredentialsRevoked));
    assert_eq!(
        refusal(fixture.hop("engine", &run.token, "llm", INFER).await),
        (Code::Unauthenticated, Reason::CredentialsRevoked)
    );
}
