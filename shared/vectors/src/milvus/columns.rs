//! Rows as Milvus' columns. Names and types of the first nine are the reference's.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::pb;
use crate::features::Tag;
use crate::model::{Collection, Found, Row, RowKey, Wanted};
use pb::field_data::Field;
use pb::scalar_field::Data;

/// The key.
pub const KEY: &str = "id";
/// The vector.
pub const VECTOR: &str = "vector";
const TEXT: &str = "text";
const METADATA: &str = "user_metadata";
const NAMESPACE: &str = "namespaceId";
const DATASOURCE: &str = "datasourceId";
const LABEL: &str = "datasourceLabel";
const ACL: &str = "acl";
const SMYTH: &str = "smyth_metadata";
/// The row's own id: the key is of one generation.
const ROW: &str = "row_id";
pub const GENERATION: &str = "generation";
const CHUNK: &str = "chunk";
pub const TAGS: &str = "tags";
pub const NUMBERS: &str = "numbers";

/// The longest of short and long texts, in bytes.
const SHORT: &str = "2048";
const LONG: &str = "65535";
/// The most tags of a row.
const MOST_TAGS: &str = "1100";

/// A collection's fields.
pub fn schema(collection: &Collection) -> pb::CollectionSchema {
    use pb::DataType::{Array, FloatVector, Int32, Int64, Json, VarChar};
    let pair = |key: &str, value: &str| pb::KeyValuePair { key: key.into(), value: value.into() };
    let field = |name: &str, data_type: pb::DataType, type_params: Vec<pb::KeyValuePair>| pb::FieldSchema {
        name: name.to_owned(),
        is_primary_key: name == KEY,
        data_type: data_type.into(),
        type_params,
        ..pb::FieldSchema::default()
    };
    let text = |name: &str, length: &str| field(name, VarChar, vec![pair("max_length", length)]);
    let mut tags = field(TAGS, Array, vec![pair("max_capacity", MOST_TAGS), pair("max_length", "32")]);
    tags.element_type = VarChar.into();
    let fields = vec![
        text(KEY, SHORT),
        text(TEXT, LONG),
        text(METADATA, LONG),
        text(NAMESPACE, SHORT),
        text(DATASOURCE, SHORT),
        text(LABEL, SHORT),
        text(ACL, SHORT),
        field(VECTOR, FloatVector, vec![pair("dim", &collection.dimension.to_string())]),
        text(SMYTH, LONG),
        text(ROW, SHORT),
        field(GENERATION, Int64, Vec::new()),
        field(CHUNK, Int32, Vec::new()),
        tags,
        field(NUMBERS, Json, Vec::new()),
    ];
    pb::CollectionSchema { name: collection.id.name(), description: "vectors of sre".to_owned(), fields }
}

/// A key as Milvus keeps it: 32 hex digits.
pub fn key(key: &RowKey) -> String {
    format!("{:032x}", key.digest)
}

/// The columns of rows.
pub fn of_rows(collection: &Collection, rows: &BTreeMap<RowKey, Row>) -> Vec<pb::FieldData> {
    use pb::DataType::{Array, FloatVector, Int32, Int64, Json, VarChar};
    let texts = |name: &str, of: &dyn Fn(&RowKey, &Row) -> String| {
        let data = rows.iter().map(|(key, row)| of(key, row)).collect();
        scalars(name, VarChar, Data::StringData(pb::StringArray { data }))
    };
    let namespace = collection.id.name();
    let tags = rows.values().map(|row| pb::ScalarField {
        data: Some(Data::StringData(pb::StringArray {
            data: row.features.tags.iter().map(Tag::hex).collect(),
        })),
    });
    let tags = pb::ArrayArray { data: tags.collect(), element_type: VarChar.into() };
    let numbers = rows.values().map(|row| {
        let numbers: serde_json::Map<String, serde_json::Value> =
            row.features.numbers.iter().map(|(key, number)| (key.name(), (*number).into())).collect();
        serde_json::Value::Object(numbers).to_string().into_bytes()
    });
    let vectors = pb::VectorField {
        dim: i64::try_from(collection.dimension).unwrap_or_default(),
        data: Some(pb::vector_field::Data::FloatVector(pb::FloatArray {
            data: rows.values().flat_map(|row| row.vector.iter().copied()).collect(),
        })),
    };
    let vectors = pb::FieldData {
        r#type: FloatVector.into(),
        field_name: VECTOR.to_owned(),
        field: Some(Field::Vectors(vectors)),
    };
    vec![
        texts(KEY, &|row, _| key(row)),
        texts(TEXT, &|_, row| row.text.clone()),
        texts(METADATA, &|_, row| String::from_utf8_lossy(&row.metadata).into_owned()),
        texts(NAMESPACE, &|_, _| namespace.clone()),
        texts(DATASOURCE, &|_, row| row.datasource.clone()),
        texts(LABEL, &|_, _| String::new()),
        texts(ACL, &|_, _| String::new()),
        vectors,
        texts(SMYTH, &|_, row| smyth_metadata(row)),
        texts(ROW, &|_, row| row.id.clone()),
        scalars(
            GENERATION,
            Int64,
            Data::LongData(pb::LongArray { data: rows.values().map(|row| row.generation).collect() }),
        ),
        scalars(
            CHUNK,
            Int32,
            Data::IntData(pb::IntArray { data: rows.values().map(|row| row.chunk).collect() }),
        ),
        scalars(TAGS, Array, Data::ArrayData(tags)),
        scalars(NUMBERS, Json, Data::JsonData(pb::JsonArray { data: numbers.collect() })),
    ]
}

