//! A source as tokens: enough to tell what stands at its root.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'s> {
    /// A name or a keyword.
    Word(&'s str),
    /// A text in quotes, without them, its escapes as they are written.
    Text(&'s str),
    /// `=>`, `++`, `--`, `=`, `==`, `===`, or a single character.
    Mark(&'s str),
    /// A number, a template, a regular expression.
    Other,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'s> {
    /// What it is.
    pub kind: Kind<'s>,
    /// Brackets around it. Brackets themselves stand where what is around them stands.
    pub depth: usize,
}

/// A bracket that is open.
#[derive(Clone, Copy)]
enum Open {
    /// `(`; whether `if`, `while`, `for` or `with` stands before it.
    Head(bool),
    /// `[` or `{`.
    Other,
    /// `${` of a template.
    Template,
}

struct Scanner<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token<'s>>,
    open: Vec<Open>,
    /// Whether a `/` here begins a regular expression.
    regex: bool,
}

/// Keywords after which a `/` begins a regular expression.
const BEFORE_REGEX: [&str; 15] = [
    "return",
    "typeof",
    "case",
    "in",
    "of",
    "delete",
    "void",
    "throw",
    "new",
    "do",
    "else",
    "instanceof",
    "yield",
    "await",
    "default",
];

/// The tokens of a source, comments left out.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut scanner = Scanner { source, at: 0, tokens: Vec::new(), open: Vec::new(), regex: true };
    while scanner.step() {}
    scanner.tokens
}

impl<'s> Scanner<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    /// Takes one token; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        match first {
            _ if first.is_whitespace() || first == '\u{feff}' => self.at += first.len_utf8(),
            '/' if rest.starts_with("//") => self.skip_to(rest.find(['\n', '\u{2028}', '\u{2029}'])),
            '/' if rest.starts_with("/*") => self.skip_to(rest[2..].find("*/").map(|end| end + 4)),
            '#' if self.at == 0 && rest.starts_with("#!") => self.skip_to(rest.find('\n')),
            '/' if self.regex => self.regular_expression(),
            '"' | '\'' => self.text(first),
            '`' => {
                self.at += 1;
                self.template();
            }
            _ if first.is_ascii_digit() => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_'));
                self.push(Kind::Other, end.unwrap_or(rest.len()), false);
            }
            _ if is_word(first) => self.word(),
            _ => self.mark(first),
        }
        true
    }

    fn skip_to(&mut self, offset: Option<usize>) {
        self.at = offset.map_or(self.source.len(), |offset| self.at + offset);
    }

    fn push(&mut self, kind: Kind<'s>, length: usize, regex: bool) {
        self.tokens.push(Token { kind, depth: self.open.len() });
        self.at += length;
        self.regex = regex;
    }

    fn word(&mut self) {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let member = self.tokens.last().is_some_and(|token| token.kind == Kind::Mark("."));
        self.push(Kind::Word(word), end, !member && BEFORE_REGEX.contains(&word));
    }

    fn text(&mut self, quote: char) {
        let rest = self.rest();
        let mut escaped = false;
        let mut end = None;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let end = end.unwrap_or(rest.len());
        let inner = rest.get(1..end).unwrap_or_default();
        self.push(Kind::Text(inner), (end + 1).min(rest.len()), false);
    }

    fn regular_expression(&mut self) {
        let rest = self.rest();
        let (mut escaped, mut class) = (false, false);
        let mut end = rest.len();
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => {
                    end = at;
                    break;
                }
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => class = true,
                ']' => class = false,
                '/' if !class => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        // Flags follow as a word, which is as good as a part of it.
        self.push(Kind::Other, end, false);
    }

    /// The text of a template up to its end or to `${`.
    fn template(&mut self) {
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '`' => return self.push(Kind::Other, at + 1, false),
                '$' if rest[at + 1..].starts_with('{') => {
                    self.push(Kind::Other, at + 2, true);
                    self.open.push(Open::Template);
                    return;
                }
                _ => {}
            }
        }
        self.at = self.source.len();
    }

    fn mark(&mut self, first: char) {
        let rest = self.rest();
        for longer in ["===", "==", "=>", "++", "--"] {
            if rest.starts_with(longer) {
                // After `a++` a slash divides.
                return self.push(
                    Kind::Mark(&rest[..longer.len()]),
                    longer.len(),
                    !longer.starts_with(['+', '-']),
                );
            }
        }
        let length = first.len_utf8();
        let mark = Kind::Mark(&rest[..length]);
        match first {
            '(' | '[' | '{' => {
                let head = matches!(
                    self.tokens.last().map(|token| token.kind),
                    Some(Kind::Word("if" | "while" | "for" | "with"))
                );
                self.push(mark, length, true);
                self.open.push(if first == '(' { Open::Head(head) } else { Open::Other });
            }
            ')' | ']' | '}' => match self.open.pop() {
                Some(Open::Template) => {
                    self.at += length;
                    self.template();
                }
                opened => {
                    // After a block, or the head of one, a statement begins.
                    let regex = first == '}' || matches!(opened, Some(Open::Head(true)));
                    self.push(mark, length, regex);
                }
            },
            _ => self.push(mark, length, true),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '\u{200c}' | '\u{200d}')
}
