use sre_service::connectors::Instances;

use super::connectors::encrypted_file::EncryptedFile;
use super::connectors::none::NoVault;
use super::keks::Keks;
use super::*;
use crate::state::testing::state;

struct Fixture {
    dir: tempfile::TempDir,
    vault: Vault,
    state: State,
}

/// A vault with the backends `file`, `second` and `none`; team `apart` is on `second`.
async fn fixture() -> Fixture {
    let (dir, state) = state().await;
    let open = |name: &str| -> Arc<dyn SecretStore> {
        Arc::new(EncryptedFile::open(&dir.path().join(name), Keks::in_memory().unwrap()).unwrap())
    };
    let instances = Instances::of(
        "vault",
        vec![("file", open("vault.enc")), ("second", open("second.enc")), ("none", Arc::new(NoVault))],
    )
    .unwrap();
    let teams = BTreeMap::from([("apart".to_owned(), "second".to_owned())]);
    let vault = Vault::new(instances, teams, state.clone()).unwrap();
    state
        .write(|tx| {
            for team in ["default", "t", "u", "apart"] {
                let sql =
                    "insert into team (id, display_name, organization, created_us) values (?1, '', '', 0)";
                tx.execute(sql, [team])?;
            }
            Ok(())
        })
        .await
        .unwrap();
    Fixture { dir, vault, state }
}

impl Fixture {
    async fn put(&self, team: &str, key: &str, text: &str) {
        self.vault.put(team, key, value(text), "user/dev", "").await.unwrap();
    }

