//! What a team can use: its own secrets, and those granted to it whose names it does not have.

use super::{Found, Vault, grants};
use crate::error::Error;
use crate::page::{self, Page};

/// Granted keys that one list looks at.
const MAX_GRANTED: i64 = 10_000;

impl Vault {
    /// A page of the secrets that a team can use, by key, without values. Those of an instance that the request
    /// names are the team's own alone.
    pub async fn list(
        &self,
        team: &str,
        page: Page<String>,
        instance: &str,
    ) -> Result<(Vec<Found>, String), Error> {
        let store = self.store(team, instance)?;
        let after = page.after.clone();
        let own = store.list(team, after.as_deref(), page.size + 1).await?;
        let mut found: Vec<Found> =
            own.into_iter().map(|info| Found { info, source: team.to_owned() }).collect();
        if instance.is_empty() {
            self.add_granted(team, after, &mut found).await?;
            found.sort_by(|a, b| a.info.key.cmp(&b.info.key));
            found.truncate(page.size + 1);
        }
        Ok(page::cut(found, page.size, |row| row.info.key.clone()))
    }

    /// What is beyond the last own row of a full page is of a later page: it need not be looked up.
    async fn add_granted(
        &self,
        team: &str,
        after: Option<String>,
        found: &mut Vec<Found>,
    ) -> Result<(), Error> {
        let who = team.to_owned();
        let keys = move |conn: &sre_store::sql::Connection<'_>| {
            grants::keys(conn, &who, after.as_deref(), MAX_GRANTED)
        };
        let own: std::collections::HashSet<String> = found.iter().map(|row| row.info.key.clone()).collect();
        for key in self.state.read(keys).await? {
            // One whose owner has deleted it elsewhere is not there.
            if own.contains(&key) || self.store(team, "")?.stat(team, &key).await?.is_some() {
                continue;
            }
            if let Some(granted) = self.granted(team, &key).await? {
                found.push(granted);
            }
        }
        Ok(())
    }
}
