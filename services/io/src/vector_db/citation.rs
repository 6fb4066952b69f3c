//! Where rows of a datasource are from. A citation is written into the row's metadata under a key of its own, which
//! every backend keeps as it keeps the rest, and is taken out of what is told as metadata.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sre_proto::io::v1 as pb;

use super::write::{MAX_ROW_BYTES, Metadata, invalid};
use crate::error::IoError;

/// The key of a citation in metadata.
const KEY: &str = "sre.citation";
/// The longest source, and the most pages.
const MAX_SOURCE_BYTES: usize = 2_048;
const MAX_PAGES: usize = 5_000;
/// What a citation takes of a row's metadata: the source, each of its bytes written as six at most where they are
/// control characters, which are refused, and as two otherwise.
const ROOM: usize = 2 * MAX_SOURCE_BYTES;

/// Where a text is from.
#[derive(Debug, Clone)]
pub struct Origin {
    source: String,
    /// Where pages begin, in characters, ascending, and their numbers.
    pages: Vec<(i64, i32)>,
}

impl Origin {
    /// Reads what a request says; `None` where it names no source.
    pub fn read(
        source: String,
        pages: &[pb::PageStart],
        metadata: &Metadata,
    ) -> Result<Option<Self>, IoError> {
        if source.is_empty() {
            return match pages {
                [] => Ok(None),
                _ => Err(invalid("header.source", "is missing: pages are pages of something")),
            };
        }
        if source.len() > MAX_SOURCE_BYTES || source.chars().any(char::is_control) {
            let words = format!("has at most {MAX_SOURCE_BYTES} bytes and no control characters");
            return Err(invalid("header.source", words));
        }
        if pages.len() > MAX_PAGES {
            return Err(invalid("header.pages", format!("are more than {MAX_PAGES}")));
        }
        let pages: Vec<(i64, i32)> = pages.iter().map(|page| (page.offset, page.page)).collect();
        let is_in_order = pages.iter().zip(pages.iter().skip(1)).all(|(a, b)| a.0 <= b.0);
        if !is_in_order || pages.iter().any(|(offset, page)| *offset < 0 || *page < 1) {
            return Err(invalid("header.pages", "must have numbers from 1 and offsets from 0, in order"));
        }
        if metadata.object.contains_key(KEY) {
            return Err(invalid(
                "header.metadata_json",
                format!("has the key {KEY}, which is not for callers"),
            ));
        }
        if metadata.json.len() > MAX_ROW_BYTES + 1 - ROOM {
            let limit_bytes = (MAX_ROW_BYTES + 1 - ROOM) as u64;
            return Err(IoError::TooLarge { what: "metadata of a text with a source", limit_bytes });
        }
        Ok(Some(Self { source, pages }))
    }

    /// Adds what makes one origin another.
    pub fn digest_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.source.len() as u64).to_be_bytes()).update(self.source.as_bytes());
        for (offset, page) in &self.pages {
            hasher.update(&offset.to_be_bytes()).update(&page.to_be_bytes());
        }
    }

    /// The metadata of each chunk: what is said of all, and its place. Chunks begin in the order of the text.
    pub fn cited(&self, text: &str, chunks: &[Range<usize>], metadata: &Bytes) -> Vec<Bytes> {
        let common: Map<String, Value> = serde_json::from_slice(metadata).unwrap_or_default();
        let (mut bytes, mut characters) = (0, 0_i64);
        let count = |text: &str| i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let each = chunks.iter().map(|chunk| {
            characters += count(&text[bytes..chunk.start.max(bytes)]);
            bytes = chunk.start.max(bytes);
            let end = characters + count(&text[chunk.clone()]);
            let mut all = common.clone();
            all.insert(KEY.to_owned(), self.place(characters, end));
            Bytes::from(Value::Object(all).to_string())
        });
        each.collect()
    }

    fn place(&self, start: i64, end: i64) -> Value {
        let begun = self.pages.partition_point(|(offset, _)| *offset <= start);
        let page = begun.checked_sub(1).and_then(|at| self.pages.get(at)).map_or(0, |(_, page)| *page);
        json!({ "source": self.source, "page": page, "start": start, "end": end })
    }
}

