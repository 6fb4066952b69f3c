use bytes::Bytes;

use super::*;
use crate::rows::testing::database;

fn chain(writer: &str, count: i64) -> Vec<AuditRecord> {
    let mut previous = GENESIS;
    let mut records = Vec::new();
    for sequence in 1..=count {
        let mut record = AuditRecord {
            writer: writer.into(),
            sequence,
            previous_digest: Bytes::copy_from_slice(&previous),
            time: Some(Moment::from_secs(1_700_000_000 + sequence).into()),
            method: "sre.io.v1.Nkv/Set".into(),
            resource: "teams/t/nkv/a".into(),
            team: "t".into(),
            ..AuditRecord::default()
        };
        previous = sre_service::audit::digest(&record);
        record.digest = Bytes::copy_from_slice(&previous);
        records.push(record);
    }
    records
}

#[test]
fn a_batch_that_is_sent_twice_is_stored_once() {
    let conn = database();
    let records = chain("io/1", 5);
    assert_eq!(append(&conn, &records[..3]).unwrap().sequence, 3);
    assert_eq!(append(&conn, &records[1..]).unwrap().sequence, 5);
    assert_eq!(append(&conn, &records).unwrap().sequence, 5);
    let stored: i64 =
        conn.query_row("select count(*) from audit_record", params![], |row| row.get(0)).unwrap();
    assert_eq!(stored, 5);
}

#[test]
fn what_does_not_continue_the_chain_is_refused() {
    let conn = database();
    let records = chain("io/1", 4);
    append(&conn, &records[..2]).unwrap();

    assert!(matches!(append(&conn, &records[3..]), Err(Error::Precondition(_))), "a gap");
    let mut changed = records[2].clone();
    changed.resource = "teams/u/nkv/a".into();
    assert!(append(&conn, &[changed]).is_err(), "a changed record");
    let mut moved = records[2].clone();
    moved.previous_digest = Bytes::copy_from_slice(&GENESIS);
    assert!(matches!(append(&conn, &[moved]), Err(Error::Precondition(_))), "another predecessor");
    let mut rewritten = records[1].clone();
    rewritten.resource = "teams/u/nkv/a".into();
    assert!(matches!(append(&conn, &[rewritten]), Err(Error::Precondition(_))), "a rewritten past");
    assert_eq!(append(&conn, &records[2..]).unwrap().sequence, 4);
}

#[test]
fn a_batch_is_of_one_writer() {
    let conn = database();
    let mixed = [chain("io/1", 1), chain("io/2", 1)].concat();
    assert!(matches!(append(&conn, &mixed), Err(Error::Invalid { .. })));
    assert!(matches!(append(&conn, &[]), Err(Error::Invalid { .. })));
}
