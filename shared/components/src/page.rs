//! Pages that others wrote: their charset, their text, and what they are as Markdown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use encoding_rs::{Encoding, UTF_8};
use htmd::HtmlToMarkdown;
use htmd::element_handler::{HandlerResult, Handlers};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The largest page that is made into Markdown, in bytes.
pub(crate) const LARGEST_BYTES: usize = 5 << 20;
/// How deep its elements may be in one another: Markdown is made by recursion.
const DEEPEST: usize = 200;
/// How many tags may be open at a time. Those that pages leave open on purpose are not counted.
const DEEPEST_TAGS: usize = 1_000;
/// What is never shown.
const UNSEEN: [&str; 7] = ["script", "style", "noscript", "template", "iframe", "svg", "head"];

/// The media type of an answer, lower case, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A body as text, in the charset that it or its headers name, else UTF-8. Bytes that mean nothing become `U+FFFD`.
pub(crate) fn decode(headers: &HeaderMap, body: &[u8]) -> String {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    });
    let encoding = named.and_then(|label| Encoding::for_label(label.as_bytes())).unwrap_or(UTF_8);
    // A mark at the start goes before what the headers say.
    encoding.decode(body).0.into_owned()
}

/// What links become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinksAs {
    /// `[text](address)`.
    Links,
    /// Their text.
    Text,
}

/// A page as Markdown.
///
/// # Errors
/// If it is too large, or its elements are too deep in one another.
pub(crate) fn markdown(html: &str, links: LinksAs) -> Result<String, String> {
    if html.len() > LARGEST_BYTES {
        return Err(format!("the page is larger than {LARGEST_BYTES} bytes"));
    }
    let too_deep = || format!("the page's elements are more than {DEEPEST} deep in one another");
    // Looked at before the tree is built, which takes the square of the depth.
    if depth_of_tags(html) > DEEPEST_TAGS {
        return Err(too_deep());
    }
    let mut builder = HtmlToMarkdown::builder().skip_tags(UNSEEN.to_vec());
    if links == LinksAs::Text {
        let content = |handlers: &dyn Handlers, element: htmd::Element<'_>| -> Option<HandlerResult> {
            Some(handlers.walk_children(element.node))
        };
        builder = builder.add_handler(vec!["a"], content).skip_tags(vec!["img"]);
    }
    let converter = builder.build();
    let tree = converter.html_to_tree(html).map_err(|error| error.to_string())?;
    if is_deeper(&tree, DEEPEST) {
        return Err(too_deep());
    }
    Ok(converter.tree_to_markdown(&tree).trim().to_owned())
}

fn is_deeper(tree: &Rc<htmd::Node>, deepest: usize) -> bool {
    let mut next = vec![(tree.clone(), 0)];
    while let Some((node, depth)) = next.pop() {
        if depth > deepest {
            return true;
        }
        next.extend(node.children.borrow().iter().map(|child| (child.clone(), depth + 1)));
    }
    false
}

fn depth_of_tags(html: &str) -> usize {
    let tokenizer = Tokenizer::new(Depth::default(), TokenizerOpts::default());
    feed(&tokenizer, html);
    tokenizer.sink.deepest.get()
}

/// Counts open tags.
#[derive(Default)]
struct Depth {
    open: Cell<usize>,
    deepest: Cell<usize>,
}

impl TokenSink for Depth {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        if let Token::TagToken(tag) = token
            && !tag.self_closing
            && !closes_itself(&tag.name)
        {
            match tag.kind {
                TagKind::StartTag => self.open.set(self.open.get() + 1),
                TagKind::EndTag => self.open.set(self.open.get().saturating_sub(1)),
            }
            self.deepest.set(self.deepest.get().max(self.open.get()));
        }
        TokenSinkResult::Continue
    }
}

fn closes_itself(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
            | "p"
            | "li"
            | "dt"
            | "dd"
            | "option"
            | "optgroup"
            | "tr"
            | "td"
            | "th"
            | "tbody"
            | "thead"
            | "tfoot"
            | "rt"
            | "rp"
    )
}

fn feed<S: TokenSink<Handle = ()>>(tokenizer: &Tokenizer<S>, html: &str) {
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(html));
    // It stops only for sinks that run scripts.
    drop(tokenizer.feed(&queue));
    tokenizer.end();
}

