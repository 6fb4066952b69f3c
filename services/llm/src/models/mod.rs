//! The catalogue of models: data, reloaded while running.

mod entry;
mod files;
mod prices;
mod resolve;
mod resolved;
mod service;
mod table;
mod team;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

pub use entry::{CredentialMode, Credentials, Embedding};
pub use prices::{Charge, PriceTable, Prices, civil};
pub use resolved::{DeploymentLimits, Fallback, Interface, Origin, ReasoningStyle, Resolved, Routing};
pub use service::ModelsService;
#[cfg(test)]
pub(crate) use service::describe;
pub use table::{Mode, Table};

use crate::kept::Kept;
use files::{Fingerprint, fingerprint, scan};
use team::TeamTables;

/// How often files are looked at. A change counts when two looks agree, so that half-written files do not.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The catalogue. Clones share it; each request works with the table as it was when it began.
#[derive(Clone)]
pub struct Catalogue {
    current: Arc<ArcSwap<Table>>,
    version: Arc<AtomicI64>,
    teams: Option<Arc<TeamTables>>,
}

impl Catalogue {
    /// The built-in models with those below `path`.
    pub fn load(path: Option<PathBuf>, mode: Mode) -> (Self, Option<Reloader>) {
        let Some(path) = path else {
            let table = Table::new(Default::default(), Mode::Merge);
            let current = Arc::new(ArcSwap::from_pointee(table));
            return (Self { current, version: Arc::default(), teams: None }, None);
        };
        let seen = fingerprint(&path);
        let current = Arc::new(ArcSwap::from_pointee(read(&path, mode)));
        let catalogue = Self { current, version: Arc::default(), teams: None };
        let reloader = Reloader { path, mode, loaded: seen.clone(), seen, catalogue: catalogue.clone() };
        (catalogue, Some(reloader))
    }

    /// The same with models that teams keep.
    #[must_use]
    pub fn with_teams(self, kept: Kept) -> Self {
        Self { teams: Some(Arc::new(TeamTables::new(kept))), ..self }
    }

    /// What a team's calls see: the table with the team's own models over it.
    pub fn table_of(&self, team: &str) -> Arc<Table> {
        let base = self.table();
        match &self.teams {
            Some(teams) => teams.of(base, team),
            None => base,
        }
    }

    /// How often it was loaded again.
    pub fn version(&self) -> i64 {
        self.version.load(Ordering::Acquire)
    }

    /// The table as it stands.
    pub fn table(&self) -> Arc<Table> {
        self.current.load_full()
    }
}

/// Keeps the catalogue like its files.
pub struct Reloader {
    path: PathBuf,
    mode: Mode,
    loaded: Fingerprint,
    seen: Fingerprint,
    catalogue: Catalogue,
}

impl Reloader {
    /// Looks at the files now and then, until it is dropped. Looking works on every file system, where
    /// notifications do not come from network mounts.
    pub async fn run(self) {
        let mut reloader = self;
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            let look = tokio::task::spawn_blocking(move || {
                reloader.look();
                reloader
            });
            match look.await {
                Ok(back) => reloader = back,
                Err(error) => {
                    tracing::error!(%error, "reloading models stopped: restart to read them again");
                    return;
                }
            }
        }
    }

    /// One look: reloads where the files changed since they were loaded and not since the last look.
    fn look(&mut self) {
        let now = fingerprint(&self.path);
        let settled = now == self.seen;
        self.seen = now;
        if settled && self.seen != self.loaded {
            self.catalogue.current.store(Arc::new(read(&self.path, self.mode)));
            self.catalogue.version.fetch_add(1, Ordering::AcqRel);
            self.loaded = self.seen.clone();
            tracing::info!(path = %self.path.display(), "models reloaded");
        }
    }
}

fn read(path: &std::path::Path, mode: Mode) -> Table {
    let scan = scan(path);
    for problem in &scan.problems {
        tracing::warn!("a model was left out: {problem}");
    }
    Table::new(scan.models, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_followed_once_they_settle() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        std::fs::write(&file, r#"{"one": {"modelId": "1"}}"#).unwrap();
        let (catalogue, reloader) = Catalogue::load(Some(dir.path().to_owned()), Mode::Merge);
        let mut reloader = reloader.unwrap();
        let has = |name: &str| catalogue.table().resolve(name).is_some();
        assert!(has("one") && has("Echo"));

        std::fs::write(&file, r#"{"two": {"modelId": "2!"}}"#).unwrap();
        reloader.look();
        assert!(has("one"), "the file may still be written to");
        reloader.look();
        // Recomputed from the built-in models: what a file no longer says is gone.
        assert!(!has("one") && has("two") && has("Echo"));

        std::fs::remove_file(&file).unwrap();
        reloader.look();
        reloader.look();
        assert!(!has("two") && has("Echo"));
    }

    #[test]
    fn replace_leaves_only_own_models() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.json"), r#"{"one": {"modelId": "1"}}"#).unwrap();
        let (catalogue, _) = Catalogue::load(Some(dir.path().join("a.json")), Mode::Replace);
        assert_eq!(catalogue.table().names().collect::<Vec<_>>(), ["one"]);
    }
}
