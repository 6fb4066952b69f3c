use super::*;

async fn put(fixture: &Fixture, caller: &str, name: &str, value: &str) -> Result<pb::Secret, Status> {
    let secret = pb::Secret { name: name.into(), ..pb::Secret::default() };
    let request =
        pb::PutSecretRequest { secret: Some(secret), value: value.to_owned().into(), ..Default::default() };
    Ok(fixture.vault(caller).put_secret(request).await?.into_inner())
}

async fn access(fixture: &Fixture, caller: &str, name: &str) -> Result<pb::AccessSecretResponse, Status> {
    let request = pb::AccessSecretRequest { name: name.into(), ..Default::default() };
    Ok(fixture.vault(caller).access_secret(request).await?.into_inner())
}

const DENIED: (Code, Reason) = (Code::PermissionDenied, Reason::AclDenied);

#[tokio::test]
async fn members_read_and_admins_write() {
    let fixture = Fixture::new().await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    let name = "teams/default/secrets/AWS Key ID (m192)";
    let made = put(&fixture, "user/dev", "teams/-/secrets/AWS Key ID (m192)", "v1").await.unwrap();
    assert_eq!((made.name.as_str(), made.version, made.updater.as_str()), (name, 1, "user/dev"));
    assert_eq!(put(&fixture, "user/dev", name, "").await.unwrap().version, 2);
    for reader in ["user/alice", "agent/greeter", "team/default"] {
        let found = access(&fixture, reader, "teams/-/secrets/AWS Key ID (m192)").await.unwrap();
        assert_eq!((found.name.as_str(), found.value.len(), found.version), (name, 0, 2), "{reader}");
        assert_eq!(refusal(put(&fixture, reader, name, "x").await), DENIED, "{reader}");
        let delete = pb::DeleteSecretRequest { name: name.into(), ..Default::default() };
        assert_eq!(refusal(fixture.vault(reader).delete_secret(delete).await), DENIED, "{reader}");
    }
    let delete = pb::DeleteSecretRequest { name: name.into(), ..Default::default() };
    fixture.vault("user/dev").delete_secret(delete).await.unwrap();
    let gone = access(&fixture, "user/dev", name).await;
    assert_eq!(refusal(gone), (Code::NotFound, Reason::SecretNotFound));
}

/// services.md H14 and H37: strangers get nothing, and do not learn what there is.
#[tokio::test]
async fn h14_strangers_and_other_teams_get_nothing() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    put(&fixture, "user/dev", "teams/default/secrets/openai", "sk").await.unwrap();
    for stranger in ["user/ruth", "user/ghost", "agent/ghost", "team/red"] {
        let present = access(&fixture, stranger, "teams/default/secrets/openai").await.unwrap_err();
        let absent = access(&fixture, stranger, "teams/default/secrets/nothing").await.unwrap_err();
        assert_eq!((present.code(), reason(&present).unwrap()), DENIED, "{stranger}");
        assert_eq!(
            (present.message(), present.details()),
            (absent.message(), absent.details()),
            "{stranger}"
        );
    }
    // A caller without a team has none to stand in for `-`.
    assert_eq!(
        refusal(access(&fixture, "user/ghost", "teams/-/secrets/openai").await).0,
        Code::PermissionDenied
    );
    assert_eq!(
        refusal(access(&fixture, "user/ruth", "teams/-/secrets/openai").await),
        (Code::NotFound, Reason::SecretNotFound)
    );
}

/// services.md H5: listing is a right of its own and cannot be reached around.
#[tokio::test]
async fn h5_lists_are_guarded() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    put(&fixture, "user/dev", "teams/default/secrets/a", "1").await.unwrap();
    let list = |caller: &str, parent: &str| {
        let mut client = fixture.vault(caller);
        let request = pb::ListSecretsRequest { parent: parent.into(), ..Default::default() };
        async move { client.list_secrets(request).await.map(|answer| answer.into_inner().secrets) }
    };
    assert_eq!(list("user/dev", "teams/default").await.unwrap()[0].name, "teams/default/secrets/a");
    assert_eq!(refusal(list("user/ruth", "teams/default").await), DENIED);
    assert_eq!(refusal(list("user/ruth", "").await), DENIED);
    assert_eq!(refusal(list("user/ruth", "teams/../default").await), DENIED);
}