/// As far as a backend knows it: labels are the registry's.
fn smyth_metadata(row: &Row) -> String {
    serde_json::json!({"datasource": {"id": row.datasource, "chunkIndex": row.chunk}}).to_string()
}

fn scalars(name: &str, data_type: pb::DataType, data: Data) -> pb::FieldData {
    pb::FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field: Some(Field::Scalars(pb::ScalarField { data: Some(data) })),
    }
}

/// The fields that a search gives.
pub fn wanted(wanted: Wanted) -> Vec<String> {
    let mut fields = vec![ROW, GENERATION, DATASOURCE, CHUNK];
    fields.extend(wanted.text.then_some(TEXT));
    fields.extend(wanted.metadata.then_some(METADATA));
    fields.extend(wanted.vector.then_some(VECTOR));
    fields.into_iter().map(str::to_owned).collect()
}

/// What was found, in the order of the columns, without scores.
pub fn found(columns: &[pb::FieldData], count: usize) -> Vec<Found> {
    let (ids, datasources) = (texts(columns, ROW), texts(columns, DATASOURCE));
    let (bodies, metadata) = (texts(columns, TEXT), texts(columns, METADATA));
    let generations = match data(columns, GENERATION) {
        Some(Data::LongData(array)) => array.data.clone(),
        _ => Vec::new(),
    };
    let chunks = match data(columns, CHUNK) {
        Some(Data::IntData(array)) => array.data.clone(),
        _ => Vec::new(),
    };
    let vectors = vectors(columns);
    let text = |all: &[String], place: usize| all.get(place).cloned().unwrap_or_default();
    (0..count)
        .map(|place| Found {
            id: text(&ids, place),
            datasource: text(&datasources, place),
            text: text(&bodies, place),
            metadata: Bytes::from(text(&metadata, place)),
            generation: generations.get(place).copied().unwrap_or_default(),
            chunk: chunks.get(place).copied().unwrap_or_default(),
            vector: vectors.get(place).cloned().unwrap_or_default(),
            score: 0.0,
        })
        .collect()
}

/// The texts of a column.
pub fn texts(columns: &[pb::FieldData], name: &str) -> Vec<String> {
    match data(columns, name) {
        Some(Data::StringData(array)) => array.data.clone(),
        _ => Vec::new(),
    }
}

fn column<'c>(columns: &'c [pb::FieldData], name: &str) -> Option<&'c Field> {
    columns.iter().find(|column| column.field_name == name)?.field.as_ref()
}

fn data<'c>(columns: &'c [pb::FieldData], name: &str) -> Option<&'c Data> {
    match column(columns, name)? {
        Field::Scalars(scalars) => scalars.data.as_ref(),
        Field::Vectors(_) => None,
    }
}

fn vectors(columns: &[pb::FieldData]) -> Vec<Vec<f32>> {
    let Some(Field::Vectors(vectors)) = column(columns, VECTOR) else { return Vec::new() };
    let Some(pb::vector_field::Data::FloatVector(array)) = &vectors.data else { return Vec::new() };
    let dimension = usize::try_from(vectors.dim).unwrap_or_default().max(1);
    array.data.chunks(dimension).map(<[f32]>::to_vec).collect()
}
