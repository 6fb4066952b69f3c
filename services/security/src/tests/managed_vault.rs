use super::*;

const TOKEN: &str = "teams/default/agents/greeter/managedSecrets/token";
const DENIED: (Code, Reason) = (Code::PermissionDenied, Reason::AclDenied);

async fn set(fixture: &Fixture, caller: &str, name: &str, value: &'static str) -> Result<i64, Status> {
    let request =
        pb::SetManagedSecretRequest { name: name.into(), value: value.into(), ..Default::default() };
    Ok(fixture.managed(caller).set_managed_secret(request).await?.into_inner().version)
}

async fn get(fixture: &Fixture, caller: &str, name: &str) -> Result<pb::ManagedSecret, Status> {
    let request = pb::GetManagedSecretRequest { name: name.into(), ..Default::default() };
    Ok(fixture.managed(caller).get_managed_secret(request).await?.into_inner())
}

async fn swap(fixture: &Fixture, expected_version: i64, value: &'static str) -> Result<i64, Status> {
    let request = pb::CompareAndSetManagedSecretRequest {
        name: TOKEN.into(),
        expected_version,
        value: value.into(),
        ..Default::default()
    };
    let answer = fixture.managed("agent/greeter").compare_and_set_managed_secret(request).await?;
    Ok(answer.into_inner().version)
}

/// services.md §3.7: the agent reads and writes its own, its team's admins may, nobody else.
#[tokio::test]
async fn a_secret_is_the_agents_own() {
    let fixture = Fixture::new().await;
    fixture.register("other", "default").await.unwrap();
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    fixture.team("red", "ruth").await;
    set(&fixture, "agent/greeter", TOKEN, "one").await.unwrap();
    for who in ["agent/greeter", "user/dev"] {
        assert_eq!(get(&fixture, who, TOKEN).await.unwrap().value, "one");
    }
    for who in ["user/alice", "agent/other", "user/ruth", "user/ghost", "team/default"] {
        assert_eq!(refusal(get(&fixture, who, TOKEN).await), DENIED, "{who}");
        assert_eq!(refusal(set(&fixture, who, TOKEN, "x").await), DENIED, "{who}");
        let delete = pb::DeleteManagedSecretRequest { name: TOKEN.into(), ..Default::default() };
        assert_eq!(refusal(fixture.managed(who).delete_managed_secret(delete).await), DENIED, "{who}");
        let absent = "teams/default/agents/greeter/managedSecrets/absent";
        assert_eq!(refusal(get(&fixture, who, absent).await), DENIED, "{who}");
    }
    let delete = pb::DeleteManagedSecretRequest { name: TOKEN.into(), ..Default::default() };
    fixture.managed("agent/greeter").delete_managed_secret(delete).await.unwrap();
    assert_eq!(
        refusal(get(&fixture, "agent/greeter", TOKEN).await),
        (Code::NotFound, Reason::SecretNotFound)
    );
}

/// services.md §3.7: of two who renew a token, one writes it back.
#[tokio::test]
async fn a_renewal_does_not_overwrite_another() {
    let fixture = Fixture::new().await;
    let first = swap(&fixture, 0, "one").await.unwrap();
    assert_eq!(refusal(swap(&fixture, 0, "again").await), (Code::Aborted, Reason::VersionConflict));
    let second = swap(&fixture, first, "two").await.unwrap();
    assert_eq!(refusal(swap(&fixture, first, "late").await), (Code::Aborted, Reason::VersionConflict));
    let found = get(&fixture, "agent/greeter", TOKEN).await.unwrap();
    assert_eq!((found.value.as_ref(), found.version), (&b"two"[..], second));
}

#[tokio::test]
async fn a_time_to_live_and_limits_are_checked() {
    let fixture = Fixture::new().await;
    let set = |seconds: i64, value: &'static str| {
        let mut client = fixture.managed("agent/greeter");
        let time_to_live = Some(prost_types::Duration { seconds, nanos: 0 });
        let request = pb::SetManagedSecretRequest {
            name: TOKEN.into(),
            value: value.into(),
            time_to_live,
            ..Default::default()
        };
        async move { client.set_managed_secret(request).await.map(|answer| answer.into_inner()) }
    };
    assert!(set(3600, "v").await.unwrap().expire_time.is_some());
    let check = pb::CheckManagedSecretRequest { name: TOKEN.into(), ..Default::default() };
    let found = fixture.managed("user/dev").check_managed_secret(check).await.unwrap().into_inner();
    assert!(found.exists && found.expire_time.is_some() && found.version > 0);
    for seconds in [0, -1, i64::MAX] {
        assert_eq!(refusal(set(seconds, "v").await).0, Code::InvalidArgument, "{seconds}");
    }
    assert_eq!(refusal(set(60, "$env(HOME)").await).0, Code::InvalidArgument);
    let unknown = pb::GetManagedSecretRequest { name: TOKEN.into(), instance: "nowhere".into() };
    assert_eq!(
        refusal(fixture.managed("agent/greeter").get_managed_secret(unknown).await).0,
        Code::FailedPrecondition
    );
}

/// A deleted agent leaves no secret that one of the same name would find.
#[tokio::test]
async fn a_deleted_agent_takes_its_secrets_with_it() {
    let fixture = Fixture::new().await;
    set(&fixture, "agent/greeter", TOKEN, "one").await.unwrap();
    let request = pb::UnregisterAgentRequest { agent: "greeter".into() };
    fixture.account("service/agent").unregister_agent(request).await.unwrap();
    fixture.register("greeter", "default").await.unwrap();
    assert_eq!(refusal(get(&fixture, "agent/greeter", TOKEN).await).0, Code::NotFound);
}

#[tokio::test]
async fn a_purge_is_for_owners() {
    let fixture = Fixture::new().await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    set(&fixture, "agent/greeter", TOKEN, "one").await.unwrap();
    let purge = |caller: &str| {
        let mut client = fixture.managed(caller);
        let parent = "teams/default/agents/greeter".to_owned();
        let request = pb::PurgeManagedSecretsRequest { parent, ..Default::default() };
        async move { client.purge_managed_secrets(request).await.map(|answer| answer.into_inner().deleted) }
    };
    assert_eq!(refusal(purge("user/alice").await), DENIED);
    assert_eq!(purge("agent/greeter").await.unwrap(), 1);
    assert_eq!(purge("user/dev").await.unwrap(), 0);
}

/// services.md H38: without a managed vault calls say so, and are not refused as if a right were missing.
#[tokio::test]
async fn h38_no_managed_vault_is_not_implemented() {
    let suite = TestSuite::builder()
        .config(|config| {
            let connectors = serde_json::json!({ "managedvault": { "Connector": "NullManagedVault" } });
            config.connectors = serde_json::from_value(connectors).unwrap();
        })
        .role(Role::Security, crate::start)
        .build()
        .await
        .unwrap();
    let mut client = ManagedVaultClient::new(suite.link_as("user/dev", Role::Security));
    let name = TOKEN.to_owned();
    let get = pb::GetManagedSecretRequest { name: name.clone(), ..Default::default() };
    assert_eq!(refusal(client.get_managed_secret(get).await).0, Code::Unimplemented);
    let set = pb::SetManagedSecretRequest { name: name.clone(), value: "v".into(), ..Default::default() };
    assert_eq!(refusal(client.set_managed_secret(set).await).0, Code::Unimplemented);
    let delete = pb::DeleteManagedSecretRequest { name, ..Default::default() };
    assert_eq!(refusal(client.delete_managed_secret(delete).await).0, Code::Unimplemented);
}
