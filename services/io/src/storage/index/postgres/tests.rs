//! The index in a database, where there is a server.

use super::PostgresIndex;
use crate::storage::index::contract;
use crate::testing::database;

async fn fresh() -> Option<contract::Bench> {
    let database = database().await?;
    Some(contract::Bench::over(PostgresIndex::new(database.pg.clone()), database))
}

contract::every_case!(fresh);
