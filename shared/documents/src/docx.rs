//! DOCX: paragraphs, with headings and lists, and tables with a row a line.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::archive::Archive;
use crate::charset;
use crate::limits::{Clock, DocumentError, Limits};
use crate::writer::Writer;

const NAME: &str = "DOCX";
/// How many events are read between two looks at the clock.
const EVENTS: usize = 10_000;
/// The most sections that are told apart.
const MAX_SECTIONS: u32 = 5_000;
/// The longest property.
const MAX_PROPERTY: usize = 1_000;

pub(crate) fn read(
    bytes: &[u8],
    limits: &Limits,
    clock: &Clock,
    writer: &mut Writer,
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), DocumentError> {
    let mut archive = Archive::open(bytes, NAME, limits, clock)?;
    let missing = || DocumentError::damaged(NAME, "it has no word/document.xml");
    let main = archive.part("word/document.xml")?.ok_or_else(missing)?;
    if let Some(core) = archive.part("docProps/core.xml")? {
        properties(&charset::text(&core, ""), metadata);
    }
    body(&charset::text(&main, ""), clock, writer)
}

/// Where the reader is.
#[derive(Default)]
struct Place {
    /// Inside `w:t`.
    in_text: bool,
    /// Level of the paragraph, if it is a heading.
    heading: Option<usize>,
    is_item: bool,
    /// The paragraph so far.
    paragraph: String,
    /// Tables that are open, and cells of the row so far.
    tables: usize,
    cells: usize,
    /// The cell has a paragraph.
    is_filled: bool,
    sections: u32,
    /// Inside deleted text or a fallback of what was read already.
    left_out: usize,
}

fn body(xml: &str, clock: &Clock, writer: &mut Writer) -> Result<(), DocumentError> {
    let mut reader = Reader::from_str(xml);
    let mut place = Place::default();
    for count in 0_usize.. {
        if count % EVENTS == 0 {
            clock.check()?;
        }
        if writer.is_full() {
            break;
        }
        match reader.read_event().map_err(|error| DocumentError::damaged(NAME, error))? {
            Event::Start(tag) => place.open(&tag, false, writer),
            Event::Empty(tag) => place.open(&tag, true, writer),
            Event::End(tag) => place.close(tag.local_name().as_ref(), writer),
            Event::Text(text) => place.text(&text.xml10_content()),
            Event::CData(text) => place.text(&text.xml10_content()),
            Event::GeneralRef(reference) => place.text(&resolved(&reference)),
            Event::Eof => break,
            _ => {}
        }
    }
    Ok(())
}

impl Place {
    fn open(&mut self, tag: &BytesStart<'_>, is_empty: bool, writer: &mut Writer) {
        match tag.local_name().as_ref() {
            "t" => self.in_text = !is_empty,
            "tab" => self.paragraph.push('\t'),
            "br" | "cr" => self.paragraph.push('\n'),
            "noBreakHyphen" => self.paragraph.push('-'),
            "pStyle" => {
                let style = value(tag).unwrap_or_default();
                self.heading = level(&style);
                self.is_item |= style.to_ascii_lowercase().starts_with("list");
            }
            "numPr" => self.is_item = true,
            "tbl" if !is_empty => self.tables += 1,
            "tr" if !is_empty => {
                self.cells = 0;
                writer.lines(1);
            }
            "tc" if !is_empty => {
                if self.cells > 0 {
                    writer.push("\t");
                }
                self.cells += 1;
                self.is_filled = false;
            }
            "del" | "Fallback" if !is_empty => self.left_out += 1,
            _ => {}
        }
    }

    fn close(&mut self, name: &str, writer: &mut Writer) {
        match name {
            "t" => self.in_text = false,
            "p" => self.end_paragraph(writer),
            "tbl" => {
                self.tables = self.tables.saturating_sub(1);
                writer.lines(2);
            }
            "del" | "Fallback" => self.left_out = self.left_out.saturating_sub(1),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_text && self.left_out == 0 {
            self.paragraph.push_str(text);
        }
    }

    fn end_paragraph(&mut self, writer: &mut Writer) {
        let paragraph = std::mem::take(&mut self.paragraph);
        let (heading, is_item) = (self.heading.take(), std::mem::take(&mut self.is_item));
        let text = paragraph.trim();
        if text.is_empty() {
            return;
        }
        if self.tables > 0 {
            // Paragraphs of a cell stay in its line.
            if std::mem::replace(&mut self.is_filled, true) {
                writer.push_words(" ");
            }
            writer.push_words(text);
            return;
        }
        match heading {
            Some(level) => {
                writer.lines(2);
                if self.sections < MAX_SECTIONS {
                    self.sections += 1;
                    writer.begin(self.sections, text, false);
                }
                writer.push(&format!("{} {text}", "#".repeat(level)));
                writer.lines(2);
            }
            None if is_item => {
                writer.lines(1);
                writer.push(&format!("- {text}"));
                writer.lines(1);
            }
            None => {
                writer.lines(2);
                writer.push(text);
                writer.lines(2);
            }
        }
    }
}

/// The attribute `val`, whatever its prefix is.
fn value(tag: &BytesStart<'_>) -> Option<String> {
    let attribute =
        tag.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == "val")?;
    Some(attribute.value.into_owned())
}

/// The level of a style that is a heading's.
fn level(style: &str) -> Option<usize> {
    let style = style.to_ascii_lowercase();
    if style == "title" {
        return Some(1);
    }
    let level = style.strip_prefix("heading").or_else(|| style.strip_prefix("berschrift"))?;
    level.trim().parse().ok().filter(|level| (1..=6).contains(level))
}

/// What a reference stands for. A document's own entities stand for nothing.
fn resolved(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return c.to_string();
    }
    match reference.xml10_content().as_ref() {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
    .to_owned()
}

/// Title, author and subject.
fn properties(xml: &str, metadata: &mut BTreeMap<String, String>) {
    let mut reader = Reader::from_str(xml);
    let mut key: Option<&str> = None;
    loop {
        let text = match reader.read_event() {
            Ok(Event::Start(tag)) => {
                key = match tag.local_name().as_ref() {
                    "title" => Some("title"),
                    "creator" => Some("author"),
                    "subject" => Some("subject"),
                    "created" => Some("created"),
                    "modified" => Some("modified"),
                    _ => None,
                };
                continue;
            }
            Ok(Event::End(_)) => {
                key = None;
                continue;
            }
            Ok(Event::Text(text)) => text.xml10_content().into_owned(),
            Ok(Event::GeneralRef(reference)) => resolved(&reference),
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => continue,
        };
        if let Some(key) = key
            && !text.trim().is_empty()
        {
            let known = metadata.entry(key.to_owned()).or_default();
            if known.len() < MAX_PROPERTY {
                known.push_str(&text[..text.floor_char_boundary(MAX_PROPERTY)]);
            }
        }
    }
}
