//! API keys: made, used, revoked, and then refused.

use std::time::{Duration, Instant};

use serde_json::json;
use sre_proto::security::v1::{ApiKey, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest};

use crate::harness::agents::hasher;
use crate::harness::{Mode, Options, Suite, eventually, in_both_modes};

in_both_modes!(api_keys);

async fn api_keys(mode: Mode) {
    let suite = Suite::start("api-keys", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put("teams/default/agents/hasher", &hasher("hasher")).await.unwrap();

    let request = CreateApiKeyRequest { parent: "users/-".into(), api_key: Some(ApiKey::default()) };
    let made = dev.keys().create_api_key(request).await.unwrap().into_inner();
    let name = made.api_key.unwrap().name;
    let list = ListApiKeysRequest { parent: "users/-".into(), ..ListApiKeysRequest::default() };
    let listed = dev.keys().list_api_keys(list).await.unwrap().into_inner().api_keys;
    assert!(listed.iter().any(|key| key.name == name), "{listed:?}");

    let http = reqwest::Client::new();
    let url = format!("http://{}/api/hash", suite.address("http"));
    let status = async || {
        let body = json!({ "text": "hello" }).to_string();
        let request = http.post(&url).header("x-agent-id", "hasher").bearer_auth(&made.key).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 200);
    dev.keys().revoke_api_key(RevokeApiKeyRequest { name }).await.unwrap();
    let revoked = Instant::now();
    eventually("the key is refused", Duration::from_secs(30), async || (status().await == 401).then_some(()))
        .await;
    assert!(revoked.elapsed() < Duration::from_secs(30));
    suite.stop().await;
}
