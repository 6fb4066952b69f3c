//! What Pinecone sends and takes.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::features::Tag;
use crate::filter::Condition;
use crate::model::{Query, Row};

/// The answer to `describe_index_stats`.
#[derive(Deserialize)]
pub struct Stats {
    pub dimension: Option<usize>,
    pub metric: Option<String>,
}

/// The answer to `vectors/upsert`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upserted {
    #[serde(default)]
    pub upserted_count: usize,
}

/// The answer to `vectors/list`.
#[derive(Deserialize, Default)]
pub struct Listed {
    #[serde(default)]
    pub vectors: Vec<ListedVector>,
}

/// One of it.
#[derive(Deserialize)]
pub struct ListedVector {
    pub id: String,
}

/// The answer to `query`.
#[derive(Deserialize)]
pub struct Matches {
    #[serde(default)]
    pub matches: Vec<Match>,
}

/// One of it.
#[derive(Deserialize)]
pub struct Match {
    #[serde(default)]
    pub score: f32,
    #[serde(default)]
    pub values: Vec<f32>,
    #[serde(default)]
    pub metadata: Kept,
}

/// What is kept beside a vector. Pinecone knows one kind of number.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Kept {
    pub id: String,
    pub generation: f64,
    pub datasource: String,
    pub chunk: f64,
    pub text: String,
    pub metadata: String,
}

/// A row as Pinecone takes it.
pub fn record(id: String, row: &Row) -> Value {
    let mut kept = Map::new();
    kept.insert("id".to_owned(), row.id.clone().into());
    kept.insert("generation".to_owned(), row.generation.into());
    kept.insert("datasource".to_owned(), row.datasource.clone().into());
    kept.insert("chunk".to_owned(), row.chunk.into());
    kept.insert("text".to_owned(), row.text.clone().into());
    kept.insert("metadata".to_owned(), String::from_utf8_lossy(&row.metadata).into_owned().into());
    kept.insert("tags".to_owned(), row.features.tags.iter().map(Tag::hex).collect::<Vec<_>>().into());
    for (key, number) in &row.features.numbers {
        kept.insert(key.name(), (*number).into());
    }
    json!({"id": id, "values": row.vector, "metadata": kept})
}

/// The filter of a search.
pub fn filter(query: &Query) -> Value {
    let mut all = vec![json!({"generation": {"$lt": query.visibility.below}})];
    if !query.visibility.except.is_empty() {
        all.push(json!({"generation": {"$nin": query.visibility.except}}));
    }
    all.extend(query.condition.as_ref().map(expression));
    json!({"$and": all})
}

fn expression(condition: &Condition) -> Value {
    match condition {
        Condition::All(inner) if inner.is_empty() => json!({"generation": {"$gte": 0}}),
        Condition::All(inner) => json!({"$and": inner.iter().map(expression).collect::<Vec<_>>()}),
        Condition::Any(inner) if inner.is_empty() => json!({"generation": {"$lt": 0}}),
        Condition::Any(inner) => json!({"$or": inner.iter().map(expression).collect::<Vec<_>>()}),
        Condition::Tagged(tags) => json!({"tags": {"$in": tags.iter().map(Tag::hex).collect::<Vec<_>>()}}),
        Condition::Number(key, bounds) => {
            let bounds = [("$gt", bounds.gt), ("$gte", bounds.gte), ("$lt", bounds.lt), ("$lte", bounds.lte)];
            let bounds: Map<String, Value> = bounds
                .into_iter()
                .filter_map(|(operator, bound)| Some((operator.to_owned(), bound?.into())))
                .collect();
            json!({key.name(): bounds})
        }
    }
}
