//! What every index must do. A database's tests call `contract::every_case!(fresh)`, where `fresh` is an async
//! function that makes a [`Bench`] over an empty index, or gives none where its server is not there.

mod changes;
mod rows;
mod strays;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use sre_store::StoreError;
use sre_store::pg::PgClient;

pub(crate) use changes::*;
pub(crate) use rows::*;
pub(crate) use strays::*;

use super::{At, Commit, FileIndex, FileRow, Quotas, Stray};
use crate::basis::{Basis, Condition, Recorder, Recording, Unrecorded};
use crate::clock::Millis;
use crate::error::IoError;
use crate::storage::connectors::ObjectKey;
use crate::storage::{FileName, Metadata, Upload};
use crate::usage::{Kind, Quota};

/// The time that cases begin at.
pub(crate) const NOW: Millis = 1_000_000;
pub(crate) const F: &str = "teams/t/agents/a/files/d/f.txt";

/// An index.
pub(crate) struct Bench {
    pub(crate) index: Arc<dyn FileIndex>,
    _keep: Box<dyn Any + Send + Sync>,
}

/// One test for each case.
macro_rules! every_case {
    ($fresh:path) => {
        crate::storage::index::contract::every_case!(@ $fresh,
            a_row_is_written_and_found, an_overwrite_keeps_list_and_birth, conditions_hold,
            h33_a_list_changed_between_check_and_act_is_noticed, expiry_is_exact,
            an_expired_row_is_as_none, the_quota_is_held_in_the_transaction, an_agent_has_a_quota_of_its_own,
            a_folder_lists_what_is_below_it_and_nothing_beside, pages_follow_the_order_of_bytes,
            deletes_are_all_or_none, an_update_changes_what_it_names, a_failed_record_undoes_the_change,
            one_of_many_creates, many_writers_keep_the_counts,
            strays_are_adopted_once, what_is_condemned_is_not_adopted, replaced_bytes_become_strays,
            strays_keep_their_place_and_name,
        );
    };
    (@ $fresh:path, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let bench: Option<crate::storage::index::contract::Bench> = $fresh().await;
            let Some(bench) = bench else { return };
            crate::storage::index::contract::$case(&bench).await;
        }
    )*};
}
pub(crate) use every_case;

/// At this time.
pub(crate) fn at(now: Millis) -> At {
    let quota = Quota { items: 1_000, bytes: 1_000_000 };
    At { now, due: now + 60_000, quotas: Quotas { team: quota, agent: quota } }
}

/// No record.
pub(crate) fn unrecorded() -> Recorder {
    Arc::new(Unrecorded)
}

/// A record that cannot be written.
pub(crate) struct Broken;

#[async_trait]
impl Recording for Broken {
    fn sqlite(&self, _tx: &Connection) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn postgres(&self, _tx: &PgClient) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn committed(&self) {
        panic!("nothing was committed");
    }
}

pub(crate) fn name(text: &str) -> FileName {
    FileName::parse(text).unwrap()
}

impl Bench {
    pub(crate) fn over(index: impl FileIndex, keep: impl Any + Send + Sync) -> Self {
        Self { index: Arc::new(index), _keep: Box::new(keep) }
    }

    /// Bytes that are noted and not adopted.
    pub(crate) async fn uploaded(&self, size_bytes: i64) -> Upload {
        let object = ObjectKey::generate();
        let stray = Stray { object: object.as_str().to_owned(), instance: "one".into(), unfinished: None };
        self.index.note(stray, NOW + 3_600_000).await.unwrap();
        Upload {
            object,
            instance: "one".into(),
            size_bytes,
            digest: format!("b3:{}", "0".repeat(64)),
            mimetype: "text/plain".into(),
        }
    }

    /// A commit on what is there now.
    pub(crate) async fn commit(&self, file: &str, size_bytes: i64, now: Millis) -> Commit {
        let row = self.live(file, now).await;
        Commit {
            name: name(file),
            upload: self.uploaded(size_bytes).await,
            condition: Condition::Always,
            basis: row.map_or_else(Basis::absent, |row| Basis::row(&row.acl)),
            acl_when_new: "new".into(),
            acl_when_there: None,
            metadata: Metadata::new(),
            time_to_live: None,
        }
    }

    /// Writes a file.
    pub(crate) async fn write(
        &self,
        file: &str,
        size_bytes: i64,
        now: Millis,
        change: impl FnOnce(&mut Commit),
    ) -> Result<FileRow, IoError> {
        let mut commit = self.commit(file, size_bytes, now).await;
        change(&mut commit);
        self.index.commit(commit, at(now), unrecorded()).await
    }

    pub(crate) async fn live(&self, file: &str, now: Millis) -> Option<FileRow> {
        self.index.find(&name(file)).await.unwrap().filter(|row| row.is_live(now))
    }

    pub(crate) async fn used(&self) -> (i64, i64) {
        self.index.used("t", Kind::Files).await.unwrap()
    }
}

/// So long.
pub(crate) fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}
