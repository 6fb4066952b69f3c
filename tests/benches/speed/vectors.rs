//! Vectors: the embedded backend at 100,000 rows of 384 dimensions, exact and by graph, beside a bare scan of the same
//! matrix; clustered data, whose queries have near neighbours, and uniform data, whose queries have none.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use sre_store::{OpenOptions, Store};
use sre_vectors::embedded::{Embedded, EmbeddedSettings, MIGRATIONS};
use sre_vectors::{
    Backend, Collection, CollectionId, Condition, Features, Metric, Query, Row, Scalar, Visibility, Wanted,
};

const ROWS: usize = 100_000;
const DIMENSION: usize = 384;
const CENTRES: usize = 1000;
const QUERIES: usize = 500;
const TOP: usize = 10;
/// How far rows lie from their centre, in each dimension, where centres are a standard normal apart.
const SPREAD: f32 = 0.35;
const SEED: u64 = 42;

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        ((self.roll() >> 40) as f32 + 0.5) / (1u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f32::consts::TAU * self.unit()).cos()
    }
}

/// Rows, and queries that are not among them.
struct Data {
    rows: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
}

fn clustered() -> Data {
    let mut dice = Dice(SEED);
    let centres: Vec<Vec<f32>> =
        (0..CENTRES).map(|_| (0..DIMENSION).map(|_| dice.normal()).collect()).collect();
    let mut near = |count: usize| -> Vec<Vec<f32>> {
        (0..count)
            .map(|_| {
                let centre = &centres[dice.roll() as usize % CENTRES];
                centre.iter().map(|value| value + SPREAD * dice.normal()).collect()
            })
            .collect()
    };
    Data { rows: near(ROWS), queries: near(QUERIES) }
}

fn uniform() -> Data {
    let mut dice = Dice(SEED);
    let mut any = |count: usize| -> Vec<Vec<f32>> {
        (0..count).map(|_| (0..DIMENSION).map(|_| 2.0 * dice.unit() - 1.0).collect()).collect()
    };
    Data { rows: any(ROWS), queries: any(QUERIES) }
}

/// Measures and prints.
pub async fn measure() {
    println!(
        "\n## Vectors: {ROWS} x {DIMENSION}, cosine, top {TOP}, {QUERIES} queries one after the other\n"
    );
    println!("| data | mode | p50 | p99 | recall |");
    println!("|---|---|---|---|---|");
    let clustered = clustered();
    let truth = bare_scan("1,000 Gaussian centres", &clustered);
    table("1,000 Gaussian centres", &clustered, &truth).await;
    ten_thousand(&clustered).await;
    let uniform = uniform();
    let truth = bare_scan("uniform", &uniform);
    table("uniform", &uniform, &truth).await;
}

/// The yardstick: the rows in one piece of memory, compared one by one without an index, a store or a lock. Its
/// answers are what is right.
fn bare_scan(name: &str, data: &Data) -> Vec<Vec<String>> {
    let normalized = |vector: &[f32]| -> Vec<f32> {
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter().map(|value| value / length).collect()
    };
    let matrix: Vec<f32> = data.rows.iter().flat_map(|row| normalized(row)).collect();
    let mut times = Vec::new();
    let mut all = Vec::new();
    for query in &data.queries {
        let query = normalized(query);
        let started = Instant::now();
        let mut scores: Vec<(f32, usize)> = matrix
            .chunks_exact(DIMENSION)
            .map(|row| row.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>())
            .enumerate()
            .map(|(place, score)| (score, place))
            .collect();
        scores.select_nth_unstable_by(TOP - 1, |a, b| b.0.total_cmp(&a.0));
        times.push(started.elapsed());
        scores.truncate(TOP);
        all.push(scores.into_iter().map(|(_, place)| id(place)).collect());
    }
    line(name, "bare scan of a matrix", times, 1.0);
    all
}

async fn table(name: &str, data: &Data, truth: &[Vec<String>]) {
    let folder = tempfile::tempdir().unwrap();
    let graph = open(folder.path(), EmbeddedSettings::default()).await;
    let started = Instant::now();
    let collection = filled(&graph, &data.rows).await;
    let filling = started.elapsed();
    // Nothing is in memory before it is asked for.
    ask(&graph, &collection, &data.queries[0], None).await;
    let started = Instant::now();
    graph.settled().await;
    let building = started.elapsed();
    run(name, "graph, ids and scores", &graph, &collection, data, truth, None).await;
    let wanted = Wanted { text: true, metadata: true, vector: false };
    run(name, "graph, with texts and metadata", &graph, &collection, data, truth, Some(wanted)).await;
    filtered(name, &graph, &collection, data).await;
    graph.close().await;
    drop(graph);

    let settings = EmbeddedSettings { exact_below: usize::MAX, ..EmbeddedSettings::default() };
    let exact = open(folder.path(), settings).await;
    run(name, "exact", &exact, &collection, data, truth, None).await;
    println!(
        "\n{name}: {:.0} durable rows/s in calls of 1,000; the graph was built in {:.0} s behind the answers.\n",
        ROWS as f64 / filling.as_secs_f64(),
        building.as_secs_f64()
    );
}

