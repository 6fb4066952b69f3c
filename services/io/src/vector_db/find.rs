//! Searching: the backend, within what counted when the search began.

use std::collections::HashMap;

use sre_vectors::{Condition, Found, Metric, Query, Tag, Wanted};

use super::registry::NamespaceRow;
use super::write::invalid;
use super::{SEARCH_TIME, Vectors};
use crate::error::IoError;

/// A search.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What the rows shall be like.
    pub vector: Vec<f32>,
    /// At most so many.
    pub top_k: usize,
    /// What must hold for their metadata.
    pub condition: Option<Condition>,
    /// Only of these datasources; of all where empty.
    pub datasources: Vec<String>,
    /// Only with this score or more.
    pub min_score: Option<f32>,
    /// What to give of them.
    pub wanted: Wanted,
}

impl Vectors {
    /// The rows that are most alike, and the labels of their datasources.
    pub async fn find(
        &self,
        namespace: &NamespaceRow,
        asked: Asked,
    ) -> Result<(Vec<Found>, HashMap<String, String>), IoError> {
        check_vector("query", &asked.vector, namespace)?;
        let mut condition = asked.condition;
        if !asked.datasources.is_empty() {
            let of = Condition::Tagged(asked.datasources.iter().map(|id| Tag::datasource(id)).collect());
            condition = Some(match condition {
                Some(condition) => Condition::All(vec![of, condition]),
                None => of,
            });
        }
        let query = Query {
            vector: asked.vector,
            top_k: asked.top_k,
            visibility: self.registry.visibility(namespace.id).await?,
            condition,
            wanted: asked.wanted,
        };
        let store = self.store_of(namespace)?;
        let collection = namespace.collection();
        let searching = store.backend().search(&collection, query);
        let mut found = tokio::time::timeout(SEARCH_TIME, searching).await.map_err(|_| {
            let waited = SEARCH_TIME.as_secs();
            sre_vectors::BackendError::Unavailable(format!("the backend did not answer within {waited} s"))
        })??;
        if let Some(least) = asked.min_score {
            found.retain(|found| found.score >= least);
        }
        let mut datasources: Vec<String> = found.iter().map(|found| found.datasource.clone()).collect();
        datasources.sort_unstable();
        datasources.dedup();
        datasources.retain(|id| !id.is_empty());
        let labels = match datasources.is_empty() {
            true => HashMap::new(),
            false => self.registry.labels(namespace.id, datasources).await?,
        };
        Ok((found, labels))
    }
}

/// Refuses vectors that cannot be compared with those of a namespace.
pub fn check_vector(field: &'static str, vector: &[f32], namespace: &NamespaceRow) -> Result<(), IoError> {
    if vector.len() != namespace.dimension {
        let words =
            format!("has {} values: the namespace has {} dimensions", vector.len(), namespace.dimension);
        return Err(invalid(field, words));
    }
    if vector.iter().any(|value| !value.is_finite()) {
        return Err(invalid(field, "has a value that is not finite"));
    }
    if namespace.metric == Metric::Cosine && vector.iter().all(|value| *value == 0.0) {
        return Err(invalid(field, "has length 0 and so no direction, which the metric cosine compares"));
    }
    Ok(())
}
