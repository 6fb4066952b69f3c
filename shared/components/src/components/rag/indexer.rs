//! DataSourceIndexer: remembers a text so that it is found by likeness.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use super::source::{self, Source};
use super::{MAX_NAMESPACE, READ, VAULT, WRITE, check_id, id, namespace};
use crate::context::vectors::NewDatasource;
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error};
use crate::{settings, wait};

/// The model of namespaces that are made here, unless the setting names another.
const MODEL: &str = "hash-embedding";
/// Under this key lies metadata that is no object.
pub(super) const TEXT_KEY: &str = "_text";

static SPEC: ComponentSpec = ComponentSpec::new(
    "DataSourceIndexer",
    "Remembers a text, a file or a page so that DataSourceLookup finds it; the same id again replaces it",
)
.effect(Effect::Effect)
.settings(&[
    SettingSpec::text("namespace", "Namespace", MAX_NAMESPACE)
        .required()
        .template()
        .describe("the namespace of the team; it is made where there is none"),
    SettingSpec::text_or_empty("id", "Id", 250)
        .template()
        .check(check_id)
        .describe("the text's id in the namespace: letters, digits, `-`, `_` and `.`"),
    SettingSpec::text_or_empty("name", "Name", 50).template().default("Untitled").describe("what people see"),
    SettingSpec::text_or_empty("metadata", "Metadata", 10_000)
        .template()
        .describe("what is said of the text: a JSON object, or any text"),
    SettingSpec::integer("chunkSize", "Chunk Size", 1.0, 16_384.0)
        .nullable()
        .default("512")
        .describe("the longest chunk, in UTF-16 units"),
    SettingSpec::integer("chunkOverlap", "Chunk Overlap", 0.0, 16_383.0)
        .nullable()
        .default("100")
        .describe("how much of a chunk the next repeats; less than the chunk size"),
    SettingSpec::text_or_empty("model", "Embedding Model", 200)
        .default(MODEL)
        .describe("embeds the texts of a namespace that is made here; `hash-embedding` needs no key and knows words only"),
])
.inputs(&[PortSpec::new("Source", "Any", "a text, a document (PDF, DOCX, XLSX, HTML, CSV, Markdown), or an address")])
.outputs(&[PortSpec::new("Success", "Object", "`{result, id}`")])
.scopes(&[READ, WRITE, "sre.io.v1.Storage:read", VAULT]);

/// The type.
pub struct DataSourceIndexer;

impl Component for DataSourceIndexer {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(index(call).await) }.boxed()
    }
}

async fn index(call: Call<'_>) -> Result<Outcome, ContextError> {
    let id = id(call).await?;
    let namespace = namespace(call, "namespace").await?;
    let label = settings::render(call, &settings::text(call, "name")).await?.trim().to_owned();
    let metadata_json = metadata(call).await?;
    let Source { text, origin, pages } = source::read(call, &label).await?;
    let size = |name: &str| settings::number(call, name).map(|number| number as i32);
    let new = NewDatasource {
        id: id.clone(),
        label: label.clone(),
        metadata_json,
        chunk_size: size("chunkSize"),
        chunk_overlap: size("chunkOverlap"),
        source: source::told([origin, label, id.clone()]),
        pages,
        text,
    };
    let model = settings::text(call, "model");
    let model = if model.is_empty() { MODEL } else { &model };
    let vectors = call.context.vectors();
    wait::for_run(call, vectors.open(&namespace, model)).await?;
    wait::for_run(call, vectors.index(&namespace, new)).await?;
    let success: Map = [("result".into(), Value::from(true)), ("id".into(), Value::from(id))].into();
    Ok(one("Success", Value::object(success)))
}

/// The setting as JSON of an object; empty where there is none.
async fn metadata(call: Call<'_>) -> Result<String, ContextError> {
    let text = settings::render(call, &settings::text(call, "metadata")).await?;
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    Ok(match permissive_json::parse(&text) {
        Some(object @ Value::Object(_)) => object.to_json_text(),
        _ => Value::object([(TEXT_KEY.into(), Value::from(text))].into()).to_json_text(),
    })
}
