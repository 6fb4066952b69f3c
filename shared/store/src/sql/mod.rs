//! One set of statements for both backends.
//!
//! A service whose state is modest writes its statements once, against [`Connection`], and keeps them in a
//! [`Database`]: SQLite embedded, PostgreSQL where several replicas share it. What differs between the two is here
//! and nowhere else ([`dialect`]); a statement that cannot be said in both asks [`Connection::is_postgres`].
//!
//! What to write, so that both understand it:
//!
//! - parameters as `?1` or `:name`, bound as [`Value`]s; a parameter that is only compared with `null` needs a type:
//!   `cast(?1 as bigint) is null`;
//! - `returning` for the number of a new row; `on conflict ... do update` with the table's name before its own columns;
//! - `cast(sum(n) as bigint)`, because PostgreSQL adds up in another type;
//! - an alias for each subquery; names that PostgreSQL reserves (`user`) in double quotes.

mod connection;
mod database;
pub mod dialect;
mod params;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(test)]
mod tests;
mod value;

pub use connection::{Connection, OptionalExtension, Row, Rows, Statement};
pub use database::{Database, Turn};
pub use params::{Bound, Named, Params};
#[cfg(feature = "postgres")]
pub use postgres::Session;
pub use value::{FromValue, ToValue, Value};

pub use crate::{named_params, params};

/// What reading a row gives.
pub type Result<T, E = crate::StoreError> = std::result::Result<T, E>;