/// The text of a page: no script or style, one space for many, a line for each block.
pub(crate) fn text(html: &str) -> String {
    let tokenizer = Tokenizer::new(Texts::default(), TokenizerOpts::default());
    feed(&tokenizer, html);
    let raw = tokenizer.sink.text.take();
    let lines = raw.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Collects text from a page's tokens.
#[derive(Default)]
struct Texts {
    text: RefCell<String>,
    /// How many of the open elements are never shown.
    unseen: Cell<usize>,
}

impl Texts {
    fn tag(&self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        // What is not closed would hide the rest of the page, so only what holds no elements counts.
        let hides = matches!(name, "script" | "style" | "title" | "noscript");
        if hides {
            match tag.kind {
                TagKind::StartTag if !tag.self_closing => self.unseen.set(self.unseen.get() + 1),
                TagKind::StartTag => {}
                TagKind::EndTag => self.unseen.set(self.unseen.get().saturating_sub(1)),
            }
        }
        if !is_inline(name) {
            self.text.borrow_mut().push('\n');
        }
        match (tag.kind, name) {
            (TagKind::StartTag, "script") => TokenSinkResult::RawData(RawKind::ScriptData),
            (TagKind::StartTag, "style" | "noscript") => TokenSinkResult::RawData(RawKind::Rawtext),
            (TagKind::StartTag, "title") => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }
}

impl TokenSink for Texts {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => return self.tag(&tag),
            Token::CharacterTokens(text) if self.unseen.get() == 0 => self.text.borrow_mut().push_str(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr"
            | "b"
            | "bdi"
            | "bdo"
            | "cite"
            | "code"
            | "em"
            | "font"
            | "i"
            | "img"
            | "kbd"
            | "label"
            | "mark"
            | "q"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strong"
            | "sub"
            | "sup"
            | "time"
            | "u"
            | "var"
            | "wbr"
    )
}

/// Text as a page, for who wants one.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => {}
            '\n' => out.push_str("<br>"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<html><head><title>T</title><style>p{}</style></head><body><h1>Head</h1>\
        <p>One <b>bold</b> <a href=\"https://h/x\">link</a> &amp; more</p><script>alert('<p>no</p>')</script>\
        <ul><li>a<li>b</ul></body></html>";

    #[test]
    fn a_page_becomes_markdown() {
        let with = markdown(PAGE, LinksAs::Links).unwrap();
        assert!(with.starts_with("# Head"), "{with}");
        assert!(with.contains("One **bold** [link](https://h/x) & more"), "{with}");
        assert!(!with.contains("alert") && !with.contains("p{}"), "{with}");
        let without = markdown(PAGE, LinksAs::Text).unwrap();
        assert!(without.contains("**bold** link &"), "{without}");
    }

    #[test]
    fn a_page_becomes_text() {
        assert_eq!(text(PAGE), "Head\nOne bold link & more\na\nb");
        assert_eq!(text("a &lt;b&gt;   c<br>d<script>never closed <p>x"), "a <b> c\nd");
        assert_eq!(html("a <b>\r\n&"), "a &lt;b&gt;<br>&amp;");
    }

    #[test]
    fn a_page_cannot_exhaust_the_stack() {
        let deep = "<div>".repeat(100_000);
        assert!(markdown(&deep, LinksAs::Links).unwrap_err().contains("deep"));
        assert_eq!(text(&format!("{deep}x")), "x");
        let large = "x".repeat(LARGEST_BYTES + 1);
        assert!(markdown(&large, LinksAs::Links).unwrap_err().contains("larger"));
    }

    #[test]
    fn d19_charsets_are_honoured() {
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            headers
        };
        assert_eq!(decode(&headers("text/plain; charset=windows-1252"), b"\x80 \xe9"), "\u{20ac} é");
        assert_eq!(decode(&headers("text/plain; Charset=\"Shift_JIS\""), b"\x83\x65"), "テ");
        assert_eq!(decode(&headers("text/plain; charset=utf-16le"), b"h\0i\0"), "hi");
        assert_eq!(decode(&headers("text/plain; charset=nonsense"), "✓".as_bytes()), "✓");
        assert_eq!(decode(&headers("text/plain"), b"\xef\xbb\xbfx"), "x");
    }
}
