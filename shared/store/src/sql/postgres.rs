//! The connection of a closure that runs on PostgreSQL.
//!
//! Closures are not async, so they run on threads for blocking work and wait there, a statement at a time, within
//! the deadline of a statement.

use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::future::Future;

use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, Statement};

use super::params::Bound;
use super::value::Value;
use super::{Result, dialect};
use crate::StoreError;
use crate::pg::Loan;

/// A connection on loan to a closure.
#[derive(Debug)]
pub struct Session {
    loan: Loan,
    runtime: Handle,
    changed: Cell<bool>,
}

impl Session {
    pub(crate) fn new(loan: Loan, runtime: Handle) -> Self {
        Self { loan, runtime, changed: Cell::new(false) }
    }

    /// Statements without parameters and answers.
    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(async { Ok(self.loan.client()?.batch_execute(sql).await?) })
    }

    /// Whether a statement changed rows since this was last asked.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.take()
    }

    /// Gives the connection back.
    pub(crate) fn finish<T, E: From<StoreError>>(self, outcome: Result<T, E>) -> Result<T, E> {
        let Self { loan, runtime, .. } = self;
        runtime.block_on(loan.finish(outcome))
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<Prepared<'_>> {
        let (sql, names) = dialect::statement(sql);
        let statement = self.wait(async { Ok(self.loan.client()?.prepare_cached(&sql).await?) })?;
        Ok(Prepared { session: self, statement, names })
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(self.loan.run(work))
    }
}

/// A statement that the server knows.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    session: &'a Session,
    statement: Statement,
    names: Vec<String>,
}

impl Prepared<'_> {
    pub(super) fn execute(&self, bound: Bound<'_>) -> Result<usize> {
        let values = self.in_order(bound)?;
        let changed = self.session.wait(async {
            let params = values.iter().map(|value| value as &(dyn ToSql + Sync));
            Ok(self.session.loan.client()?.execute_raw(&self.statement, params).await?)
        })?;
        if changed > 0 {
            self.session.changed.set(true);
        }
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, bound: Bound<'_>) -> Result<Vec<Row>> {
        let values = self.in_order(bound)?;
        let params: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let rows: Vec<Row> = self
            .session
            .wait(async { Ok(self.session.loan.client()?.query(&self.statement, &params).await?) })?;
        // `returning`: a query of the readers' cannot change anything, so counting it too costs a needless wake-up.
        if !rows.is_empty() {
            self.session.changed.set(true);
        }
        Ok(rows)
    }

    fn in_order<'v>(&self, bound: Bound<'v>) -> Result<Vec<Bind<'v>>> {
        match bound {
            Bound::Places(values) => Ok(values.into_iter().map(Bind).collect()),
            Bound::Names(values) => self
                .names
                .iter()
                .map(|name| {
                    let value =
                        values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
                    value.map(Bind).ok_or_else(|| StoreError::backend(format!("nothing is bound to {name}")))
                })
                .collect(),
        }
    }
}

/// A value as the driver sends it: in the form of the type that the server wants.
#[derive(Debug)]
struct Bind<'a>(Value<'a>);

impl ToSql for Bind<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (&self.0, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::INT8) => number.to_sql(ty, out),
            (Value::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(ty, out),
            (Value::Integer(number), &Type::INT2) => i16::try_from(*number)?.to_sql(ty, out),
            (Value::Integer(number), &Type::FLOAT8) => (*number as f64).to_sql(ty, out),
            (Value::Real(number), &Type::FLOAT8) => number.to_sql(ty, out),
            (Value::Text(text), &Type::TEXT | &Type::VARCHAR) => text.as_ref().to_sql(ty, out),
            (Value::Blob(bytes), &Type::BYTEA) => bytes.as_ref().to_sql(ty, out),
            (value, ty) => Err(format!("{value:?} cannot be a {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column of a row.
pub(super) fn column(row: &Row, column: usize) -> Result<Value<'_>> {
    Ok(row.try_get::<_, Raw<'_>>(column)?.0)
}

struct Raw<'a>(Value<'a>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Integer(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Integer(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => Value::Integer(bool::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(ty, raw)?),
            Type::BYTEA => Value::Blob(Cow::Borrowed(raw)),
            _ => Value::Text(Cow::Borrowed(<&str>::from_sql(ty, raw)?)),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8
                | Type::INT4
                | Type::INT2
                | Type::BOOL
                | Type::FLOAT8
                | Type::BYTEA
                | Type::TEXT
                | Type::VARCHAR
        )
    }
}
