//! What teams keep here: budgets and models of their own, small documents by holder and id. Everything is in memory
//! too: a call looks at it without asking the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use sre_proto::error::{self, Reason, with_metadata};
use sre_service::Granted;
use sre_store::sql::{Connection, Database, OptionalExtension as _, Row, params};
use sre_store::{ErrorKind, Migration, StoreError};
use tokio::sync::Mutex;
use tonic::{Code, Status};

/// Documents of one kind that a holder may have.
pub const MOST: usize = 200;
/// How long until what could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "audit outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 2, name: "budgets and models of teams", expand: TABLES, contract: None },
];

const TABLES: &str = "
create table kept (
    kind text not null,
    -- `teams/{team}` or `organizations/{organization}`.
    holder text not null,
    id text not null,
    document text not null,
    etag text not null,
    created_ms integer not null,
    updated_ms integer not null,
    primary key (kind, holder, id)
) strict, without rowid;
";

/// What kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A budget.
    Budget,
    /// A model of a team.
    Model,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Model => "model",
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        [Self::Budget, Self::Model].into_iter().find(|kind| kind.text() == text)
    }
}

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// JSON.
    pub json: String,
    /// Changes with every change.
    pub etag: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was changed.
    pub updated_ms: i64,
}

impl Document {
    /// When it was created.
    pub fn create_time(&self) -> Option<prost_types::Timestamp> {
        timestamp(self.created_ms)
    }

    /// When it was changed.
    pub fn update_time(&self) -> Option<prost_types::Timestamp> {
        timestamp(self.updated_ms)
    }
}

fn timestamp(ms: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    Some(prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos })
}

/// The documents of a holder by id. Never changed: a change makes another.
pub type Shelf = Arc<BTreeMap<String, Document>>;

type Shelves = BTreeMap<(Kind, String), Shelf>;

/// What is kept. Clones share it.
#[derive(Clone)]
pub struct Kept {
    store: Database,
    shelves: Arc<ArcSwap<Shelves>>,
    /// Held by whoever changes something, so that memory follows the store in order.
    writing: Arc<Mutex<()>>,
}

/// What a change expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing of that id.
    Absent,
    /// Something of that id; with this etag, where there is one.
    Present(Option<String>),
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// There is one.
    #[error("there is one of that name: update it, or choose another name")]
    Exists,
    /// There is none.
    #[error("there is none of that name")]
    Missing,
    /// It was changed in between.
    #[error("it was changed in between: get it again, then change it")]
    OtherVersion,
    /// The holder has enough of them.
    #[error("there are {MOST} already, the most: delete one")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeptError> for Status {
    fn from(failed: KeptError) -> Self {
        let words = failed.to_string();
        match &failed {
            KeptError::Exists => error::status(Code::AlreadyExists, Reason::AlreadyExists, words),
            KeptError::Missing => error::status(Code::NotFound, Reason::NotFound, words),
            KeptError::OtherVersion => error::status(Code::Aborted, Reason::VersionConflict, words),
            KeptError::TooMany => error::status(Code::ResourceExhausted, Reason::QuotaExceeded, words),
            KeptError::Store(failed) => match failed.kind() {
                ErrorKind::Overloaded | ErrorKind::Busy => {
                    error::status(Code::ResourceExhausted, Reason::Overloaded, words)
                }
                ErrorKind::Unavailable | ErrorKind::Closed => {
                    error::status(Code::Unavailable, Reason::BackendUnavailable, words)
                }
                _ => internal(&words),
            },
        }
    }
}