    /// The value and where it comes from.
    async fn read(&self, team: &str, key: &str) -> Option<(String, String)> {
        match self.vault.access(team, key, None, "").await {
            Ok((found, value)) => Some((String::from_utf8(value.expose().to_vec()).unwrap(), found.source)),
            Err(Error::SecretNotFound(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn listed(&self, team: &str, size: usize) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = Page { size, after };
            let (rows, next) = self.vault.list(team, page, "").await.unwrap();
            all.extend(rows.iter().map(|row| (row.info.key.clone(), row.source.clone())));
            if next.is_empty() {
                return all;
            }
            after = rows.last().map(|row| row.info.key.clone());
        }
    }
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

fn pair(one: &str, two: &str) -> (String, String) {
    (one.to_owned(), two.to_owned())
}

/// services.md H14 and §1.10: no team reads another's secrets, `default` included, unless they are granted.
#[tokio::test]
async fn h14_nothing_falls_back_to_another_team() {
    let it = fixture().await;
    it.put("default", "openai", "sk-shared").await;
    assert_eq!(it.read("t", "openai").await, None);
    // Nor does an empty value of one's own.
    it.put("t", "openai", "").await;
    assert_eq!(it.read("t", "openai").await, Some(pair("", "t")));
}

/// services.md §1.10: one's own goes first, even if it is empty; else what was granted, key by key.
#[tokio::test]
async fn a_granted_secret_is_used_where_there_is_none_of_ones_own() {
    let it = fixture().await;
    it.put("default", "openai", "sk-shared").await;
    it.put("default", "private", "p").await;
    it.vault.grant("default", "openai", "t", "user/dev").await.unwrap();
    assert_eq!(it.read("t", "openai").await, Some(pair("sk-shared", "default")));
    assert_eq!(it.read("t", "private").await, None);
    assert_eq!(it.read("u", "openai").await, None);
    let keys = ["openai".to_owned(), "private".to_owned()];
    let batch = it.vault.access_batch("t", &keys, "").await.unwrap();
    assert_eq!((batch.found[0].0.source.as_str(), batch.missing.as_slice()), ("default", &keys[1..]));
    it.put("t", "openai", "").await;
    assert_eq!(it.read("t", "openai").await, Some(pair("", "t")));
    it.vault.delete("t", "openai", "").await.unwrap();
    it.vault.revoke("default", "openai", "t").await.unwrap();
    assert_eq!(it.read("t", "openai").await, None);
}

#[tokio::test]
async fn all_teams_may_use_what_is_granted_to_all() {
    let it = fixture().await;
    it.put("default", "openai", "of all").await;
    it.put("u", "openai", "of u").await;
    it.vault.grant("default", "openai", grants::ALL, "user/dev").await.unwrap();
    assert_eq!(it.read("t", "openai").await, Some(pair("of all", "default")));
    it.vault.grant("u", "openai", "t", "user/dev").await.unwrap();
    assert_eq!(it.read("t", "openai").await, Some(pair("of u", "u")));
    assert_eq!(it.read("apart", "openai").await, Some(pair("of all", "default")));
}

/// services.md D11: what can be used is listed, with the team that it belongs to.
#[tokio::test]
async fn d11_a_list_has_granted_secrets_with_their_source() {
    let it = fixture().await;
    for key in ["a", "c", "e"] {
        it.put("t", key, "own").await;
    }
    for key in ["b", "c", "d", "f", "gone"] {
        it.put("default", key, "granted").await;
        it.vault.grant("default", key, "t", "user/dev").await.unwrap();
    }
    // A grant whose secret is gone by another way.
    let store = it.vault.store("default", "").unwrap();
    store.delete("default", "gone").await.unwrap();
    let wanted: Vec<_> =
        [("a", "t"), ("b", "default"), ("c", "t"), ("d", "default"), ("e", "t"), ("f", "default")]
            .map(|(key, source)| pair(key, source))
            .into();
    for size in [1, 2, 5, 6, 100] {
        assert_eq!(it.listed("t", size).await, wanted, "pages of {size}");
    }
}

#[tokio::test]
async fn deleting_a_secret_takes_its_grants_back() {
    let it = fixture().await;
    it.put("default", "k", "one").await;
    it.vault.grant("default", "k", "t", "user/dev").await.unwrap();
    it.vault.delete("default", "k", "").await.unwrap();
    it.put("default", "k", "two").await;
    assert_eq!(it.read("t", "k").await, None);
}

#[tokio::test]
async fn only_what_exists_is_granted_and_to_teams_that_exist() {
    let it = fixture().await;
    it.put("default", "k", "v").await;
    let grant = |key: &'static str, to: &'static str| it.vault.grant("default", key, to, "user/dev");
    assert!(matches!(grant("absent", "t").await, Err(Error::SecretNotFound(_))));
    assert!(matches!(grant("k", "nowhere").await, Err(Error::NotFound(_))));
    assert!(matches!(grant("k", "default").await, Err(Error::Invalid { field: "grantee", .. })));
    assert!(matches!(it.vault.revoke("default", "k", "t").await, Err(Error::NotFound(_))));
}

/// services.md H38: an absent key is an error that says so, never a made-up value.
#[tokio::test]
async fn h38_absent_keys_are_absent_and_no_vault_is_no_vault() {
    let it = fixture().await;
    it.put("t", "a", "1").await;
    assert!(
        matches!(it.vault.access("t", "b", None, "").await, Err(Error::SecretNotFound(key)) if key == "b")
    );
    assert!(matches!(it.vault.delete("t", "b", "").await, Err(Error::SecretNotFound(_))));
    let batch = it.vault.access_batch("t", &["b".into(), "a".into()], "").await.unwrap();
    assert_eq!(batch.missing, ["b"]);
    assert_eq!(batch.found[0].1.expose(), b"1");
    let none = it.vault.access("t", "a", None, "none").await;
    assert_eq!(tonic::Status::from(none.unwrap_err()).code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_team_is_on_its_instance_and_a_request_may_name_another() {
    let it = fixture().await;
    it.put("apart", "k", "v").await;
    assert_eq!(it.read("apart", "k").await, Some(pair("v", "apart")));
    let named = it.vault.access("apart", "k", None, "second").await.unwrap();
    assert_eq!(named.1.expose(), b"v");
    assert!(matches!(it.vault.access("apart", "k", None, "file").await, Err(Error::SecretNotFound(_))));
    let unknown = it.vault.access("apart", "k", None, "third").await.unwrap_err();
    assert_eq!(tonic::Status::from(unknown).code(), tonic::Code::FailedPrecondition);
    // What is granted comes from the owner's own instance.
    it.vault.grant("apart", "k", "t", "user/dev").await.unwrap();
    assert_eq!(it.read("t", "k").await, Some(pair("v", "apart")));
    assert!(matches!(it.vault.access("t", "k", None, "file").await, Err(Error::SecretNotFound(_))));
    let teams = BTreeMap::from([("t".to_owned(), "third".to_owned())]);
    assert!(Vault::new(it.vault.instances.clone(), teams, it.state.clone()).is_err());
}

/// services.md §1.8 and §4.3 group 7: a tenant cannot make the service read its environment.
#[tokio::test]
async fn references_to_the_environment_are_refused() {
    let it = fixture().await;
    for text in ["$env(HOME)", "x$env(A)y", "$env($env(B))", "$env(\u{1})"] {
        let put = it.vault.put("t", "k", value(text), "user/dev", "").await;
        assert!(matches!(put, Err(Error::Invalid { field: "value", .. })), "{text:?}");
    }
    for text in ["$env", "$env()", "env(HOME)", "$env(HOME", "$ENV(HOME)"] {
        it.put("t", "k", text).await;
        assert_eq!(it.read("t", "k").await, Some(pair(text, "t")));
    }
}

#[tokio::test]
async fn limits_hold() {
    let it = fixture().await;
    let large = SecretValue::new(vec![b'x'; MAX_VALUE_BYTES + 1]);
    assert!(matches!(
        it.vault.put("t", "k", large, "user/dev", "").await,
        Err(Error::Invalid { field: "value", .. })
    ));
    let long = "k".repeat(MAX_KEY_CHARS + 1);
    for key in ["", "a\nb", long.as_str()] {
        assert!(
            matches!(it.vault.access("t", key, None, "").await, Err(Error::Invalid { field: "key", .. })),
            "{key:?}"
        );
    }
    let many = vec!["k".to_owned(); MAX_BATCH + 1];
    let batch = it.vault.access_batch("t", &many, "").await;
    assert!(matches!(batch, Err(Error::Invalid { field: "keys", .. })));
}

/// services.md §4.3 group 7: what is at rest is readable by nobody without the key.
#[tokio::test]
async fn at_rest_nothing_is_in_clear() {
    let it = fixture().await;
    it.put("t", "name-canary", "value-canary").await;
    it.put("t", "name-canary", "value-canary").await;
    let bytes = std::fs::read(it.dir.path().join("vault.enc")).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
}
