//! Cases about writing.

use serde_json::json;

use super::*;
use crate::filter::{Bounds, Scalar};
use crate::model::RowKey;

pub async fn a_put_replaces_and_a_delete_removes(bench: Bench) {
    let collection = bench.collection(2, Metric::Cosine).await;
    bench.put(&collection, &[row("a", &[1.0, 0.0]), row("b", &[0.0, 1.0])]).await;
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.1], 10)).await, ["a", "b"]);
    bench.put(&collection, &[row("a", &[-1.0, 0.0])]).await;
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.1], 10)).await, ["b", "a"]);
    // The later of two with one id.
    bench.put(&collection, &[row("c", &[1.0, 0.0]), row("c", &[-1.0, -1.0])]).await;
    assert_eq!(bench.ids(&collection, like(&[-1.0, -1.0], 1)).await, ["c"]);
    let keys = vec![RowKey::of(0, "a"), RowKey::of(0, "absent"), RowKey::of(3, "b")];
    bench.backend.delete(&collection, keys).await.unwrap();
    assert_eq!(set(&bench.ids(&collection, like(&[1.0, 0.1], 10)).await), set(&["b".into(), "c".into()]));
    bench.end(&[collection]).await.unwrap();
}

pub async fn repeating_changes_nothing(bench: Bench) {
    let collection = bench.collection(2, Metric::Cosine).await;
    let rows = [row("a", &[1.0, 0.0]), row("b", &[0.0, 1.0])];
    for _ in 0..2 {
        bench.backend.create(&collection).await.unwrap();
        bench.put(&collection, &rows).await;
    }
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.1], 10)).await, ["a", "b"]);
    for _ in 0..2 {
        bench.backend.delete(&collection, vec![rows[0].key()]).await.unwrap();
        bench.backend.delete_generation(&collection, 7).await.unwrap();
    }
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.1], 10)).await, ["b"]);
    for _ in 0..2 {
        bench.backend.remove(&collection).await.unwrap();
    }
    bench.end(&[]).await.unwrap();
}

pub async fn collections_are_apart(bench: Bench) {
    let one = bench.collection(2, Metric::Cosine).await;
    let other = bench.collection(3, Metric::Dot).await;
    bench.put(&one, &[row("same", &[1.0, 0.0])]).await;
    bench.put(&other, &[row("same", &[1.0, 0.0, 0.0]), row("more", &[0.0, 1.0, 0.0])]).await;
    bench.backend.delete(&one, vec![RowKey::of(0, "more")]).await.unwrap();
    bench.backend.delete_generation(&one, 0).await.unwrap();
    assert_eq!(bench.ids(&one, like(&[1.0, 0.0], 10)).await, [""; 0]);
    assert_eq!(bench.ids(&other, like(&[1.0, 0.5, 0.0], 10)).await, ["same", "more"]);
    bench.backend.remove(&one).await.unwrap();
    assert_eq!(bench.ids(&other, like(&[1.0, 0.5, 0.0], 10)).await, ["same", "more"]);
    bench.end(&[other]).await.unwrap();
}

/// services.md D32, D33: nothing of what was deleted comes back.
pub async fn d33_a_removed_collection_is_empty_when_it_comes_back(bench: Bench) {
    let collection = bench.collection(2, Metric::Cosine).await;
    bench.put(&collection, &[row("a", &[1.0, 0.0])]).await;
    bench.backend.remove(&collection).await.unwrap();
    bench.backend.create(&collection).await.unwrap();
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.0], 10)).await, [""; 0]);
    bench.put(&collection, &[row("b", &[1.0, 0.0])]).await;
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.0], 10)).await, ["b"]);
    bench.end(&[collection]).await.unwrap();
}

pub async fn generations_are_seen_together(bench: Bench) {
    let collection = bench.collection(2, Metric::Cosine).await;
    let of = |id: &str, generation| with(id, &[1.0, 0.2], &json!({}), "d", generation);
    bench.put(&collection, &[row("own", &[1.0, 0.0]), of("d#0", 3), of("d#1", 3), of("d#0", 5)]).await;
    let seen = async |below, except: &[Generation]| {
        let visibility = Visibility { below, except: except.to_vec() };
        let found = bench.search(&collection, Query { visibility, ..like(&[1.0, 0.0], 10) }).await;
        let mut seen: Vec<(String, Generation)> =
            found.into_iter().map(|found| (found.id, found.generation)).collect();
        seen.sort();
        seen
    };
    let (own, old, new) = (("own".to_owned(), 0), 3, ("d#0".to_owned(), 5));
    assert_eq!(seen(3, &[]).await, std::slice::from_ref(&own));
    assert_eq!(seen(5, &[]).await, [("d#0".into(), old), ("d#1".into(), old), own.clone()]);
    assert_eq!(seen(6, &[3]).await, [new.clone(), own.clone()]);
    assert_eq!(seen(6, &[3, 5, 9]).await, std::slice::from_ref(&own));
    assert_eq!(seen(6, &[]).await.len(), 4);
    bench.end(&[collection]).await.unwrap();
}

