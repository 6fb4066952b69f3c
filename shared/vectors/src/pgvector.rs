//! PostgreSQL with the extension pgvector: a table for each collection, in a schema of its own.
//!
//! A table has an index of the kind HNSW over its vectors and one over its tags. Where the first gives fewer rows
//! than asked for, because conditions took them away, the table is scanned. What callers wrote goes in parameters
//! alone; names of tables are made of our own digits.

use async_trait::async_trait;
use bytes::Bytes;
use pgvector::Vector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sre_store::pg::tokio_postgres::types::ToSql;
use sre_store::pg::tokio_postgres::{self, Row as PgRow, Statement};
use sre_store::pg::{Pg, PgClient, PgConfig};
use sre_store::{ErrorKind, Migration, StoreError};
use uuid::Uuid;

use crate::backend::{Backend, BackendError};
use crate::features::Tag;
use crate::filter::{Bounds, Condition};
use crate::metric::{self, Metric};
use crate::model::{Collection, Found, Generation, Query, Row, RowKey, best};

/// Longest vectors that pgvector indexes as they are; longer ones are indexed with half the precision.
const INDEXED_DIMENSION: usize = 2000;
/// How widely the index looks.
const EF_SEARCH: u32 = 128;

static MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "vectors",
    // In the schema of all, which the search path below reaches whoever made the extension.
    expand: "create extension if not exists vector with schema public",
    contract: None,
}];

/// Settings of the connector `pgvector`: those of a database.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PgvectorSettings(pub PgConfig);

/// Rows in tables of a database.
pub struct Pgvector {
    pg: Pg,
    schema: String,
}

type Parameter = Box<dyn ToSql + Sync + Send>;

impl Pgvector {
    /// Connects, and makes schema and extension where they are missing.
    pub async fn open(settings: &PgvectorSettings) -> Result<Self, BackendError> {
        let mut config = settings.0.clone();
        let schema = config.schema.get_or_insert_with(|| "sre_vectors".to_owned()).clone();
        let pg = Pg::connect(&config, MIGRATIONS).await?;
        Ok(Self { pg, schema })
    }

    fn table(&self, collection: &Collection) -> String {
        format!("{}.{}", self.schema, collection.id.name())
    }
}

#[async_trait]
impl Backend for Pgvector {
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        let (table, name) = (self.table(collection), collection.id.name());
        let (dimension, operators) = (collection.dimension, operators(collection));
        let embedding = indexed(collection);
        let sql = format!(
            "create table if not exists {table} (
                 key uuid primary key,
                 generation bigint not null,
                 id text not null,
                 datasource text not null,
                 chunk integer not null,
                 embedding public.vector({dimension}) not null,
                 tags text[] not null,
                 numbers jsonb not null,
                 metadata bytea not null,
                 text text not null
             );
             create index if not exists {name}_generation on {table} (generation);
             create index if not exists {name}_tags on {table} using gin (tags);
             create index if not exists {name}_embedding on {table} using hnsw ({embedding} {operators})"
        );
        let loan = self.pg.lend().await?;
        let outcome = loan.run(async { batch(loan.client()?, &sql).await }).await;
        loan.finish(outcome).await
    }

    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        let sql = format!("drop table if exists {}", self.table(collection));
        let loan = self.pg.lend().await?;
        let outcome = loan.run(async { batch(loan.client()?, &sql).await }).await;
        loan.finish(outcome).await
    }

    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        let sql = format!(
            "insert into {} (key, generation, id, datasource, chunk, embedding, tags, numbers, metadata, text)
             values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10)
             on conflict (key) do update set id = excluded.id, datasource = excluded.datasource,
               chunk = excluded.chunk, embedding = excluded.embedding, tags = excluded.tags,
               numbers = excluded.numbers, metadata = excluded.metadata, text = excluded.text",
            self.table(collection)
        );
        // In one order, so that writers of the same rows do not wait for each other in a circle; of two with one
        // key the later.
        let rows: std::collections::BTreeMap<RowKey, Row> =
            rows.into_iter().map(|row| (row.key(), row)).collect();
        let loan = self.pg.lend().await?;
        let outcome = loan.run(put_all(loan.client()?, &sql, &rows)).await;
        loan.finish(outcome).await
    }

    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        let mut keys: Vec<Uuid> = keys.iter().map(RowKey::uuid).collect();
        keys.sort_unstable();
        let sql = format!("delete from {} where key = any ($1)", self.table(collection));
        let loan = self.pg.lend().await?;
        let outcome = loan.run(async { execute(loan.client()?, &sql, &[&keys]).await }).await;
        loan.finish(outcome).await.map(drop)
    }

    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        let table = self.table(collection);
        let sql = format!(
            "delete from {table} where key in (select key from {table} where generation = $1 limit 1000)"
        );
        loop {
            let loan = self.pg.lend().await?;
            let outcome = loan.run(async { execute(loan.client()?, &sql, &[&generation]).await }).await;
            if loan.finish(outcome).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        let loan = self.pg.lend().await?;
        let outcome = loan.run(find(loan.client()?, self.table(collection), collection, &query)).await;
        let rows = loan.finish(outcome).await?;
        let found: Result<Vec<Found>, tokio_postgres::Error> =
            rows.iter().map(|row| found(row, collection.metric)).collect();
        Ok(best(found.map_err(sql)?, query.top_k))
    }

    async fn check(&self) -> Result<(), BackendError> {
        let loan = self.pg.lend().await?;
        let outcome = loan.run(async { batch(loan.client()?, "select 1").await }).await;
        loan.finish(outcome).await
    }

    async fn close(&self) {
        self.pg.close();
    }
}

