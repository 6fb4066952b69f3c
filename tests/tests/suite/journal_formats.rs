//! A run of a newer record format belongs to engines that read it: no other claims it.

use std::time::Duration;

use serde_json::json;
use sre_gateway::engine::journal::formats::NEWEST as FORMAT;
use sre_proto::memory::v1::{JournalRecord, RunRecord, RunState as Stored};

use crate::harness::agents::hasher;
use crate::harness::journal::{Journal, run_id};
use crate::harness::{Mode, Options, Suite, eventually};

const AGENT: &str = "teams/default/agents/hasher";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_not_claimed() {
    let options = Options::default().listen_everywhere().set("journal.claim_interval_ms", 50);
    let suite = Suite::start("newer-format", Mode::AllInOne, options).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &hasher("hasher")).await.unwrap();
    let journal = Journal::of(&suite);
    let run = dev.start(AGENT, "hash", &json!({ "text": "x" })).await.unwrap();
    dev.reached(&run.name, &[sre_proto::gateway::v1::RunState::Done]).await;

    // The same run once more, unowned: of this format, and of the next.
    let template = journal.run(run_id(&run.name)).await.unwrap();
    let opened = journal.records(run_id(&run.name)).await.unwrap().swap_remove(0);
    let open = async |record_format: i32| {
        let run_id = format!("00-{}", uuid::Uuid::now_v7());
        let run = RunRecord {
            run_id: run_id.clone(),
            record_format,
            idempotency_key: String::new(),
            parent_run: String::new(),
            due_time: None,
            ..template.clone()
        };
        let record =
            JournalRecord { kind: opened.kind, body: opened.body.clone(), ..JournalRecord::default() };
        journal.open(run, vec![record]).await.unwrap();
        run_id
    };
    let newer = open(FORMAT + 1).await;
    let ours = open(FORMAT).await;
    // The engine looks, and takes the one that it can read, which was opened later.
    eventually("the run of this format ends", Duration::from_secs(15), async || {
        (journal.run(&ours).await.ok()?.state() == Stored::Done).then_some(())
    })
    .await;
    let left = journal.run(&newer).await.unwrap();
    assert_eq!((left.state(), left.session.as_str()), (Stored::Ready, ""), "{left:?}");
    assert_eq!(journal.records(&newer).await.unwrap().len(), 1);

    let session = journal.session(Duration::from_secs(30)).await.unwrap();
    assert!(journal.claim(&session, FORMAT).await.unwrap().is_empty());
    let claimed = journal.claim(&session, FORMAT + 1).await.unwrap();
    let ids: Vec<&str> =
        claimed.iter().filter_map(|claimed| Some(claimed.run.as_ref()?.run_id.as_str())).collect();
    assert_eq!(ids, [newer.as_str()]);
    suite.stop().await;
}
