//! Issue 4, acceptance 5: vault keys rotate under load with zero failed calls. Secrets are set and read, tokens are
//! renewed, and an agent signs with a secret, while all keys rotate several times; then everything is still there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::security::v1::managed_vault_client::ManagedVaultClient;
use sre_proto::security::v1::{
    AccessSecretRequest, CompareAndSetManagedSecretRequest, GetManagedSecretRequest, PutSecretRequest,
    RotateVaultKeysRequest, Secret,
};
use tonic::Status;
use tonic::transport::Channel;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::Client;
use crate::harness::{CANARY, Mode, Options, Suite, eventually, in_both_modes};

in_both_modes!(vault_keys_rotate_under_load);

const AGENT: &str = "teams/default/agents/signer";
const TOKEN: &str = "teams/default/agents/signer/managedSecrets/token";
const TEXT: &str = "control-text-that-may-be-stored";
/// HMAC-SHA-256 of the text under the secret.
const SIGNATURE: &str = "800c68db8c1c4b67dd716f3d23143ad8ee8a818f691c06e1f9a5d39f01139b01";
/// Rotations.
const ROTATIONS: u64 = 6;
/// Steps of every kind of load between two of them.
const STEPS: u64 = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// What the load has done.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    vault: AtomicU64,
    managed: AtomicU64,
    runs: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn counts(&self) -> [u64; 3] {
        [&self.vault, &self.managed, &self.runs].map(|count| count.load(Ordering::SeqCst))
    }
}

async fn put(client: &Client, key: &str, value: &str) -> Result<i64, Status> {
    let secret = Secret { name: format!("teams/-/secrets/{key}"), ..Secret::default() };
    let request =
        PutSecretRequest { secret: Some(secret), value: value.to_owned().into(), ..Default::default() };
    Ok(client.vault().put_secret(request).await?.into_inner().version)
}

async fn read(client: &Client, key: &str) -> Result<String, Status> {
    let request = AccessSecretRequest { name: format!("teams/-/secrets/{key}"), ..Default::default() };
    let value = client.vault().access_secret(request).await?.into_inner().value;
    Ok(String::from_utf8(value.to_vec()).unwrap())
}

fn signer() -> Value {
    let sign = json!({
        "key": "{{KEY(signing)}}", "signMethod": "HMAC", "hashType": "sha256", "encoding": "hex",
        "dataTransform": "None",
    });
    document(
        "signer",
        json!({}),
        &[
            endpoint("sign", "POST", &[("text", "Text")]),
            component("sign_it", "FSign", sign, &["Data"], &["Signature"]),
            output("answer", &["signature"]),
        ],
        &["sign.text > sign_it.Data", "sign_it.Signature > answer.signature"],
    )
}

/// Sets a secret and reads it back, and one that never changes beside it.
async fn secrets(client: Client, load: Arc<Load>, key: String) -> Result<(String, String), Status> {
    let mut last = String::new();
    let mut n = 0;
    while load.goes_on() {
        n += 1;
        last = format!("{key} {n}");
        assert_eq!(put(&client, &key, &last).await?, n);
        assert_eq!(read(&client, &key).await?, last);
        assert_eq!(read(&client, "fixed").await?, "never changes");
        load.vault.fetch_add(1, Ordering::SeqCst);
    }
    Ok((key, last))
}

/// Renews a token as its agent: reads it, and writes the next in its place.
async fn renewals(channel: Channel, load: Arc<Load>) -> Result<String, Status> {
    let mut client = ManagedVaultClient::new(channel);
    let (mut version, mut n) = (0, 0_u64);
    while load.goes_on() {
        n += 1;
        let set = CompareAndSetManagedSecretRequest {
            name: TOKEN.into(),
            expected_version: version,
            value: format!("token {n}").into(),
            ..Default::default()
        };
        version = client.compare_and_set_managed_secret(set).await?.into_inner().version;
        let get = GetManagedSecretRequest { name: TOKEN.into(), ..Default::default() };
        let found = client.get_managed_secret(get).await?.into_inner();
        assert_eq!((found.version, found.value), (version, format!("token {n}").into()));
        load.managed.fetch_add(1, Ordering::SeqCst);
    }
    Ok(format!("token {n}"))
}