#[tokio::test]
async fn a_batch_tells_what_is_missing() {
    let fixture = Fixture::new().await;
    put(&fixture, "user/dev", "teams/-/secrets/a", "1").await.unwrap();
    let request = pb::AccessSecretsRequest {
        parent: "teams/-".into(),
        keys: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    let found = fixture.vault("agent/greeter").access_secrets(request).await.unwrap().into_inner();
    assert_eq!((found.secrets.len(), found.missing_keys), (1, vec!["b".to_owned()]));
    assert_eq!(found.secrets[0].value, "1");
}

#[tokio::test]
async fn each_use_is_on_record_without_its_value() {
    let fixture = Fixture::new().await;
    put(&fixture, "user/dev", "teams/-/secrets/canary", "sk-canary-0123456789").await.unwrap();
    access(&fixture, "agent/greeter", "teams/-/secrets/canary").await.unwrap();
    let records = eventually(|| async {
        let request =
            pb::ListRecordsRequest { parent: "teams/-".into(), page_size: 1000, ..Default::default() };
        let records = fixture.audit("user/dev").list_records(request).await.unwrap().into_inner().records;
        let used = |record: &pb::AuditRecord| {
            record.subject == "agent/greeter" && record.resource == "teams/default/secrets/canary"
        };
        records.iter().any(used).then_some(records)
    })
    .await;
    assert!(!format!("{records:?}").contains("sk-canary"));
    // Nor is it in any file of the suite, in clear.
    let mut folders = vec![fixture.suite.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(9).any(|window| window == b"sk-canary"), "{}", path.display());
            }
        }
    }
}

/// services.md §1.10: sharing is by explicit grants, whose makers administer both teams or the deployment.
#[tokio::test]
async fn a_grant_takes_rights_on_both_sides() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    fixture.team("blue", "bob").await;
    fixture.member("red", "rita", pb::TeamRole::Member).await.unwrap();
    put(&fixture, "user/ruth", "teams/red/secrets/openai", "sk-red").await.unwrap();
    let grant = |caller: &str, grantee: &str| {
        let mut client = fixture.vault(caller);
        let request =
            pb::GrantSecretRequest { name: "teams/red/secrets/openai".into(), grantee: grantee.into() };
        async move { client.grant_secret(request).await.map(|answer| answer.into_inner()) }
    };
    // A member may not; nor the admin of one side alone, whichever; nor anybody below the deployment for all.
    for (caller, grantee) in [
        ("user/rita", "teams/blue"),
        ("user/ruth", "teams/blue"),
        ("user/bob", "teams/blue"),
        ("user/ruth", "teams/*"),
    ] {
        assert_eq!(refusal(grant(caller, grantee).await), DENIED, "{caller} {grantee}");
    }
    assert_eq!(refusal(access(&fixture, "user/bob", "teams/blue/secrets/openai").await).0, Code::NotFound);
    fixture.member("blue", "ruth", pb::TeamRole::Admin).await.unwrap();
    let made = grant("user/ruth", "teams/blue").await.unwrap();
    assert_eq!((made.grantee.as_str(), made.creator.as_str()), ("teams/blue", "user/ruth"));
    let found = access(&fixture, "user/bob", "teams/-/secrets/openai").await.unwrap();
    assert_eq!((found.value.as_ref(), found.source.as_str()), (&b"sk-red"[..], "teams/red"));
    assert_eq!(found.name, "teams/blue/secrets/openai");
    // The grantee reads, under its own name alone, and writes nothing of the owner's.
    assert_eq!(refusal(access(&fixture, "user/bob", "teams/red/secrets/openai").await), DENIED);
    put(&fixture, "user/bob", "teams/blue/secrets/openai", "sk-blue").await.unwrap();
    let own = access(&fixture, "user/bob", "teams/-/secrets/openai").await.unwrap();
    assert_eq!((own.value.as_ref(), own.source.as_str()), (&b"sk-blue"[..], "teams/blue"));
    assert_eq!(access(&fixture, "user/ruth", "teams/red/secrets/openai").await.unwrap().value, "sk-red");
    grant("user/dev", "teams/*").await.unwrap();
    assert_eq!(
        access(&fixture, "user/dev", "teams/default/secrets/openai").await.unwrap().source,
        "teams/red"
    );
    let revoke =
        pb::RevokeSecretGrantRequest { name: "teams/red/secrets/openai".into(), grantee: "teams/*".into() };
    fixture.vault("user/ruth").revoke_secret_grant(revoke).await.unwrap();
    assert_eq!(refusal(access(&fixture, "user/dev", "teams/default/secrets/openai").await).0, Code::NotFound);
    let list = pb::ListSecretGrantsRequest { parent: "teams/red".into(), ..Default::default() };
    let grants = fixture.vault("user/rita").list_secret_grants(list).await.unwrap().into_inner().grants;
    assert_eq!(grants.iter().map(|grant| grant.grantee.as_str()).collect::<Vec<_>>(), ["teams/blue"]);
}