/// The index first. Where it gives too few, the whole table: an index gives no more than it looked at.
async fn find(
    client: &PgClient,
    table: String,
    collection: &Collection,
    query: &Query,
) -> Result<Vec<PgRow>, BackendError> {
    let (text, parameters) = selection(&table, collection, query);
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value.as_ref() as _).collect();
    let statement = prepare(client, &text).await?;
    let settings = format!(
        "begin read only; set local hnsw.ef_search = {EF_SEARCH}; set local hnsw.iterative_scan = strict_order"
    );
    batch(client, &settings).await?;
    let mut rows = client.query(&statement, &parameters).await.map_err(sql)?;
    if rows.len() < query.top_k {
        batch(client, "set local enable_indexscan = off").await?;
        // A plan that was kept for the statement would use the index all the same.
        let again = prepare_anew(client, &text).await?;
        rows = client.query(&again, &parameters).await.map_err(sql)?;
    }
    batch(client, "commit").await?;
    Ok(rows)
}

/// The statement of a search and its parameters.
fn selection(table: &str, collection: &Collection, query: &Query) -> (String, Vec<Parameter>) {
    let vector: Parameter = Box::new(Vector::from(query.vector.clone()));
    let mut parameters: Vec<Parameter> = vec![vector, Box::new(query.visibility.below)];
    let mut wheres = vec!["generation < $2".to_owned()];
    if !query.visibility.except.is_empty() {
        parameters.push(Box::new(query.visibility.except.clone()));
        wheres.push("not (generation = any ($3))".to_owned());
    }
    if let Some(condition) = &query.condition {
        wheres.push(expression(condition, &mut parameters));
    }
    let (operator, embedding) = (operator(collection.metric), indexed(collection));
    let vector = if collection.dimension > INDEXED_DIMENSION {
        format!("$1::public.vector::public.halfvec({})", collection.dimension)
    } else {
        "$1::public.vector".to_owned()
    };
    let wanted = |on: bool, column: &'static str, empty: &'static str| if on { column } else { empty };
    let text = format!(
        "select id, generation, datasource, chunk, (embedding OPERATOR(public.{operator}) $1::public.vector)::float8,
                {}, {}, {}
         from {table} where {} order by {embedding} OPERATOR(public.{operator}) {vector} limit {}",
        wanted(query.wanted.text, "text", "''"),
        wanted(query.wanted.metadata, "metadata", "''::bytea"),
        wanted(query.wanted.vector, "embedding", "null::public.vector"),
        wheres.join(" and "),
        query.top_k,
    );
    (text, parameters)
}

fn expression(condition: &Condition, parameters: &mut Vec<Parameter>) -> String {
    let mut joined = |inner: &[Condition], word: &str, none: &str| {
        let all: Vec<String> = inner.iter().map(|condition| expression(condition, parameters)).collect();
        if all.is_empty() { none.to_owned() } else { format!("({})", all.join(word)) }
    };
    match condition {
        Condition::All(inner) => joined(inner, " and ", "true"),
        Condition::Any(inner) => joined(inner, " or ", "false"),
        Condition::Tagged(tags) => {
            parameters.push(Box::new(tags.iter().map(Tag::hex).collect::<Vec<_>>()));
            format!("tags && ${}", parameters.len())
        }
        Condition::Number(key, bounds) => {
            let Bounds { gt, gte, lt, lte } = *bounds;
            parameters.push(Box::new(key.name()));
            let number = format!("(numbers ->> ${})::float8", parameters.len());
            let all: Vec<String> = [(gt, ">"), (gte, ">="), (lt, "<"), (lte, "<=")]
                .into_iter()
                .filter_map(|(bound, operator)| bound.map(|bound| (bound, operator)))
                .map(|(bound, operator)| {
                    parameters.push(Box::new(bound));
                    format!("{number} {operator} ${}", parameters.len())
                })
                .collect();
            // A row without the number gives null, which is not true.
            format!("({})", all.join(" and "))
        }
    }
}

