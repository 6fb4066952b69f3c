//! What a closure works on: statements and rows of either backend.

use std::borrow::Cow;

use rusqlite::CachedStatement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::Result;
use super::params::{Bound, Params};
#[cfg(feature = "postgres")]
use super::postgres::{self, Session};
use super::value::{FromValue, Value};
use crate::StoreError;

/// A connection within a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a>(Backend<'a>);

#[derive(Debug, Clone, Copy)]
enum Backend<'a> {
    Sqlite(&'a rusqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(&'a Session),
}

impl<'a> From<&'a rusqlite::Connection> for Connection<'a> {
    fn from(conn: &'a rusqlite::Connection) -> Self {
        Self(Backend::Sqlite(conn))
    }
}

#[cfg(feature = "postgres")]
impl<'a> From<&'a Session> for Connection<'a> {
    fn from(session: &'a Session) -> Self {
        Self(Backend::Postgres(session))
    }
}

impl<'a> From<&Connection<'a>> for Connection<'a> {
    fn from(conn: &Connection<'a>) -> Self {
        *conn
    }
}

impl<'a> Connection<'a> {
    /// A database in memory that lives as long as the process, with a schema: for tests of statements.
    pub fn in_memory(migrations: &[crate::Migration]) -> Result<Connection<'static>> {
        let conn: &'static rusqlite::Connection =
            Box::leak(Box::new(rusqlite::Connection::open_in_memory()?));
        conn.execute_batch("pragma foreign_keys = on")?;
        for migration in migrations {
            conn.execute_batch(migration.expand)?;
        }
        Ok(conn.into())
    }

    /// For the few statements that the backends say differently.
    pub fn is_postgres(&self) -> bool {
        !matches!(self.0, Backend::Sqlite(_))
    }

    /// A statement, prepared once for each connection.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'a>> {
        Ok(Statement(match self.0 {
            Backend::Sqlite(conn) => Prepared::Sqlite(conn.prepare_cached(sql)?),
            #[cfg(feature = "postgres")]
            Backend::Postgres(session) => Prepared::Postgres(session.prepare(sql)?),
        }))
    }

    /// Runs a statement; gives how many rows it changed.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// The first row of a query; [`StoreError::NotFound`] where there is none.
    pub fn query_row<T, F>(&self, sql: &str, params: impl Params, read: F) -> Result<T>
    where
        F: FnOnce(&Row<'_>) -> Result<T>,
    {
        self.prepare_cached(sql)?.query_row(params, read)
    }
}

/// A prepared statement.
pub struct Statement<'a>(Prepared<'a>);

enum Prepared<'a> {
    Sqlite(CachedStatement<'a>),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Prepared<'a>),
}

impl Statement<'_> {
    /// Runs it; gives how many rows it changed.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        match &mut self.0 {
            Prepared::Sqlite(statement) => {
                bind(statement, params.bound())?;
                Ok(statement.raw_execute()?)
            }
            #[cfg(feature = "postgres")]
            Prepared::Postgres(statement) => statement.execute(params.bound()),
        }
    }

    /// Its rows, one after the other.
    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        Ok(Rows(match &mut self.0 {
            Prepared::Sqlite(statement) => {
                bind(statement, params.bound())?;
                Found::Sqlite(statement.raw_query())
            }
            #[cfg(feature = "postgres")]
            Prepared::Postgres(statement) => {
                Found::Postgres { rows: statement.query(params.bound())?.into_iter(), current: None }
            }
        }))
    }

    /// All rows, read.
    pub fn query_map<T, F>(
        &mut self,
        params: impl Params,
        mut read: F,
    ) -> Result<std::vec::IntoIter<Result<T>>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        let mut rows = self.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(&row));
        }
        Ok(all.into_iter())
    }

    /// The first row; [`StoreError::NotFound`] where there is none.
    pub fn query_row<T, F>(&mut self, params: impl Params, read: F) -> Result<T>
    where
        F: FnOnce(&Row<'_>) -> Result<T>,
    {
        match self.query(params)?.next()? {
            Some(row) => read(&row),
            None => Err(StoreError::NotFound),
        }
    }

    /// Whether there is a row.
    pub fn exists(&mut self, params: impl Params) -> Result<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// Rows of a query.
pub struct Rows<'a>(Found<'a>);

enum Found<'a> {
    Sqlite(rusqlite::Rows<'a>),
    #[cfg(feature = "postgres")]
    Postgres {
        rows: std::vec::IntoIter<tokio_postgres::Row>,
        current: Option<tokio_postgres::Row>,
    },
}

impl Rows<'_> {
    /// The next one.
    #[allow(clippy::should_implement_trait, reason = "a row is lent until the next one is asked for")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        Ok(match &mut self.0 {
            Found::Sqlite(rows) => rows.next()?.map(|row| Row(Columns::Sqlite(row))),
            #[cfg(feature = "postgres")]
            Found::Postgres { rows, current } => {
                *current = rows.next();
                current.as_ref().map(|row| Row(Columns::Postgres(row)))
            }
        })
    }
}

/// A row.
#[derive(Clone, Copy)]
pub struct Row<'a>(Columns<'a>);

#[derive(Clone, Copy)]
enum Columns<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    #[cfg(feature = "postgres")]
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// A column by its place, the first is 0.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T> {
        match self.0 {
            Columns::Sqlite(row) => T::from_value(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                ValueRef::Text(text) => {
                    let text = std::str::from_utf8(text)
                        .map_err(|_| StoreError::backend(format!("column {column} is no valid text")))?;
                    Value::Text(Cow::Borrowed(text))
                }
                ValueRef::Blob(bytes) => Value::Blob(Cow::Borrowed(bytes)),
            }),
            #[cfg(feature = "postgres")]
            Columns::Postgres(row) => T::from_value(postgres::column(row, column)?),
        }
    }
}

/// A row that may be missing.
pub trait OptionalExtension<T> {
    /// None in place of [`StoreError::NotFound`].
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

fn bind(statement: &mut CachedStatement<'_>, bound: Bound<'_>) -> Result<()> {
    match bound {
        Bound::Places(values) => {
            if values.len() != statement.parameter_count() {
                let (given, wanted) = (values.len(), statement.parameter_count());
                return Err(StoreError::backend(format!("{given} parameters for a statement of {wanted}")));
            }
            for (place, value) in values.into_iter().enumerate() {
                statement.raw_bind_parameter(place + 1, Output(value))?;
            }
        }
        Bound::Names(values) => {
            for (name, value) in values {
                let place = statement
                    .parameter_index(name)?
                    .ok_or_else(|| StoreError::backend(format!("the statement has no parameter {name}")))?;
                statement.raw_bind_parameter(place, Output(value))?;
            }
        }
    }
    Ok(())
}

/// A value as rusqlite binds it.
struct Output<'a>(Value<'a>);

impl rusqlite::ToSql for Output<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
