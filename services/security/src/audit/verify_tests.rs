use std::path::PathBuf;

use bytes::Bytes;
use sre_identity::TrustDomain;
use sre_proto::security::v1::AuditRecord;
use sre_store::rusqlite::Connection;
use sre_store::sql::Database;
use sre_store::{OpenOptions, Store};

use super::super::GENESIS;
use super::*;
use crate::state::State;

/// A security store on disk that can be closed, tampered with, and opened again.
struct Log {
    dir: tempfile::TempDir,
    keks: Keks,
}

impl Log {
    /// Two writers: `io/1` with 2,500 records and two checkpoints, `llm/1` with 3 and one, all sealed.
    async fn new() -> Self {
        let log = Self { dir: tempfile::tempdir().unwrap(), keks: Keks::in_memory().unwrap() };
        let state = log.open().await;
        for batch in chain("io/1", 2_500).chunks(1_000) {
            state.append_audit(batch.to_vec()).await.unwrap();
        }
        state.append_audit(chain("llm/1", 3)).await.unwrap();
        state.sign_checkpoints(Moment::now()).await.unwrap();
        log.close(state).await;
        log
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("security.db")
    }

    async fn open(&self) -> State {
        let options = OpenOptions::new(self.file(), "store.dir", crate::schema::MIGRATIONS);
        let domain = TrustDomain::new("sre.local").unwrap();
        State::open(Database::from(Store::open(options).unwrap()), self.keks.clone(), domain).await.unwrap()
    }

    async fn close(&self, state: State) {
        state.close().await;
    }

    /// Changes the file as whoever has it can.
    fn tamper(&self, sql: &str) {
        let conn = Connection::open(self.file()).unwrap();
        conn.execute_batch(sql).unwrap();
        assert!(conn.changes() > 0, "nothing was tampered with");
    }

    async fn found(&self) -> Vec<(Fault, String, i64)> {
        self.found_with(Vec::new()).await
    }

    async fn found_with(&self, witnesses: Vec<Checkpoint>) -> Vec<(Fault, String, i64)> {
        let state = self.open().await;
        let (findings, last) = verify(&state, witnesses).await;
        assert!(last.complete);
        self.close(state).await;
        findings.into_iter().map(|one| (one.fault(), one.writer, one.sequence)).collect()
    }
}

async fn verify(state: &State, witnesses: Vec<Checkpoint>) -> (Vec<Finding>, Report) {
    let mut so_far = state.verify_audit(witnesses).await.unwrap();
    let mut findings = Vec::new();
    loop {
        let (next, report) = state.verify_more(so_far).await.unwrap();
        findings.extend(report.findings.clone());
        if report.complete {
            return (findings, report);
        }
        so_far = next;
    }
}

/// Records of a writer that come after others of it.
fn continued(writer: &str, from: &AuditRecord, count: i64) -> Vec<AuditRecord> {
    let (mut previous, mut records) = (from.digest.to_vec(), Vec::new());
    for sequence in from.sequence + 1..=from.sequence + count {
        let mut record = AuditRecord {
            time: Some(Moment::from_secs(1_700_000_000 + sequence).into()),
            method: "/sre.io.v1.Nkv/SetEntry".into(),
            resource: format!("teams/t/nkv/n/{sequence}"),
            team: "t".into(),
            ..AuditRecord::default()
        };
        previous = sre_service::audit::chained(&mut record, writer, sequence, &previous).to_vec();
        records.push(record);
    }
    records
}

fn chain(writer: &str, count: i64) -> Vec<AuditRecord> {
    let before = AuditRecord { digest: Bytes::copy_from_slice(&GENESIS), ..AuditRecord::default() };
    continued(writer, &before, count)
}

fn of(fault: Fault, writer: &str, sequence: i64) -> (Fault, String, i64) {
    (fault, writer.to_owned(), sequence)
}

#[tokio::test]
async fn a_whole_log_verifies_and_says_how_much_it_was() {
    let log = Log::new().await;
    let state = log.open().await;
    let (findings, report) = verify(&state, Vec::new()).await;
    assert_eq!(findings, []);
    assert_eq!((report.records, report.writers, report.checkpoints, report.unsigned), (2_503, 2, 4, 0));
    assert!(report.since.is_some());
    // Keys that signed stay good after many rotations.
    for _ in 0..3 {
        state.rotate_key(|_| Ok(())).await.unwrap();
    }
    state.append_audit(chain("memory/1", 2)).await.unwrap();
    let (findings, report) = verify(&state, Vec::new()).await;
    assert_eq!(findings, []);
    assert_eq!(report.unsigned, 2);
}

