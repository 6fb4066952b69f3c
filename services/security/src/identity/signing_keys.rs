//! The keys that sign tokens and grants, as rows. A private key is in the store sealed with the vault key, and
//! is erased when it stops signing; the public key stays, because checkpoints of the audit log are verified
//! with it years later. For that each key vouches for the one before it, down from the one that the vault key
//! opens: a public key that somebody else put into the store is vouched for by none.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sre_identity::token::{CLOCK_SKEW, MAX_LIFETIME};
use sre_identity::{Signer, grant};
use sre_store::sql::{Connection, OptionalExtension, params};

use crate::error::Error;
use crate::moment::Moment;
use crate::vault::envelope::Sealed;
use crate::vault::keks::Keks;

/// Keys that verifiers must know at one time; they refuse larger sets.
pub const MAX_PUBLISHED: usize = 8;

/// After its retirement, tokens of a key can live so long.
const TOKENS_OUTLIVE: Duration = MAX_LIFETIME.saturating_add(CLOCK_SKEW).saturating_add(CLOCK_SKEW);

/// After its retirement, resume grants of a key can live so long.
const GRANTS_OUTLIVE: Duration = grant::MAX_LIFETIME.saturating_add(Duration::from_secs(24 * 3600));

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `kid` in tokens.
    pub id: String,
    /// Ed25519, 32 bytes.
    pub bytes: Vec<u8>,
    /// When it was made.
    pub created: Moment,
    /// When it stopped signing; none for the one that signs.
    pub retired: Option<Moment>,
}

impl PublicKey {
    /// Until when a token signed with it may be accepted.
    pub fn tokens_end(&self) -> Option<Moment> {
        self.retired.map(|retired| retired.plus(TOKENS_OUTLIVE))
    }

    /// Until when a grant signed with it may be accepted.
    pub fn grants_end(&self) -> Option<Moment> {
        self.retired.map(|retired| retired.plus(GRANTS_OUTLIVE))
    }
}

/// The key that signs, opened.
pub struct SigningKey {
    /// Signs tokens and grants.
    pub signer: Signer,
    /// The same key, for other signatures.
    pub pair: Ed25519KeyPair,
    /// When it was made.
    pub created: Moment,
}

/// The key that signs; none in an empty store.
pub fn signing(conn: &Connection<'_>, keks: &Keks) -> Result<Option<SigningKey>, Error> {
    let row: Option<(String, Option<Vec<u8>>, Moment)> = conn
        .prepare_cached("select key_id, sealed, created_us from signing_key where retired_us is null")?
        .query_row(params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, sealed, created)) = row else { return Ok(None) };
    let damaged = |what: String| Error::Internal(format!("signing key {id}: {what}"));
    let sealed = sealed.ok_or_else(|| damaged("its private part is missing".into()))?;
    let sealed: Sealed = serde_json::from_slice(&sealed).map_err(|error| damaged(error.to_string()))?;
    let pkcs8 = keks.unseal(&place(&id), &sealed).map_err(|error| damaged(error.to_string()))?;
    let signer = Signer::from_pkcs8(&pkcs8).map_err(|error| damaged(error.to_string()))?;
    if signer.key_id() != id {
        return Err(damaged("the row holds another key".into()));
    }
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(SigningKey { signer, pair, created }))
}

