//! The remote backends: the crate's own memory, S3 (moto), Azure (Azurite), Google Cloud (a fake of its XML API).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{FutureExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use serde_json::{Value, json};
use sre_service::connectors::{Kind, Opening};
use sre_service::testing::backend;

use super::ObjectStore;
use super::contract::{self, Aborts, Bench};
use super::remote::RemoteObjects;

/// A name that no other test uses.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("sre-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn open(kind: &Kind<dyn ObjectStore>, settings: Value) -> Arc<dyn ObjectStore> {
    let opening = Opening::standalone("objects", settings, std::path::Path::new("/nowhere"));
    (kind.check)(&opening).unwrap();
    (kind.open)(opening).await.unwrap()
}

mod memory {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let memory = Arc::new(InMemory::new());
        let store = Arc::new(RemoteObjects::shared(Arc::clone(&memory), "", "memory").unwrap());
        let left = move || {
            let memory = Arc::clone(&memory);
            async move {
                let list = object_store::ObjectStore::list(&*memory, None);
                list.map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
            }
            .boxed()
        };
        // The crate's memory forgets an upload with its first abort; the stores that it stands for do not mind.
        Some(Bench { store, left: Box::new(left), aborts: Aborts::Once, _keep: Box::new(()) })
    }

    contract::every_case!(fresh);
}

/// The texts between `<tag>` and `</tag>`.
fn tagged(xml: &str, tag: &str) -> Vec<String> {
    xml.split(&format!("<{tag}>"))
        .skip(1)
        .filter_map(|rest| rest.split_once(&format!("</{tag}>")).map(|(text, _)| text.to_owned()))
        .collect()
}

async fn get(url: String) -> String {
    let answer = reqwest::get(&url).await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.text().await.unwrap()
}

#[cfg(feature = "s3")]
mod s3 {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let moto = backend("SRE_TEST_MOTO")?;
        Some(over(moto, fresh_name()).await)
    }

    async fn over(moto: String, bucket: String) -> Bench {
        // moto asks for no signature.
        let made = reqwest::Client::new().put(format!("{moto}/{bucket}")).send().await.unwrap();
        assert!(made.status().is_success(), "{}", made.status());
        let settings = json!({
            "region": "us-east-1", "accessKeyId": "any", "secretAccessKey": "any", "bucket": bucket,
            "endpoint": moto, "prefix": "suite/one",
        });
        let store = open(&super::super::s3::KIND, settings).await;
        let left = move || {
            let (objects, uploads) =
                (format!("{moto}/{bucket}?list-type=2"), format!("{moto}/{bucket}?uploads"));
            async move {
                let mut left = tagged(&get(objects).await, "Key");
                assert!(left.iter().all(|key| key.starts_with("suite/one/")), "{left:?}");
                left.extend(tagged(&get(uploads).await, "UploadId"));
                left
            }
            .boxed()
        };
        Bench { store, left: Box::new(left), aborts: Aborts::Again, _keep: Box::new(()) }
    }

    contract::every_case!(fresh);

    /// services.md D23: nothing is installed in the bucket, and objects carry no tags.
    #[tokio::test]
    async fn d23_nothing_is_installed_in_the_bucket() {
        let Some(moto) = backend("SRE_TEST_MOTO") else { return };
        let bucket = fresh_name();
        let bench = over(moto.clone(), bucket.clone()).await;
        for size in [10, 20 << 20] {
            let key = bench.put(&contract::pattern(size), 1 << 20).await;
            assert_eq!(bench.get(&key, contract::ALL).await.unwrap().len(), size);
        }
        let objects = (bench.left)().await;
        assert_eq!(objects.len(), 2);
        let rules = reqwest::get(format!("{moto}/{bucket}?lifecycle")).await.unwrap();
        assert_eq!(rules.status(), 404, "{}", rules.text().await.unwrap());
        for object in objects {
            // moto shows objects to whoever names a key; it checks no signature.
            let signed = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, \
                          SignedHeaders=host, Signature=00";
            let request = reqwest::Client::new().get(format!("{moto}/{bucket}/{object}?tagging"));
            let answer = request.header("authorization", signed).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let tags = answer.text().await.unwrap();
            assert!(tags.contains("TagSet") && !tags.contains("<Key>"), "{tags}");
        }
    }

    /// services.md H23: opening a backend leaves the process's cryptography, and its randomness, as they are.
    #[tokio::test]
    async fn h23_opening_a_bucket_changes_nothing_of_the_process() {
        let before = rustls::crypto::CryptoProvider::get_default().map(Arc::as_ptr);
        let settings = json!({
            "region": "us-east-1", "accessKeyId": "any", "secretAccessKey": "any", "bucket": "nowhere",
            "endpoint": "http://127.0.0.1:9",
        });
        let store = open(&super::super::s3::KIND, settings).await;
        assert!(store.check().await.is_err());
        assert_eq!(rustls::crypto::CryptoProvider::get_default().map(Arc::as_ptr), before);
        let random = |_| rand::random::<u128>();
        let numbers: std::collections::BTreeSet<u128> = (0..1000).map(random).collect();
        assert!(numbers.len() == 1000 && !numbers.contains(&0));
    }

    #[tokio::test]
    async fn a_bucket_that_is_not_there_is_not_well() {
        let Some(moto) = backend("SRE_TEST_MOTO") else { return };
        let settings = json!({
            "region": "us-east-1", "accessKeyId": "any", "secretAccessKey": "any", "bucket": fresh_name(),
            "endpoint": moto,
        });
        let store = open(&super::super::s3::KIND, settings).await;
        assert!(store.check().await.is_err());
    }
}

