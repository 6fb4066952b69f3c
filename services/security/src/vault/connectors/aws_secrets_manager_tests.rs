use super::*;
use crate::aws::testing;
use crate::vault::connectors::contract::{self, Bench, NOW, WRITER, value};

async fn fresh() -> Option<Bench> {
    let store = SecretsManager::new(&testing::settings()?).unwrap();
    Some(Bench::over(store, ()))
}

contract::every_case!(fresh);

/// What an operator made with other tools is read; its version has no number, and the next one has.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_made_elsewhere_is_read_and_replaced() {
    let Some(settings) = testing::settings() else { return };
    let store = SecretsManager::new(&settings).unwrap();
    let name = store.name("t", "by-hand").unwrap();
    let token = "8f14e45f-ceea-467f-a0e6-1f1d0d6c3a11";
    store.client.create(&name, token, &Content(value("by hand"))).await.unwrap();
    let (info, found) = store.get("t", "by-hand", None).await.unwrap().unwrap();
    assert_eq!((info.version, found.expose()), (0, &b"by hand"[..]));
    let put = store.put("t", "by-hand", value("ours"), WRITER, NOW).await.unwrap();
    assert_eq!(put.version, 1);
    assert_eq!(store.get("t", "by-hand", None).await.unwrap().unwrap().1.expose(), b"ours");
}

/// services.md D14: a list over many pages is whole.
#[tokio::test(flavor = "multi_thread")]
async fn d14_a_list_goes_over_all_pages() {
    let Some(settings) = testing::settings() else { return };
    let store = SecretsManager::new(&settings).unwrap();
    for n in 0..120 {
        store.put("t", &format!("k{n:03}"), value("x"), WRITER, NOW).await.unwrap();
    }
    let keys = store.list("t", None, 1000).await.unwrap();
    assert_eq!((keys.len(), keys[119].key.as_str()), (120, "k119"));
}