/// As many rows as the reference's figure is of.
async fn ten_thousand(data: &Data) {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path(), EmbeddedSettings::default()).await;
    let collection = filled(&backend, &data.rows[..10_000]).await;
    let mut times = Vec::new();
    for query in &data.queries {
        let started = Instant::now();
        ask(&backend, &collection, query, None).await;
        times.push(started.elapsed());
    }
    times.remove(0);
    line("10,000 of them", "exact (the reference: 17 ms)", times, 1.0);
}

/// A condition that a tenth of the rows meet.
async fn filtered(name: &str, backend: &Embedded, collection: &Collection, data: &Data) {
    let tenth = Condition::one_of("tenth", &[Scalar::Number(3.0)]).unwrap();
    let mut times = Vec::new();
    for query in &data.queries {
        let query = Query { condition: Some(tenth.clone()), ..of(query, Wanted::default()) };
        let started = Instant::now();
        assert_eq!(backend.search(collection, query).await.unwrap().len(), TOP);
        times.push(started.elapsed());
    }
    line(name, "a condition that a tenth meets (exact)", times, 1.0);
}

async fn run(
    name: &str,
    mode: &str,
    backend: &Embedded,
    collection: &Collection,
    data: &Data,
    truth: &[Vec<String>],
    wanted: Option<Wanted>,
) {
    ask(backend, collection, &data.queries[0], wanted).await;
    let (mut times, mut right) = (Vec::new(), 0);
    for (query, truth) in data.queries.iter().zip(truth) {
        let started = Instant::now();
        let found = ask(backend, collection, query, wanted).await;
        times.push(started.elapsed());
        right += found.iter().filter(|id| truth.contains(id)).count();
    }
    line(name, mode, times, right as f64 / (TOP * data.queries.len()) as f64);
}

async fn ask(
    backend: &Embedded,
    collection: &Collection,
    query: &[f32],
    wanted: Option<Wanted>,
) -> Vec<String> {
    let query = of(query, wanted.unwrap_or_default());
    let found = backend.search(collection, query).await.unwrap();
    found.into_iter().map(|found| found.id).collect()
}

fn of(query: &[f32], wanted: Wanted) -> Query {
    Query { vector: query.to_vec(), top_k: TOP, visibility: Visibility::all(), condition: None, wanted }
}

async fn open(folder: &std::path::Path, settings: EmbeddedSettings) -> Embedded {
    // The store's thread may still be closing the file of the one before.
    for _ in 0..200 {
        let options = OpenOptions::new(folder.join("vectors.db"), "store.dir", MIGRATIONS);
        if let Ok(store) = Store::open(options) {
            return Embedded::open(store, folder.join("graphs"), settings).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the store of the run before stays open");
}

async fn filled(backend: &Embedded, rows: &[Vec<f32>]) -> Collection {
    let collection = Collection { id: CollectionId(7), dimension: DIMENSION, metric: Metric::Cosine };
    backend.create(&collection).await.unwrap();
    for (part, vectors) in rows.chunks(1000).enumerate() {
        let rows = vectors.iter().enumerate().map(|(place, vector)| row(part * 1000 + place, vector));
        backend.put(&collection, rows.collect()).await.unwrap();
    }
    collection
}

fn row(number: usize, vector: &[f32]) -> Row {
    let metadata = json!({"tenth": number % 10, "page": number});
    Row {
        id: id(number),
        generation: 0,
        vector: vector.to_vec(),
        text: format!("a chunk of some three hundred bytes, number {number}: {}", "text ".repeat(50)),
        metadata: Bytes::from(metadata.to_string()),
        features: Features::of(metadata.as_object().unwrap(), "").unwrap(),
        datasource: String::new(),
        chunk: 0,
    }
}

fn id(number: usize) -> String {
    format!("r{number}")
}

fn line(name: &str, mode: &str, mut times: Vec<Duration>, recall: f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("| {name} | {mode} | {:.2} ms | {:.2} ms | {recall:.3} |", at(0.5), at(0.99));
}