/// Every key that may still verify something at `now`, the signing one first, then the newest.
pub fn live(conn: &Connection<'_>, now: Moment) -> Result<Vec<PublicKey>, Error> {
    let mut statement = conn.prepare_cached(
        "select key_id, public_key, created_us, retired_us from signing_key
         where retired_us is null or retired_us > ?1
         order by retired_us is not null, retired_us desc",
    )?;
    let rows = statement.query_map([now.minus(GRANTS_OUTLIVE)], |row| {
        Ok(PublicKey { id: row.get(0)?, bytes: row.get(1)?, created: row.get(2)?, retired: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a new signing key and retires the one before; gives the new one's id.
pub fn rotate(conn: &Connection<'_>, keks: &Keks, now: Moment) -> Result<String, Error> {
    let published =
        live(conn, now)?.iter().filter(|key| key.tokens_end().is_none_or(|end| end > now)).count();
    if published >= MAX_PUBLISHED {
        let minutes = TOKENS_OUTLIVE.as_secs().div_ceil(60);
        return Err(Error::Exhausted(format!(
            "{published} signing keys still have live tokens: rotate again in {minutes} minutes"
        )));
    }
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("new signing key: {error}"));
    let signer = Signer::generate().map_err(|error| failed(&error))?;
    let id = signer.key_id().to_owned();
    let pkcs8 = zeroize::Zeroizing::new(signer.to_pkcs8().map_err(|error| failed(&error))?);
    let sealed = keks.seal(&place(&id), &pkcs8).map_err(|error| failed(&error))?;
    let sealed = serde_json::to_vec(&sealed).map_err(|error| failed(&error))?;
    let before = conn
        .prepare_cached("select key_id, public_key from signing_key where retired_us is null")?
        .query_row(params![], |row| Ok((row.get::<String>(0)?, row.get::<Vec<u8>>(1)?)))
        .optional()?;
    if let Some((before, public)) = before {
        // Whoever could not open it has no business vouching for it.
        signing(conn, keks)?;
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| failed(&error))?;
        attest(conn, &before, &public, &id, &pair)?;
    }
    conn.prepare_cached("update signing_key set retired_us = ?1, sealed = null where retired_us is null")?
        .execute([now])?;
    conn.prepare_cached(
        "insert into signing_key (key_id, public_key, sealed, created_us) values (?1, ?2, ?3, ?4)",
    )?
    .execute(params![id, signer.public_key(), sealed, now])?;
    super::revocations::bump_version(conn)?;
    Ok(id)
}

/// Lets the signing key vouch for all others, once, in a store of a version in which none did.
pub fn attest_all(conn: &Connection<'_>, key: &SigningKey) -> Result<(), Error> {
    let mut statement = conn.prepare_cached(
        "select key_id, public_key from signing_key where retired_us is not null and attestation is null",
    )?;
    let rows = statement
        .query_map(params![], |row| Ok((row.get::<String>(0)?, row.get::<Vec<u8>>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    for (id, public) in rows {
        attest(conn, &id, &public, key.signer.key_id(), &key.pair)?;
    }
    Ok(())
}

/// The public keys that the signing key vouches for, itself and through others.
pub fn vouched(conn: &Connection<'_>, signing: &SigningKey) -> Result<HashMap<String, Vec<u8>>, Error> {
    let mut statement = conn.prepare_cached(
        "select key_id, public_key, attested_by, attestation from signing_key where attestation is not null",
    )?;
    type Attested = (String, Vec<u8>, String, Vec<u8>);
    let mut waiting = statement
        .query_map(params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<Vec<Attested>, _>>()?;
    let own = signing.pair.public_key().as_ref().to_vec();
    let mut trusted = HashMap::from([(signing.signer.key_id().to_owned(), own)]);
    loop {
        let known = trusted.len();
        waiting.retain(|(id, public, by, signature)| {
            let Some(voucher) = trusted.get(by) else { return true };
            if verifies(voucher, &attestation(id, public, by), signature) {
                trusted.insert(id.clone(), public.clone());
            }
            false
        });
        if trusted.len() == known {
            return Ok(trusted);
        }
    }
}

/// Whether an Ed25519 signature holds.
pub fn verifies(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

fn attest(
    conn: &Connection<'_>,
    id: &str,
    public: &[u8],
    by: &str,
    pair: &Ed25519KeyPair,
) -> Result<(), Error> {
    let signature = pair.sign(&attestation(id, public, by));
    conn.prepare_cached("update signing_key set attested_by = ?2, attestation = ?3 where key_id = ?1")?
        .execute(params![id, by, signature.as_ref()])?;
    Ok(())
}

fn attestation(id: &str, public: &[u8], by: &str) -> Vec<u8> {
    format!("sre-sts-key|1|{by}|{id}|{}", hex::encode(public)).into_bytes()
}

/// Wraps the private key with the vault key that seals now; gives how many were wrapped anew.
pub fn reseal(conn: &Connection<'_>, keks: &Keks) -> Result<u64, Error> {
    let mut statement =
        conn.prepare_cached("select key_id, sealed from signing_key where sealed is not null")?;
    let rows = statement.query_map(params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    let mut count = 0;
    for (id, sealed) in rows {
        let damaged = |error: &dyn std::fmt::Display| Error::Internal(format!("signing key {id}: {error}"));
        let sealed: Sealed = serde_json::from_slice(&sealed).map_err(|error| damaged(&error))?;
        let Some(again) = keks.reseal(&place(&id), &sealed).map_err(|error| damaged(&error))? else {
            continue;
        };
        let again = serde_json::to_vec(&again).map_err(|error| damaged(&error))?;
        conn.prepare_cached("update signing_key set sealed = ?2 where key_id = ?1")?
            .execute(params![id, again])?;
        count += 1;
    }
    Ok(count)
}

fn place(id: &str) -> String {
    format!("sre-sts|1|{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::database;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    #[test]
    fn a_rotated_key_verifies_on_but_never_signs_again() {
        let conn = database();
        let keks = Keks::in_memory().unwrap();
        assert!(signing(&conn, &keks).unwrap().is_none());
        let first = rotate(&conn, &keks, NOW).unwrap();
        let later = NOW.plus(Duration::from_secs(60));
        let second = rotate(&conn, &keks, later).unwrap();
        assert_eq!(signing(&conn, &keks).unwrap().unwrap().signer.key_id(), second);
        let ids: Vec<String> = live(&conn, later).unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(ids, [second, first.clone()]);
        let erased: Option<Vec<u8>> = conn
            .query_row("select sealed from signing_key where key_id = ?1", [&first], |row| row.get(0))
            .unwrap();
        assert_eq!(erased, None);
    }

    #[test]
    fn old_keys_stay_for_tokens_minutes_and_for_grants_a_month() {
        let conn = database();
        let keks = Keks::in_memory().unwrap();
        rotate(&conn, &keks, NOW).unwrap();
        rotate(&conn, &keks, NOW).unwrap();
        let old = live(&conn, NOW).unwrap().remove(1);
        assert_eq!(old.tokens_end(), Some(NOW.plus(Duration::from_secs(310))));
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(live(&conn, NOW.plus(30 * day)).unwrap().len(), 2);
        assert_eq!(live(&conn, NOW.plus(32 * day)).unwrap().len(), 1);
    }

    #[test]
    fn no_more_keys_than_verifiers_take() {
        let conn = database();
        let keks = Keks::in_memory().unwrap();
        for _ in 0..MAX_PUBLISHED {
            rotate(&conn, &keks, NOW).unwrap();
        }
        assert!(matches!(rotate(&conn, &keks, NOW), Err(Error::Exhausted(_))));
        assert!(rotate(&conn, &keks, NOW.plus(Duration::from_secs(600))).is_ok());
    }

    #[test]
    fn keys_vouch_for_those_before_them_and_for_no_others() {
        let conn = database();
        let keks = Keks::in_memory().unwrap();
        let first = rotate(&conn, &keks, NOW).unwrap();
        let second = rotate(&conn, &keks, NOW).unwrap();
        let third = rotate(&conn, &keks, NOW).unwrap();
        let vouched_for = |conn: &Connection<'_>| {
            let mut ids: Vec<String> =
                vouched(conn, &signing(conn, &keks).unwrap().unwrap()).unwrap().into_keys().collect();
            ids.sort();
            ids
        };
        let mut all = vec![first.clone(), second.clone(), third.clone()];
        all.sort();
        assert_eq!(vouched_for(&conn), all);
        // A key of somebody else's, vouched for by itself.
        let pair = Ed25519KeyPair::generate().unwrap();
        conn.execute(
            "insert into signing_key (key_id, public_key, created_us, retired_us, attested_by, attestation)
             values ('x', ?1, 0, 1, 'x', ?2)",
            params![
                pair.public_key().as_ref(),
                pair.sign(&attestation("x", pair.public_key().as_ref(), "x")).as_ref()
            ],
        )
        .unwrap();
        // And another public key under a known id.
        conn.execute(
            "update signing_key set public_key = ?2 where key_id = ?1",
            params![first, pair.public_key().as_ref()],
        )
        .unwrap();
        let mut left = vec![second, third];
        left.sort();
        assert_eq!(vouched_for(&conn), left);
    }

    #[test]
    fn another_vault_key_does_not_open_it() {
        let conn = database();
        rotate(&conn, &Keks::in_memory().unwrap(), NOW).unwrap();
        assert!(matches!(signing(&conn, &Keks::in_memory().unwrap()), Err(Error::Internal(_))));
    }
}