async fn put_all(
    client: &PgClient,
    text: &str,
    rows: &std::collections::BTreeMap<RowKey, Row>,
) -> Result<(), BackendError> {
    let statement = prepare(client, text).await?;
    batch(client, "begin").await?;
    // Sent behind each other without waiting for answers.
    let writing = rows.iter().map(|(key, row)| put_one(client, &statement, *key, row));
    futures::future::try_join_all(writing).await?;
    batch(client, "commit").await
}

async fn put_one(
    client: &PgClient,
    statement: &Statement,
    key: RowKey,
    row: &Row,
) -> Result<(), BackendError> {
    let embedding = Vector::from(row.vector.clone());
    let tags: Vec<String> = row.features.tags.iter().map(Tag::hex).collect();
    let numbers: serde_json::Map<String, serde_json::Value> =
        row.features.numbers.iter().map(|(key, number)| (key.name(), (*number).into())).collect();
    let numbers = serde_json::Value::Object(numbers).to_string();
    // A database holds no NUL in its texts.
    let text = row.text.replace('\0', "\u{fffd}");
    let values: [&(dyn ToSql + Sync); 10] = [
        &key.uuid(),
        &row.generation,
        &row.id,
        &row.datasource,
        &row.chunk,
        &embedding,
        &tags,
        &numbers,
        &row.metadata.as_ref(),
        &text,
    ];
    client.execute(statement, &values).await.map(drop).map_err(sql)
}

fn found(row: &PgRow, metric: Metric) -> Result<Found, tokio_postgres::Error> {
    let distance: f64 = row.try_get(4)?;
    let distance = distance as f32;
    let score = match metric {
        // Of a vector of length 0 there is no angle.
        Metric::Cosine if distance.is_nan() => 0.0,
        Metric::Cosine => 1.0 - distance,
        Metric::Dot => -distance,
        Metric::Euclidean => metric::of_distance(distance),
    };
    Ok(Found {
        id: row.try_get(0)?,
        score,
        generation: row.try_get(1)?,
        datasource: row.try_get(2)?,
        chunk: row.try_get(3)?,
        text: row.try_get(5)?,
        metadata: Bytes::from(row.try_get::<_, Vec<u8>>(6)?),
        vector: row.try_get::<_, Option<Vector>>(7)?.map(Vector::into).unwrap_or_default(),
    })
}

fn operator(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "<=>",
        Metric::Dot => "<#>",
        Metric::Euclidean => "<->",
    }
}

/// What the index is over.
fn indexed(collection: &Collection) -> String {
    if collection.dimension > INDEXED_DIMENSION {
        format!("(embedding::public.halfvec({}))", collection.dimension)
    } else {
        "embedding".to_owned()
    }
}

fn operators(collection: &Collection) -> String {
    let kind = if collection.dimension > INDEXED_DIMENSION { "halfvec" } else { "vector" };
    let metric = match collection.metric {
        Metric::Cosine => "cosine",
        Metric::Dot => "ip",
        Metric::Euclidean => "l2",
    };
    format!("public.{kind}_{metric}_ops")
}

async fn prepare(client: &PgClient, text: &str) -> Result<Statement, BackendError> {
    client.prepare_cached(text).await.map_err(sql)
}

async fn prepare_anew(client: &PgClient, text: &str) -> Result<Statement, BackendError> {
    client.prepare(text).await.map_err(sql)
}

async fn batch(client: &PgClient, text: &str) -> Result<(), BackendError> {
    client.batch_execute(text).await.map_err(sql)
}

async fn execute(client: &PgClient, text: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, BackendError> {
    let statement = prepare(client, text).await?;
    client.execute(&statement, values).await.map_err(sql)
}

fn sql(error: tokio_postgres::Error) -> BackendError {
    let error = StoreError::from(error);
    match error.kind() {
        ErrorKind::Overloaded | ErrorKind::Busy | ErrorKind::Closed | ErrorKind::Unavailable => {
            BackendError::Unavailable(error.to_string())
        }
        _ => BackendError::Failed(error.to_string()),
    }
}

impl std::fmt::Debug for Pgvector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pgvector").field("schema", &self.schema).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sre_store::pg::PgTls;

    use super::*;
    use crate::contract::{self, Bench};

    async fn fresh() -> Option<Bench> {
        let Ok(url) = std::env::var("SRE_TEST_PGVECTOR") else {
            println!("skipped: SRE_TEST_PGVECTOR holds no url");
            assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_PGVECTOR");
            return None;
        };
        // The server takes one connection at a time: cases wait for each other.
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let turn = TURN.lock().await;
        let config = PgConfig {
            url: Some(url.into()),
            tls: PgTls::Disable,
            pool_size: 1,
            acquire_timeout_ms: 60_000,
            statement_timeout_ms: 60_000,
            ..PgConfig::default()
        };
        let backend = Pgvector::open(&PgvectorSettings(config)).await.unwrap();
        Some(Bench::over(backend, turn))
    }

    contract::every_case!(fresh);
}
