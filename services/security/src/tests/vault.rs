use super::*;

async fn put(fixture: &Fixture, caller: &str, name: &str, value: &str) -> Result<pb::Secret, Status> {
    let secret = pb::Secret { name: name.into(), ..pb::Secret::default() };
    let request = pb::PutSecretRequest { secret: Some(secret), value: value.to_owned().into() };
    Ok(fixture.vault(caller).put_secret(request).await?.into_inner())
}

async fn access(fixture: &Fixture, caller: &str, name: &str) -> Result<pb::AccessSecretResponse, Status> {
    let request = pb::AccessSecretRequest { name: name.into() };
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
        let delete = pb::DeleteSecretRequest { name: name.into() };
        assert_eq!(refusal(fixture.vault(reader).delete_secret(delete).await), DENIED, "{reader}");
    }
    let delete = pb::DeleteSecretRequest { name: name.into() };
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
    let request = pb::AccessSecretsRequest { parent: "teams/-".into(), keys: vec!["a".into(), "b".into()] };
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
