//! Durable state of a service.
//!
//! Two stores with one shape of errors and migrations:
//!
//! - [`Store`]: one SQLite file per service, held by one process, written by one thread that
//!   commits the work of many callers together (group commit), read over several connections;
//! - `pg::Pg` (feature `postgres`): a PostgreSQL pool for suites of several replicas.
//!
//! A [`sql::Database`] is either of them behind one interface, for services that write their statements once.
//!
//! A service keeps its statements in its own crate. This one knows how to run them durably.
//!
//! ```
//! use sre_store::{Migration, OpenOptions, Store, StoreError};
//!
//! static MIGRATIONS: &[Migration] = &[Migration {
//!     version: 1,
//!     name: "notes",
//!     expand: "create table note (id integer primary key, text text not null) strict",
//!     contract: None,
//! }];
//!
//! # fn main() -> Result<(), StoreError> {
//! # let dir = tempfile::tempdir().map_err(|error| StoreError::io("", error))?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| StoreError::io("", error))?;
//! # runtime.block_on(async {
//! let store = Store::open(OpenOptions::new(dir.path().join("notes.db"), "notes.store.dir", MIGRATIONS))?;
//! let id = store
//!     .write(|tx| {
//!         tx.prepare_cached("insert into note (text) values (?1)")?.execute(["durable when this returns"])?;
//!         Ok(tx.last_insert_rowid())
//!     })
//!     .await?;
//! let text: String = store
//!     .read(move |conn| Ok(conn.query_row("select text from note where id = ?1", [id], |row| row.get(0))?))
//!     .await?;
//! assert_eq!(text, "durable when this returns");
//! store.close().await
//! # })
//! # }
//! ```

mod error;
mod job;
mod migration;
#[cfg(feature = "postgres")]
pub mod pg;
pub mod sql;
mod sqlite;

pub use error::{ConstraintKind, ErrorKind, StoreError};
pub use migration::{Migration, SchemaState};
pub use rusqlite;
pub use sqlite::{OpenOptions, Store, Synchronous, snapshot};
