//! Cases about finding.

use serde_json::{Value, json};

use super::*;
use crate::filter::{Bounds, Scalar};

/// What two ways of computing a score may differ by.
const TOLERANCE: f32 = 1e-4;

pub async fn rows_are_found_best_first(bench: Bench) {
    let collection = bench.collection(3, Metric::Cosine).await;
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.0, 0.0], 5)).await, [""; 0]);
    let rows = [row("x", &[1.0, 0.0, 0.0]), row("xy", &[1.0, 1.0, 0.0]), row("z", &[0.0, 0.1, 1.0])];
    bench.put(&collection, &rows).await;
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.1, 0.05], 10)).await, ["x", "xy", "z"]);
    assert_eq!(bench.ids(&collection, like(&[1.0, 0.1, 0.05], 2)).await, ["x", "xy"]);
    bench.end(&[collection]).await.unwrap();
}

pub async fn scores_agree_with_the_metric(bench: Bench) {
    let mut collections = Vec::new();
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let collection = bench.collection(8, metric).await;
        let mut dice = Dice::new(1);
        let rows: Vec<Row> = (0..40).map(|n| row(&format!("r{n}"), &dice.vector(8))).collect();
        bench.put(&collection, &rows).await;
        for _ in 0..5 {
            let query = like(&dice.vector(8), 10);
            let found = bench.search(&collection, query.clone()).await;
            let ids: Vec<String> = found.iter().map(|found| found.id.clone()).collect();
            assert_eq!(ids, expected(metric, &rows, &query), "{metric:?}");
            for found in &found {
                let row = rows.iter().find(|row| row.id == found.id).unwrap();
                let exact = metric.score(&query.vector, &row.vector);
                assert!((found.score - exact).abs() < TOLERANCE, "{metric:?} {} {exact}", found.score);
            }
        }
        collections.push(collection);
    }
    bench.end(&collections).await.unwrap();
}

pub async fn what_is_wanted_is_given(bench: Bench) {
    let collection = bench.collection(2, Metric::Dot).await;
    let metadata = json!({"a": [1, {"b": null}], "z": 0.1, "text": "x"});
    let stored = Row { chunk: 7, ..with("d#7", &[3.0, 4.0], &metadata, "d", 2) };
    bench.put(&collection, std::slice::from_ref(&stored)).await;
    let ask = async |text, metadata, vector| {
        let wanted = Wanted { text, metadata, vector };
        bench.search(&collection, Query { wanted, ..like(&[1.0, 0.0], 1) }).await.remove(0)
    };
    let bare = ask(false, false, false).await;
    assert_eq!((bare.id.as_str(), bare.datasource.as_str(), bare.chunk, bare.generation), ("d#7", "d", 7, 2));
    assert!(bare.text.is_empty() && bare.metadata.is_empty() && bare.vector.is_empty());
    let full = ask(true, true, true).await;
    assert_eq!((full.text, full.metadata, full.vector), (stored.text, stored.metadata, stored.vector));
    bench.end(&[collection]).await.unwrap();
}

fn text(key: &str, value: &str) -> Condition {
    Condition::one_of(key, &[Scalar::Text(value.into())]).unwrap()
}

pub async fn conditions_hold_as_they_say(bench: Bench) {
    let collection = bench.collection(2, Metric::Cosine).await;
    let rows = [
        with("red", &[1.0, 0.1], &json!({"colour": "red", "size": 3, "on": true}), "one", 1),
        with("blue", &[1.0, 0.2], &json!({"colour": "blue", "size": 2.5, "tags": ["x", "y"]}), "one", 1),
        with("none", &[1.0, 0.3], &json!({"colour": null, "deep": {"colour": "red"}}), "two", 2),
        with("word", &[1.0, 0.4], &json!({"size": "3", "on": false, "tags": ["y"]}), "", 0),
        with("bare", &[1.0, 0.5], &json!({}), "", 0),
    ];
    bench.put(&collection, &rows).await;
    let range = |bounds| Condition::range("size", bounds).unwrap();
    let number = |number| Scalar::Number(number);
    let cases: Vec<(Condition, &[&str])> = vec![
        (text("colour", "red"), &["red"]),
        (text("colour", "RED"), &[]),
        (text("tags", "y"), &["blue", "word"]),
        (
            Condition::one_of("colour", &[Scalar::Text("red".into()), Scalar::Text("blue".into())]).unwrap(),
            &["red", "blue"],
        ),
        (Condition::one_of("size", &[number(3.0)]).unwrap(), &["red"]),
        (Condition::one_of("size", &[number(2.5), Scalar::Text("3".into())]).unwrap(), &["blue", "word"]),
        (Condition::one_of("on", &[Scalar::Boolean(false)]).unwrap(), &["word"]),
        (Condition::exists("colour").unwrap(), &["red", "blue"]),
        (Condition::exists("deep").unwrap(), &["none"]),
        (range(Bounds { gte: Some(2.5), ..Bounds::default() }), &["red", "blue"]),
        (range(Bounds { gt: Some(2.5), ..Bounds::default() }), &["red"]),
        (range(Bounds { gt: Some(0.0), lt: Some(3.0), ..Bounds::default() }), &["blue"]),
        (range(Bounds { lte: Some(-1e300), ..Bounds::default() }), &[]),
        (Condition::Any(vec![text("colour", "red"), text("tags", "y")]), &["red", "blue", "word"]),
        (Condition::All(vec![text("tags", "y"), Condition::exists("on").unwrap()]), &["word"]),
        (Condition::All(vec![]), &["red", "blue", "none", "word", "bare"]),
        (Condition::Any(vec![]), &[]),
        (Condition::Tagged(vec![crate::features::Tag::datasource("one")]), &["red", "blue"]),
    ];
    for (condition, ids) in cases {
        let found = bench.ids(&collection, where_(like(&[1.0, 0.0], 10), condition.clone())).await;
        assert_eq!(found, ids, "{condition:?}");
    }
    bench.end(&[collection]).await.unwrap();
}