/// Runs an agent that signs with a secret.
async fn runs(client: Client, load: Arc<Load>) -> Result<(), Status> {
    while load.goes_on() {
        let answer = client.answer(AGENT, "sign", &json!({ "text": TEXT })).await?;
        assert!(answer.to_string().contains(SIGNATURE), "{answer}");
        load.runs.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

async fn vault_keys_rotate_under_load(mode: Mode) {
    let suite = Suite::start("vault-rotation", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    put(&dev, "signing", CANARY).await.unwrap();
    put(&dev, "fixed", "never changes").await.unwrap();
    dev.put(AGENT, &signer()).await.unwrap();

    let load = Arc::new(Load::default());
    let writers: Vec<_> = (0..3)
        .map(|n| tokio_spawn(secrets(suite.client("user/dev"), Arc::clone(&load), format!("written-{n}"))))
        .collect();
    let renewing = tokio_spawn(renewals(suite.channel("user/dev", "edge"), Arc::clone(&load)));
    let signers: Vec<_> =
        (0..2).map(|_| tokio_spawn(runs(suite.client("user/dev"), Arc::clone(&load)))).collect();

    let mut key_ids = std::collections::BTreeSet::new();
    for n in 1..=ROTATIONS {
        let before = load.counts();
        eventually("every load goes on", WITHIN, async || {
            let now = load.counts();
            now.iter().zip(before).all(|(now, before)| *now >= before + STEPS).then_some(())
        })
        .await;
        // The last one forgets the older keys, while all that was written before is in use.
        let request = RotateVaultKeysRequest { forget_old_keys: n == ROTATIONS, ..Default::default() };
        let rotated = dev.vault().rotate_vault_keys(request).await.unwrap().into_inner();
        assert!(rotated.resealed >= 4, "{rotated:?}");
        key_ids.extend(rotated.keys.iter().map(|key| key.key_id.clone()));
    }
    let before = load.counts();
    eventually("every load goes on", WITHIN, async || {
        let now = load.counts();
        now.iter().zip(before).all(|(now, before)| *now >= before + STEPS).then_some(())
    })
    .await;
    load.stop.store(true, Ordering::SeqCst);
    assert_eq!(key_ids.len() as u64, 2 * ROTATIONS, "two new keys each time");

    // Zero failed calls: the first one would have ended its load.
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.unwrap().unwrap());
    }
    let token = renewing.await.unwrap().unwrap();
    for signer in signers {
        signer.await.unwrap().unwrap();
    }
    eprintln!("calls beside {ROTATIONS} rotations (secrets, tokens, runs): {:?}", load.counts());
    let old = suite.folder().join("keys/vault.key.old");
    assert!(!old.exists(), "the old keys are forgotten");
    suite.stop().await;

    // A start after it reads the key files anew, and opens all with the one key that is left.
    let suite = Suite::start("vault-rotation", mode, Options::default().again()).await;
    let dev = suite.client("user/dev");
    for (key, value) in &written {
        assert_eq!(read(&dev, key).await.unwrap(), *value);
    }
    let get = GetManagedSecretRequest { name: TOKEN.into(), ..Default::default() };
    let found = ManagedVaultClient::new(suite.channel("user/dev", "edge")).get_managed_secret(get).await;
    assert_eq!(found.unwrap().into_inner().value, token);
    let answer = dev.answer(AGENT, "sign", &json!({ "text": TEXT })).await.unwrap();
    assert!(answer.to_string().contains(SIGNATURE), "{answer}");
    suite.stop().await;
}

fn tokio_spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    sre_service::task::spawn("load", future)
}