#[tokio::test]
async fn a_changed_record_is_found_in_what_it_says_and_in_what_stands_beside_it() {
    for change in [
        // A byte of its resource.
        "update audit_record set record = cast(replace(record, 'teams/t/nkv/n/7', 'teams/t/nkv/n/8') as blob)",
        "update audit_record set team = 'u'",
        "update audit_record set time_us = time_us + 1",
        "update audit_record set digest = zeroblob(32)",
        "update audit_record set previous_digest = zeroblob(32)",
        "update audit_record set record = x'ff'",
    ] {
        let log = Log::new().await;
        log.tamper(&format!("{change} where writer = 'io/1' and sequence = 7"));
        let found = log.found().await;
        assert_eq!(found.first(), Some(&of(Fault::Changed, "io/1", 7)), "{change}: {found:?}");
    }
}

#[tokio::test]
async fn a_removed_record_is_found_wherever_it_was() {
    let log = Log::new().await;
    log.tamper("delete from audit_record where writer = 'io/1' and sequence in (1, 1500, 1501)");
    assert_eq!(log.found().await, [of(Fault::Removed, "io/1", 1), of(Fault::Removed, "io/1", 1500)]);
}

#[tokio::test]
async fn reordered_records_are_found() {
    let log = Log::new().await;
    log.tamper(
        "update audit_record set sequence = -1 where writer = 'io/1' and sequence = 10;
         update audit_record set sequence = 10 where writer = 'io/1' and sequence = 11;
         update audit_record set sequence = 11 where writer = 'io/1' and sequence = -1;",
    );
    assert_eq!(log.found().await, [of(Fault::Reordered, "io/1", 10), of(Fault::Reordered, "io/1", 11)]);
}

#[tokio::test]
async fn a_record_of_another_writer_does_not_stand_in() {
    let log = Log::new().await;
    log.tamper(
        "delete from audit_record where writer = 'llm/1' and sequence = 2;
         insert into audit_record select 'llm/1', 2, previous_digest, digest, time_us, team, record
             from audit_record where writer = 'io/1' and sequence = 2;",
    );
    assert_eq!(log.found().await, [of(Fault::Reordered, "llm/1", 2)]);
}

/// Digests need no key: whoever has the file can make a chain that fits. The signed checkpoints do not fit then.
#[tokio::test]
async fn a_chain_that_was_written_anew_does_not_fit_its_checkpoints() {
    let log = Log::new().await;
    let conn = Connection::open(log.file()).unwrap();
    conn.execute("delete from audit_record where writer = 'llm/1'", []).unwrap();
    let mut forged = chain("llm/1", 1);
    forged[0].resource = "teams/t/nkv/n/forged".into();
    let digest = sre_service::audit::chained(&mut forged[0], "llm/1", 1, &GENESIS);
    let before = forged[0].clone();
    assert_eq!(before.digest, digest.as_slice());
    forged.extend(continued("llm/1", &before, 2));
    super::super::append(&(&conn).into(), &forged).unwrap();
    drop(conn);
    assert_eq!(log.found().await, [of(Fault::Rewritten, "llm/1", 3)]);
}

#[tokio::test]
async fn a_chain_cut_off_at_its_end_is_found_by_its_checkpoint() {
    let log = Log::new().await;
    log.tamper("delete from audit_record where writer = 'io/1' and sequence > 2400");
    assert_eq!(log.found().await, [of(Fault::Truncated, "io/1", 2401)]);
    let log = Log::new().await;
    log.tamper("delete from audit_record where writer = 'llm/1'");
    assert_eq!(log.found().await, [of(Fault::Truncated, "llm/1", 1)], "a writer that is gone altogether");
}

#[tokio::test]
async fn a_removed_checkpoint_is_found_in_the_middle_and_at_the_end() {
    let log = Log::new().await;
    log.tamper("delete from signed_checkpoint where number = 2");
    assert_eq!(log.found().await, [of(Fault::RemovedCheckpoint, "", 2)]);
    // The end of a chain together with what covers it: the seal knows.
    let log = Log::new().await;
    log.tamper(
        "delete from audit_record where writer = 'llm/1'; delete from signed_checkpoint where writer = 'llm/1';",
    );
    assert_eq!(log.found().await, [of(Fault::RemovedCheckpoint, "", 4)]);
}