/// services.md §4.3 group 7.
#[tokio::test]
async fn references_to_the_environment_are_refused_on_write() {
    let fixture = Fixture::new().await;
    let put = put(&fixture, "user/dev", "teams/-/secrets/k", "$env(HOME)").await;
    assert_eq!(refusal(put), (Code::InvalidArgument, Reason::InvalidArgument));
}

#[tokio::test]
async fn earlier_versions_stay_readable() {
    let fixture = Fixture::new().await;
    let name = "teams/default/secrets/k";
    for text in ["one", "two"] {
        put(&fixture, "user/dev", name, text).await.unwrap();
    }
    let list = pb::ListSecretVersionsRequest { name: name.into(), ..Default::default() };
    let versions = fixture.vault("user/dev").list_secret_versions(list).await.unwrap().into_inner().versions;
    assert_eq!(versions.iter().map(|one| one.version).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(versions[0].creator, "user/dev");
    let first = pb::AccessSecretRequest { name: name.into(), version: 1, ..Default::default() };
    assert_eq!(fixture.vault("user/dev").access_secret(first).await.unwrap().into_inner().value, "one");
    let get = pb::GetSecretRequest { name: name.into(), ..Default::default() };
    assert_eq!(fixture.vault("user/dev").get_secret(get).await.unwrap().into_inner().version, 2);
}

/// services.md §4.3 group 7: keys rotate, values stay, and only the deployment's administrators may.
#[tokio::test]
async fn the_keys_rotate_and_everything_is_still_there() {
    let fixture = Fixture::new().await;
    put(&fixture, "user/dev", "teams/-/secrets/k", "value").await.unwrap();
    fixture.team("red", "ruth").await;
    let rotate = |caller: &str, forget_old_keys: bool| {
        let mut client = fixture.vault(caller);
        let request = pb::RotateVaultKeysRequest { forget_old_keys, ..Default::default() };
        async move { client.rotate_vault_keys(request).await.map(|answer| answer.into_inner()) }
    };
    assert_eq!(refusal(rotate("user/ruth", false).await), DENIED);
    let file = fixture.suite.data_dir().join("keys/vault.key");
    let before = std::fs::read(&file).unwrap();
    let first = rotate("user/dev", false).await.unwrap();
    let names: Vec<&str> = first.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["vault", "managed"]);
    assert_eq!((first.resealed, first.keys[0].old_key_ids.len()), (2, 1), "a secret and the signing key");
    assert_ne!(std::fs::read(&file).unwrap(), before);
    let second = rotate("user/dev", true).await.unwrap();
    assert_ne!(second.keys[0].key_id, first.keys[0].key_id);
    assert!(second.keys.iter().all(|key| key.old_key_ids.is_empty()));
    assert_eq!(access(&fixture, "user/dev", "teams/-/secrets/k").await.unwrap().value, "value");
    // The signing key opens too: tokens are made as before.
    fixture.run("dev", GREETER).await.unwrap();
}
