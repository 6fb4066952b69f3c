//! The key-encryption keys of one key file: one that seals, and older ones that still open.
//!
//! Rotation makes a new key, writes it, and takes it into use; what the older ones sealed is wrapped anew by
//! whoever keeps it ([`super::rotation`]), and opens meanwhile and afterwards. All of a process who use a key
//! file share one ring, so that a rotation reaches them at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::RwLock;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::envelope::{EnvelopeError, Kek, Sealed};
use super::key_file::{KeyFile, KeyFileError};

/// Older keys that are kept; more are a sign that nobody forgets them.
pub const MAX_OLD_KEYS: usize = 16;

/// By the key file's absolute path.
static RINGS: LazyLock<Mutex<HashMap<PathBuf, Weak<Shared>>>> = LazyLock::new(Mutex::default);

/// The keys of one file. Clones share them.
#[derive(Clone)]
pub struct Keks(Arc<Shared>);

struct Shared {
    ring: RwLock<Arc<Ring>>,
    /// None for keys of a test, which live in memory.
    file: Option<KeyFile>,
    /// One rotation or reading of the file at a time.
    turn: Mutex<()>,
}

/// Keys as their file holds them.
#[derive(Debug, Clone)]
pub struct Ring {
    /// The one that seals.
    pub primary: Kek,
    /// Those that only open, the newest first.
    pub old: Vec<Kek>,
}

impl Ring {
    fn find(&self, id: &str) -> Option<&Kek> {
        self.all().find(|kek| kek.id() == id)
    }

    fn all(&self) -> impl Iterator<Item = &Kek> {
        std::iter::once(&self.primary).chain(&self.old)
    }

    fn ids(&self) -> Vec<&str> {
        self.all().map(Kek::id).collect()
    }
}

impl Keks {
    /// A new key in memory alone, for tests.
    pub fn in_memory() -> Result<Self, EnvelopeError> {
        let ring = Ring { primary: Kek::generate()?, old: Vec::new() };
        Ok(Self::over(ring, None))
    }

    /// The keys of a file. Makes one where neither it nor `sealed`, which is sealed with it, exists.
    pub async fn open(file: KeyFile, sealed: Option<&Path>) -> Result<Self, KeyFileError> {
        let path = std::path::absolute(file.path()).unwrap_or_else(|_| file.path().to_owned());
        let mut rings = RINGS.lock().await;
        if let Some(shared) = rings.get(&path).and_then(Weak::upgrade) {
            return Ok(Self(shared));
        }
        rings.retain(|_, ring| ring.strong_count() > 0);
        let ring = file.load_or_create(sealed).await?;
        let keks = Self::over(ring, Some(file));
        rings.insert(path, Arc::downgrade(&keks.0));
        Ok(keks)
    }

    /// The keys of a file that is not protected, read now, for tools and tests.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Self::over(KeyFile::plain(path).read_plain()?, None))
    }

    fn over(ring: Ring, file: Option<KeyFile>) -> Self {
        Self(Arc::new(Shared { ring: RwLock::new(Arc::new(ring)), file, turn: Mutex::default() }))
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0.ring.read())
    }

    /// The key that seals.
    pub fn primary(&self) -> Kek {
        self.ring().primary.clone()
    }

    /// A key by its id.
    pub fn find(&self, id: &str) -> Option<Kek> {
        self.ring().find(id).cloned()
    }

    /// Ids of the keys that only open, the newest first.
    pub fn old_ids(&self) -> Vec<String> {
        self.ring().old.iter().map(|kek| kek.id().to_owned()).collect()
    }

    /// What the keys are for: the name of their file.
    pub fn name(&self) -> String {
        let path = self.0.file.as_ref().map(KeyFile::path);
        path.and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether both are the keys of one file.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Seals a value for the place that `place` names.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Sealed, EnvelopeError> {
        self.ring().primary.seal(place, value)
    }

    /// Opens a value that was sealed for the same place, with whichever key.
    pub fn unseal(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.with_key_of(sealed, |kek| kek.open(place, sealed))
    }

    /// The same for a value that another process may have sealed with a key made meanwhile: looks into the
    /// file once where the key is not known.
    pub async fn unseal_shared(
        &self,
        place: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        match self.unseal(place, sealed) {
            Err(unknown @ EnvelopeError::UnknownKey(_)) => match self.reload().await {
                Ok(_) => self.unseal(place, sealed),
                Err(error) => {
                    tracing::warn!(%error, "the key file could not be read again");
                    Err(unknown)
                }
            },
            other => other,
        }
    }

    /// The value with its key wrapped by the key that seals now; none where that is so already.
    pub fn reseal(&self, place: &str, sealed: &Sealed) -> Result<Option<Sealed>, EnvelopeError> {
        let primary = self.primary();
        if sealed.kek() == Some(primary.id()) {
            return Ok(None);
        }
        self.with_key_of(sealed, |kek| primary.rewrap(place, sealed, kek)).map(Some)
    }

    fn with_key_of<T>(
        &self,
        sealed: &Sealed,
        work: impl Fn(&Kek) -> Result<T, EnvelopeError>,
    ) -> Result<T, EnvelopeError> {
        let ring = self.ring();
        if let Some(id) = sealed.kek() {
            let kek = ring.find(id).ok_or_else(|| EnvelopeError::UnknownKey(id.to_owned()))?;
            return work(kek);
        }
        // Of an older release: it opens with one of them, or with none.
        let mut tried = ring.all().map(work);
        tried.find(Result::is_ok).unwrap_or(Err(EnvelopeError::NotAuthentic))
    }

    /// Takes over what an operator or another process wrote; whether anything changed.
    pub async fn reload(&self) -> Result<bool, KeyFileError> {
        let _turn = self.0.turn.lock().await;
        self.reload_in_turn().await
    }

    async fn reload_in_turn(&self) -> Result<bool, KeyFileError> {
        let Some(file) = &self.0.file else { return Ok(false) };
        let mut fresh = file.load().await?;
        let current = self.ring();
        if fresh.ids() == current.ids() {
            return Ok(false);
        }
        // A key that was replaced by hand still opens what it sealed.
        for kek in current.all() {
            if fresh.find(kek.id()).is_none() {
                fresh.old.push(kek.clone());
            }
        }
        *self.0.ring.write() = Arc::new(fresh);
        Ok(true)
    }

    /// Makes a new key that seals from now on. Durable when it returns.
    pub async fn rotate(&self) -> Result<(), KeyFileError> {
        let _turn = self.0.turn.lock().await;
        self.reload_in_turn().await?;
        let current = self.ring();
        if current.old.len() >= MAX_OLD_KEYS {
            return Err(KeyFileError::TooManyOld(current.old.len()));
        }
        let old = current.all().cloned().collect();
        let fresh = Ring { primary: Kek::generate()?, old };
        if let Some(file) = &self.0.file {
            file.save(&fresh).await?;
        }
        *self.0.ring.write() = Arc::new(fresh);
        Ok(())
    }

    /// Forgets the older keys, in the file too. Nothing may be sealed with them any more.
    pub async fn forget_old(&self) -> Result<(), KeyFileError> {
        let _turn = self.0.turn.lock().await;
        let kept = Ring { primary: self.primary(), old: Vec::new() };
        if let Some(file) = &self.0.file {
            file.save(&kept).await?;
        }
        *self.0.ring.write() = Arc::new(kept);
        Ok(())
    }
}

impl std::fmt::Debug for Keks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keks").field(&self.ring().ids()).finish()
    }
}

#[cfg(test)]
#[path = "keks_tests.rs"]
mod tests;
