//! Files without the network: what the domain promises to the adapter.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sre_store::{OpenOptions, Store};

use super::connectors::{ByteRange, LocalObjects};
use super::upload::{Claims, check_claims};
use super::{Commit, FileName, FileRow, Files, FolderName, Source, Upload};
use crate::basis::{Basis, Condition, Record};
use crate::clock::Clock;
use crate::error::IoError;
use crate::schema::MIGRATIONS;
use crate::usage::{Kind, Quota, of};

const ALL: ByteRange = ByteRange { offset_bytes: 0, length_bytes: u64::MAX };

struct Parts(Vec<Result<Bytes, IoError>>);

#[async_trait]
impl Source for Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, IoError> {
        if self.0.is_empty() { Ok(None) } else { self.0.remove(0).map(Some) }
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
        let store = Store::open(OpenOptions::new(dir.path().join("io.db"), "data_dir", MIGRATIONS)).unwrap();
        let objects = Arc::new(LocalObjects::open(&dir.path().join("objects")).unwrap());
        let now = Arc::new(AtomicI64::new(1_000_000));
        let read = Arc::clone(&now);
        let clock = Clock::from_fn(move || read.load(Ordering::Relaxed));
        Self { dir, files: Files::new(store, objects, clock), now }
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    async fn receive(&self, content: &'static [u8]) -> Upload {
        let mut source = Parts(vec![Ok(Bytes::from_static(content))]);
        self.files.receive(Claims { path: "f", ..Claims::default() }, &mut source).await.unwrap()
    }

    async fn write(
        &self,
        name: &str,
        content: &'static [u8],
        change: impl FnOnce(&mut Commit),
    ) -> Result<FileRow, IoError> {
        let upload = self.receive(content).await;
        let name = FileName::parse(name).unwrap();
        let there = self.files.find(&name).await?;
        let mut commit = Commit {
            basis: there.map_or_else(Basis::absent, |row| Basis::row(&row.acl)),
            name,
            upload,
            condition: Condition::Always,
            acl_when_new: "new".into(),
            acl_when_there: None,
            time_to_live: None,
        };
        change(&mut commit);
        self.files.commit(commit, nothing()).await
    }

