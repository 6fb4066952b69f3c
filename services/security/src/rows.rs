//! How Candidates and limits stand in rows.

use sre_identity::Candidate;
use sre_identity::candidate::CandidateError;
use sre_store::StoreError;
use sre_store::sql::Row;

/// A Candidate from the two columns that begin at `index`: role and id.
pub fn candidate(row: &Row<'_>, index: usize) -> sre_store::sql::Result<Candidate> {
    let role: String = row.get(index)?;
    let id: String = row.get(index + 1)?;
    let damaged = |error: CandidateError| StoreError::backend(format!("a stored Candidate: {error}"));
    Candidate::new(role.parse().map_err(damaged)?, &id).map_err(damaged)
}

/// One row beyond the page, to know whether there is another.
pub fn limit(page_size: usize) -> i64 {
    i64::try_from(page_size).unwrap_or(i64::MAX).saturating_add(1)
}

#[cfg(test)]
pub mod testing {
    //! A database in memory with the role's schema.

    use sre_store::sql::Connection;

    /// Every migration applied.
    pub fn database() -> Connection<'static> {
        Connection::in_memory(crate::schema::MIGRATIONS).unwrap()
    }
}
