//! How Candidates and limits stand in rows.

use rusqlite::Row;
use rusqlite::types::Type;
use sre_identity::Candidate;
use sre_identity::candidate::CandidateError;

/// A Candidate from the two columns that begin at `index`: role and id.
pub fn candidate(row: &Row<'_>, index: usize) -> rusqlite::Result<Candidate> {
    let role: String = row.get(index)?;
    let id: String = row.get(index + 1)?;
    let damaged =
        |error: CandidateError| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error));
    Candidate::new(role.parse().map_err(damaged)?, &id).map_err(damaged)
}

/// One row beyond the page, to know whether there is another.
pub fn limit(page_size: usize) -> i64 {
    i64::try_from(page_size).unwrap_or(i64::MAX).saturating_add(1)
}

#[cfg(test)]
pub mod testing {
    //! A database in memory with the role's schema.

    use rusqlite::Connection;

    /// Every migration applied.
    pub fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("pragma foreign_keys = on").unwrap();
        for migration in crate::schema::MIGRATIONS {
            conn.execute_batch(migration.expand).unwrap();
        }
        conn
    }
}
