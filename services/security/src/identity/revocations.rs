//! What was revoked, and the version of the set that says so.

use std::time::Duration;

use sre_identity::grant;
use sre_identity::token::{CLOCK_SKEW, MAX_LIFETIME};
use sre_proto::security::v1 as proto;
use sre_proto::security::v1::revocation::Target;
use sre_store::StoreError;
use sre_store::sql::{Connection, Row, params};

use crate::error::Error;
use crate::moment::Moment;

/// The token service itself remembers a revocation for as long as a grant from before it could be presented.
const KEPT: Duration = grant::MAX_LIFETIME.saturating_add(Duration::from_secs(24 * 3600));

/// Other services see tokens alone, so they are told for as long as a token from before it could be.
const PUBLISHED: Duration = MAX_LIFETIME.saturating_add(CLOCK_SKEW).saturating_add(CLOCK_SKEW);

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What.
    pub target: Target,
    /// Credentials issued up to then are void.
    pub time: Moment,
    /// When it can be forgotten.
    pub expires: Moment,
}

impl Revocation {
    /// Of everything of a subject, root caller or presenter, or of a token by its id, issued up to now.
    pub fn new(target: Target, now: Moment) -> Self {
        Self { target, time: now, expires: now.plus(KEPT) }
    }

    /// Whether services besides the token service must know it.
    pub fn is_published(&self, now: Moment) -> bool {
        match self.target {
            Target::TokenId(_) => self.expires > now,
            Target::Subject(_) | Target::RootCaller(_) | Target::Presenter(_) => {
                self.time.plus(PUBLISHED) > now
            }
        }
    }

    /// As the key set carries it.
    pub fn to_proto(&self) -> proto::Revocation {
        proto::Revocation { target: Some(self.target.clone()), time: Some(self.time.into()) }
    }
}

/// Adds revocations and gives the version of the key set that carries them.
pub fn insert(conn: &Connection<'_>, revocations: &[Revocation]) -> Result<i64, Error> {
    let mut statement = conn.prepare_cached(
        "insert into revocation (target, value, time_us, expires_us) values (?1, ?2, ?3, ?4)
         on conflict (target, value) do update set
             time_us = case when excluded.time_us > revocation.time_us
                 then excluded.time_us else revocation.time_us end,
             expires_us = case when excluded.expires_us > revocation.expires_us
                 then excluded.expires_us else revocation.expires_us end",
    )?;
    for revocation in revocations {
        let (target, value) = columns(&revocation.target);
        statement.execute(params![target, value, revocation.time, revocation.expires])?;
    }
    if revocations.is_empty() { version(conn) } else { bump_version(conn) }
}

/// Every revocation that could still matter.
pub fn live(conn: &Connection<'_>, now: Moment) -> Result<Vec<Revocation>, Error> {
    let mut statement = conn.prepare_cached(
        "select target, value, time_us, expires_us from revocation where expires_us > ?1 order by sequence",
    )?;
    let rows = statement.query_map([now], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets, a batch at a time, what cannot matter any more; gives how many.
pub fn prune(conn: &Connection<'_>, now: Moment) -> Result<usize, Error> {
    let sql = "delete from revocation where sequence in
               (select sequence from revocation where expires_us <= ?1 limit 1000)";
    Ok(conn.prepare_cached(sql)?.execute([now])?)
}

/// The version of the key set.
pub fn version(conn: &Connection<'_>) -> Result<i64, Error> {
    Ok(conn.prepare_cached("select version from key_set_version")?.query_row(params![], |row| row.get(0))?)
}

/// Counts a change of keys or revocations.
pub(super) fn bump_version(conn: &Connection<'_>) -> Result<i64, Error> {
    let sql = "update key_set_version set version = version + 1 returning version";
    Ok(conn.prepare_cached(sql)?.query_row(params![], |row| row.get(0))?)
}

fn columns(target: &Target) -> (&'static str, &str) {
    match target {
        Target::TokenId(value) => ("token_id", value),
        Target::Subject(value) => ("subject", value),
        Target::RootCaller(value) => ("root_caller", value),
        Target::Presenter(value) => ("presenter", value),
    }
}

fn read(row: &Row<'_>) -> sre_store::sql::Result<Revocation> {
    let value: String = row.get(1)?;
    let target = match row.get::<String>(0)?.as_str() {
        "token_id" => Target::TokenId(value),
        "subject" => Target::Subject(value),
        "root_caller" => Target::RootCaller(value),
        "presenter" => Target::Presenter(value),
        other => {
            return Err(StoreError::backend(format!("unknown kind of revocation {other:?}")));
        }
    };
    Ok(Revocation { target, time: row.get(2)?, expires: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::database;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    fn subject(id: &str) -> Target {
        Target::Subject(format!("spiffe://sre.local/agent/{id}"))
    }

    #[test]
    fn a_later_revocation_of_the_same_moves_the_time_and_never_back() {
        let conn = database();
        let later = NOW.plus(Duration::from_secs(9));
        let before = version(&conn).unwrap();
        insert(&conn, &[Revocation::new(subject("a"), later)]).unwrap();
        let after =
            insert(&conn, &[Revocation::new(subject("a"), NOW), Revocation::new(subject("b"), NOW)]).unwrap();
        assert_eq!(after, before + 2);
        let live = live(&conn, NOW).unwrap();
        assert_eq!(live.iter().map(|one| one.time).collect::<Vec<_>>(), [later, NOW]);
        assert_eq!(insert(&conn, &[]).unwrap(), after);
    }

    #[test]
    fn services_forget_after_minutes_and_the_token_service_after_a_month() {
        let conn = database();
        insert(&conn, &[Revocation::new(subject("a"), NOW)]).unwrap();
        let minutes = NOW.plus(Duration::from_secs(400));
        let month = NOW.plus(Duration::from_secs(32 * 24 * 3600));
        assert!(live(&conn, NOW).unwrap()[0].is_published(NOW));
        assert!(!live(&conn, minutes).unwrap()[0].is_published(minutes));
        assert_eq!(prune(&conn, minutes).unwrap(), 0);
        assert_eq!(live(&conn, month).unwrap(), []);
        assert_eq!(prune(&conn, month).unwrap(), 1);
    }
}
