use super::super::append;
use super::*;
use crate::moment::Moment;
use crate::rows::testing::database;

/// Five records of each writer, one a second, of changing people, methods, resources and decisions.
fn log() -> Connection<'static> {
    let conn = database();
    for writer in ["io/1", "llm/1"] {
        let (mut previous, mut records) = ([0; 32].to_vec(), Vec::new());
        for sequence in 1..=5_i64 {
            let odd = sequence % 2 == 1;
            let mut record = AuditRecord {
                time: Some(Moment::from_secs(1_700_000_000 + sequence).into()),
                method: if odd { "/sre.io.v1.Nkv/SetEntry" } else { "/sre.io.v1.NkvOther/SetEntry" }.into(),
                resource: if odd { "teams/t/agents/a" } else { "teams/t/agents/ab/files/x" }.into(),
                subject: if odd { "agent/a".into() } else { String::new() },
                peer: "spiffe://sre.local/service/engine".into(),
                chain: vec![format!("spiffe://sre.local/user/u{sequence}")],
                team: if sequence == 5 { String::new() } else { "t".into() },
                decision: if odd { Decision::Allowed } else { Decision::Denied }.into(),
                ..AuditRecord::default()
            };
            previous = sre_service::audit::chained(&mut record, writer, sequence, &previous).to_vec();
            records.push(record);
        }
        append(&conn, &records).unwrap();
    }
    conn
}

fn found(conn: &Connection, filter: &Filter) -> Vec<(i64, String)> {
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let (records, next) = list(conn, filter, &Page::read(3, &token).unwrap()).unwrap();
        seen.extend(records.into_iter().map(|record| (record.sequence, record.writer)));
        if next.is_empty() {
            return seen;
        }
        token = next;
    }
}

fn of_team() -> Filter {
    Filter { team: Some("t".into()), ..Filter::default() }
}

fn sequences(conn: &Connection, filter: &Filter) -> Vec<i64> {
    found(conn, filter).into_iter().map(|(sequence, _)| sequence).collect()
}

#[test]
fn a_team_reads_its_own_records_newest_first_and_the_deployment_all() {
    let conn = log();
    let expected = |from: i64| -> Vec<(i64, String)> {
        (1..=from).rev().flat_map(|n| [(n, "io/1".to_owned()), (n, "llm/1".to_owned())]).collect()
    };
    assert_eq!(found(&conn, &of_team()), expected(4));
    assert!(found(&conn, &Filter { team: Some("u".into()), ..Filter::default() }).is_empty());
    assert_eq!(found(&conn, &Filter::default()), expected(5));
}

#[test]
fn each_filter_takes_what_it_says() {
    let conn = log();
    let at = |seconds: i64| Some(Moment::from_secs(1_700_000_000 + seconds).0);
    let io = Filter { service: "io".into(), ..of_team() };
    assert_eq!(sequences(&conn, &io), [4, 3, 2, 1]);
    assert_eq!(sequences(&conn, &Filter { from_us: at(2), until_us: at(4), ..io.clone() }), [3, 2]);
    assert_eq!(sequences(&conn, &Filter { principal: "agent/a".into(), ..io.clone() }), [3, 1]);
    assert_eq!(sequences(&conn, &Filter { principal: "user/u2".into(), ..io.clone() }), [2]);
    assert_eq!(sequences(&conn, &Filter { principal: "service/engine".into(), ..io.clone() }), [4, 3, 2, 1]);
    assert!(sequences(&conn, &Filter { principal: "user/u".into(), ..io.clone() }).is_empty());
    // A name is not the beginning of another name.
    assert_eq!(sequences(&conn, &Filter { method: "sre.io.v1.Nkv".into(), ..io.clone() }), [3, 1]);
    assert_eq!(sequences(&conn, &Filter { method: "/sre.io.v1.Nkv/SetEntry".into(), ..io.clone() }), [3, 1]);
    assert_eq!(sequences(&conn, &Filter { resource: "teams/t/agents/a".into(), ..io.clone() }), [3, 1]);
    assert_eq!(sequences(&conn, &Filter { resource: "teams/t/agents".into(), ..io.clone() }), [4, 3, 2, 1]);
    assert_eq!(sequences(&conn, &Filter { decision: Some(Decision::Denied), ..io }), [4, 2]);
}

#[test]
fn a_page_looks_at_so_many_records_and_says_that_there_may_be_more() {
    let conn = database();
    let (mut previous, count) = ([0; 32].to_vec(), 20_500_i64);
    let mut records = Vec::new();
    for sequence in 1..=count {
        let mut record = AuditRecord {
            time: Some(Moment::from_secs(sequence).into()),
            team: "t".into(),
            resource: if sequence == 1 { "rare" } else { "common" }.into(),
            ..AuditRecord::default()
        };
        previous = sre_service::audit::chained(&mut record, "io/1", sequence, &previous).to_vec();
        records.push(record);
    }
    for batch in records.chunks(1_000) {
        append(&conn, batch).unwrap();
    }
    let rare = Filter { resource: "rare".into(), ..of_team() };
    let (first, next) = list(&conn, &rare, &Page::read(3, "").unwrap()).unwrap();
    assert!(first.is_empty() && !next.is_empty());
    assert_eq!(sequences(&conn, &rare), [1]);
}
