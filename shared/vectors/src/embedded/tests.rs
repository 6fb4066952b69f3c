use std::sync::Arc;

use serde_json::json;
use sre_store::OpenOptions;

use super::*;
use crate::contract::{self, Bench, Dice, like, row, where_, with};
use crate::filter::{Condition, Scalar};
use crate::metric::Metric;

async fn open(folder: &std::path::Path, settings: EmbeddedSettings) -> Embedded {
    let options = OpenOptions::new(folder.join("vectors.db"), "store.dir", MIGRATIONS);
    let store = Store::open(options).unwrap();
    Embedded::open(store, folder.join("graphs"), settings).await.unwrap()
}

async fn close(backend: Embedded) {
    backend.close().await;
    backend.store.close().await.unwrap();
}

/// So small that a graph answers from the first rows on.
fn eager() -> EmbeddedSettings {
    EmbeddedSettings { exact_below: 20, ..EmbeddedSettings::default() }
}

mod exact {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let folder = tempfile::tempdir().unwrap();
        let backend = open(folder.path(), EmbeddedSettings::default()).await;
        Some(Bench::over(backend, folder))
    }

    contract::every_case!(fresh);
}

mod graphs {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let folder = tempfile::tempdir().unwrap();
        let backend = open(folder.path(), eager()).await;
        Some(Bench::over(backend, folder))
    }

    contract::every_case!(fresh);
}

/// Rows around centres.
fn clustered(count: usize, dimension: usize) -> Vec<Row> {
    let mut dice = Dice::new(11);
    let centres: Vec<Vec<f32>> = (0..40).map(|_| dice.vector(dimension)).collect();
    (0..count)
        .map(|n| {
            let centre = &centres[dice.below(centres.len())];
            let vector: Vec<f32> = centre.iter().map(|value| value + 0.3 * dice.unit()).collect();
            with(&format!("r{n:05}"), &vector, &json!({"half": n % 2 == 0, "third": n % 3}), "", 0)
        })
        .collect()
}

async fn filled(backend: &Embedded, rows: &[Row]) -> Collection {
    let dimension = rows[0].vector.len();
    let collection = Collection { id: contract::fresh_id(), dimension, metric: Metric::Cosine };
    backend.create(&collection).await.unwrap();
    for part in rows.chunks(1000) {
        backend.put(&collection, part.to_vec()).await.unwrap();
    }
    collection
}

/// How much of what is right is found.
async fn recall(backend: &Embedded, collection: &Collection, rows: &[Row], queries: &[Query]) -> f64 {
    let (mut right, mut all) = (0, 0);
    for query in queries {
        let found = backend.search(collection, query.clone()).await.unwrap();
        let expected = contract::expected(Metric::Cosine, rows, query);
        assert_eq!(found.len(), expected.len(), "as many as there are");
        all += expected.len();
        right += found.iter().filter(|found| expected.contains(&found.id)).count();
    }
    right as f64 / all as f64
}

fn queries(rows: &[Row], count: usize, condition: Option<&Condition>) -> Vec<Query> {
    let mut dice = Dice::new(12);
    (0..count)
        .map(|_| {
            let near = &rows[dice.below(rows.len())].vector;
            let vector: Vec<f32> = near.iter().map(|value| value + 0.2 * dice.unit()).collect();
            Query { condition: condition.cloned(), ..like(&vector, 10) }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_finds_what_a_scan_finds_also_under_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path(), EmbeddedSettings { exact_below: 300, ..eager() }).await;
    let rows = clustered(4000, 32);
    let collection = filled(&backend, &rows).await;
    // Nothing of it is in memory before the first search.
    backend.search(&collection, like(&rows[0].vector, 1)).await.unwrap();
    backend.settled().await;
    let entry = backend.entry(&collection).await.unwrap();
    let (_, covered) = entry.index().unwrap().read().graph().unwrap();
    assert!(covered >= 3900, "{covered} rows in the graph");
    let half = Condition::one_of("half", &[Scalar::Boolean(true)]).unwrap();
    let sixth =
        Condition::All(vec![half.clone(), Condition::one_of("third", &[Scalar::Number(1.0)]).unwrap()]);
    for condition in [None, Some(&half), Some(&sixth)] {
        let recall = recall(&backend, &collection, &rows, &queries(&rows, 50, condition)).await;
        assert!(recall >= 0.95, "recall {recall} with {condition:?}");
    }
    close(backend).await;
}

/// What is told by the settings of now counts, whatever earlier ones left on the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_of_earlier_settings_does_not_answer_where_all_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = EmbeddedSettings { connectivity: 4, expansion_add: 8, expansion_search: 8, ..eager() };
    let backend = open(folder.path(), sparse.clone()).await;
    let mut dice = Dice::new(21);
    let rows: Vec<Row> = (0..3000).map(|n| row(&format!("r{n}"), &dice.vector(96))).collect();
    let collection = filled(&backend, &rows).await;
    backend.search(&collection, like(&rows[0].vector, 1)).await.unwrap();
    backend.settled().await;
    let asked = queries(&rows, 20, None);
    assert!(recall(&backend, &collection, &rows, &asked).await < 1.0, "a graph of this kind misses some");
    close(backend).await;
    let backend = open(folder.path(), EmbeddedSettings { exact_below: usize::MAX, ..sparse }).await;
    assert!(recall(&backend, &collection, &rows, &asked).await >= 1.0);
    close(backend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_the_graph_yet_is_found_and_what_is_deleted_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path(), eager()).await;
    let mut rows = clustered(600, 16);
    let collection = filled(&backend, &rows).await;
    backend.search(&collection, like(&rows[0].vector, 1)).await.unwrap();
    backend.settled().await;
    for n in 0..50 {
        let new = row(&format!("new{n}"), &Dice::new(n + 900).vector(16));
        backend.put(&collection, vec![new.clone()]).await.unwrap();
        let found = backend.search(&collection, like(&new.vector, 1)).await.unwrap();
        assert_eq!(found[0].id, new.id);
        rows.push(new);
    }
    let gone: Vec<RowKey> = rows.iter().step_by(2).map(Row::key).collect();
    backend.delete(&collection, gone.clone()).await.unwrap();
    let left: Vec<Row> = rows.into_iter().filter(|row| !gone.contains(&row.key())).collect();
    let recall = recall(&backend, &collection, &left, &queries(&left, 40, None)).await;
    assert!(recall >= 0.95, "recall {recall}");
    close(backend).await;
}

