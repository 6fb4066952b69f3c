//! The text of a document as it is put together: never more than is asked for, with the places of its parts.

use crate::Part;

/// Text, and its parts.
#[derive(Debug)]
pub(crate) struct Writer {
    text: String,
    characters: usize,
    most: usize,
    parts: Vec<Part>,
    truncated: bool,
    /// Line breaks that stand before what comes next.
    breaks: usize,
    /// A blank stands before what comes next.
    blank: bool,
}

impl Writer {
    pub fn new(most: usize) -> Self {
        Self {
            text: String::new(),
            characters: 0,
            most,
            parts: Vec::new(),
            truncated: false,
            breaks: 0,
            blank: false,
        }
    }

    /// Adds text as it is.
    pub fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.settle();
        self.append(text);
    }

    /// Adds words: white space is one blank, or nothing at the beginning of a line.
    pub fn push_words(&mut self, text: &str) {
        for (at, word) in text.split(|c: char| c.is_whitespace()).enumerate() {
            self.blank |= at > 0;
            self.push(word);
        }
    }

    /// At least so many line breaks, but none at the very beginning.
    pub fn lines(&mut self, count: usize) {
        self.breaks = self.breaks.max(count);
        self.blank = false;
    }

    /// What comes next is another part.
    pub fn begin(&mut self, number: u32, title: &str, is_page: bool) {
        self.settle_lines();
        self.end_part();
        let title: String = title.trim().chars().take(200).collect();
        self.parts.push(Part { number, title, start: self.characters, end: self.characters, is_page });
    }

    /// There is more, and it is left out.
    pub fn cut(&mut self) {
        self.truncated = true;
    }

    /// Nothing more is taken.
    pub fn is_full(&self) -> bool {
        self.truncated
    }

    pub fn finish(mut self) -> (String, Vec<Part>, bool) {
        self.end_part();
        (self.text, self.parts, self.truncated)
    }

    fn end_part(&mut self) {
        if let Some(last) = self.parts.last_mut() {
            last.end = self.characters;
        }
    }

    fn settle_lines(&mut self) {
        let breaks = std::mem::take(&mut self.breaks);
        if breaks > 0 && !self.text.is_empty() {
            let there = self.text.bytes().rev().take_while(|b| *b == b'\n').count();
            self.append(&"\n".repeat(breaks.saturating_sub(there)));
        }
    }

    fn settle(&mut self) {
        self.settle_lines();
        if std::mem::take(&mut self.blank) && !self.text.is_empty() && !self.text.ends_with([' ', '\n', '\t'])
        {
            self.append(" ");
        }
    }

    fn append(&mut self, text: &str) {
        let room = self.most - self.characters;
        match text.char_indices().nth(room) {
            Some((end, _)) => {
                self.text.push_str(&text[..end]);
                self.characters = self.most;
                self.truncated = true;
            }
            None => {
                self.text.push_str(text);
                self.characters += text.chars().count();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_know_their_place() {
        let mut writer = Writer::new(100);
        writer.begin(1, "", true);
        writer.push("äb");
        writer.lines(2);
        writer.begin(2, " two ", true);
        writer.push_words("  c \n d");
        let (text, parts, truncated) = writer.finish();
        assert_eq!((text.as_str(), truncated), ("äb\n\nc d", false));
        let places: Vec<_> = parts.iter().map(|part| (part.title.as_str(), part.start, part.end)).collect();
        assert_eq!(places, [("", 0, 4), ("two", 4, 7)]);
    }

    #[test]
    fn there_is_never_more_than_asked_for() {
        let mut writer = Writer::new(3);
        writer.push("äö");
        assert!(!writer.is_full());
        writer.push("ü!");
        writer.push("more");
        assert_eq!(writer.finish(), ("äöü".to_owned(), vec![], true));
    }
}
