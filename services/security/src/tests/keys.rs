use sre_identity::KeySet;

use super::exchange::claims;
use super::*;

async fn create(fixture: &Fixture, caller: &str, parent: &str) -> Result<pb::CreateApiKeyResponse, Status> {
    let api_key = pb::ApiKey { display_name: "test".into(), ..pb::ApiKey::default() };
    let request = pb::CreateApiKeyRequest { parent: parent.into(), api_key: Some(api_key) };
    Ok(fixture.api_keys(caller).create_api_key(request).await?.into_inner())
}

fn run_by(key: &str) -> pb::ExchangeRequest {
    ask(Proof::ApiKey(key.into()), pb::Purpose::Run, GREETER, &["engine"], &[RUN])
}

async fn published(fixture: &Fixture) -> KeySet {
    let request = pb::GetKeySetRequest { known_version: 0 };
    let set = fixture.identity("service/io").get_key_set(request).await.unwrap().into_inner();
    KeySet::try_from(&set).unwrap()
}

#[tokio::test]
async fn a_revoked_key_takes_along_every_token_that_began_with_it() {
    let fixture = Fixture::new().await;
    let one = create(&fixture, "user/dev", "users/-").await.unwrap();
    let two = create(&fixture, "user/dev", "users/dev").await.unwrap();
    let run = fixture.exchange("edge", run_by(&one.key)).await.unwrap();
    let llm = fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    let mut asked =
        ask(Proof::Token(run.token.clone()), pb::Purpose::NextHop, "", &["io"], &["sre.io.v1.Nkv:read"]);
    asked.want_resume_grant = true;
    asked.resume_grant_time_to_live = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let grant = fixture.exchange("engine", asked).await.unwrap().resume_grant;
    let other = fixture.exchange("edge", run_by(&two.key)).await.unwrap();

    let name = one.api_key.unwrap().name;
    let request = pb::RevokeApiKeyRequest { name };
    let revoked = fixture.api_keys("user/dev").revoke_api_key(request.clone()).await.unwrap().into_inner();
    assert!(revoked.revoke_time.is_some());
    let again = fixture.api_keys("user/dev").revoke_api_key(request).await.unwrap().into_inner();
    assert_eq!(again.revoke_time, revoked.revoke_time);

    let revoked = (Code::Unauthenticated, Reason::CredentialsRevoked);
    assert_eq!(refusal(fixture.exchange("edge", run_by(&one.key)).await), revoked);
    assert_eq!(refusal(fixture.hop("engine", &run.token, "llm", INFER).await), revoked);
    assert_eq!(refusal(fixture.hop("llm", &llm.token, "security", USE_KEY).await), revoked);
    let resume = ask(Proof::ResumeGrant(grant), pb::Purpose::NextHop, "", &["llm"], &[INFER]);
    assert_eq!(refusal(fixture.exchange("engine", resume).await), revoked);
    // Every service is told, and of nothing else: the other key's tokens go on.
    let set = published(&fixture).await;
    assert!(set.is_revoked(&claims(&run.token)) && set.is_revoked(&claims(&llm.token)));
    assert!(!set.is_revoked(&claims(&other.token)));
    fixture.hop("engine", &other.token, "llm", INFER).await.unwrap();
}

#[tokio::test]
async fn keys_are_made_by_their_principal_or_an_agents_admin() {
    let fixture = Fixture::new().await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    let denied = (Code::PermissionDenied, Reason::AclDenied);
    assert_eq!(refusal(create(&fixture, "user/alice", "users/dev").await), denied);
    assert_eq!(refusal(create(&fixture, "user/alice", "agents/greeter").await), denied);
    assert_eq!(refusal(create(&fixture, "user/alice", "teams/default").await), denied);
    assert_eq!(refusal(create(&fixture, "user/alice", "agents/absent").await), denied);
    create(&fixture, "user/alice", "users/-").await.unwrap();
    let agents = create(&fixture, "user/dev", "agents/greeter").await.unwrap();
    assert_eq!(agents.api_key.unwrap().candidate.unwrap().id, "greeter");
    create(&fixture, "user/dev", "teams/default").await.unwrap();
    // A user that Account does not know has no key to make.
    assert!(create(&fixture, "user/ghost", "users/-").await.is_err());
}

