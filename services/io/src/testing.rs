//! What tests of several modules share.

use sre_service::testing::{Schema, postgres};
use sre_store::pg::Pg;

use crate::storage::PG_SESSION;

/// A schema of its own in a database; dropped at the end.
pub(crate) struct Database {
    pub(crate) pg: Pg,
    _schema: Schema,
}

/// A fresh schema, or none without a server.
pub(crate) async fn database() -> Option<Database> {
    let config = postgres("io", PG_SESSION)?;
    let pg = Pg::connect(&config, crate::schema::PG_MIGRATIONS).await.unwrap();
    Some(Database { _schema: Schema(pg.clone()), pg })
}
