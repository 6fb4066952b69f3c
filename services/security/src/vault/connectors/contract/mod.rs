//! What every backend of the vault must do. A backend's tests call `contract::every_case!(fresh)`, where `fresh` is an
//! async function that makes a [`Bench`] over an empty backend, or none where there is no server; and
//! `contract::read_cases!(fresh)` where nothing can be written through it.

mod reading;
mod writing;

use std::any::Any;
use std::sync::Arc;

use futures::future::BoxFuture;
pub(crate) use reading::*;
pub(crate) use writing::*;

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::secret::SecretValue;

/// Keys that no backend may confuse with each other, with folders, patterns or its own names.
pub(crate) const STRANGE_KEYS: [&str; 16] = [
    "AWS Key ID (m192)",
    "%",
    "%2F",
    "...",
    "-k",
    ".hidden",
    "_",
    "=",
    "=41",
    "A",
    "a",
    "a*",
    "a?b#c&d",
    "k+v",
    "schlüssel",
    "🔑",
];

type Seed = Box<dyn Fn(String, String, Vec<u8>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A backend, and how secrets come into it.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn SecretStore>,
    /// Sets a secret as whoever owns the backend would; through the backend where none.
    pub(crate) seed: Option<Seed>,
    /// Keeps the backend's files or server.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// One test for each case, of reading and writing.
macro_rules! every_case {
    ($fresh:path) => {
        crate::vault::connectors::contract::read_cases!($fresh);
        crate::vault::connectors::contract::cases!(
            $fresh,
            a_value_is_there_until_it_is_replaced,
            versions_grow_and_stay_readable,
            a_deleted_secret_is_gone_with_its_versions,
            teams_share_nothing,
            concurrent_writers_lose_nothing,
            writers_of_one_secret_lose_no_version,
            the_largest_value_fits,
            values_are_bytes,
            versions_are_paged,
        );
    };
}
pub(crate) use every_case;

/// One test for each case of reading alone.
macro_rules! read_cases {
    ($fresh:path) => {
        crate::vault::connectors::contract::cases!(
            $fresh,
            what_is_not_there_is_not_found,
            what_is_there_is_read,
            an_empty_value_is_a_value,
            strange_keys_are_keys,
            a_list_is_of_one_team_and_paged_by_key,
            d12_a_change_is_seen_at_once,
            names_do_not_lead_out_of_a_team,
            the_backend_is_well,
        );
    };
}
pub(crate) use read_cases;

macro_rules! cases {
    ($fresh:path, $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                if let Some(bench) = $fresh().await {
                    crate::vault::connectors::contract::$case(&bench).await;
                }
            }
        )*
    };
}
pub(crate) use cases;

pub(crate) const NOW: Moment = Moment(1_700_000_000_000_000);
pub(crate) const WRITER: &str = "user/dev";

pub(crate) fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

impl Bench {
    pub(crate) fn over(store: impl SecretStore, keep: impl Any + Send + Sync) -> Self {
        Self { store: Arc::new(store), seed: None, _keep: Box::new(keep) }
    }

    /// Brings a secret in.
    pub(crate) async fn given(&self, team: &str, key: &str, text: &str) {
        match &self.seed {
            Some(seed) => seed(team.to_owned(), key.to_owned(), text.as_bytes().to_vec()).await,
            None => drop(self.put(team, key, text).await),
        }
    }

    pub(crate) async fn put(&self, team: &str, key: &str, text: &str) -> SecretInfo {
        self.store.put(team, key, value(text), WRITER, NOW).await.unwrap()
    }

    /// The current value as text.
    pub(crate) async fn text(&self, team: &str, key: &str) -> Option<String> {
        let (_, value) = self.store.get(team, key, None).await.unwrap()?;
        Some(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    pub(crate) async fn keys(&self, team: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let rows: Result<_, SecretStoreError> = self.store.list(team, after, limit).await;
        rows.unwrap().into_iter().map(|row| row.key).collect()
    }
}