#[tokio::test]
async fn a_seal_cannot_be_removed_or_written_by_others() {
    let log = Log::new().await;
    log.tamper("delete from audit_seal");
    assert_eq!(log.found().await, [of(Fault::BrokenSeal, "", 4)]);
    let log = Log::new().await;
    log.tamper("delete from signed_checkpoint where number = 4; update audit_seal set number = 3");
    assert_eq!(log.found().await, [of(Fault::BrokenSeal, "", 3)]);
}

#[tokio::test]
async fn checkpoints_of_another_key_are_not_believed() {
    let log = Log::new().await;
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let public = hex::encode(aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref());
    let conn = Connection::open(log.file()).unwrap();
    let page = Page { size: 10, after: None };
    let mut forged = checkpoint::list(&(&conn).into(), false, &page).unwrap().0.pop().unwrap();
    forged.end.sequence = 1;
    let signature = hex::encode(pair.sign(&forged.message()).as_ref());
    drop(conn);
    // The forger's public key stands in the store like those of the deployment.
    log.tamper(&format!(
        "insert into signing_key (key_id, public_key, created_us, retired_us) values ('x', x'{public}', 0, 1);
         update signed_checkpoint set key_id = 'x', sequence = 1, signature = x'{signature}' where number = 4;"
    ));
    let found = log.found().await;
    assert!(found.iter().any(|one| one.0 == Fault::ForgedCheckpoint && one.2 == 4), "{found:?}");
}

#[tokio::test]
async fn a_log_taken_back_as_a_whole_is_found_by_a_witness() {
    let log = Log::new().await;
    let before = std::fs::read(log.file()).unwrap();
    let state = log.open().await;
    let last = chain("io/1", 2_500).pop().unwrap();
    state.append_audit(continued("io/1", &last, 10)).await.unwrap();
    state.sign_checkpoints(Moment::now()).await.unwrap();
    let page = Page { size: 10, after: None };
    let witnesses = state.read(move |conn| checkpoint::list(conn, true, &page)).await.unwrap().0;
    assert_eq!(witnesses.len(), 2);
    let (findings, _) = verify(&state, witnesses.clone()).await;
    assert_eq!(findings, []);
    log.close(state).await;

    std::fs::write(log.file(), before).unwrap();
    assert_eq!(log.found().await, [], "by itself it is whole");
    let found = log.found_with(witnesses).await;
    assert_eq!(found, [of(Fault::WitnessMissing, "io/1", 5)]);
}

#[tokio::test]
async fn a_log_begun_anew_says_since_when() {
    let log = Log::new().await;
    let state = log.open().await;
    let page = Page { size: 10, after: None };
    let witnesses = state.read(move |conn| checkpoint::list(conn, true, &page)).await.unwrap().0;
    let (_, before) = verify(&state, Vec::new()).await;
    log.close(state).await;
    log.tamper("delete from audit_record; delete from signed_checkpoint; delete from audit_seal;");
    let state = log.open().await;
    let (findings, after) = verify(&state, Vec::new()).await;
    assert_eq!(findings, []);
    assert!(after.since > before.since);
    let (findings, _) = verify(&state, witnesses).await;
    assert_eq!(findings.len(), 2);
}

/// Writers write, checkpoints are signed and keys rotate while the log is verified again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_under_load_raises_no_alarm() {
    let log = Log::new().await;
    let state = log.open().await;
    let writing = |writer: &'static str| {
        let state = state.clone();
        async move {
            for batch in chain(writer, 6_000).chunks(150) {
                state.append_audit(batch.to_vec()).await.unwrap();
            }
        }
    };
    let signing = async {
        for round in 0..20 {
            state.sign_checkpoints(Moment::now()).await.unwrap();
            if round % 4 == 0 {
                state.rotate_key(|_| Ok(())).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let verifying = async {
        let mut rounds = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) || rounds == 0 {
            let (findings, _) = verify(&state, Vec::new()).await;
            assert_eq!(findings, []);
            rounds += 1;
        }
        rounds
    };
    let load = async {
        tokio::join!(writing("agent/1"), writing("io/2"), writing("memory/1"), signing);
        done.store(true, std::sync::atomic::Ordering::Release);
    };
    let (rounds, ()) = tokio::join!(verifying, load);
    assert!(rounds > 1, "it was verified while they wrote");
    let (findings, report) = verify(&state, Vec::new()).await;
    assert_eq!((findings.len(), report.records), (0, 2_503 + 18_000));
}
