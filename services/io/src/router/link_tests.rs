//! Links without the network: how long they hold, and with which keys. In every database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sre_identity::Candidate;
use sre_store::{OpenOptions, Store};

use super::{Disposition, LinkStore, Links, NewLink, PostgresLinks, SqliteLinks, UrlKind};
use crate::basis::{Recorder, Unrecorded};
use crate::clock::Clock;
use crate::storage::FileName;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KEY_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

struct Fixture {
    links: Links,
    store: Arc<dyn LinkStore>,
    now: Arc<AtomicI64>,
    _keep: Box<dyn std::any::Any>,
}

fn fixture(store: Arc<dyn LinkStore>, keep: impl std::any::Any) -> Fixture {
    let now = Arc::new(AtomicI64::new(1_000_000_000_000));
    let read = Arc::clone(&now);
    let clock = Clock::from_fn(move || read.load(Ordering::Relaxed));
    Fixture { links: Links::new(Arc::clone(&store), clock, KEY_TIME), store, now, _keep: Box::new(keep) }
}

/// One over each database that there is.
async fn fixtures() -> Vec<Fixture> {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(dir.path().join("io.db"), "data_dir", crate::schema::MIGRATIONS);
    let mut all = vec![fixture(Arc::new(SqliteLinks::new(Store::open(options).unwrap())), dir)];
    if let Some(database) = crate::testing::database().await {
        all.push(fixture(Arc::new(PostgresLinks::new(database.pg.clone())), database));
    }
    all
}

fn unrecorded() -> Recorder {
    Arc::new(Unrecorded)
}

fn new_link(who: &str, kind: UrlKind, time_to_live: Duration) -> NewLink {
    NewLink {
        file: FileName::parse("teams/t/files/a b/é.png").unwrap(),
        subject: Candidate::user(who).unwrap(),
        kind,
        disposition: Disposition::Inline,
        etag: String::new(),
        time_to_live,
    }
}

/// The token of an address's path.
fn token(path: &str) -> &str {
    path.split('/').nth(2).unwrap()
}

impl Fixture {
    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    async fn make(&self, kind: UrlKind, time_to_live: Duration) -> (super::LinkRow, String) {
        self.links.create(new_link("u", kind, time_to_live), unrecorded()).await.unwrap()
    }

    async fn holds(&self, path: &str) -> bool {
        self.links.of_token(token(path)).await.unwrap().is_some()
    }
}

/// D41, H21: links end, exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_d41_a_link_ends_when_it_says() {
    for fx in fixtures().await {
        let (row, path) = fx.make(UrlKind::Temporary, Duration::from_secs(10)).await;
        assert!(path.starts_with("/t/") && path.ends_with("/%C3%A9%2Epng"), "{path}");
        fx.pass(Duration::from_millis(9_999));
        assert_eq!(fx.links.of_token(token(&path)).await.unwrap(), Some(row));
        fx.pass(Duration::from_millis(1));
        assert!(!fx.holds(&path).await);
        assert_eq!(fx.links.sweep().await.unwrap(), 1);
        assert!(!fx.holds(&path).await);
    }
}

/// H21: a link can be revoked, with all its addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_a_link_is_revoked_with_all_its_addresses() {
    for fx in fixtures().await {
        let (row, first) = fx.make(UrlKind::Resource, DAY).await;
        let (row, second) = fx.links.renew(&row, 20 * DAY, unrecorded()).await.unwrap();
        fx.pass(DAY);
        // The first address ended when it said; the link and its second go on.
        assert_eq!((fx.holds(&first).await, fx.holds(&second).await), (false, true));
        let (other, third) = fx.make(UrlKind::Resource, DAY).await;
        fx.links.revoke(&row, unrecorded()).await.unwrap();
        assert_eq!((fx.holds(&second).await, fx.holds(&third).await), (false, true));
        let again = fx.links.revoke(&row, unrecorded()).await.unwrap();
        assert!(again.revoked_ms.is_some());
        let listed = fx.links.list(&new_link("u", UrlKind::Temporary, DAY).file, None, "", 10).await.unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[1], other);
        assert!(listed[0].revoked_ms.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_listed_by_file_and_subject_in_pages() {
    for fx in fixtures().await {
        let file = new_link("u", UrlKind::Temporary, DAY).file;
        for who in ["u", "v", "u", "u"] {
            fx.links.create(new_link(who, UrlKind::Temporary, DAY), unrecorded()).await.unwrap();
        }
        let mut other = new_link("u", UrlKind::Temporary, DAY);
        other.file = FileName::parse("teams/t/files/a b").unwrap();
        fx.links.create(other, unrecorded()).await.unwrap();
        let u = Candidate::user("u").unwrap();
        assert_eq!(fx.links.list(&file, None, "", 10).await.unwrap().len(), 4);
        let first = fx.links.list(&file, Some(&u), "", 2).await.unwrap();
        let rest = fx.links.list(&file, Some(&u), &first[1].id, 2).await.unwrap();
        assert_eq!((first.len(), rest.len()), (2, 1));
        // Of another file it is not found.
        let id = &first[0].id;
        assert!(fx.links.find(&file, id).await.unwrap().is_some());
        assert!(fx.links.find(&FileName::parse("teams/t/files/x").unwrap(), id).await.unwrap().is_none());
    }
}

/// Keys are replaced by themselves; what they signed holds to its end, in other replicas too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_what_they_signed_holds_to_its_end() {
    for fx in fixtures().await {
        let (_, first) = fx.make(UrlKind::Resource, 30 * DAY).await;
        fx.pass(6 * DAY);
        fx.make(UrlKind::Resource, DAY).await;
        assert_eq!(fx.store.keys().await.unwrap().len(), 1);
        fx.pass(2 * DAY);
        let (_, second) = fx.make(UrlKind::Resource, 30 * DAY).await;
        assert_eq!(fx.store.keys().await.unwrap().len(), 2);
        fx.links.sweep().await.unwrap();
        assert!(fx.holds(&first).await && fx.holds(&second).await);
        let read = Arc::clone(&fx.now);
        let clock = Clock::from_fn(move || read.load(Ordering::Relaxed));
        let replica = Links::new(Arc::clone(&fx.store), clock, KEY_TIME);
        assert!(replica.of_token(token(&second)).await.unwrap().is_some());
        // Eight days old at first, and 39 now: nothing that it signed is valid any more.
        fx.pass(31 * DAY);
        fx.links.sweep().await.unwrap();
        assert_eq!(fx.store.keys().await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_nothing_but_our_keys_makes_a_link() {
    for fx in fixtures().await {
        let (_, path) = fx.make(UrlKind::Temporary, DAY).await;
        let (payload, code) = token(&path).split_once('.').unwrap();
        let (_, other) = fx.make(UrlKind::Temporary, DAY).await;
        let (other_payload, _) = token(&other).split_once('.').unwrap();
        for forged in
            [format!("{other_payload}.{code}"), format!("{payload}."), payload.to_owned(), String::new()]
        {
            assert!(fx.links.of_token(&forged).await.unwrap().is_none(), "{forged}");
        }
        // A link whose row is gone, as after a restore of an older backup, gives nothing.
        fx.pass(2 * DAY);
        fx.store.drop_expired(i64::MAX, 10).await.unwrap();
        assert!(!fx.holds(&path).await);
    }
}
