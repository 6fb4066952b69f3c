//! Objects in a remote store, through the crate `object_store`: small ones in one request, large ones in parts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStoreExt, PutPayload};
use sre_service::connectors::{Connector, Unhealthy};
use tokio::task::JoinHandle;

use super::{ByteRange, CHUNK_BYTES, ObjectError, ObjectKey, ObjectReader, ObjectStore, ObjectWriter};

/// The size of a part; one is sent while the next is gathered, so that an upload holds two in memory. Stores
/// allow 10,000 parts, of 5 MiB at least.
const PART_BYTES: usize = 8 << 20;
/// How long one request may take with all its tries.
pub(super) const BUDGET: Duration = Duration::from_secs(60);
/// How long a store may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// What is asked of a store of that crate.
pub(super) trait Remote: object_store::ObjectStore + MultipartStore {}
impl<T: object_store::ObjectStore + MultipartStore> Remote for T {}

/// A remote backend.
pub(super) struct RemoteObjects<R> {
    store: Arc<R>,
    /// What all keys begin with; empty, or a path.
    prefix: Path,
    instance: Arc<str>,
}

impl<R> Clone for RemoteObjects<R> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            prefix: self.prefix.clone(),
            instance: Arc::clone(&self.instance),
        }
    }
}

impl<R: Remote> RemoteObjects<R> {
    /// Objects of this store, below a prefix.
    pub(super) fn new(store: R, prefix: &str, instance: &str) -> anyhow::Result<Self> {
        Self::shared(Arc::new(store), prefix, instance)
    }

    /// The same of a store that others hold too.
    pub(super) fn shared(store: Arc<R>, prefix: &str, instance: &str) -> anyhow::Result<Self> {
        let prefix = Path::parse(prefix.trim_matches('/'))?;
        Ok(Self { store, prefix, instance: instance.into() })
    }

    /// Spread by the first digits, as some stores split their load by the beginning of keys.
    fn path(&self, key: &ObjectKey) -> Path {
        self.prefix.clone().join(&key.as_str()[..2]).join(key.as_str())
    }

    /// Ends with an error when the budget is over, whatever the store does.
    async fn within<T>(
        &self,
        key: &ObjectKey,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectError> {
        match tokio::time::timeout(BUDGET, call).await {
            Ok(done) => done.map_err(|error| self.failed(key, error)),
            Err(_elapsed) => Err(self.silent(BUDGET)),
        }
    }

    fn failed(&self, key: &ObjectKey, error: Error) -> ObjectError {
        let key = key.as_str().to_owned();
        match error {
            Error::NotFound { .. } => ObjectError::NotFound(key),
            // Refused credentials are the operator's to mend; they are no fault of the network.
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                ObjectError::Io { key, source: Arc::new(io::Error::other(error)) }
            }
            error => {
                ObjectError::Unavailable { instance: self.instance.to_string(), message: causes(&error) }
            }
        }
    }

    fn silent(&self, waited: Duration) -> ObjectError {
        let message = format!("no answer within {} s", waited.as_secs());
        ObjectError::Unavailable { instance: self.instance.to_string(), message }
    }
}

#[async_trait]
impl<R: Remote> Connector for RemoteObjects<R> {
    /// Lists a place where nothing is: that asks for the bucket and the right to see it, and moves no data.
    async fn check(&self) -> Result<(), Unhealthy> {
        let nowhere = self.prefix.clone().join("sre-check");
        match self.store.list(Some(&nowhere)).next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(Unhealthy::new(causes(&error))),
        }
    }
}

