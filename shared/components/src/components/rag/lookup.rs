//! DataSourceLookup: what is most like a query.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use super::indexer::TEXT_KEY;
use super::{MAX_NAMESPACE, READ, VAULT, invalid, namespace};
use crate::context::vectors::{Citation, Hit, Wanted};
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error};
use crate::{settings, wait};

/// How many chunks are given where the setting says nothing, and how many at most.
const TOP_K: usize = 50;
const MAX_TOP_K: f64 = 100.0;
/// The score below which a chunk has nothing to do with a query.
const THRESHOLD: f64 = 0.001;

static SPEC: ComponentSpec =
    ComponentSpec::new("DataSourceLookup", "Finds the chunks of remembered texts that are most like a query")
        // It embeds the query, which may cost something.
        .effect(Effect::Effect)
        .settings(&[
            SettingSpec::text("namespace", "Namespace", MAX_NAMESPACE)
                .required()
                .template()
                .describe("the namespace of the team"),
            SettingSpec::integer("topK", "Results Count", 0.0, MAX_TOP_K)
                .nullable()
                .default("50")
                .describe("at most so many chunks; 0 is the default"),
            SettingSpec::number("scoreThreshold", "Score Threshold", -1.0, 1_000_000.0)
                .nullable()
                .default("0.001")
                .describe("only chunks with this score or more"),
            SettingSpec::boolean("includeMetadata", "Include Metadata")
                .default("false")
                .describe("chunks are objects with `metadata`"),
            SettingSpec::boolean("includeScore", "Include Score")
                .default("false")
                .describe("chunks are objects with `score`"),
            SettingSpec::boolean("includeCitations", "Include Citations").default("false").describe(
                "chunks are objects with `citation`: id and source of the text, page, characters before and to its end",
            ),
        ])
        .inputs(&[PortSpec::new("Query", "Any", "what to look for; what is no text is its JSON")])
        .outputs(&[PortSpec::new("Results", "Array", "texts, or objects with `content`, the most alike first")])
        .scopes(&[READ, VAULT]);

/// The type.
pub struct DataSourceLookup;

impl Component for DataSourceLookup {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(look(call).await) }.boxed()
    }
}

/// What the chunks are told with.
#[derive(Clone, Copy)]
struct Shape {
    metadata: bool,
    score: bool,
    citation: bool,
}

async fn look(call: Call<'_>) -> Result<Outcome, ContextError> {
    let namespace = namespace(call, "namespace").await?;
    let text = match call.get("Query") {
        None | Some(Value::Null) => return Err(invalid("the input Query is missing: say what to look for")),
        Some(query) => query.to_text(),
    };
    if settings::flag(call, "postprocess") {
        call.context.log(tracing::Level::WARN, "postprocess does nothing: connect the results to a GenAILLM");
    }
    let shape = Shape {
        metadata: settings::flag(call, "includeMetadata"),
        score: settings::flag(call, "includeScore"),
        citation: settings::flag(call, "includeCitations"),
    };
    let top_k = settings::number(call, "topK").map(|number| number as usize).filter(|count| *count > 0);
    let wanted = Wanted {
        text,
        top_k: top_k.unwrap_or(TOP_K),
        min_score: Some(settings::number(call, "scoreThreshold").unwrap_or(THRESHOLD) as f32),
        metadata: shape.metadata,
        citations: shape.citation,
    };
    let hits = wait::for_run(call, call.context.vectors().search(&namespace, wanted)).await?;
    Ok(one("Results", Value::array(hits.into_iter().map(|hit| told(hit, shape)).collect())))
}

fn told(hit: Hit, shape: Shape) -> Value {
    if !shape.metadata && !shape.score && !shape.citation {
        return Value::from(hit.text);
    }
    let mut item: Map = [("content".into(), Value::from(hit.text))].into();
    if shape.metadata {
        let metadata = hit.metadata.get(TEXT_KEY).cloned().unwrap_or(hit.metadata);
        item.insert("metadata".into(), metadata);
    }
    if shape.score {
        item.insert("score".into(), Value::from(f64::from(hit.score)));
    }
    if shape.citation {
        item.insert("citation".into(), citation(&hit.datasource, hit.citation.unwrap_or_default()));
    }
    Value::object(item)
}

fn citation(datasource: &str, place: Citation) -> Value {
    let page = if place.page > 0 { Value::from(i64::from(place.page)) } else { Value::Null };
    let members: Map = [
        ("id".into(), Value::from(datasource)),
        ("source".into(), Value::from(place.source)),
        ("page".into(), page),
        ("start".into(), Value::from(place.start)),
        ("end".into(), Value::from(place.end)),
    ]
    .into();
    Value::object(members)
}
