//! Files without the network: how the index and the backends are kept together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sre_service::connectors::{Connector, Instances, Unhealthy};
use sre_store::{OpenOptions, Store};

use super::connectors::{
    ByteRange, LocalObjects, ObjectError, ObjectKey, ObjectReader, ObjectStore, ObjectWriter,
};
use super::upload::{Claims, check_claims};
use super::{Commit, Deletion, FileName, FileRow, Files, Metadata, Source, SqliteIndex, Upload};
use crate::basis::{Basis, Condition, Unrecorded};
use crate::clock::Clock;
use crate::error::IoError;
use crate::schema::MIGRATIONS;

const ALL: ByteRange = ByteRange { offset_bytes: 0, length_bytes: u64::MAX };
const F: &str = "teams/t/agents/a/files/d/f.txt";

struct Parts(Vec<Result<Bytes, IoError>>);

#[async_trait]
impl Source for Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, IoError> {
        if self.0.is_empty() { Ok(None) } else { self.0.remove(0).map(Some) }
    }
}

/// A backend that is away.
struct Away;

#[async_trait]
impl Connector for Away {
    async fn check(&self) -> Result<(), Unhealthy> {
        Err(Unhealthy::new("away"))
    }
}

#[async_trait]
impl ObjectStore for Away {
    async fn create(&self, _: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError> {
        Err(Self::error())
    }

    async fn open(&self, _: &ObjectKey, _: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError> {
        Err(Self::error())
    }

    async fn remove(&self, _: &ObjectKey, _: Option<&str>) -> Result<(), ObjectError> {
        Err(Self::error())
    }
}

impl Away {
    fn error() -> ObjectError {
        ObjectError::Unavailable { instance: "away".into(), message: "no answer".into() }
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    files: Files,
    now: Arc<AtomicI64>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (files, now) = Self::open(dir.path());
        Self { dir, files, now }
    }

    fn open(dir: &std::path::Path) -> (Files, Arc<AtomicI64>) {
        let store = Store::open(OpenOptions::new(dir.join("io.db"), "data_dir", MIGRATIONS)).unwrap();
        let now = Arc::new(AtomicI64::new(1_000_000));
        let read = Arc::clone(&now);
        let clock = Clock::from_fn(move || read.load(Ordering::Relaxed));
        let local = |folder: &str| -> Arc<dyn ObjectStore> {
            Arc::new(LocalObjects::open(&dir.join(folder)).unwrap())
        };
        let instances: Vec<(&str, Arc<dyn ObjectStore>)> =
            vec![("one", local("one")), ("two", local("two")), ("away", Arc::new(Away))];
        let objects = Instances::of("storage", instances).unwrap();
        (Files::new(Arc::new(SqliteIndex::new(store)), objects, clock), now)
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    async fn receive(&self, content: &'static [u8], instance: &str) -> Result<Upload, IoError> {
        let mut source = Parts(vec![Ok(Bytes::from_static(content))]);
        self.files.receive(Claims { path: "f", instance, ..Claims::default() }, &mut source).await
    }

    async fn write(&self, name: &str, upload: Upload) -> Result<FileRow, IoError> {
        let name = FileName::parse(name).unwrap();
        let there = self.files.find(&name).await?;
        let commit = Commit {
            basis: there.map_or_else(Basis::absent, |row| Basis::row(&row.acl)),
            name,
            upload,
            condition: Condition::Always,
            acl_when_new: "new".into(),
            acl_when_there: None,
            metadata: Metadata::new(),
            time_to_live: None,
        };
        self.files.commit(commit, Arc::new(Unrecorded)).await
    }

    async fn put(&self, name: &str, content: &'static [u8], instance: &str) -> FileRow {
        let upload = self.receive(content, instance).await.unwrap();
        self.write(name, upload).await.unwrap()
    }

    async fn content(&self, row: &FileRow) -> Result<Vec<u8>, IoError> {
        let mut reader = self.files.open(row, ALL).await?;
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    fn objects_on_disk(&self) -> usize {
        let mut count = 0;
        for folder in ["one", "two"] {
            for fan in std::fs::read_dir(self.dir.path().join(folder)).unwrap() {
                count += std::fs::read_dir(fan.unwrap().path()).unwrap().count();
            }
        }
        count
    }
}

#[tokio::test]
async fn a_reader_that_has_the_old_row_finds_its_bytes_until_the_grace_is_over() {
    let fx = Fixture::new();
    let first = fx.put(F, b"one", "").await;
    assert_eq!(first.digest, format!("b3:{}", blake3::hash(b"one").to_hex()));
    let second = fx.put(F, b"three", "").await;
    assert_eq!(fx.content(&second).await.unwrap(), b"three");
    assert_eq!(fx.content(&first).await.unwrap(), b"one");
    fx.pass(Duration::from_secs(61));
    fx.files.sweep().await.unwrap();
    assert!(fx.content(&first).await.is_err());
    assert_eq!(fx.content(&second).await.unwrap(), b"three");
    assert_eq!(fx.objects_on_disk(), 1);
}

/// D40: two instances of one kind are two; a row stays with the one that has its bytes.
#[tokio::test]
async fn d40_the_row_says_which_instance_has_the_bytes() {
    let fx = Fixture::new();
    let one = fx.put("teams/t/files/a", b"in one", "").await;
    let two = fx.put("teams/t/files/b", b"in two", "two").await;
    assert_eq!((one.instance.as_str(), two.instance.as_str()), ("one", "two"));
    assert_eq!(fx.content(&two).await.unwrap(), b"in two");
    // An overwrite may move it; the bytes before go where they were.
    let moved = fx.put("teams/t/files/a", b"moved", "two").await;
    fx.pass(Duration::from_secs(61));
    fx.files.sweep().await.unwrap();
    assert_eq!(
        (fx.content(&moved).await.unwrap().as_slice(), fx.objects_on_disk()),
        (b"moved".as_slice(), 2)
    );
    assert!(matches!(fx.receive(b"x", "none").await, Err(IoError::NoInstance(_))));
}

/// A backend that is away holds up neither the others' sweep, nor its own for ever.
#[tokio::test]
async fn a_backend_that_is_away_is_swept_later() {
    let fx = Fixture::new();
    let refused = fx.receive(b"x", "away").await;
    assert!(matches!(refused, Err(IoError::Object(ObjectError::Unavailable { .. }))));
    let lost = fx.receive(b"lost", "").await.unwrap();
    fx.files.abandon(&lost.object).await;
    assert_eq!(fx.files.sweep().await.unwrap(), 1);
    assert_eq!(fx.objects_on_disk(), 0);
    assert_eq!(fx.files.sweep().await.unwrap(), 0);
}

/// Bytes without a row go, whenever the process ended: before, while, or after they were written.
#[tokio::test]
async fn uploads_that_nobody_commits_are_swept_after_a_crash_too() {
    let fx = Fixture::new();
    let upload = fx.receive(b"lost in a crash", "two").await.unwrap();
    let half = Parts(vec![Ok(Bytes::from_static(b"half")), Err(IoError::Interrupted("gone".into()))]);
    let mut half = half;
    assert!(fx.files.receive(Claims::default(), &mut half).await.is_err());
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 1, "one in progress, the failed one gone");
    // The process ends; the next one finds what it left.
    let Fixture { dir, files, now } = fx;
    drop(files);
    let (files, _) = loop {
        // The store closes behind its last user.
        if let Ok(opened) = std::panic::catch_unwind(|| Fixture::open(dir.path())) {
            break opened;
        }
        tokio::task::yield_now().await;
    };
    let fx = Fixture { dir, files, now };
    fx.files.index.due_at(upload.object.as_str(), 0).await.unwrap();
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 0);
    // Too late: no row can come to name bytes that are gone.
    assert!(matches!(fx.write(F, upload).await, Err(IoError::Interrupted(_))));
}

/// A commit whose outcome the writer could not learn must not cost the bytes of a row.
#[tokio::test]
async fn giving_up_an_upload_that_was_committed_removes_nothing() {
    let fx = Fixture::new();
    let upload = fx.receive(b"kept", "").await.unwrap();
    let key = upload.object.clone();
    let row = fx.write(F, upload).await.unwrap();
    fx.files.abandon(&key).await;
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.content(&row).await.unwrap(), b"kept");
}

#[tokio::test]
async fn what_is_deleted_is_swept() {
    let fx = Fixture::new();
    fx.put(F, b"x", "").await;
    let name = FileName::parse(F).unwrap();
    let deletion = Deletion { name, basis: Basis::row("new"), condition: Condition::Always };
    assert_eq!(fx.files.delete(vec![deletion], Arc::new(Unrecorded)).await.unwrap(), 1);
    fx.pass(Duration::from_secs(61));
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 0);
}

#[tokio::test]
async fn a_wrong_digest_and_too_many_bytes_are_refused() {
    let fx = Fixture::new();
    let digest = format!("b3:{}", "0".repeat(64));
    let claims = Claims { digest: &digest, ..Claims::default() };
    check_claims(&claims).unwrap();
    let mut source = Parts(vec![Ok(Bytes::from_static(b"x"))]);
    let refused = fx.files.receive(claims, &mut source).await;
    assert!(matches!(refused, Err(IoError::Invalid { field: "header.digest", .. })));
    let mut source = Parts(vec![Ok(Bytes::from_static(b"1234")), Ok(Bytes::from_static(b"5"))]);
    let refused = fx.files.receive(Claims { limit_bytes: 4, ..Claims::default() }, &mut source).await;
    assert!(matches!(refused, Err(IoError::TooLarge { limit_bytes: 4, .. })));
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 0);
    for digest in ["sha256:0", "b3:xyz", "b3:"] {
        assert!(check_claims(&Claims { digest, ..Claims::default() }).is_err());
    }
}
