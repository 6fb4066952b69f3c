//! Appends that are repeated because nobody knows whether they were written.

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunState};

use super::{Bench, LEASE, record, signal};
use crate::runtime_context::JournalError;
use crate::runtime_context::model::{Append, Close, Owner};

fn at(owner: Owner, sequence: i64, steps: &[&str]) -> Append {
    let records = steps.iter().map(|step| record(RecordKind::Finished, step)).collect();
    Append { records, expected_sequence: Some(sequence), ..Append::of(owner) }
}

async fn append(bench: &Bench, append: Append) -> Result<i64, JournalError> {
    bench.journal.append(vec![append]).await.unwrap().remove(0)
}

pub(crate) async fn a_repeated_append_is_one(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    bench.journal.signal(owner.run, signal("s")).await.unwrap();
    let consuming = || Append { consumed_signals: vec!["s".to_owned()], ..at(owner, 2, &["a", "b"]) };
    for _ in 0..3 {
        assert_eq!(append(bench, consuming()).await.unwrap(), 3);
    }
    // Also after more was written.
    assert_eq!(append(bench, at(owner, 4, &["c"])).await.unwrap(), 4);
    assert_eq!(append(bench, consuming()).await.unwrap(), 3);
    assert_eq!(bench.steps(owner.run).await, ["opened", "a", "b", "c"]);
}

pub(crate) async fn another_append_is_out_of_sequence(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    append(bench, at(owner, 2, &["a", "b"])).await.unwrap();
    for (sequence, steps) in
        [(2, &["a"][..1]), (2, &["a", "x"]), (2, &["a", "b", "c"]), (3, &["a"]), (5, &["c"]), (1, &["a"])]
    {
        let outcome = append(bench, at(owner, sequence, steps)).await;
        if sequence == 2 && steps == ["a"] {
            // A part of what is there is there.
            assert_eq!(outcome.unwrap(), 2);
        } else {
            assert!(matches!(outcome, Err(JournalError::OutOfSequence { next: 4 })), "{steps:?} {outcome:?}");
        }
    }
    assert_eq!(bench.steps(owner.run).await, ["opened", "a", "b"]);
}

pub(crate) async fn a_repeated_end_is_one(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    let end = |state| Append {
        close: Some(Close { state, outcome: Bytes::from_static(b"42") }),
        ..at(owner, 2, &["end"])
    };
    assert_eq!(append(bench, end(RunState::Done)).await.unwrap(), 2);
    assert_eq!(append(bench, end(RunState::Done)).await.unwrap(), 2);
    for other in [end(RunState::Failed), at(owner, 2, &["end"]), at(owner, 3, &["more"])] {
        let outcome = append(bench, other).await;
        assert!(matches!(outcome, Err(JournalError::Fenced)), "{outcome:?}");
    }
    let run = bench.get(owner.run).await;
    assert_eq!((run.state, run.next_sequence, run.outcome), (RunState::Done, 3, Bytes::from_static(b"42")));
    (bench.verify)().await;
}

pub(crate) async fn a_zombie_repeats_nothing(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    append(bench, at(owner, 2, &["a"])).await.unwrap();
    (bench.advance)(LEASE);
    let heir = bench.claim_one(bench.session().await, owner.run).await;
    for sequence in [2, 3] {
        let late = append(bench, at(owner, sequence, &["a"])).await;
        assert!(matches!(late, Err(JournalError::Fenced)), "{late:?}");
    }
    // The heir did not write what its predecessor wrote.
    let claimed = append(bench, at(heir, 2, &["a"])).await;
    assert!(matches!(claimed, Err(JournalError::OutOfSequence { next: 3 })), "{claimed:?}");
    assert_eq!(append(bench, at(heir, 3, &["b"])).await.unwrap(), 3);
}
