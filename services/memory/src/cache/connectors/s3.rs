//! Entries as objects in Amazon S3 or a store that speaks its protocol. Ends are in the records, to the millisecond;
//! nothing is asked of the bucket but objects: no tags, no lifecycle rules (D23, D24).
//!
//! A change is a conditional write over the object as it was read (`If-Match`, `If-None-Match`), tried again where
//! somebody was faster. S3 deletes without conditions, so a delete first writes a record that has ended over the old
//! one, which decides who made it; then the object goes, at the latest with the sweep.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig, UpdateVersion,
};
use rand::Rng as _;
use secrecy::ExposeSecret as _;
use sre_service::connectors::{Connector, Opening, SecretSetting, Unhealthy};

use super::{CacheStore, codec};
use crate::cache::clock::{Clock, Millis, millis};
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Change, Head, Outcome, Record, Seen, Step, apply};

/// How often a change is tried over what others made meanwhile.
const TRIES: u32 = 48;
/// A record stays this long after its end before its object goes, so that none goes that was just replaced.
const GRACE: Duration = Duration::from_secs(60);
/// The most objects that one sweep looks at.
const SWEEP_OBJECTS: usize = 10_000;

/// What an operator says. The first four are the reference's.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    /// The bucket. It must exist.
    bucket_name: String,
    /// The region, `eu-central-1`.
    #[serde(default)]
    region: Option<String>,
    /// The access key. Without it credentials are found as Amazon's own tools find them: environment, web identity,
    /// container, instance.
    #[serde(default)]
    access_key_id: Option<String>,
    /// The secret of the access key.
    #[serde(default)]
    secret_access_key: Option<SecretSetting>,
    /// The token of temporary credentials.
    #[serde(default)]
    session_token: Option<SecretSetting>,
    /// Where a compatible store is, `https://minio.example:9000`. It must know conditional writes.
    #[serde(default)]
    endpoint: Option<String>,
    /// What keys begin with; `sre-cache` where absent.
    #[serde(default)]
    prefix: Option<String>,
    /// Minutes between two sweeps, each of which reads the beginning of every object; 60 where absent, 0 for none,
    /// where the bucket's own rules remove old objects.
    #[serde(default)]
    sweep_minutes: Option<u32>,
}

/// Checks the settings without connecting.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    let settings: Settings = opening.settings()?;
    anyhow::ensure!(!settings.bucket_name.is_empty(), "bucketName is empty: name the bucket");
    anyhow::ensure!(
        settings.access_key_id.is_some() == settings.secret_access_key.is_some(),
        "accessKeyId and secretAccessKey: set both, or none"
    );
    Ok(())
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn CacheStore>> {
    check(&opening)?;
    let settings: Settings = opening.settings()?;
    let entries = S3Entries::new(&settings, Clock::system()).await?;
    entries.probe().await?;
    Ok(Arc::new(entries))
}

/// Entries in a bucket. Clones share the client.
#[derive(Clone, Debug)]
pub struct S3Entries {
    bucket: Arc<AmazonS3>,
    prefix: Path,
    clock: Clock,
    sweep_every: Option<Duration>,
    swept_ms: Arc<AtomicI64>,
}

/// An object as it was read.
struct Found {
    record: Option<Record>,
    version: UpdateVersion,
}