/// services.md D32: what was answered is there after a restart, with the graph that was saved, and with none, and
/// with one that is of other rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d32_a_restart_finds_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let rows = clustered(800, 16);
    let backend = open(folder.path(), eager()).await;
    let collection = filled(&backend, &rows).await;
    let queries = queries(&rows, 20, None);
    backend.search(&collection, queries[0].clone()).await.unwrap();
    backend.settled().await;
    let path = backend.collections.path(collection.id);
    close(backend).await;
    let saved = std::fs::read(&path).unwrap();

    let backend = open(folder.path(), eager()).await;
    assert!(recall(&backend, &collection, &rows, &queries).await >= 0.95);
    let entry = backend.entry(&collection).await.unwrap();
    assert!(entry.index().unwrap().read().graph().is_some(), "the saved graph is used");
    // Some go, some come: the saved graph is still of use.
    let keys = rows[..100].iter().map(Row::key).collect();
    backend.delete(&collection, keys).await.unwrap();
    let more: Vec<Row> = (0..30).map(|n| row(&format!("m{n}"), &Dice::new(n + 50).vector(16))).collect();
    backend.put(&collection, more.clone()).await.unwrap();
    let now: Vec<Row> = rows[100..].iter().chain(&more).cloned().collect();
    drop(entry);
    close(backend).await;

    for (what, content) in
        [("as saved", saved.clone()), ("damaged", saved[1..].to_vec()), ("none", Vec::new())]
    {
        match content.as_slice() {
            [] => std::fs::remove_file(&path).unwrap(),
            content => std::fs::write(&path, content).unwrap(),
        }
        let backend = open(folder.path(), eager()).await;
        let found = recall(&backend, &collection, &now, &queries).await;
        assert!(found >= 0.95, "{what}: {found}");
        for row in &more {
            let found = backend.search(&collection, like(&row.vector, 1)).await.unwrap();
            assert_eq!(found[0].id, row.id, "{what}");
        }
        close(backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_and_nothing_is_lost_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path(), EmbeddedSettings { memory_mib: 0, ..eager() }).await;
    let rows = clustered(100, 8);
    let collections = [filled(&backend, &rows).await, filled(&backend, &rows[..50]).await];
    for _ in 0..3 {
        for (collection, rows) in collections.iter().zip([&rows[..], &rows[..50]]) {
            let found = backend.search(collection, like(&rows[7].vector, 1)).await.unwrap();
            assert_eq!(found[0].id, rows[7].id);
            assert_eq!(backend.collections.loaded().len(), 1);
        }
    }
    close(backend).await;
}

/// Rows that are written while their collection is read into memory are neither lost nor doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_and_writing_at_once_agree() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Arc::new(open(folder.path(), eager()).await);
    let rows = clustered(400, 8);
    let collection = filled(&backend, &rows[..200]).await;
    for part in rows[200..].chunks(20) {
        backend.collections.unload(collection.id);
        let put = backend.put(&collection, part.to_vec());
        let find = backend.search(&collection, like(&rows[0].vector, 5));
        let (put, found) = tokio::join!(put, find);
        put.unwrap();
        assert_eq!(found.unwrap().len(), 5);
        for row in part {
            let found = backend.search(&collection, like(&row.vector, 1)).await.unwrap();
            assert_eq!(found[0].id, row.id);
        }
    }
    let entry = backend.entry(&collection).await.unwrap();
    assert_eq!(entry.index().unwrap().read().len(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_are_answered_in_full_whatever_the_graph_finds() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path(), eager()).await;
    let rows = clustered(500, 8);
    let collection = filled(&backend, &rows).await;
    backend.search(&collection, like(&rows[0].vector, 1)).await.unwrap();
    backend.settled().await;
    let third = Condition::one_of("third", &[Scalar::Number(2.0)]).unwrap();
    let query = where_(like(&rows[0].vector, 100), third);
    let found = backend.search(&collection, query.clone()).await.unwrap();
    assert_eq!(found.len(), 100);
    close(backend).await;
}
