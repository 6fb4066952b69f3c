use std::time::Duration;

use super::*;
use crate::rows::testing::database;

const NOW: Moment = Moment(1_700_000_000_000_000);

fn alice() -> Candidate {
    Candidate::user("alice").unwrap()
}

fn new(expires: Option<Moment>) -> NewKey {
    NewKey { principal: alice(), display_name: "laptop".into(), expires }
}

fn reason(result: Result<ApiKey, Error>) -> Reason {
    match result {
        Err(Error::Credentials { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_acts_as_its_principal_until_it_is_revoked() {
    let conn = database();
    let (key, text) = create(&conn, new(None), NOW).unwrap();
    assert_eq!(verify(&conn, &text, NOW).unwrap(), key);
    assert!(revoke(&conn, &alice(), &key.id, NOW).unwrap().1);
    assert!(!revoke(&conn, &alice(), &key.id, NOW).unwrap().1);
    assert_eq!(reason(verify(&conn, &text, NOW)), Reason::CredentialsRevoked);
    assert_eq!(reason(check_live(&conn, &key.id, NOW)), Reason::CredentialsRevoked);
}

#[test]
fn a_key_ends() {
    let conn = database();
    let end = NOW.plus(Duration::from_secs(60));
    let (_, text) = create(&conn, new(Some(end)), NOW).unwrap();
    assert!(verify(&conn, &text, NOW).is_ok());
    assert_eq!(reason(verify(&conn, &text, end)), Reason::CredentialsInvalid);
    assert!(create(&conn, new(Some(NOW)), NOW).is_err());
}

#[test]
fn unknown_wrong_and_malformed_keys_are_refused_alike() {
    let conn = database();
    let (key, text) = create(&conn, new(None), NOW).unwrap();
    let (other_key, other) = create(&conn, new(None), NOW).unwrap();
    let swapped = other.replace(&other_key.id, &key.id);
    let unknown = text.replace(&key.id, "00000000000000000000");
    let messages: Vec<String> = [swapped.as_str(), &unknown, "hello", ""]
        .map(|text| verify(&conn, text, NOW).unwrap_err().to_string())
        .into();
    assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
}

#[test]
fn the_store_never_holds_the_key() {
    let conn = database();
    let (key, text) = create(&conn, new(None), NOW).unwrap();
    let digest: Vec<u8> =
        conn.query_row("select digest from api_key where id = ?1", [&key.id], |row| row.get(0)).unwrap();
    assert_eq!(digest.len(), 32);
    assert!(!text.as_bytes().windows(32).any(|window| window == digest));
}

#[test]
fn another_principals_key_is_absent() {
    let conn = database();
    let (key, _) = create(&conn, new(None), NOW).unwrap();
    let bob = Candidate::user("bob").unwrap();
    assert!(matches!(revoke(&conn, &bob, &key.id, NOW), Err(Error::NotFound(_))));
}

#[test]
fn lists_are_newest_first_and_paged() {
    let conn = database();
    let ids: Vec<String> =
        (0..5).map(|n| create(&conn, new(None), Moment(NOW.0 + n)).unwrap().0.id).rev().collect();
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = Page::read(2, &token).unwrap();
        let (keys, next) = list(&conn, &alice(), &page).unwrap();
        seen.extend(keys.into_iter().map(|key| key.id));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(seen, ids);
}

#[test]
fn keys_of_a_principal_are_bounded() {
    let conn = database();
    for _ in 0..MAX_KEYS {
        create(&conn, new(None), NOW).unwrap();
    }
    assert!(matches!(create(&conn, new(None), NOW), Err(Error::Exhausted(_))));
    assert_eq!(revoke_all(&conn, &alice(), NOW).unwrap().len(), 100);
    assert!(create(&conn, new(None), NOW).is_ok());
}