impl S3Entries {
    pub(super) async fn new(settings: &Settings, clock: Clock) -> anyhow::Result<Self> {
        // H34: credentials that are configured are the ones that are used.
        let mut builder = match (&settings.access_key_id, &settings.secret_access_key) {
            (Some(id), Some(secret)) => {
                let secret = secret.reveal().await?;
                AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret.expose_secret())
            }
            _ => AmazonS3Builder::from_env(),
        };
        // Plain HTTP is for emulators and gateways that an operator names so.
        let plain = settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let options = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(Duration::from_secs(3))
            .with_timeout(Duration::from_secs(20));
        let retry =
            RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
        builder = builder
            .with_bucket_name(&settings.bucket_name)
            .with_virtual_hosted_style_request(settings.endpoint.is_none())
            .with_client_options(options)
            .with_retry(retry);
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token.reveal().await?.expose_secret());
        }
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let minutes = settings.sweep_minutes.unwrap_or(60);
        Ok(Self {
            bucket: Arc::new(builder.build()?),
            prefix: Path::from(settings.prefix.as_deref().unwrap_or("sre-cache")),
            swept_ms: Arc::new(AtomicI64::new(clock.now())),
            clock,
            sweep_every: (minutes > 0).then(|| Duration::from_secs(u64::from(minutes) * 60)),
        })
    }

    /// One cheap request: an object that is not there.
    async fn probe(&self) -> anyhow::Result<()> {
        match self.bucket.head(&self.prefix.clone().join("probe")).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The team is in the key, so that an operator sees whose it is; the name is a digest.
    fn path(&self, name: &EntryName) -> Path {
        self.prefix.clone().join(name.team()).join(codec::digest(name))
    }

    async fn read(&self, name: &EntryName) -> Result<Option<Found>, CacheError> {
        let got = match self.bucket.get(&self.path(name)).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error, false)),
        };
        let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
        let bytes = got.bytes().await.map_err(|error| failed(error, false))?;
        Ok(Some(Found { record: codec::decode(name, &bytes), version }))
    }

    /// The head of an object of this path and whatever name, by a part of it.
    async fn first(&self, path: &Path) -> Result<Option<(Bytes, u64)>, CacheError> {
        let mut wanted = codec::FIRST_BYTES;
        loop {
            let range = Some(GetRange::Bounded(0..wanted));
            let got = match self.bucket.get_opts(path, GetOptions { range, ..GetOptions::default() }).await {
                Ok(got) => got,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(failed(error, false)),
            };
            let all_bytes = got.meta.size;
            let first = got.bytes().await.map_err(|error| failed(error, false))?;
            match codec::head_bytes(&first) {
                Some(needed) if needed > first.len() && wanted < all_bytes => wanted = needed as u64,
                _ => return Ok(Some((first, all_bytes))),
            }
        }
    }

    /// Writes over what was read. False where somebody was faster.
    async fn write(
        &self,
        name: &EntryName,
        over: Option<&UpdateVersion>,
        record: &Record,
    ) -> Result<bool, CacheError> {
        let bytes = codec::encode(name, record)?;
        let mode = over.map_or(PutMode::Create, |version| PutMode::Update(version.clone()));
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.bucket.put_opts(&self.path(name), bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) => {
                Ok(false)
            }
            Err(error) => Err(failed(error, true)),
        }
    }

    async fn sweep_object(&self, path: &Path, now: Millis) -> Result<(), CacheError> {
        let Some((first, all_bytes)) = self.first(path).await? else { return Ok(()) };
        let Some((_, head)) = codec::any_head(&first, all_bytes) else { return Ok(()) };
        if head.is_live(now.saturating_sub(millis(GRACE))) {
            return Ok(());
        }
        match self.bucket.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error, true)),
        }
    }
}

#[async_trait]
impl Connector for S3Entries {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.probe().await.map_err(Unhealthy::new)
    }
}

#[async_trait]
impl CacheStore for S3Entries {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    async fn look(&self, name: &EntryName) -> Result<Option<Arc<Record>>, CacheError> {
        let now = self.clock.now();
        let record = self.read(name).await?.and_then(|found| found.record);
        Ok(record.filter(|record| record.head.is_live(now)).map(Arc::new))
    }

    async fn head(&self, name: &EntryName) -> Result<Option<Head>, CacheError> {
        let Some((first, all_bytes)) = self.first(&self.path(name)).await? else { return Ok(None) };
        let now = self.clock.now();
        Ok(codec::head(name, &first, all_bytes).filter(|head| head.is_live(now)))
    }

    async fn update(&self, name: &EntryName, seen: &Seen, change: Change) -> Result<Outcome, CacheError> {
        for attempt in 0..TRIES {
            let now = self.clock.now();
            let found = self.read(name).await?;
            let current = found.as_ref().and_then(|found| found.record.as_ref());
            let current = current.filter(|record| record.head.is_live(now));
            let (step, outcome) = apply(current, seen, change.clone());
            let (record, is_end) = match step {
                Step::Keep => return Ok(outcome),
                Step::Put(record) => (record, false),
                Step::Remove => {
                    let Some(current) = current else { return Ok(outcome) };
                    let head = Head { expires_ms: Some(now), size_bytes: 0, ..current.head.clone() };
                    (Record { head, value: Bytes::new() }, true)
                }
            };
            if self.write(name, found.as_ref().map(|found| &found.version), &record).await? {
                if is_end && let Err(error) = self.bucket.delete(&self.path(name)).await {
                    tracing::debug!(%error, "an object that has ended stays until the next sweep");
                }
                return Ok(outcome);
            }
            let most_ms = 10 * u64::from(attempt + 1).min(20);
            let pause_ms = rand::rng().random_range(1..=most_ms);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Err(CacheError::Contended)
    }

    async fn sweep(&self) -> Result<(), CacheError> {
        let now = self.clock.now();
        let Some(every) = self.sweep_every else { return Ok(()) };
        if now < self.swept_ms.load(Ordering::Relaxed).saturating_add(millis(every)) {
            return Ok(());
        }
        self.swept_ms.store(now, Ordering::Relaxed);
        let objects = self.bucket.list(Some(&self.prefix)).take(SWEEP_OBJECTS);
        objects
            .map_err(|error| failed(error, false))
            .try_for_each_concurrent(
                4,
                |object| async move { self.sweep_object(&object.location, now).await },
            )
            .await
    }
}

/// A request that failed; `wrote` where it may have changed something.
fn failed(error: Error, wrote: bool) -> CacheError {
    match error {
        Error::Generic { source, .. } if wrote => CacheError::Uncertain(chain(&*source)),
        Error::Generic { source, .. } => CacheError::Unavailable(chain(&*source)),
        other => CacheError::Broken(chain(&other)),
    }
}

/// An error with its causes: the first says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
