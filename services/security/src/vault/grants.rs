//! Secrets that a team lets others use: rows of (owner, key, grantee).

use sre_store::sql::{Connection, OptionalExtension, Row, params};

use crate::error::Error;
use crate::moment::Moment;

/// Stands for every team.
pub const ALL: &str = "*";
/// Owners that are asked for one key.
const MAX_OWNERS: usize = 32;

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The team whose secret it is.
    pub owner: String,
    /// The secret's key.
    pub key: String,
    /// Who may use it: a team, or [`ALL`].
    pub grantee: String,
    /// Since when.
    pub created: Moment,
    /// Who granted it.
    pub creator: String,
}

/// Adds a grant; gives it as it stands, where it stood before as it was.
pub fn insert(conn: &Connection<'_>, grant: &Grant) -> Result<Grant, Error> {
    let sql = "insert into secret_grant (owner, key, grantee, created_us, created_by)
               values (?1, ?2, ?3, ?4, ?5) on conflict do nothing";
    conn.prepare_cached(sql)?.execute(params![
        grant.owner,
        grant.key,
        grant.grantee,
        grant.created,
        grant.creator
    ])?;
    let sql = "select owner, key, grantee, created_us, created_by from secret_grant
               where owner = ?1 and key = ?2 and grantee = ?3";
    Ok(conn.prepare_cached(sql)?.query_row(params![grant.owner, grant.key, grant.grantee], read)?)
}

/// Takes a grant back; false where there was none.
pub fn delete(conn: &Connection<'_>, owner: &str, key: &str, grantee: &str) -> Result<bool, Error> {
    let sql = "delete from secret_grant where owner = ?1 and key = ?2 and grantee = ?3";
    Ok(conn.prepare_cached(sql)?.execute([owner, key, grantee])? > 0)
}

/// Takes back all grants of a secret.
pub fn delete_all(conn: &Connection<'_>, owner: &str, key: &str) -> Result<(), Error> {
    conn.prepare_cached("delete from secret_grant where owner = ?1 and key = ?2")?.execute([owner, key])?;
    Ok(())
}

/// What a team has granted, by key and grantee, one more than the page.
pub fn of_owner(
    conn: &Connection<'_>,
    owner: &str,
    after: Option<&(String, String)>,
    limit: i64,
) -> Result<Vec<Grant>, Error> {
    let (key, grantee) = after.cloned().unwrap_or_default();
    let sql = "select owner, key, grantee, created_us, created_by from secret_grant
               where owner = ?1 and (key, grantee) > (?2, ?3) order by key, grantee limit ?4";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![owner, key, grantee, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The teams whose secret of this key a team may use, the first one first: what was granted to it, then what was
/// granted to all, the oldest grant first.
pub fn owners(conn: &Connection<'_>, grantee: &str, key: &str) -> Result<Vec<String>, Error> {
    let sql = "select owner from secret_grant
               where key = ?1 and grantee in (?2, '*') and owner <> ?2
               group by owner order by min(case when grantee = '*' then 1 else 0 end), min(created_us), owner limit ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let limit = i64::try_from(MAX_OWNERS).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![key, grantee, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keys greater than `after` that others let a team use, in order.
pub fn keys(
    conn: &Connection<'_>,
    grantee: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let sql = "select distinct key from secret_grant
               where grantee in (?1, '*') and owner <> ?1 and key > ?2 order by key limit ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![grantee, after.unwrap_or_default(), limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a team is known to Account.
pub fn is_team(conn: &Connection<'_>, team: &str) -> Result<bool, Error> {
    let found =
        conn.prepare_cached("select 1 from team where id = ?1")?.query_row([team], |_| Ok(())).optional()?;
    Ok(found.is_some())
}

fn read(row: &Row<'_>) -> sre_store::sql::Result<Grant> {
    Ok(Grant {
        owner: row.get(0)?,
        key: row.get(1)?,
        grantee: row.get(2)?,
        created: row.get(3)?,
        creator: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::database;

    fn grant(conn: &Connection<'_>, owner: &str, key: &str, grantee: &str, at: i64) {
        let grant = Grant {
            owner: owner.into(),
            key: key.into(),
            grantee: grantee.into(),
            created: Moment(at),
            creator: "user/dev".into(),
        };
        insert(conn, &grant).unwrap();
    }

    #[test]
    fn what_is_granted_to_a_team_goes_before_what_is_granted_to_all() {
        let conn = database();
        grant(&conn, "old", "k", ALL, 1);
        grant(&conn, "late", "k", "t", 9);
        grant(&conn, "early", "k", "t", 5);
        grant(&conn, "early", "k", ALL, 2);
        grant(&conn, "t", "k", ALL, 0);
        assert_eq!(owners(&conn, "t", "k").unwrap(), ["early", "late", "old"]);
        assert_eq!(owners(&conn, "u", "k").unwrap(), ["t", "old", "early"]);
        assert_eq!(owners(&conn, "t", "other").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_grant_stands_as_it_was_first_made_and_is_taken_back() {
        let conn = database();
        grant(&conn, "o", "k", "t", 1);
        grant(&conn, "o", "k", "t", 2);
        grant(&conn, "o", "l", "t", 3);
        let all = of_owner(&conn, "o", None, 10).unwrap();
        assert_eq!(
            all.iter().map(|one| (one.key.as_str(), one.created.0)).collect::<Vec<_>>(),
            [("k", 1), ("l", 3)]
        );
        assert_eq!(of_owner(&conn, "o", Some(&("k".into(), "t".into())), 10).unwrap().len(), 1);
        assert_eq!(keys(&conn, "t", Some("k"), 10).unwrap(), ["l"]);
        assert!(delete(&conn, "o", "k", "t").unwrap());
        assert!(!delete(&conn, "o", "k", "t").unwrap());
        delete_all(&conn, "o", "l").unwrap();
        assert_eq!(keys(&conn, "t", None, 10).unwrap(), Vec::<String>::new());
    }
}
