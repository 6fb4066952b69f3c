//! API keys: bearers that act as one principal. Only digests are stored.

pub mod secret_text;
pub mod service;

use secret_text::KeyText;
use sre_identity::Candidate;
use sre_proto::error::Reason;
use sre_store::sql::{Connection, OptionalExtension, Row, params};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::moment::Moment;
use crate::page::{self, Page};
use crate::rows;

const MAX_DISPLAY_NAME_CHARS: usize = 200;
/// Live keys of one principal.
const MAX_KEYS: i64 = 100;
const COLUMNS: &str = "id, role, principal, digest, display_name, created_us, expires_us, revoked_us";

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// Whom it acts as.
    pub principal: Candidate,
    /// What a person sees.
    pub display_name: String,
    /// When it was created.
    pub created: Moment,
    /// When it ends.
    pub expires: Option<Moment>,
    /// When it was revoked.
    pub revoked: Option<Moment>,
}

/// What a new key is made from.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whom it acts as.
    pub principal: Candidate,
    /// What a person sees.
    pub display_name: String,
    /// When it ends.
    pub expires: Option<Moment>,
}

/// Creates a key; its text is in the answer and nowhere else.
pub fn create(conn: &Connection<'_>, new: NewKey, now: Moment) -> Result<(ApiKey, Zeroizing<String>), Error> {
    if new.display_name.chars().count() > MAX_DISPLAY_NAME_CHARS {
        let message = format!("has more than {MAX_DISPLAY_NAME_CHARS} characters: give a shorter one");
        return Err(Error::invalid("api_key.display_name", message));
    }
    if new.expires.is_some_and(|end| end <= now) {
        return Err(Error::invalid("api_key.expire_time", "is in the past: give a later time, or none"));
    }
    let live: i64 = conn
        .prepare_cached(
            "select count(*) from api_key where role = ?1 and principal = ?2 and revoked_us is null
             and (expires_us is null or expires_us > ?3)",
        )?
        .query_row(params![new.principal.role().as_str(), new.principal.id(), now], |row| row.get(0))?;
    if live >= MAX_KEYS {
        return Err(Error::Exhausted(format!("{} has {live} live keys: revoke one first", new.principal)));
    }
    let text = KeyText::generate().map_err(|error| Error::Internal(error.to_string()))?;
    let key = ApiKey {
        id: text.id.clone(),
        principal: new.principal,
        display_name: new.display_name,
        created: now,
        expires: new.expires,
        revoked: None,
    };
    conn.prepare_cached(
        "insert into api_key (id, role, principal, digest, display_name, created_us, expires_us)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        key.id,
        key.principal.role().as_str(),
        key.principal.id(),
        text.digest(),
        key.display_name,
        key.created,
        key.expires
    ])?;
    Ok((key, text.expose()))
}

/// A page of a principal's keys, newest first.
pub fn list(
    conn: &Connection<'_>,
    principal: &Candidate,
    page: &Page<(i64, String)>,
) -> Result<(Vec<ApiKey>, String), Error> {
    let (before_us, before_id) = page.after.clone().unwrap_or((i64::MAX, String::new()));
    let mut statement = conn.prepare_cached(&format!(
        "select {COLUMNS} from api_key where role = ?1 and principal = ?2 and (created_us, id) < (?3, ?4)
         order by created_us desc, id desc limit ?5"
    ))?;
    let found = statement
        .query_map(
            params![principal.role().as_str(), principal.id(), before_us, before_id, rows::limit(page.size)],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    let keys = found.into_iter().map(|(key, _)| key).collect();
    Ok(page::cut(keys, page.size, |key: &ApiKey| (key.created.0, key.id.clone())))
}

/// Revokes a key of a principal. Repeating it changes nothing. The second value tells whether it was live.
pub fn revoke(
    conn: &Connection<'_>,
    principal: &Candidate,
    id: &str,
    now: Moment,
) -> Result<(ApiKey, bool), Error> {
    let absent = || Error::NotFound(format!("api key {id} of {principal}"));
    let (mut key, _) = find(conn, id)?.filter(|(key, _)| key.principal == *principal).ok_or_else(absent)?;
    if key.revoked.is_some() {
        return Ok((key, false));
    }
    conn.prepare_cached("update api_key set revoked_us = ?2 where id = ?1")?.execute(params![id, now])?;
    key.revoked = Some(now);
    Ok((key, true))
}

/// Revokes every live key of a principal; gives their ids.
pub fn revoke_all(conn: &Connection<'_>, principal: &Candidate, now: Moment) -> Result<Vec<String>, Error> {
    let mut statement = conn.prepare_cached(
        "update api_key set revoked_us = ?3 where role = ?1 and principal = ?2 and revoked_us is null returning id",
    )?;
    Ok(statement
        .query_map(params![principal.role().as_str(), principal.id(), now], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Whose key this is. Every refusal of what is not a live key says the same, but a revoked or expired key,
/// which its holder may know.
pub fn verify(conn: &Connection<'_>, text: &str, now: Moment) -> Result<ApiKey, Error> {
    let refuse = |message: &str| Error::credentials(Reason::CredentialsInvalid, message);
    let unknown = "the api key is not valid: create one with `sre keys create`";
    let text = KeyText::parse(text).ok_or_else(|| refuse(unknown))?;
    let found = find(conn, &text.id)?;
    // An unknown id costs the same digest as a wrong secret.
    let digest = found.as_ref().map_or([0; 32], |(_, digest)| *digest);
    let (key, _) = found.filter(|_| text.matches(&digest)).ok_or_else(|| refuse(unknown))?;
    still_live(&key, now)?;
    Ok(key)
}

/// Checks a key that was used for a token earlier: a resume grant lives longer than the token.
pub fn check_live(conn: &Connection<'_>, id: &str, now: Moment) -> Result<ApiKey, Error> {
    let gone =
        || Error::credentials(Reason::CredentialsRevoked, "the api key behind this token no longer exists");
    let (key, _) = find(conn, id)?.ok_or_else(gone)?;
    still_live(&key, now)?;
    Ok(key)
}

fn still_live(key: &ApiKey, now: Moment) -> Result<(), Error> {
    if key.revoked.is_some() {
        return Err(Error::credentials(
            Reason::CredentialsRevoked,
            "the api key was revoked: create another one",
        ));
    }
    if key.expires.is_some_and(|end| end <= now) {
        return Err(Error::credentials(
            Reason::CredentialsInvalid,
            "the api key has expired: create another one",
        ));
    }
    Ok(())
}

fn find(conn: &Connection<'_>, id: &str) -> Result<Option<(ApiKey, [u8; 32])>, Error> {
    let mut statement = conn.prepare_cached(&format!("select {COLUMNS} from api_key where id = ?1"))?;
    Ok(statement.query_row([id], read).optional()?)
}

fn read(row: &Row<'_>) -> sre_store::sql::Result<(ApiKey, [u8; 32])> {
    let key = ApiKey {
        id: row.get(0)?,
        principal: rows::candidate(row, 1)?,
        display_name: row.get(4)?,
        created: row.get(5)?,
        expires: row.get(6)?,
        revoked: row.get(7)?,
    };
    Ok((key, row.get(3)?))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
