//! Texts found by likeness, in memory: a text is as like a query as it has words of it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use sre_components::vectors::{Citation, Hit, NewDatasource, Vectors, Wanted};
use sre_components::{ContextError, Failure};
use sre_engine::Value;

use super::context::TestContext;

/// A namespace.
#[derive(Debug, Default)]
pub struct Namespace {
    pub model: String,
    pub texts: BTreeMap<String, NewDatasource>,
}

fn missing(namespace: &str) -> ContextError {
    ContextError::new(Failure::NotFound, format!("Namespace {namespace} does not exist"))
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

#[async_trait]
impl Vectors for TestContext {
    async fn open(&self, namespace: &str, model: &str) -> Result<(), ContextError> {
        self.answer().await;
        let mut all = self.agent.suite.vectors.lock();
        all.entry(namespace.to_owned())
            .or_insert_with(|| Namespace { model: model.to_owned(), texts: BTreeMap::new() });
        Ok(())
    }

    async fn index(&self, namespace: &str, new: NewDatasource) -> Result<(), ContextError> {
        let mut all = self.agent.suite.vectors.lock();
        let found = all.get_mut(namespace).ok_or_else(|| missing(namespace))?;
        found.texts.insert(new.id.clone(), new);
        Ok(())
    }

    async fn search(&self, namespace: &str, wanted: Wanted) -> Result<Vec<Hit>, ContextError> {
        self.answer().await;
        let all = self.agent.suite.vectors.lock();
        let found = all.get(namespace).ok_or_else(|| missing(namespace))?;
        let query = words(&wanted.text);
        let mut hits: Vec<Hit> = found.texts.values().map(|new| hit(new, &query, &wanted)).collect();
        hits.retain(|hit| wanted.min_score.is_none_or(|least| hit.score >= least));
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(wanted.top_k);
        Ok(hits)
    }

    async fn forget(&self, namespace: &str, id: &str) -> Result<bool, ContextError> {
        self.answer().await;
        let mut all = self.agent.suite.vectors.lock();
        let found = all.get_mut(namespace).ok_or_else(|| missing(namespace))?;
        Ok(found.texts.remove(id).is_some())
    }
}

fn hit(new: &NewDatasource, query: &BTreeSet<String>, wanted: &Wanted) -> Hit {
    let shared = words(&new.text).intersection(query).count();
    let metadata = serde_json::from_str::<serde_json::Value>(&new.metadata_json).ok();
    let place = Citation {
        source: new.source.clone(),
        page: new.pages.first().map_or(0, |(_, page)| i32::try_from(*page).unwrap()),
        start: 0,
        end: i64::try_from(new.text.chars().count()).unwrap(),
    };
    Hit {
        text: new.text.clone(),
        score: shared as f32 / query.len() as f32,
        metadata: metadata.map(Value::from).filter(|_| wanted.metadata).unwrap_or_default(),
        datasource: new.id.clone(),
        citation: wanted.citations.then_some(place),
    }
}