/// Takes the citation out of a hit's metadata, and leaves of both what was asked for.
pub fn told(hit: &mut pb::SearchHit, wants_citation: bool, wants_metadata: bool) {
    if hit.metadata_json.is_empty() {
        return;
    }
    let object: Option<Map<String, Value>> = serde_json::from_slice(&hit.metadata_json).ok();
    if let Some(mut object) = object
        && let Some(place) = object.shift_remove(KEY)
    {
        hit.metadata_json = Value::Object(object).to_string().into();
        hit.citation = wants_citation.then(|| citation(&place));
    }
    if !wants_metadata {
        hit.metadata_json = Bytes::new();
    }
}

fn citation(place: &Value) -> pb::Citation {
    let number = |name: &str| place.get(name).and_then(Value::as_i64).unwrap_or_default();
    pb::Citation {
        source: place.get("source").and_then(Value::as_str).unwrap_or_default().to_owned(),
        page: i32::try_from(number("page")).unwrap_or_default(),
        start: number("start"),
        end: number("end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page: i32, offset: i64) -> pb::PageStart {
        pb::PageStart { page, offset }
    }

    fn metadata(json: &str) -> Metadata {
        Metadata::of("m", &Bytes::copy_from_slice(json.as_bytes())).unwrap()
    }

    #[test]
    fn chunks_know_their_place_in_characters() {
        let text = "äöü one\u{1F600} two three";
        let pages = [page(1, 0), page(2, 9)];
        let origin = Origin::read("a.pdf".into(), &pages, &metadata("{}")).unwrap().unwrap();
        let one = text.find("one").unwrap();
        let two = text.find("two").unwrap();
        let cited =
            origin.cited(text, &[0..one, one..two + 3, two..text.len()], &Bytes::from_static(b"{\"k\":1.0}"));
        let hits: Vec<_> = cited
            .into_iter()
            .map(|metadata_json| {
                let mut hit = pb::SearchHit { metadata_json, ..Default::default() };
                told(&mut hit, true, true);
                assert_eq!(&hit.metadata_json[..], b"{\"k\":1.0}");
                let found = hit.citation.unwrap();
                assert_eq!(found.source, "a.pdf");
                (found.page, found.start, found.end)
            })
            .collect();
        assert_eq!(hits, [(1, 0, 4), (1, 4, 12), (2, 9, 18)]);
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let origin = Origin::read("s".into(), &[], &metadata("{}")).unwrap().unwrap();
        let stored =
            origin.cited("text", std::slice::from_ref(&(0..4)), &Bytes::from_static(b"{}")).remove(0);
        let tell = |wants_citation, wants_metadata| {
            let mut hit = pb::SearchHit { metadata_json: stored.clone(), ..Default::default() };
            told(&mut hit, wants_citation, wants_metadata);
            (hit.citation.map(|found| found.page), hit.metadata_json)
        };
        assert_eq!(tell(true, false), (Some(0), Bytes::new()));
        assert_eq!(tell(false, true), (None, Bytes::from_static(b"{}")));
    }

    #[test]
    fn bad_origins_are_refused() {
        let read = |source: &str, pages: &[pb::PageStart], json: &str| {
            Origin::read(source.to_owned(), pages, &metadata(json)).err().map(|error| error.to_string())
        };
        assert!(read("", &[], "{}").is_none() && read("s", &[page(1, 0), page(3, 5)], "{}").is_none());
        for (source, pages, json) in [
            ("", vec![page(1, 0)], "{}"),
            ("a\nb", vec![], "{}"),
            (&"s".repeat(3_000), vec![], "{}"),
            ("s", vec![page(1, 5), page(2, 4)], "{}"),
            ("s", vec![page(0, 0)], "{}"),
            ("s", vec![page(1, 0); 5_001], "{}"),
            ("s", vec![], r#"{"sre.citation":1}"#),
        ] {
            assert!(read(source, &pages, json).is_some(), "{source:.5} {} {json}", pages.len());
        }
        let large = format!("{{\"k\":\"{}\"}}", "x".repeat(63_000));
        assert!(read("s", &[], &large).is_some());
        assert!(read("", &[], &large).is_none());
    }
}
