//! Contract messages to and from the domain.

use sre_proto::io::v1 as pb;
use sre_vectors::{Bounds, Condition, ConditionError, Found, MAX_DIMENSION, Metric, Scalar};

use super::name::NamespaceName;
use super::registry::{DatasourceRow, Embedding, NamespaceRow};
use super::write::invalid;
use crate::clock::timestamp;
use crate::error::IoError;

/// How deep filters are followed before they are refused.
const MAX_DEPTH: usize = 20;

/// A filter of a request.
pub fn condition(filter: &pb::Filter) -> Result<Condition, IoError> {
    let condition = read(filter, 0)?;
    condition.check().map_err(wrong)?;
    Ok(condition)
}

fn read(filter: &pb::Filter, depth: usize) -> Result<Condition, IoError> {
    use pb::filter::Condition as Message;
    if depth > MAX_DEPTH {
        return Err(wrong(ConditionError::TooLarge));
    }
    let all = |filters: &pb::Filters| {
        if filters.filters.is_empty() {
            return Err(wrong(ConditionError::Empty));
        }
        filters.filters.iter().map(|filter| read(filter, depth + 1)).collect::<Result<Vec<_>, _>>()
    };
    match filter.condition.as_ref() {
        None => Err(wrong(ConditionError::Empty)),
        Some(Message::AllOf(filters)) => Ok(Condition::All(all(filters)?)),
        Some(Message::AnyOf(filters)) => Ok(Condition::Any(all(filters)?)),
        Some(Message::Equals(equals)) => {
            let value = scalar(equals.value.as_ref())?;
            Condition::one_of(&equals.key, &[value]).map_err(wrong)
        }
        Some(Message::In(list)) => {
            if list.values.len() > 256 {
                return Err(wrong(ConditionError::TooLarge));
            }
            let values: Vec<Scalar> =
                list.values.iter().map(|value| scalar(Some(value))).collect::<Result<_, _>>()?;
            Condition::one_of(&list.key, &values).map_err(wrong)
        }
        Some(Message::Range(range)) => {
            let bounds = Bounds { gt: range.gt, gte: range.gte, lt: range.lt, lte: range.lte };
            Condition::range(&range.key, bounds).map_err(wrong)
        }
        Some(Message::Exists(exists)) => Condition::exists(&exists.key).map_err(wrong),
    }
}

fn scalar(value: Option<&pb::filter::Value>) -> Result<Scalar, IoError> {
    use pb::filter::value::Kind;
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::Text(text)) => Ok(Scalar::Text(text.clone())),
        Some(Kind::Number(number)) => Ok(Scalar::Number(*number)),
        Some(Kind::Boolean(value)) => Ok(Scalar::Boolean(*value)),
        None => Err(wrong(ConditionError::Empty)),
    }
}

fn wrong(error: ConditionError) -> IoError {
    invalid("filter", error.to_string())
}

/// A metric.
pub fn metric(metric: pb::Metric) -> Metric {
    match metric {
        pb::Metric::Unspecified | pb::Metric::Cosine => Metric::Cosine,
        pb::Metric::Dot => Metric::Dot,
        pb::Metric::Euclidean => Metric::Euclidean,
    }
}

/// A dimension that was asked for; none where it was not.
pub fn dimension(asked: i32) -> Result<Option<usize>, IoError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(None),
        Ok(dimension) if dimension <= MAX_DIMENSION => Ok(Some(dimension)),
        _ => Err(invalid("namespace.dimension", format!("must be between 1 and {MAX_DIMENSION}"))),
    }
}

/// How texts are embedded.
pub fn embedding(asked: &pb::Embedding) -> Result<Embedding, IoError> {
    if asked.model.is_empty() {
        return Err(invalid("namespace.embedding.model", "is empty: name a model of the catalogue"));
    }
    if asked.batch_size < 0 {
        return Err(invalid("namespace.embedding.batch_size", "must not be negative"));
    }
    Ok(Embedding {
        model: asked.model.clone(),
        batch_size: asked.batch_size,
        strip_new_lines: asked.strip_new_lines.unwrap_or(true),
    })
}

/// A namespace.
pub fn namespace(row: NamespaceRow) -> pb::VectorNamespace {
    let metric = match row.metric {
        Metric::Cosine => pb::Metric::Cosine,
        Metric::Dot => pb::Metric::Dot,
        Metric::Euclidean => pb::Metric::Euclidean,
    };
    pb::VectorNamespace {
        name: row.name,
        dimension: i32::try_from(row.dimension).unwrap_or(i32::MAX),
        metric: metric.into(),
        embedding: row.embedding.map(|embedding| pb::Embedding {
            model: embedding.model,
            batch_size: embedding.batch_size,
            strip_new_lines: Some(embedding.strip_new_lines),
        }),
        instance: row.instance,
        description: row.description,
        create_time: Some(timestamp(row.created_ms)),
        row_count: row.rows,
        size_bytes: row.bytes,
    }
}

/// A datasource.
pub fn datasource(parent: &NamespaceName, row: DatasourceRow) -> pb::Datasource {
    pb::Datasource {
        name: format!("{parent}/datasources/{}", row.id),
        label: row.label,
        metadata_json: row.metadata.into(),
        chunk_size: row.chunk_size,
        chunk_overlap: Some(row.chunk_overlap),
        chunk_count: row.chunks,
        text_bytes: row.text_bytes,
        etag: row.etag,
        create_time: Some(timestamp(row.created_ms)),
        update_time: Some(timestamp(row.updated_ms)),
        creator: row.creator,
    }
}

/// A row that was found.
pub fn hit(found: Found, label: Option<&String>) -> pb::SearchHit {
    pb::SearchHit {
        id: found.id,
        score: found.score,
        text: found.text,
        metadata_json: found.metadata,
        vector: (!found.vector.is_empty()).then_some(pb::Vector { values: found.vector }),
        datasource: found.datasource,
        datasource_label: label.cloned().unwrap_or_default(),
        chunk_index: found.chunk,
        citation: None,
    }
}
