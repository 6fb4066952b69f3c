//! Migrations on PostgreSQL: all steps in one transaction, under a lock that lives as long as it does,
//! so that it holds through transaction-mode poolers too.

use std::time::Duration;

use deadpool_postgres::GenericClient;

use super::{PgClient, within};
use crate::migration::{Applied, Step, plan, plan_contract};
use crate::{Migration, SchemaState, StoreError};

const TABLES: &str = "
create table if not exists sre_migration (
    version integer primary key, name text not null,
    expanded_at timestamptz not null default now(), contracted_at timestamptz);
create table if not exists sre_schema (
    one integer primary key check (one = 1), schema_version integer not null, min_reader integer not null);
insert into sre_schema values (1, 0, 0) on conflict do nothing;
";

/// What is migrated.
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) schema: Option<&'a str>,
    pub(super) migrations: &'static [Migration],
    pub(super) words: super::Words,
    pub(super) timeout: Duration,
}

impl Target<'_> {
    pub(super) async fn migrate(&self, client: &mut PgClient) -> Result<SchemaState, StoreError> {
        let work = self.steps(client, |applied, state| plan(self.name, self.migrations, applied, state));
        within(self.timeout, work).await
    }

    pub(super) async fn contract(&self, client: &mut PgClient) -> Result<SchemaState, StoreError> {
        let work = self.steps(client, |applied, state| {
            Ok(plan_contract(self.name, self.migrations, applied, state)?.into_iter().collect())
        });
        within(self.timeout, work).await
    }

    async fn steps(
        &self,
        client: &mut PgClient,
        plan: impl FnOnce(&Applied, SchemaState) -> Result<Vec<Step>, StoreError>,
    ) -> Result<SchemaState, StoreError> {
        let tx = client.transaction().await?;
        let timeout_ms = self.timeout.as_millis();
        tx.batch_execute(&format!(
            "set local statement_timeout = {timeout_ms}; set local lock_timeout = {timeout_ms}"
        ))
        .await?;
        // Replicas that start together queue here; the later ones find the work done.
        tx.execute(
            "select pg_advisory_xact_lock(hashtextextended('sre-store:' || coalesce($1, current_schema()), 0))",
            &[&self.schema],
        )
        .await?;
        if let Some(schema) = self.schema {
            // A plain name, checked by the configuration.
            tx.batch_execute(&format!("create schema if not exists {schema}")).await?;
        }
        tx.batch_execute(TABLES).await?;
        let before = state(&tx).await?;
        for step in plan(&applied(&tx).await?, before)? {
            self.run(&tx, step).await?;
        }
        let after = state(&tx).await?;
        tx.commit().await?;
        Ok(after)
    }

    async fn run(&self, tx: &impl GenericClient, step: Step) -> Result<(), StoreError> {
        let migration = step.migration();
        tx.batch_execute(&(self.words)(step.sql())).await.map_err(|error| {
            let error = StoreError::from(error);
            if error.is_retryable() { error } else { step.failed(self.name, error) }
        })?;
        let version = signed(migration.version);
        match step {
            Step::Expand(_) => {
                tx.execute(
                    "insert into sre_migration (version, name) values ($1, $2)",
                    &[&version, &migration.name],
                )
                .await?
            }
            Step::Contract(_) => {
                tx.execute("update sre_migration set contracted_at = now() where version = $1", &[&version])
                    .await?
            }
        };
        let state = step.state_after();
        tx.execute(
            "update sre_schema set schema_version = $1, min_reader = $2",
            &[&signed(state.version), &signed(state.min_reader)],
        )
        .await?;
        Ok(())
    }
}

pub(super) async fn state(client: &impl GenericClient) -> Result<SchemaState, StoreError> {
    let row = client.query_one("select schema_version, min_reader from sre_schema", &[]).await?;
    let number = |index: usize| -> Result<u32, StoreError> {
        let value: i32 = row.try_get(index)?;
        u32::try_from(value).map_err(|_| StoreError::backend("sre_schema holds a negative version"))
    };
    Ok(SchemaState { version: number(0)?, min_reader: number(1)? })
}

async fn applied(client: &impl GenericClient) -> Result<Applied, StoreError> {
    let rows = client.query("select version, name from sre_migration order by version", &[]).await?;
    rows.iter()
        .map(|row| {
            let version: i32 = row.try_get(0)?;
            Ok((u32::try_from(version).unwrap_or_default(), row.try_get(1)?))
        })
        .collect()
}

/// PostgreSQL has no unsigned integers; versions are small.
fn signed(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}
