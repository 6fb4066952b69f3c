//! Receiving bytes: to a fresh object, with a digest, in flat memory.

use async_trait::async_trait;
use bytes::Bytes;

use super::connectors::ObjectKey;
use super::{Files, MAX_FILE_BYTES, UPLOAD_TIME, mimetype, stray};
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
}

impl Files {
    /// Stores what `source` gives. What fails half-way is swept.
    pub async fn receive(&self, claims: Claims<'_>, source: &mut dyn Source) -> Result<Upload, IoError> {
        let key = ObjectKey::generate();
        let (object, due) = (key.as_str().to_owned(), self.clock.now() + millis(UPLOAD_TIME));
        // Known to the sweeper before the first byte, so that a crash leaves nothing that nobody knows.
        self.store.write(move |tx| stray::note(tx, &object, due)).await?;
        let received = self.receive_into(&key, claims, source).await;
        if received.is_err() {
            self.abandon(&key).await;
        }
        received
    }

    /// Gives up an upload: its bytes are due at once.
    pub async fn abandon(&self, key: &ObjectKey) {
        let (object, now) = (key.as_str().to_owned(), self.clock.now());
        if let Err(error) = self.store.write(move |tx| stray::hasten(tx, &object, now)).await {
            // It is due in an hour all the same.
            tracing::debug!(%error, "an abandoned upload waits for the sweeper");
        }
    }

    async fn receive_into(
        &self,
        key: &ObjectKey,
        claims: Claims<'_>,
        source: &mut dyn Source,
    ) -> Result<Upload, IoError> {
        let mut writer = self.objects.create(key).await?;
        let mut hasher = blake3::Hasher::new();
        let mut head = Vec::new();
        let mut size_bytes: u64 = 0;
        while let Some(data) = source.next().await? {
            size_bytes += data.len() as u64;
            if size_bytes > MAX_FILE_BYTES {
                return Err(IoError::TooLarge { what: "a file", limit_bytes: MAX_FILE_BYTES });
            }
            let room = mimetype::HEAD_BYTES - head.len();
            head.extend_from_slice(&data[..data.len().min(room)]);
            hasher.update(&data);
            writer.write(data).await?;
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
        Ok(Upload { object: key.clone(), size_bytes, digest, mimetype })
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
