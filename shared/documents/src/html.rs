//! HTML: what a reader of the page reads, with headings, lists and tables as Markdown writes them. The page is read
//! as a stream of tags, so that no nesting is too deep.

use std::cell::RefCell;
use std::collections::BTreeMap;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use crate::limits::{Clock, DocumentError};
use crate::writer::Writer;

/// How much is read between two looks at the clock.
const PIECE: usize = 64 << 10;
/// The most sections that are told apart, lists that are counted, and the longest title.
const MAX_SECTIONS: u32 = 5_000;
const MAX_LISTS: usize = 32;
const MAX_TITLE: usize = 1_000;

/// Elements whose content is not read.
const HIDDEN: [&str; 5] = ["template", "svg", "math", "object", "select"];
/// Elements that begin a line of their own, and those that begin a paragraph.
const LINES: [&str; 12] =
    ["div", "br", "tr", "dt", "dd", "section", "article", "header", "footer", "nav", "main", "figcaption"];
const PARAGRAPHS: [&str; 7] = ["p", "dl", "table", "blockquote", "pre", "hr", "figure"];

pub(crate) fn read(
    text: &str,
    clock: &Clock,
    writer: &mut Writer,
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), DocumentError> {
    let input = BufferQueue::default();
    let state = State { page: std::mem::replace(writer, Writer::new(0)), ..State::default() };
    let tokenizer = Tokenizer::new(Sink(RefCell::new(state)), TokenizerOpts::default());
    let mut rest = text;
    while !rest.is_empty() && !tokenizer.sink.0.borrow().page.is_full() {
        clock.check()?;
        let end = rest.floor_char_boundary(PIECE);
        let (piece, later) = rest.split_at(end);
        rest = later;
        input.push_back(StrTendril::from_slice(piece));
        // A script's end stops the tokenizer. Nothing is run, so it goes on at once.
        while !input.is_empty() {
            let _ = tokenizer.feed(&input);
        }
    }
    tokenizer.end();
    let mut state = tokenizer.sink.0.borrow_mut();
    state.end_heading();
    let title = state.title.split_whitespace().collect::<Vec<_>>().join(" ");
    if !title.is_empty() {
        metadata.insert("title".to_owned(), title);
    }
    *writer = std::mem::replace(&mut state.page, Writer::new(0));
    Ok(())
}

struct Sink(RefCell<State>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.text(&text),
            Token::TagToken(tag) => return state.tag(&tag),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

struct State {
    page: Writer,
    /// The hidden element that is open, and how often.
    hidden: Option<(String, usize)>,
    title: String,
    in_title: bool,
    /// A heading that is open: its level, and its text so far.
    heading: Option<(usize, String)>,
    sections: u32,
    /// Lists that are open: the number an ordered one has come to.
    lists: Vec<Option<u32>>,
    /// Cells of the row so far.
    cells: usize,
    preformatted: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            page: Writer::new(0),
            hidden: None,
            title: String::new(),
            in_title: false,
            heading: None,
            sections: 0,
            lists: Vec::new(),
            cells: 0,
            preformatted: false,
        }
    }
}