fn random_metadata(dice: &mut Dice) -> Value {
    let mut metadata = serde_json::Map::new();
    for key in ["a", "b", "c"] {
        let value = match dice.below(6) {
            0 => continue,
            1 => json!(["x", "y", "z"][dice.below(3)]),
            2 => json!(dice.below(5) as i64 - 2),
            3 => json!(f64::from(dice.unit())),
            4 => json!(dice.below(2) == 0),
            _ => json!((0..dice.below(3)).map(|_| ["x", "y", "z"][dice.below(3)]).collect::<Vec<_>>()),
        };
        metadata.insert(key.to_owned(), value);
    }
    Value::Object(metadata)
}

fn random_condition(dice: &mut Dice, depth: usize) -> Condition {
    let key = ["a", "b", "c"][dice.below(3)];
    match dice.below(if depth == 0 { 4 } else { 6 }) {
        0 => Condition::exists(key).unwrap(),
        1 => {
            let low = dice.below(5) as f64 - 2.0;
            let bounds = match dice.below(3) {
                0 => Bounds { gte: Some(low), ..Bounds::default() },
                1 => Bounds { gt: Some(low), lte: Some(low + 2.0), ..Bounds::default() },
                _ => Bounds { lt: Some(low), ..Bounds::default() },
            };
            Condition::range(key, bounds).unwrap()
        }
        2 | 3 => {
            let values: Vec<Scalar> = (0..=dice.below(2))
                .map(|_| match dice.below(3) {
                    0 => Scalar::Text(["x", "y", "z"][dice.below(3)].into()),
                    1 => Scalar::Number(dice.below(5) as f64 - 2.0),
                    _ => Scalar::Boolean(dice.below(2) == 0),
                })
                .collect();
            Condition::one_of(key, &values).unwrap()
        }
        kind => {
            let inner = (0..=dice.below(2)).map(|_| random_condition(dice, depth - 1)).collect();
            if kind == 4 { Condition::All(inner) } else { Condition::Any(inner) }
        }
    }
}

pub async fn random_conditions_agree_with_the_model(bench: Bench) {
    let collection = bench.collection(4, Metric::Cosine).await;
    let mut dice = Dice::new(3);
    let rows: Vec<Row> = (0..90)
        .map(|n| {
            let generation = dice.below(4) as Generation;
            with(&format!("r{n}"), &dice.vector(4), &random_metadata(&mut dice), "d", generation)
        })
        .collect();
    bench.put(&collection, &rows).await;
    let mut matched = 0;
    for _ in 0..40 {
        let condition = random_condition(&mut dice, 2);
        let visibility = Visibility {
            below: 2 + dice.below(3) as Generation,
            except: (0..dice.below(2)).map(|_| 1 + dice.below(2) as Generation).collect(),
        };
        let query = Query { visibility, ..where_(like(&dice.vector(4), 1 + dice.below(20)), condition) };
        let found = bench.ids(&collection, query.clone()).await;
        assert_eq!(found, expected(Metric::Cosine, &rows, &query), "{query:?}");
        matched += found.len();
    }
    assert!(matched > 100, "the conditions matched next to nothing: {matched}");
    bench.end(&[collection]).await.unwrap();
}

/// A condition that few rows meet is answered in full, however far they are from the query.
pub async fn few_among_many_are_found(bench: Bench) {
    let collection = bench.collection(16, Metric::Cosine).await;
    let mut dice = Dice::new(4);
    let mut rows = Vec::new();
    for n in 0..1000 {
        let rare = n % 250 == 0;
        let mut vector = dice.vector(16);
        // The rare ones point away from the query.
        vector[0] = if rare { -3.0 } else { 3.0 };
        rows.push(with(&format!("r{n:03}"), &vector, &json!({"rare": rare}), "", 0));
    }
    bench.put(&collection, &rows).await;
    let mut query = vec![0.0; 16];
    query[0] = 1.0;
    let rare = Condition::one_of("rare", &[Scalar::Boolean(true)]).unwrap();
    let query = where_(like(&query, 10), rare);
    let found = bench.ids(&collection, query.clone()).await;
    assert_eq!(found, expected(Metric::Cosine, &rows, &query));
    assert_eq!(found.len(), 4);
    bench.end(&[collection]).await.unwrap();
}

pub async fn it_says_that_it_answers(bench: Bench) {
    bench.backend.check().await.unwrap();
    bench.end(&[]).await.unwrap();
}
