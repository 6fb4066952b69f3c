use super::*;
use crate::aws::testing;
use crate::managed_vault::connectors::contract::{self, Bench, place, value};

/// With its envelope a value must fit into what the service takes.
const MAX_VALUE: usize = 48 << 10;

async fn fresh() -> Option<Bench> {
    let store = ManagedSecretsManager::new(&testing::settings()?).unwrap();
    Some(Bench { max_value: MAX_VALUE, ..Bench::over(store, ()) })
}

contract::every_case!(fresh);

/// services.md D15: what is created and what replaces it have one form, the envelope of version 1.
#[tokio::test(flavor = "multi_thread")]
async fn d15_every_write_has_the_envelope() {
    let Some(settings) = testing::settings() else { return };
    let store = ManagedSecretsManager::new(&settings).unwrap();
    let at = place("a", "k");
    let name = store.name(&at).unwrap();
    for text in ["one", r#"{"only":"field"}"#] {
        store.set(&at, value(text), None, Expected::Anything, Moment::now()).await.unwrap();
        let raw = store.client.value(&name, None).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(raw.value.expose()).unwrap();
        assert_eq!((json["v"].as_u64(), json["value"].as_str()), (Some(1), Some(text)));
    }
    // What is none is no secret, and is not guessed at.
    store.client.update(&name, &"x".repeat(32), &Content(value(r#"{"token":"x"}"#))).await.unwrap();
    assert!(matches!(store.get(&at, Moment::now()).await, Err(SecretStoreError::Damaged(_))));
}

/// services.md §3.7: a secret that is scheduled for deletion reads as absent, and is restored when it is set again.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_scheduled_for_deletion_is_restored() {
    let Some(settings) = testing::settings() else { return };
    let store = ManagedSecretsManager::new(&settings).unwrap();
    let (at, now) = (place("a", "k"), Moment::now());
    store.set(&at, value("one"), None, Expected::Nothing, now).await.unwrap();
    assert!(store.delete(&at, now).await.unwrap());
    let name = store.name(&at).unwrap();
    assert!(store.client.describe(&name).await.unwrap().unwrap().is_deleted);
    assert!(store.get(&at, now).await.unwrap().is_none());
    let set = store.set(&at, value("two"), None, Expected::Nothing, now).await.unwrap();
    assert!(matches!(set, Written::Done(_)));
    assert!(!store.client.describe(&name).await.unwrap().unwrap().is_deleted);
    assert_eq!(store.get(&at, now).await.unwrap().unwrap().1.expose(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_says_so() {
    let Some(settings) = testing::settings() else { return };
    let store = ManagedSecretsManager::new(&settings).unwrap();
    let large = value(&"x".repeat(64 << 10));
    let set = store.set(&place("a", "k"), large, None, Expected::Anything, Moment::now()).await;
    assert!(matches!(set, Err(SecretStoreError::Invalid(_))));
}
