//! What was minted and still lives: which team it is of, and which API key it began with.
//!
//! A revoked API key must take its tokens along, also those that were derived from them hops later; and a
//! resume grant must not outlive the key by a month.

use sre_proto::security::v1::revocation::Target;
use sre_store::sql::{Connection, OptionalExtension, params};

use super::revocations::Revocation;
use crate::error::Error;
use crate::moment::Moment;

/// What a minted credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A token.
    Token,
    /// A resume grant.
    Grant,
}

/// A minted credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its `jti`.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The home team of its subject.
    pub team: String,
    /// The API key at the beginning of its chain, where there was one.
    pub api_key: Option<String>,
    /// The SPIFFE id at the beginning of its chain.
    pub root: String,
    /// When it ends.
    pub ends: Moment,
}

/// Remembers a credential.
pub fn insert(conn: &Connection<'_>, credential: &Credential) -> Result<(), Error> {
    let kind = match credential.kind {
        Kind::Token => "token",
        Kind::Grant => "grant",
    };
    conn.prepare_cached(
        "insert into credential (id, kind, team, api_key, root, ends_us) values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        credential.id,
        kind,
        credential.team,
        credential.api_key,
        credential.root,
        credential.ends
    ])?;
    Ok(())
}

/// A credential by its `jti`; none where it ended long ago or was never minted here.
pub fn find(conn: &Connection<'_>, id: &str) -> Result<Option<Credential>, Error> {
    let sql = "select id, kind, team, api_key, root, ends_us from credential where id = ?1";
    let read = |row: &sre_store::sql::Row<'_>| {
        let kind = if row.get::<String>(1)? == "grant" { Kind::Grant } else { Kind::Token };
        Ok(Credential {
            id: row.get(0)?,
            kind,
            team: row.get(2)?,
            api_key: row.get(3)?,
            root: row.get(4)?,
            ends: row.get(5)?,
        })
    };
    Ok(conn.prepare_cached(sql)?.query_row([id], read).optional()?)
}

/// Revocations of all live tokens that began with an API key. Grants are not among them: the key is looked at
/// again whenever one is presented.
pub fn revocations_of_key(
    conn: &Connection<'_>,
    api_key: &str,
    now: Moment,
) -> Result<Vec<Revocation>, Error> {
    let sql = "select id, ends_us from credential where api_key = ?1 and ends_us > ?2 and kind = 'token'";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![api_key, now], |row| {
        Ok(Revocation { target: Target::TokenId(row.get(0)?), time: now, expires: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Revocations of all live tokens of a team's subjects that a root caller is behind.
pub fn revocations_of_root(
    conn: &Connection<'_>,
    root: &str,
    team: &str,
    now: Moment,
) -> Result<Vec<Revocation>, Error> {
    let sql = "select id, ends_us from credential
               where root = ?1 and ends_us > ?2 and team = ?3 and kind = 'token'";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![root, now, team], |row| {
        Ok(Revocation { target: Target::TokenId(row.get(0)?), time: now, expires: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets, a batch at a time, what has ended; gives how many.
pub fn prune(conn: &Connection<'_>, now: Moment) -> Result<usize, Error> {
    let sql = "delete from credential where id in (select id from credential where ends_us <= ?1 limit 1000)";
    Ok(conn.prepare_cached(sql)?.execute([now])?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rows::testing::database;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    fn credential(id: &str, kind: Kind, api_key: Option<&str>, secs: u64) -> Credential {
        let ends = NOW.plus(Duration::from_secs(secs));
        let api_key = api_key.map(str::to_owned);
        Credential { id: id.into(), kind, team: "t".into(), api_key, root: "r".into(), ends }
    }

    #[test]
    fn a_key_takes_its_live_tokens_along_and_no_others() {
        let conn = database();
        for one in [
            credential("mine", Kind::Token, Some("k"), 300),
            credential("ended", Kind::Token, Some("k"), 0),
            credential("grant", Kind::Grant, Some("k"), 3000),
            credential("other", Kind::Token, Some("l"), 300),
            credential("none", Kind::Token, None, 300),
        ] {
            insert(&conn, &one).unwrap();
        }
        let found = revocations_of_key(&conn, "k", NOW).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].target, Target::TokenId("mine".into()));
        let of_root = |root: &str, team: &str| revocations_of_root(&conn, root, team, NOW).unwrap().len();
        assert_eq!((of_root("r", "t"), of_root("r", "u"), of_root("s", "t")), (3, 0, 0));
        assert_eq!(find(&conn, "grant").unwrap().unwrap().api_key.as_deref(), Some("k"));
        assert_eq!(prune(&conn, NOW.plus(Duration::from_secs(301))).unwrap(), 4);
        assert_eq!(find(&conn, "mine").unwrap(), None);
    }
}