#[async_trait]
impl<R: Remote> ObjectStore for RemoteObjects<R> {
    async fn create(&self, key: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError> {
        Ok(Box::new(RemoteWriter {
            objects: self.clone(),
            key: key.clone(),
            gathered: BytesMut::new(),
            upload: None,
            parts: Vec::new(),
            sending: None,
        }))
    }

    async fn open(&self, key: &ObjectKey, range: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError> {
        let body = match range.length_bytes {
            // Stores refuse empty ranges.
            0 => futures::stream::empty().boxed(),
            length_bytes => {
                let range = match range.offset_bytes.checked_add(length_bytes) {
                    Some(end) if end < u64::MAX => GetRange::Bounded(range.offset_bytes..end),
                    _ => GetRange::Offset(range.offset_bytes),
                };
                let options = GetOptions { range: Some(range), ..GetOptions::default() };
                let path = self.path(key);
                self.within(key, self.store.get_opts(&path, options)).await?.into_stream()
            }
        };
        Ok(Box::new(RemoteReader { objects: self.clone(), key: key.clone(), body, rest: Bytes::new() }))
    }

    async fn remove(&self, key: &ObjectKey, unfinished: Option<&str>) -> Result<(), ObjectError> {
        let path = self.path(key);
        if let Some(upload) = unfinished {
            let upload = upload.to_owned();
            match self.within(key, self.store.abort_multipart(&path, &upload)).await {
                Ok(()) | Err(ObjectError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        match self.within(key, self.store.delete(&path)).await {
            Ok(()) | Err(ObjectError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

struct RemoteWriter<R> {
    objects: RemoteObjects<R>,
    key: ObjectKey,
    gathered: BytesMut,
    /// The upload in parts, once there is one.
    upload: Option<String>,
    parts: Vec<PartId>,
    /// The part that is on its way.
    sending: Option<JoinHandle<Result<PartId, ObjectError>>>,
}

impl<R: Remote> RemoteWriter<R> {
    async fn sent(&mut self) -> Result<(), ObjectError> {
        if let Some(sending) = self.sending.as_mut() {
            let sent = sending.await.unwrap_or_else(|error| {
                let source = Arc::new(io::Error::other(error));
                Err(ObjectError::Io { key: self.key.as_str().to_owned(), source })
            });
            self.sending = None;
            self.parts.push(sent?);
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), ObjectError> {
        // One at a time: a store that is slower than the sender holds the sender back.
        self.sent().await?;
        let Some(upload) = self.upload.clone() else { return Ok(()) };
        let (objects, key, index) = (self.objects.clone(), self.key.clone(), self.parts.len());
        self.sending = Some(sre_service::task::spawn("storage part", async move {
            let path = objects.path(&key);
            let put = objects.store.put_part(&path, &upload, index, PutPayload::from_bytes(part));
            objects.within(&key, put).await
        }));
        Ok(())
    }
}

#[async_trait]
impl<R: Remote> ObjectWriter for RemoteWriter<R> {
    async fn write(&mut self, data: Bytes) -> Result<(), ObjectError> {
        self.gathered.extend_from_slice(&data);
        if self.gathered.len() <= PART_BYTES {
            return Ok(());
        }
        if self.upload.is_none() {
            let path = self.objects.path(&self.key);
            let create = self.objects.store.create_multipart(&path);
            // Its name is known from the next call of `unfinished` on; the first part goes with the next bytes.
            self.upload = Some(self.objects.within(&self.key, create).await?);
            return Ok(());
        }
        while self.gathered.len() >= PART_BYTES {
            let part = self.gathered.split_to(PART_BYTES).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    fn unfinished(&self) -> Option<&str> {
        self.upload.as_deref()
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        let path = self.objects.path(&self.key);
        let rest = self.gathered.split().freeze();
        let Some(upload) = self.upload.clone() else {
            let put = self.objects.store.put(&path, PutPayload::from_bytes(rest));
            return self.objects.within(&self.key, put).await.map(drop);
        };
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        self.sent().await?;
        let parts = std::mem::take(&mut self.parts);
        let complete = self.objects.store.complete_multipart(&path, &upload, parts);
        self.objects.within(&self.key, complete).await.map(drop)
    }
}

impl<R> Drop for RemoteWriter<R> {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }
}

struct RemoteReader<R> {
    objects: RemoteObjects<R>,
    key: ObjectKey,
    body: BoxStream<'static, object_store::Result<Bytes>>,
    rest: Bytes,
}

#[async_trait]
impl<R: Remote> ObjectReader for RemoteReader<R> {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        while self.rest.is_empty() {
            let next = tokio::time::timeout(SILENCE, self.body.next());
            match next.await.map_err(|_elapsed| self.objects.silent(SILENCE))? {
                None => return Ok(None),
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => return Err(self.objects.failed(&self.key, error)),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(CHUNK_BYTES))))
    }
}

/// The message with its causes: the crate's own words often say only that something failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
