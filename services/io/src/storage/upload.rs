//! Receiving bytes: to a fresh object, with a digest, in flat memory.

use async_trait::async_trait;
use bytes::Bytes;

use super::connectors::{ObjectKey, ObjectWriter};
use super::index::Stray;
use super::{Files, MAX_FILE_BYTES, UPLOAD_TIME, mimetype};
use crate::clock::millis;
use crate::error::IoError;

/// Where bytes come from.
#[async_trait]
pub trait Source: Send {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, IoError>;
}

/// Bytes that are stored and that no row names yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Their key.
    pub object: ObjectKey,
    /// The instance of the backend that has them.
    pub instance: String,
    /// Their size.
    pub size_bytes: i64,
    /// `b3:` and 64 hex digits.
    pub digest: String,
    /// Media type, told or detected.
    pub mimetype: String,
}

/// What the caller says about the bytes; empty where it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Claims<'a> {
    /// The path, whose ending may tell the type.
    pub path: &'a str,
    /// Media type.
    pub mimetype: &'a str,
    /// Digest of the whole.
    pub digest: &'a str,
    /// The instance of the backend that takes them; the default where empty.
    pub instance: &'a str,
    /// The most bytes; [`MAX_FILE_BYTES`] where 0.
    pub limit_bytes: u64,
}

impl Files {
    /// Stores what `source` gives. What fails half-way is swept.
    pub async fn receive(&self, claims: Claims<'_>, source: &mut dyn Source) -> Result<Upload, IoError> {
        let backend = self.objects.get(claims.instance)?;
        let key = ObjectKey::generate();
        let instance = backend.id().to_owned();
        let stray = Stray { object: key.as_str().to_owned(), instance, unfinished: None };
        // Known to the sweeper before the first byte, so that a crash leaves nothing that nobody knows.
        self.index.note(stray.clone(), self.clock.now() + millis(UPLOAD_TIME)).await?;
        let received = async {
            let writer = backend.create(&key).await?;
            self.receive_into(writer, stray, key.clone(), claims, source).await
        };
        let received = received.await;
        if received.is_err() {
            self.abandon(&key).await;
        }
        received
    }

    /// Gives up an upload: its bytes are due at once.
    pub async fn abandon(&self, key: &ObjectKey) {
        if let Err(error) = self.index.due_at(key.as_str(), self.clock.now()).await {
            // It is due in an hour all the same.
            tracing::debug!(%error, "an abandoned upload waits for the sweeper");
        }
    }

    async fn receive_into(
        &self,
        mut writer: Box<dyn ObjectWriter>,
        mut stray: Stray,
        object: ObjectKey,
        claims: Claims<'_>,
        source: &mut dyn Source,
    ) -> Result<Upload, IoError> {
        let limit_bytes = if claims.limit_bytes == 0 { MAX_FILE_BYTES } else { claims.limit_bytes };
        let mut hasher = blake3::Hasher::new();
        let mut head = Vec::new();
        let mut size_bytes: u64 = 0;
        while let Some(data) = source.next().await? {
            size_bytes += data.len() as u64;
            if size_bytes > limit_bytes {
                return Err(IoError::TooLarge { what: "a file", limit_bytes });
            }
            let room = mimetype::HEAD_BYTES - head.len();
            head.extend_from_slice(&data[..data.len().min(room)]);
            hasher.update(&data);
            writer.write(data).await?;
            if stray.unfinished.as_deref() != writer.unfinished() {
                stray.unfinished = writer.unfinished().map(str::to_owned);
                self.index.note(stray.clone(), self.clock.now() + millis(UPLOAD_TIME)).await?;
            }
        }
        let digest = format!("b3:{}", hasher.finalize().to_hex());
        if !claims.digest.is_empty() && claims.digest != digest {
            let message = format!("the content has {digest}: send it again");
            return Err(IoError::Invalid { field: "header.digest", message });
        }
        writer.finish().await?;
        let mimetype = match claims.mimetype {
            "" => mimetype::detect(claims.path, &head),
            told => told.to_owned(),
        };
        let size_bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        Ok(Upload { object, instance: stray.instance, size_bytes, digest, mimetype })
    }
}

/// Checks what can be checked before the first byte.
pub fn check_claims(claims: &Claims<'_>) -> Result<(), IoError> {
    if !claims.mimetype.is_empty() && !mimetype::is_valid(claims.mimetype) {
        let message = "expected type/subtype, for example text/plain".to_owned();
        return Err(IoError::Invalid { field: "header.mimetype", message });
    }
    let hex = claims.digest.strip_prefix("b3:").unwrap_or_default();
    let is_digest = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !claims.digest.is_empty() && !is_digest {
        let message = "expected b3: and 64 lower-case hex digits".to_owned();
        return Err(IoError::Invalid { field: "header.digest", message });
    }
    Ok(())
}
