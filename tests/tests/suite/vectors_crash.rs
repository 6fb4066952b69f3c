//! services.md §4.3 group 6, D32: vectors survive a kill of the process at any moment: what was answered is found, what
//! was not whole is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sre_proto::io::v1::create_datasource_request::Part;
use sre_proto::io::v1::search_request::Query;
use sre_proto::io::v1::*;

use crate::harness::clients::Client;
use crate::harness::{Mode, Options, Suite};

const SPACE: &str = "teams/default/vectors/durable";
const TEXTS: &str = "teams/default/vectors/texts";
const DIMENSION: usize = 8;
/// More rows than are scanned: a graph is built over them.
const FIRST_ROWS: usize = 11_000;

/// A vector that is like no other number's, so that an approximate search has no other to take for it.
fn vector(number: usize) -> Vec<f32> {
    let mut state = number as u64;
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f32 / u64::MAX as f32 - 0.5
    };
    (0..DIMENSION).map(|_| next()).collect()
}

fn rows(numbers: impl Iterator<Item = usize>) -> UpsertRowsRequest {
    let row = |number| Row {
        id: format!("r{number}"),
        vector: Some(Vector { values: vector(number) }),
        text: format!("text {number}"),
        ..Row::default()
    };
    UpsertRowsRequest { parent: SPACE.into(), rows: numbers.map(row).collect() }
}

async fn nearest(client: &Client, number: usize) -> SearchHit {
    let query = Some(Query::Vector(Vector { values: vector(number) }));
    let request = SearchRequest { parent: SPACE.into(), query, top_k: Some(1), ..SearchRequest::default() };
    client.vectors().search(request).await.unwrap().into_inner().hits.remove(0)
}

async fn source(client: &Client, round: usize) -> bool {
    let text: Vec<String> = (0..8).map(|part| format!("round{round} part{part}")).collect();
    let header = DatasourceHeader {
        name: format!("{TEXTS}/datasources/d"),
        chunk_size: 16,
        chunk_overlap: Some(0),
        text: text.join("\n\n"),
        ..DatasourceHeader::default()
    };
    let message = CreateDatasourceRequest { part: Some(Part::Header(header)) };
    client.vectors().create_datasource(tokio_stream::iter([message])).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d32_a_killed_suite_finds_what_it_answered() {
    let mut suite = Suite::start("vectors-crash", Mode::AllInOne, Options::default()).await;
    let dev = suite.client("user/dev");
    for (name, dimension) in [(SPACE, DIMENSION), (TEXTS, 64)] {
        let namespace = VectorNamespace {
            name: name.into(),
            dimension: dimension as i32,
            embedding: (name == TEXTS)
                .then(|| Embedding { model: "hash-embedding".into(), ..Embedding::default() }),
            ..VectorNamespace::default()
        };
        let request = CreateVectorNamespaceRequest { namespace: Some(namespace), acl: None };
        dev.vectors().create_vector_namespace(request).await.unwrap();
    }
    for first in (0..FIRST_ROWS).step_by(1000) {
        dev.vectors().upsert_rows(rows(first..(first + 1000).min(FIRST_ROWS))).await.unwrap();
    }
    assert!(source(&dev, 0).await);
    nearest(&dev, 0).await;

    // One writer of rows and one that replaces a datasource, until the kill.
    let stop = Arc::new(AtomicBool::new(false));
    let (rows_client, stopped) = (dev.clone(), Arc::clone(&stop));
    let writing = async move {
        let mut answered = FIRST_ROWS;
        while !stopped.load(Ordering::SeqCst) {
            let next = answered..answered + 10;
            if rows_client.vectors().upsert_rows(rows(next)).await.is_err() {
                break;
            }
            answered += 10;
        }
        answered
    };
    let (source_client, stopped) = (dev.clone(), Arc::clone(&stop));
    let replacing = async move {
        let mut round = 0;
        while !stopped.load(Ordering::SeqCst) && source(&source_client, round + 1).await {
            round += 1;
        }
        round
    };
    let killing = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        suite.crash();
        stop.store(true, Ordering::SeqCst);
    };
    let (answered, round, ()) = tokio::join!(writing, replacing, killing);
    assert!(answered > FIRST_ROWS && round > 0, "nothing was written before the kill");
    drop(suite);

    let suite = Suite::start("vectors-crash", Mode::AllInOne, Options::default().again()).await;
    let dev = suite.client("user/dev");
    for number in (0..FIRST_ROWS).step_by(997).chain(FIRST_ROWS..answered) {
        let hit = nearest(&dev, number).await;
        assert_eq!((hit.id, hit.text), (format!("r{number}"), format!("text {number}")));
    }
    let query = Some(Query::Text("part0".into()));
    let request = SearchRequest { parent: TEXTS.into(), query, ..SearchRequest::default() };
    let hits = dev.vectors().search(request).await.unwrap().into_inner().hits;
    let rounds: Vec<&str> = hits.iter().filter_map(|hit| hit.text.split(' ').next()).collect();
    // The last that was answered, or the one after it, whole.
    let allowed = [format!("round{round}"), format!("round{}", round + 1)];
    assert_eq!(rounds.len(), 8, "{rounds:?}");
    assert!(
        allowed.contains(&rounds[0].to_owned()) && rounds.iter().all(|one| *one == rounds[0]),
        "{rounds:?}"
    );
    suite.stop().await;
}