#[cfg(feature = "azure")]
mod azure {
    use super::*;

    /// The account that Azurite knows; its key is in the emulator's own documentation.
    const ACCOUNT: &str = "devstoreaccount1";
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    async fn fresh() -> Option<Bench> {
        use object_store::azure::MicrosoftAzureBuilder;

        let azurite = backend("SRE_TEST_AZURITE")?;
        let endpoint = format!("{azurite}/{ACCOUNT}");
        let container = fresh_name();
        make_container(&endpoint, &container).await;
        let settings = json!({
            "account": ACCOUNT, "accessKey": KEY, "container": container, "endpoint": endpoint,
            "prefix": "suite",
        });
        let store = open(&super::super::azure::KIND, settings).await;
        let looking = MicrosoftAzureBuilder::new()
            .with_account(ACCOUNT)
            .with_access_key(KEY)
            .with_container_name(&container)
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .build()
            .unwrap();
        let looking = Arc::new(looking);
        let left = move || {
            let looking = Arc::clone(&looking);
            async move {
                let list = object_store::ObjectStore::list(&*looking, None);
                list.map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
            }
            .boxed()
        };
        Some(Bench { store, left: Box::new(left), aborts: Aborts::Again, _keep: Box::new(()) })
    }

    /// The crate makes no containers: one request, signed with the shared key as Azure documents it.
    async fn make_container(endpoint: &str, container: &str) {
        use base64::Engine as _;
        use hmac::Mac as _;

        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let headers = format!("x-ms-date:{date}\nx-ms-version:2021-08-06\n");
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container");
        let to_sign = format!("PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}{resource}");
        let engine = base64::engine::general_purpose::STANDARD;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&engine.decode(KEY).unwrap()).unwrap();
        mac.update(to_sign.as_bytes());
        let code = engine.encode(mac.finalize().into_bytes());
        let made = reqwest::Client::new()
            .put(format!("{endpoint}/{container}?restype=container"))
            .header("x-ms-date", date)
            .header("x-ms-version", "2021-08-06")
            .header("content-length", "0")
            .header("authorization", format!("SharedKey {ACCOUNT}:{code}"))
            .send()
            .await
            .unwrap();
        let status = made.status();
        assert!(status.is_success(), "{status}: {}", made.text().await.unwrap());
    }

    contract::every_case!(fresh);
}

#[cfg(feature = "gcs")]
mod gcs {
    use super::super::fakes::gcs::FakeGcs;
    use super::*;

    /// A key as emulators of Google's take it: it says that there is nobody to give tokens.
    fn settings(fake: &FakeGcs) -> Value {
        let key = json!({
            "gcs_base_url": fake.url(), "disable_oauth": true, "client_email": "", "private_key": "",
            "private_key_id": "",
        });
        json!({
            "bucket": "bucket", "endpoint": fake.url(), "serviceAccountKey": key.to_string(),
            "prefix": "suite/one",
        })
    }

    async fn fresh() -> Option<Bench> {
        let fake = FakeGcs::start("bucket").await;
        let settings = settings(&fake);
        let store = open(&super::super::gcs::KIND, settings).await;
        let looking = fake.clone();
        let left = move || {
            let left = looking.left();
            async move { left }.boxed()
        };
        Some(Bench { store, left: Box::new(left), aborts: Aborts::Again, _keep: Box::new(fake) })
    }

    contract::every_case!(fresh);

    /// A store that fails now and then is asked again; one that keeps failing is an error that says so.
    #[tokio::test]
    async fn failures_are_tried_again_within_a_budget() {
        let fake = FakeGcs::start("bucket").await;
        let store = open(&super::super::gcs::KIND, settings(&fake)).await;
        let bench = Bench {
            store,
            left: Box::new(|| async { Vec::new() }.boxed()),
            aborts: Aborts::Again,
            _keep: Box::new(()),
        };
        fake.fail_next(2);
        let key = bench.put(b"content", 3).await;
        fake.fail_next(2);
        assert_eq!(bench.get(&key, contract::ALL).await.unwrap(), b"content");
        fake.fail_next(u32::MAX);
        let error = bench.get(&key, contract::ALL).await.unwrap_err();
        assert!(matches!(error, super::super::ObjectError::Unavailable { .. }), "{error}");
    }
}