    async fn content(&self, row: &FileRow) -> Result<Vec<u8>, IoError> {
        let mut reader = self.files.open(row, ALL).await?;
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    async fn used(&self) -> (i64, i64) {
        self.files.store.read(|conn| of(conn, "t", Kind::Files)).await.unwrap()
    }

    fn objects_on_disk(&self) -> usize {
        let mut count = 0;
        for fan in std::fs::read_dir(self.dir.path().join("objects")).unwrap() {
            count += std::fs::read_dir(fan.unwrap().path()).unwrap().count();
        }
        count
    }
}

fn nothing() -> Record {
    Box::new(|_| Ok(()))
}

const F: &str = "teams/t/agents/a/files/d/f.txt";

#[tokio::test]
async fn a_write_replaces_the_row_keeps_its_list_and_frees_the_old_bytes() {
    let fx = Fixture::new();
    let first = fx.write(F, b"one", |_| {}).await.unwrap();
    assert_eq!(first.digest, format!("b3:{}", blake3::hash(b"one").to_hex()));
    fx.pass(Duration::from_secs(5));
    let second = fx.write(F, b"three", |_| {}).await.unwrap();
    assert_ne!(first.etag, second.etag);
    assert_eq!((second.acl.as_str(), second.created_ms), ("new", first.created_ms));
    assert_eq!(fx.content(&second).await.unwrap(), b"three");
    assert_eq!(fx.used().await, (1, 5));
    // A reader that has the old row still finds its bytes, until the grace is over.
    assert_eq!(fx.content(&first).await.unwrap(), b"one");
    fx.pass(Duration::from_secs(61));
    fx.files.sweep().await.unwrap();
    assert!(fx.content(&first).await.is_err());
    assert_eq!(fx.content(&second).await.unwrap(), b"three");
    assert_eq!(fx.objects_on_disk(), 1);
}

/// H33: what was decided on one list is not done under another.
#[tokio::test]
async fn h33_a_list_changed_between_check_and_act_is_noticed() {
    let fx = Fixture::new();
    let stale = |commit: &mut Commit| commit.basis = Basis::absent();
    fx.write(F, b"one", |_| {}).await.unwrap();
    assert!(matches!(fx.write(F, b"two", stale).await, Err(IoError::AclChanged)));
    let name = FileName::parse(F).unwrap();
    fx.files.set_acl(&name, Basis::row("new"), "other".into(), nothing()).await.unwrap();
    let delete = fx.files.delete(&name, Basis::row("new"), Condition::Always, nothing()).await;
    assert!(matches!(delete, Err(IoError::AclChanged)));
    let acl = fx.files.set_acl(&name, Basis::row("new"), "third".into(), nothing()).await;
    assert!(matches!(acl, Err(IoError::AclChanged)));
    let row = fx.files.find(&name).await.unwrap().unwrap();
    assert_eq!((row.acl.as_str(), fx.content(&row).await.unwrap().as_slice()), ("other", b"one".as_slice()));
}

#[tokio::test]
async fn conditions_hold() {
    let fx = Fixture::new();
    let matching = |etag: &str| {
        let etag = etag.to_owned();
        move |commit: &mut Commit| commit.condition = Condition::IfMatch(etag)
    };
    let absent = |commit: &mut Commit| commit.condition = Condition::IfAbsent;
    assert!(matches!(fx.write(F, b"one", matching("x")).await, Err(IoError::OtherVersion)));
    let first = fx.write(F, b"one", absent).await.unwrap();
    assert!(matches!(fx.write(F, b"two", absent).await, Err(IoError::Exists)));
    let second = fx.write(F, b"two", matching(&first.etag)).await.unwrap();
    assert!(matches!(fx.write(F, b"three", matching(&first.etag)).await, Err(IoError::OtherVersion)));
    let name = FileName::parse(F).unwrap();
    let stale = Condition::IfMatch(first.etag);
    assert!(matches!(
        fx.files.delete(&name, Basis::row("new"), stale, nothing()).await,
        Err(IoError::OtherVersion)
    ));
    fx.files.delete(&name, Basis::row("new"), Condition::IfMatch(second.etag), nothing()).await.unwrap();
    assert!(fx.files.find(&name).await.unwrap().is_none());
    assert_eq!(fx.used().await, (0, 0));
}

#[tokio::test]
async fn expiry_is_exact_and_swept() {
    let fx = Fixture::new();
    let name = FileName::parse(F).unwrap();
    fx.write(F, b"one", |commit| commit.time_to_live = Some(Duration::from_secs(10))).await.unwrap();
    fx.pass(Duration::from_millis(9_999));
    assert!(fx.files.find(&name).await.unwrap().is_some());
    fx.pass(Duration::from_millis(1));
    assert!(fx.files.find(&name).await.unwrap().is_none());
    // What has expired is as absent: its list no longer counts, and if_absent holds.
    let absent = |commit: &mut Commit| commit.condition = Condition::IfAbsent;
    let row = fx.write(F, b"two!", absent).await.unwrap();
    assert_eq!(row.created_ms, row.updated_ms);
    assert_eq!(fx.used().await, (1, 4));
    fx.write(F, b"three", |commit| commit.time_to_live = Some(Duration::from_secs(1))).await.unwrap();
    fx.pass(Duration::from_secs(1));
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.used().await, (0, 0));
    fx.pass(Duration::from_secs(61));
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 0);
}