pub async fn a_generation_is_deleted_whole(bench: Bench) {
    let collection = bench.collection(4, Metric::Cosine).await;
    let mut dice = Dice::new(5);
    // More rows than any backend deletes at once.
    let rows: Vec<Row> = (0..2400)
        .map(|n| with(&format!("d#{n}"), &dice.vector(4), &json!({}), "d", if n < 2300 { 8 } else { 9 }))
        .collect();
    for part in rows.chunks(1000) {
        bench.put(&collection, part).await;
    }
    bench.put(&collection, &[row("own", &dice.vector(4))]).await;
    bench.backend.delete_generation(&collection, 8).await.unwrap();
    let visibility = Visibility { below: 9, except: Vec::new() };
    let query = Query { visibility, ..like(&[1.0, 0.0, 0.0, 0.0], 100) };
    assert_eq!(bench.ids(&collection, query).await, ["own"]);
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.0, 0.0, 0.0], 100)).await.len(), 100);
    bench.end(&[collection]).await.unwrap();
}

pub async fn a_thousand_rows_at_once(bench: Bench) {
    let collection = bench.collection(16, Metric::Cosine).await;
    let mut dice = Dice::new(6);
    let rows: Vec<Row> = (0..1000)
        .map(|n| Row { text: "ä".repeat(500), chunk: n, ..row(&format!("r{n:04}"), &dice.vector(16)) })
        .collect();
    bench.put(&collection, &rows).await;
    for wanted in [0, 500, 999] {
        let found = bench.search(&collection, like(&rows[wanted].vector, 1)).await;
        assert_eq!((found[0].id.as_str(), found[0].chunk), (rows[wanted].id.as_str(), wanted as i32));
    }
    bench.end(&[collection]).await.unwrap();
}

/// H32, D37: what callers write stays what it is, whatever a backend's expressions look like.
pub async fn h32_texts_are_never_expressions(bench: Bench) {
    let collection = bench.collection(2, Metric::Cosine).await;
    let nasty = [
        "'; drop table x; --",
        "a\" or \"\" == \"",
        "\\\" || true || \\\"",
        "{\"$or\": []}",
        "d') or ('1' = '1",
        "%_*?[]{}()",
        "日本語 😀",
        "line\nbreak\ttab",
        "in [\"a\", \"b\"]",
    ];
    let mut rows: Vec<Row> = nasty
        .iter()
        .map(|text| {
            let metadata = json!({"key": text, *text: true, "list": [text, "all"], "n": 1});
            Row { text: (*text).to_owned(), ..with(text, &[1.0, 0.5], &metadata, text, 1) }
        })
        .collect();
    rows.push(with("plain", &[1.0, 0.5], &json!({"key": "plain"}), "plain", 1));
    bench.put(&collection, &rows).await;
    for text in nasty {
        let value = Scalar::Text(text.into());
        let wanted = Wanted { text: true, metadata: true, vector: false };
        for condition in [
            Condition::one_of("key", std::slice::from_ref(&value)).unwrap(),
            Condition::exists(text).unwrap(),
            Condition::one_of("list", &[value]).unwrap(),
            Condition::Tagged(vec![crate::features::Tag::datasource(text)]),
        ] {
            let query = Query { wanted, ..where_(like(&[1.0, 0.5], 100), condition) };
            let found = bench.search(&collection, query).await;
            assert_eq!(found.len(), 1, "{text:?}: {found:?}");
            assert_eq!((found[0].id.as_str(), found[0].text.as_str()), (text, text));
            assert_eq!(found[0].datasource, text);
            let metadata: serde_json::Value = serde_json::from_slice(&found[0].metadata).unwrap();
            assert_eq!(metadata["key"], text);
        }
        let none = Condition::range(text, Bounds { gte: Some(0.0), ..Bounds::default() }).unwrap();
        assert_eq!(bench.ids(&collection, where_(like(&[1.0, 0.5], 100), none)).await, [""; 0]);
    }
    bench.backend.delete(&collection, vec![RowKey::of(1, nasty[0])]).await.unwrap();
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.5], 100)).await.len(), nasty.len());
    bench.end(&[collection]).await.unwrap();
}

pub async fn many_writers_lose_nothing(bench: Bench) {
    let collection = bench.collection(4, Metric::Cosine).await;
    let writing = (0..8).map(|writer| {
        let (bench, collection) = (&bench, &collection);
        async move {
            let mut dice = Dice::new(writer + 100);
            for n in 0..10 {
                let rows = [
                    row(&format!("w{writer}-{n}"), &dice.vector(4)),
                    row(&format!("shared-{n}"), &dice.vector(4)),
                ];
                bench.put(collection, &rows).await;
            }
        }
    });
    futures::future::join_all(writing).await;
    let found = bench.ids(&collection, like(&[1.0, 0.0, 0.0, 0.0], 100)).await;
    assert_eq!((found.len(), set(&found).len()), (90, 90));
    bench.end(&[collection]).await.unwrap();
}