impl State {
    fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        if self.in_title {
            push_within(&mut self.title, text);
        } else if let Some((_, heading)) = &mut self.heading {
            push_within(heading, text);
        } else if self.preformatted {
            self.page.push(text);
        } else {
            self.page.push_words(text);
        }
    }

    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name = tag.name.as_ref();
        let is_start = tag.kind == TagKind::StartTag;
        if self.hide(name, is_start, tag.self_closing) {
            return TokenSinkResult::Continue;
        }
        match name {
            // Their content is no markup.
            "script" | "style" | "noscript" | "iframe" | "noembed" | "noframes" if is_start => {
                self.hidden = Some((name.to_owned(), 1));
                let kind = if name == "script" { RawKind::ScriptData } else { RawKind::Rawtext };
                return TokenSinkResult::RawData(kind);
            }
            "textarea" if is_start => return TokenSinkResult::RawData(RawKind::Rcdata),
            "title" => {
                self.in_title = is_start;
                if is_start {
                    return TokenSinkResult::RawData(RawKind::Rcdata);
                }
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.end_heading();
                if is_start {
                    let level = name.bytes().last().map_or(1, |b| usize::from(b - b'0'));
                    self.heading = Some((level, String::new()));
                }
            }
            "ul" | "ol" => self.list(name == "ol", is_start),
            "li" if is_start => self.item(),
            "td" | "th" if is_start => {
                if self.cells > 0 {
                    self.page.push("\t");
                }
                self.cells += 1;
            }
            "img" if is_start => {
                let alt = tag.attrs.iter().find(|attribute| &*attribute.name.local == "alt");
                alt.into_iter().for_each(|alt| self.text(&alt.value));
            }
            _ => self.space(name, is_start),
        }
        TokenSinkResult::Continue
    }

    /// Follows hidden elements; true while one is open.
    fn hide(&mut self, name: &str, is_start: bool, is_closed: bool) -> bool {
        match &mut self.hidden {
            Some((hidden, depth)) => {
                if hidden == name && !is_closed {
                    *depth = if is_start { *depth + 1 } else { *depth - 1 };
                    if *depth == 0 {
                        self.hidden = None;
                    }
                }
                true
            }
            None if is_start && !is_closed && HIDDEN.contains(&name) => {
                self.hidden = Some((name.to_owned(), 1));
                true
            }
            None => false,
        }
    }

    fn space(&mut self, name: &str, is_start: bool) {
        if name == "pre" {
            self.preformatted = is_start;
        }
        if PARAGRAPHS.contains(&name) {
            self.page.lines(2);
        } else if LINES.contains(&name) {
            self.page.lines(1);
        }
        if name == "tr" {
            self.cells = 0;
        }
    }

    fn list(&mut self, is_ordered: bool, is_start: bool) {
        self.page.lines(if self.lists.is_empty() || !is_start && self.lists.len() == 1 { 2 } else { 1 });
        if !is_start {
            self.lists.pop();
        } else if self.lists.len() < MAX_LISTS {
            self.lists.push(is_ordered.then_some(0));
        }
    }

    fn item(&mut self) {
        self.page.lines(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{indent}{number}. ")
            }
            _ => format!("{indent}- "),
        };
        self.page.push(&mark);
    }

    fn end_heading(&mut self) {
        let Some((level, text)) = self.heading.take() else { return };
        let title = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if title.is_empty() {
            return;
        }
        self.page.lines(2);
        if self.sections < MAX_SECTIONS {
            self.sections += 1;
            self.page.begin(self.sections, &title, false);
        }
        self.page.push(&format!("{} {title}", "#".repeat(level)));
        self.page.lines(2);
    }
}

fn push_within(text: &mut String, more: &str) {
    if text.len() < MAX_TITLE {
        text.push_str(&more[..more.floor_char_boundary(MAX_TITLE)]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(page: &str) -> (String, Vec<crate::Part>, BTreeMap<String, String>) {
        let (mut writer, mut metadata) = (Writer::new(1_000_000), BTreeMap::new());
        read(page, &Clock::start(Duration::from_secs(10)), &mut writer, &mut metadata).unwrap();
        let (text, parts, _) = writer.finish();
        (text, parts, metadata)
    }

    #[test]
    fn a_page_is_read_as_people_read_it() {
        let (text, parts, metadata) = of(
            "<!DOCTYPE html><html><head><title> A &amp; B </title><style>p{}</style>\
             <script>if (a < b) { '</p>' }</script></head><body><h1>One</h1>\n<p>Hello <b>wor</b>ld&nbsp;&lt;3</p>\
             <ul><li>a<li>b <ol><li>c</ol></ul><table><tr><th>x<th>y<tr><td>1<td>2</table>\
             <svg><text>no</text></svg><pre>a\n  b</pre><h2>Two</h2>end<img alt='pic'></body>",
        );
        assert_eq!(
            text,
            "# One\n\nHello world <3\n\n- a\n- b\n  1. c\n\nx\ty\n1\t2\n\na\n  b\n\n## Two\n\nendpic"
        );
        assert_eq!(metadata["title"], "A & B");
        let titles: Vec<&str> = parts.iter().map(|part| part.title.as_str()).collect();
        assert_eq!(titles, ["One", "Two"]);
    }

    #[test]
    fn no_nesting_is_too_deep_and_nothing_has_to_be_closed() {
        let (text, ..) = of(&format!("{}x", "<div><ul><b>".repeat(200_000)));
        assert_eq!(text, "x");
        for broken in ["<p", "<!--", "<script>alert(1)", "</", "<h1>", "<title>", "&#x110000;", "<svg><svg>"]
        {
            of(broken);
        }
        assert_eq!(of("<script>x</script>after").0, "after");
    }
}