#[tokio::test]
async fn uploads_that_nobody_commits_are_swept() {
    let fx = Fixture::new();
    let upload = fx.receive(b"lost in a crash").await;
    let broken = Parts(vec![Ok(Bytes::from_static(b"half")), Err(IoError::Interrupted("gone".into()))]);
    let mut broken = broken;
    assert!(fx.files.receive(Claims::default(), &mut broken).await.is_err());
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 1, "one in progress, the failed one gone");
    fx.pass(Duration::from_secs(3601));
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.objects_on_disk(), 0);
    // Too late: no row can come to name bytes that are gone.
    let late = fx.write(F, b"x", |commit| commit.upload = upload).await;
    assert!(matches!(late, Err(IoError::Interrupted(_))));
}

/// A commit whose outcome the writer could not learn must not cost the bytes of a row.
#[tokio::test]
async fn giving_up_an_upload_that_was_committed_removes_nothing() {
    let fx = Fixture::new();
    let upload = fx.receive(b"kept").await;
    let key = upload.object.clone();
    let row = fx.write(F, b"x", |commit| commit.upload = upload).await.unwrap();
    fx.files.abandon(&key).await;
    fx.files.sweep().await.unwrap();
    assert_eq!(fx.content(&row).await.unwrap(), b"kept");
}

#[tokio::test]
async fn a_failed_record_undoes_the_change() {
    let fx = Fixture::new();
    fx.write(F, b"one", |_| {}).await.unwrap();
    let name = FileName::parse(F).unwrap();
    let record: Record = Box::new(|_| Err(sre_store::StoreError::Closed));
    assert!(fx.files.delete(&name, Basis::row("new"), Condition::Always, record).await.is_err());
    assert!(fx.files.find(&name).await.unwrap().is_some());
}

#[tokio::test]
async fn the_quota_is_held_in_the_transaction() {
    let mut fx = Fixture::new();
    fx.files.quota = Quota { items: 2, bytes: 10 };
    fx.write(F, b"12345678", |_| {}).await.unwrap();
    let other = "teams/t/files/g";
    assert!(matches!(fx.write(other, b"1234", |_| {}).await, Err(IoError::Quota { .. })));
    fx.write(F, b"1", |_| {}).await.unwrap();
    fx.write(other, b"1234", |_| {}).await.unwrap();
    assert!(matches!(fx.write("teams/t/files/h", b"", |_| {}).await, Err(IoError::Quota { .. })));
    fx.write("teams/other/files/h", b"", |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_folder_lists_what_is_below_it_and_nothing_beside() {
    let fx = Fixture::new();
    for name in ["d/a", "d/b/c", "d", "d0", "d.x", "dd/a", "e"] {
        fx.write(&format!("teams/t/agents/a/files/{name}"), b"x", |_| {}).await.unwrap();
    }
    fx.write("teams/t/agents/ab/files/d/z", b"x", |_| {}).await.unwrap();
    let folder = FolderName::parse("teams/t/agents/a/files/d").unwrap();
    let names = |rows: Vec<FileRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    let all = names(fx.files.below(&folder, String::new(), 10).await.unwrap());
    assert_eq!(all, ["teams/t/agents/a/files/d/a", "teams/t/agents/a/files/d/b/c"]);
    let rest = names(fx.files.below(&folder, all[0].clone(), 10).await.unwrap());
    assert_eq!(rest, all[1..]);
}

#[tokio::test]
async fn a_wrong_digest_is_refused() {
    let fx = Fixture::new();
    let digest = format!("b3:{}", "0".repeat(64));
    let claims = Claims { digest: &digest, ..Claims::default() };
    check_claims(&claims).unwrap();
    let mut source = Parts(vec![Ok(Bytes::from_static(b"x"))]);
    let refused = fx.files.receive(claims, &mut source).await;
    assert!(matches!(refused, Err(IoError::Invalid { field: "header.digest", .. })));
    for digest in ["sha256:0", "b3:xyz", "b3:"] {
        assert!(check_claims(&Claims { digest, ..Claims::default() }).is_err());
    }
}