fn internal(cause: &str) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(error_id, cause, "internal error");
    let message = format!("internal error {error_id}: look for this id in the log");
    with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Kept {
    /// Reads everything.
    pub async fn open(store: Database) -> Result<Self, StoreError> {
        let shelves = store.read(read).await?;
        Ok(Self { store, shelves: Arc::new(ArcSwap::from_pointee(shelves)), writing: Arc::default() })
    }

    /// What a holder has.
    pub fn shelf(&self, kind: Kind, holder: &str) -> Shelf {
        self.shelves.load().get(&(kind, holder.to_owned())).cloned().unwrap_or_default()
    }

    /// Creates or replaces a document, with the record of who did it.
    pub async fn put(
        &self,
        kind: Kind,
        holder: &str,
        id: &str,
        json: String,
        expect: Expect,
        granted: Granted,
    ) -> Result<Document, KeptError> {
        let _turn = self.writing.lock().await;
        let (owner, name) = (holder.to_owned(), id.to_owned());
        let document = self
            .store
            .try_write(move |tx| {
                let before = expected(one(tx, kind, &owner, &name)?, &expect)?;
                if before.is_none() && count(tx, kind, &owner)? >= MOST {
                    return Err(KeptError::TooMany);
                }
                let now = now_ms();
                let document = Document {
                    etag: sre_proto::ids::new_uuid().to_string(),
                    created_ms: before.map_or(now, |before| before.created_ms),
                    updated_ms: now,
                    json,
                };
                write(tx, kind, &owner, &name, &document)?;
                granted.record(tx)?;
                Ok(document)
            })
            .await?;
        self.replace(kind, holder, |shelf| {
            shelf.insert(id.to_owned(), document.clone());
        });
        Ok(document)
    }

    /// Removes a document, with the record of who did it.
    pub async fn remove(
        &self,
        kind: Kind,
        holder: &str,
        id: &str,
        etag: Option<String>,
        granted: Granted,
    ) -> Result<(), KeptError> {
        let _turn = self.writing.lock().await;
        let (owner, name) = (holder.to_owned(), id.to_owned());
        self.store
            .try_write(move |tx| {
                expected(one(tx, kind, &owner, &name)?, &Expect::Present(etag))?;
                tx.prepare_cached("delete from kept where kind = ?1 and holder = ?2 and id = ?3")?
                    .execute(params![kind.text(), owner, name])?;
                Ok::<_, KeptError>(granted.record(tx)?)
            })
            .await?;
        self.replace(kind, holder, |shelf| {
            shelf.remove(id);
        });
        Ok(())
    }

    /// Reads everything again whenever another replica has changed something; ends where there is none.
    pub async fn follow(self) {
        let mut others = self.store.watch_others();
        while others.changed().await.is_ok() {
            let _turn = self.writing.lock().await;
            match self.store.read(read).await {
                Ok(shelves) => self.shelves.store(Arc::new(shelves)),
                Err(error) => {
                    tracing::warn!(%error, "budgets and models of teams are read again in a moment");
                    tokio::time::sleep(AGAIN).await;
                    others.mark_changed();
                }
            }
        }
    }

    fn replace(&self, kind: Kind, holder: &str, change: impl FnOnce(&mut BTreeMap<String, Document>)) {
        let mut shelves = Shelves::clone(&self.shelves.load());
        let mut shelf = BTreeMap::clone(&self.shelf(kind, holder));
        change(&mut shelf);
        shelves.insert((kind, holder.to_owned()), Arc::new(shelf));
        self.shelves.store(Arc::new(shelves));
    }
}

fn expected(found: Option<Document>, expect: &Expect) -> Result<Option<Document>, KeptError> {
    match (found, expect) {
        (None, Expect::Absent) => Ok(None),
        (Some(_), Expect::Absent) => Err(KeptError::Exists),
        (None, Expect::Present(_)) => Err(KeptError::Missing),
        (Some(found), Expect::Present(Some(etag))) if found.etag != *etag => Err(KeptError::OtherVersion),
        (Some(found), Expect::Present(_)) => Ok(Some(found)),
    }
}

fn one(conn: &Connection<'_>, kind: Kind, holder: &str, id: &str) -> Result<Option<Document>, StoreError> {
    conn.prepare_cached(
        "select document, etag, created_ms, updated_ms from kept where kind = ?1 and holder = ?2 and id = ?3",
    )?
    .query_row(params![kind.text(), holder, id], |row| document(row, 0))
    .optional()
}

fn count(conn: &Connection<'_>, kind: Kind, holder: &str) -> Result<usize, StoreError> {
    let sql = "select count(*) from kept where kind = ?1 and holder = ?2";
    let count: i64 = conn.query_row(sql, params![kind.text(), holder], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn write(
    tx: &Connection<'_>,
    kind: Kind,
    holder: &str,
    id: &str,
    document: &Document,
) -> Result<(), StoreError> {
    let Document { json, etag, created_ms, updated_ms } = document;
    tx.prepare_cached(
        "insert into kept (kind, holder, id, document, etag, created_ms, updated_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         on conflict (kind, holder, id) do update set document = excluded.document,
         etag = excluded.etag, updated_ms = excluded.updated_ms",
    )?
    .execute(params![kind.text(), holder, id, json, etag, created_ms, updated_ms])?;
    Ok(())
}

/// From the columns that begin at `first`.
fn document(row: &Row<'_>, first: usize) -> Result<Document, StoreError> {
    Ok(Document {
        json: row.get(first)?,
        etag: row.get(first + 1)?,
        created_ms: row.get(first + 2)?,
        updated_ms: row.get(first + 3)?,
    })
}

fn read(conn: &Connection<'_>) -> Result<Shelves, StoreError> {
    let mut statement =
        conn.prepare_cached("select kind, holder, id, document, etag, created_ms, updated_ms from kept")?;
    let rows = statement.query_map(params![], |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?, document(row, 3)?))
    })?;
    let mut all: BTreeMap<(Kind, String), BTreeMap<String, Document>> = BTreeMap::new();
    for row in rows {
        let (kind, holder, id, document) = row?;
        if let Some(kind) = Kind::of_text(&kind) {
            all.entry((kind, holder)).or_default().insert(id, document);
        }
    }
    Ok(all.into_iter().map(|(key, shelf)| (key, Arc::new(shelf))).collect())
}
