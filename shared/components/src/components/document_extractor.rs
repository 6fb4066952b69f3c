//! DocumentExtractor: the text of a document, with its pages or sections.

use futures::future::{BoxFuture, FutureExt as _};
use sre_documents::{Document, Limits, Part};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component, ContextError, Failure};
use crate::outcome::{or_error, values};
use crate::{content, extraction, settings};

/// What is read where the settings say nothing, and at most.
const CHARACTERS: f64 = 200_000.0;
const MAX_CHARACTERS: f64 = 2_000_000.0;
const PAGES: f64 = 500.0;
const MAX_PAGES: f64 = 5_000.0;

static SPEC: ComponentSpec = ComponentSpec::new(
    "DocumentExtractor",
    "Gives the text of a document (PDF, DOCX, XLSX, HTML, CSV, Markdown, text), with its pages or sections",
)
// It may fetch an address.
.effect(Effect::Read)
.settings(&[
    SettingSpec::integer("maxCharacters", "Max Characters", 1.0, MAX_CHARACTERS)
        .nullable()
        .default("200000")
        .describe("characters of text; what is beyond is left out, and Truncated is true"),
    SettingSpec::integer("maxPages", "Max Pages", 1.0, MAX_PAGES)
        .nullable()
        .default("500")
        .describe("pages or sheets; those beyond are left out, and Truncated is true"),
])
.inputs(&[PortSpec::new("Document", "Binary", "a file, its address, or data")])
.outputs(&[
    PortSpec::new("Text", "Text", "the text; tables have a row a line, and tabs between cells"),
    PortSpec::new(
        "Pages",
        "Array",
        "pages of a PDF or sheets of a workbook: `{number, title, text, start, end}`",
    ),
    PortSpec::new("Sections", "Array", "what lies below the headings of other documents, in the same form"),
    PortSpec::new(
        "Metadata",
        "Object",
        "`format`, `name`, `characters`, and what the document says of itself",
    ),
    PortSpec::new("Truncated", "Boolean", "that something was left out"),
])
.scopes(&["sre.io.v1.Storage:read"]);

/// The type.
pub struct DocumentExtractor;

impl Component for DocumentExtractor {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(read(call).await) }.boxed()
    }
}

async fn read(call: Call<'_>) -> Result<Outcome, ContextError> {
    let given = call.get("Document").filter(|given| !given.is_null());
    if given.is_none() {
        let words = "the input Document is missing: connect what to read";
        return Err(ContextError::new(Failure::Invalid, words));
    }
    let binary = content::bytes(call, given, "document").await?;
    let most = |name: &str, default: f64| settings::number(call, name).unwrap_or(default) as usize;
    let limits = Limits {
        characters: most("maxCharacters", CHARACTERS),
        pages: most("maxPages", PAGES),
        ..Limits::default()
    };
    let document = extraction::extract(call, &binary, limits).await?;
    Ok(told(document, &binary.name))
}

fn told(document: Document, name: &str) -> Outcome {
    let (pages, sections): (Vec<&Part>, Vec<&Part>) = document.parts.iter().partition(|part| part.is_page);
    let (pages, sections) = (parts(&document.text, &pages), parts(&document.text, &sections));
    let mut metadata: Map = [
        ("format".into(), Value::from(document.format.name())),
        ("name".into(), Value::from(name)),
        ("characters".into(), Value::from(document.text.chars().count() as u64)),
    ]
    .into();
    metadata.extend(document.metadata.into_iter().map(|(key, text)| (key.into(), Value::from(text))));
    values([
        ("Text", Value::from(document.text)),
        ("Pages", pages),
        ("Sections", sections),
        ("Metadata", Value::object(metadata)),
        ("Truncated", Value::from(document.truncated)),
    ])
}

/// Parts with their text. They lie in the text one after the other, so it is gone through once.
fn parts(text: &str, parts: &[&Part]) -> Value {
    let (mut byte, mut character) = (0, 0);
    let mut to = |wanted: usize| {
        let ahead = text[byte..].char_indices().nth(wanted.saturating_sub(character));
        byte = ahead.map_or(text.len(), |(at, _)| byte + at);
        character = character.max(wanted);
        byte
    };
    let list = parts.iter().map(|part| {
        let (from, until) = (to(part.start), to(part.end));
        let members: Map = [
            ("number".into(), Value::from(u64::from(part.number))),
            ("title".into(), Value::from(part.title.as_str())),
            ("text".into(), Value::from(text[from..until].trim())),
            ("start".into(), Value::from(part.start as u64)),
            ("end".into(), Value::from(part.end as u64)),
        ]
        .into();
        Value::object(members)
    });
    Value::array(list.collect())
}