#[tokio::test]
async fn lists_never_show_the_key() {
    let fixture = Fixture::new().await;
    let made = create(&fixture, "user/dev", "users/-").await.unwrap();
    let request = pb::ListApiKeysRequest { parent: "users/-".into(), ..Default::default() };
    let listed = fixture.api_keys("user/dev").list_api_keys(request).await.unwrap().into_inner().api_keys;
    // This one and the one of the first start.
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0], made.api_key.unwrap());
    // `sre_<id>_<secret>`: the secret itself may hold underscores.
    let secret = made.key.splitn(3, '_').nth(2).unwrap();
    assert_eq!(secret.len(), 43, "32 bytes as base64");
    assert!(!format!("{listed:?}").contains(secret));
}

#[tokio::test]
async fn the_key_of_the_first_start_works() {
    let fixture = Fixture::new().await;
    let key = std::fs::read_to_string(fixture.suite.data_dir().join("keys/dev.key")).unwrap();
    let run = fixture.exchange("edge", run_by(key.trim())).await.unwrap();
    assert_eq!(run.root_caller, "spiffe://sre.local/user/dev");
}

#[tokio::test]
async fn rotation_keeps_what_was_signed_before() {
    let fixture = Fixture::new().await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let request = pb::GetKeySetRequest { known_version: 0 };
    let mut reader = fixture.identity("service/io");
    let before = reader.get_key_set(request).await.unwrap().into_inner();
    let rotated =
        fixture.identity("user/dev").rotate_key(pb::RotateKeyRequest {}).await.unwrap().into_inner();
    let after = reader.get_key_set(request).await.unwrap().into_inner();
    assert!(after.version > before.version);
    let ids: Vec<&str> = after.keys.iter().map(|key| key.key_id.as_str()).collect();
    assert_eq!(ids, [rotated.key_id.as_str(), before.keys[0].key_id.as_str()]);
    assert!(after.keys[0].expire_time.is_none() && after.keys[1].expire_time.is_some());
    let unchanged = pb::GetKeySetRequest { known_version: after.version };
    let unchanged = reader.get_key_set(unchanged).await.unwrap().into_inner();
    assert!(unchanged.unchanged && unchanged.keys.is_empty());
    // A token of the old key is a proof still, and what follows is signed with the new one.
    let llm = fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    let header = llm.token.split('.').next().unwrap();
    use base64::Engine;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    assert!(String::from_utf8(header).unwrap().contains(&rotated.key_id));

    fixture.member("default", "alice", pb::TeamRole::Admin).await.unwrap();
    let by_alice = fixture.identity("user/alice").rotate_key(pb::RotateKeyRequest {}).await;
    assert_eq!(refusal(by_alice), (Code::PermissionDenied, Reason::AclDenied));
}

#[tokio::test]
async fn a_team_revokes_its_own_and_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    let run = fixture.run("dev", GREETER).await.unwrap();
    let revoke = |caller: &str, team: &str, target| {
        let revocation = Some(pb::Revocation { target: Some(target), time: None });
        let request = pb::RevokeRequest { parent: format!("teams/{team}"), revocation };
        let mut client = fixture.identity(caller);
        async move { client.revoke(request).await.map(|answer| answer.into_inner().version) }
    };
    let token = pb::revocation::Target::TokenId(claims(&run.token).jti);
    let subject = pb::revocation::Target::Subject("spiffe://sre.local/agent/greeter".into());
    let presenter = pb::revocation::Target::Presenter("spiffe://sre.local/service/edge".into());
    for target in [token.clone(), subject] {
        assert_eq!(refusal(revoke("user/ruth", "red", target.clone()).await).0, Code::NotFound);
        assert_eq!(
            refusal(revoke("user/ruth", "default", target).await),
            (Code::PermissionDenied, Reason::AclDenied)
        );
    }
    assert_eq!(
        refusal(revoke("user/ruth", "red", presenter).await),
        (Code::PermissionDenied, Reason::AclDenied)
    );
    fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    revoke("user/dev", "default", token).await.unwrap();
    let refused = fixture.hop("engine", &run.token, "llm", INFER).await;
    assert_eq!(refusal(refused), (Code::Unauthenticated, Reason::CredentialsRevoked));
}
