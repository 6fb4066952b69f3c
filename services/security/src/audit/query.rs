//! Finding records: filters are held against the records themselves, which the chain protects, and not against
//! columns beside them.

use prost::Message;
use sre_proto::security::v1::{AuditRecord, Decision};
use sre_store::sql::{Connection, params};

use crate::error::Error;
use crate::page::{self, Page};

/// The place of a row in a list: newest first, then by writer.
pub type Place = (i64, String, i64);

/// Records that one call looks at, however few of them pass the filter: a page can be short.
const LOOKED_AT: usize = 20_000;
/// Rows of one statement.
const CHUNK: usize = 1_000;

/// Which records are asked for; what is empty lets everything pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this team alone.
    pub team: Option<String>,
    /// At this time and later, in microseconds.
    pub from_us: Option<i64>,
    /// Before this time.
    pub until_us: Option<i64>,
    /// `user/alice`: who called, was acted for, or stands in the chain.
    pub principal: String,
    /// The role that wrote it.
    pub service: String,
    /// A method in full, or a proto service.
    pub method: String,
    /// A resource or what is above it.
    pub resource: String,
    /// How it was decided.
    pub decision: Option<Decision>,
}

impl Filter {
    /// Whether a record passes; team and time are the statement's.
    fn passes(&self, record: &AuditRecord) -> bool {
        (self.principal.is_empty() || self.concerns(record))
            && (self.service.is_empty() || record.writer.split('/').next() == Some(self.service.as_str()))
            && (self.method.is_empty() || is_or_below(record.method.trim_start_matches('/'), &self.method))
            && (self.resource.is_empty() || is_or_below(&record.resource, &self.resource))
            && self.decision.is_none_or(|decision| record.decision() == decision)
    }

    fn concerns(&self, record: &AuditRecord) -> bool {
        let is = |id: &str| {
            let path = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
            path.is_some_and(|(_, path)| path == self.principal)
        };
        record.subject == self.principal || is(&record.peer) || record.chain.iter().any(|id| is(id))
    }
}

fn is_or_below(name: &str, above: &str) -> bool {
    let above = above.trim_start_matches('/');
    name.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

/// A page of records, newest first. The page token is set where there may be more, even on an empty page.
pub fn list(
    conn: &Connection<'_>,
    filter: &Filter,
    page: &Page<Place>,
) -> Result<(Vec<AuditRecord>, String), Error> {
    let (team, index) = match &filter.team {
        Some(_) => ("team = ?1 and", "indexed by audit_record_by_team"),
        None => ("cast(?1 as text) is null and", "indexed by audit_record_by_time"),
    };
    // PostgreSQL finds the index by itself.
    let index = if conn.is_postgres() { "" } else { index };
    // Two ranges of the index, one after the other: what is left of the last row's time, then what is older.
    let columns = "select time_us, writer, sequence, record from audit_record";
    let sql = format!(
        "select * from ({columns} {index} where {team} time_us = ?2 and time_us >= ?5
             and (writer, sequence) > (?3, ?4) order by writer, sequence limit ?6) as rest
         union all
         select * from ({columns} {index} where {team} time_us < ?2 and time_us >= ?5
             order by time_us desc, writer, sequence limit ?6) as older
         order by 1 desc, 2, 3 limit ?6"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let start = filter.until_us.unwrap_or(i64::MAX);
    let mut after = page.after.clone().unwrap_or((start, String::from("\u{10ffff}"), i64::MAX));
    let mut found: Vec<(Place, AuditRecord)> = Vec::new();
    let mut looked_at = 0;
    loop {
        let rows = statement
            .query_map(
                params![
                    filter.team,
                    after.0,
                    after.1,
                    after.2,
                    filter.from_us.unwrap_or(i64::MIN),
                    i64::try_from(CHUNK).unwrap_or(i64::MAX)
                ],
                |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get::<Vec<u8>>(3)?)),
            )?
            .collect::<Result<Vec<(Place, Vec<u8>)>, _>>()?;
        let is_last = rows.len() < CHUNK;
        looked_at += rows.len();
        for (place, bytes) in rows {
            after.clone_from(&place);
            let record = AuditRecord::decode(bytes.as_slice())
                .map_err(|error| Error::Internal(format!("audit record: {error}")))?;
            if filter.passes(&record) {
                found.push((place, record));
                // One beyond the page says that there is another.
                if found.len() > page.size {
                    let (found, next) = page::cut(found, page.size, |(place, _)| place.clone());
                    return Ok((found.into_iter().map(|(_, record)| record).collect(), next));
                }
            }
        }
        if is_last || looked_at >= LOOKED_AT {
            let next = if is_last { String::new() } else { page::token(&after) };
            return Ok((found.into_iter().map(|(_, record)| record).collect(), next));
        }
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
