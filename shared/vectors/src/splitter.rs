//! Cuts a text into chunks, with the same chunks as the reference's.
//!
//! Lengths are in UTF-16 units. The text is cut at the coarsest separator it holds (blank line, line, space), which
//! stays at the beginning of the piece after it; pieces shorter than a chunk are put together again as long as
//! they fit, the others are cut at the next finer one. A chunk begins with the last pieces of the one before it
//! that are not longer than the overlap. Chunks are trimmed, and blank ones left out.

use std::ops::Range;

/// From coarse to fine; after the last, between characters.
const SEPARATORS: [&str; 3] = ["\n\n", "\n", " "];

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splitter {
    chunk_size: usize,
    chunk_overlap: usize,
}

/// Why a text cannot be cut so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The overlap is as long as the chunk.
    #[error("Cannot have chunkOverlap >= chunkSize")]
    Overlap,
    /// More chunks than allowed.
    #[error("the text has more than {0} chunks: cut it, or raise chunk_size")]
    TooMany(usize),
}

/// A piece with its place in the whole text and its length in UTF-16 units.
#[derive(Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    start: usize,
    length: usize,
}

impl<'t> Piece<'t> {
    fn of(text: &'t str, start: usize) -> Self {
        Self { text, start, length: text.encode_utf16().count() }
    }

    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Chunks so far, as places in the text.
struct Chunks<'t> {
    text: &'t str,
    found: Vec<Range<usize>>,
    most: usize,
}

impl Splitter {
    /// Chunks of at most `chunk_size`, of which each repeats up to `chunk_overlap` of the one before.
    pub fn new(chunk_size: usize, chunk_overlap: usize) -> Result<Self, SplitError> {
        if chunk_overlap >= chunk_size {
            Err(SplitError::Overlap)
        } else {
            Ok(Self { chunk_size, chunk_overlap })
        }
    }

    /// The chunks of a text, `most` of them at most.
    pub fn split(&self, text: &str, most: usize) -> Result<Vec<String>, SplitError> {
        Ok(self.places(text, most)?.into_iter().map(|place| text[place].to_owned()).collect())
    }

    /// Where the chunks of a text lie in it, in bytes; each begins where the one before it does or later.
    pub fn places(&self, text: &str, most: usize) -> Result<Vec<Range<usize>>, SplitError> {
        let mut chunks = Chunks { text, found: Vec::new(), most };
        self.cut(Piece::of(text, 0), &SEPARATORS, &mut chunks)?;
        Ok(chunks.found)
    }

    /// Recursion as deep as there are separators.
    fn cut(&self, piece: Piece<'_>, separators: &[&str], chunks: &mut Chunks<'_>) -> Result<(), SplitError> {
        let found = separators.iter().position(|separator| piece.text.contains(separator));
        let (pieces, finer) = match found.and_then(|place| separators.split_at_checked(place)) {
            Some((_, [separator, finer @ ..])) => (at_separator(piece, separator), Some(finer)),
            _ => (characters(piece), None),
        };
        let mut short: Vec<Piece<'_>> = Vec::new();
        for piece in pieces {
            if piece.length < self.chunk_size {
                short.push(piece);
                continue;
            }
            self.join(&std::mem::take(&mut short), chunks)?;
            match finer {
                Some(finer) => self.cut(piece, finer, chunks)?,
                // A character that is as long as a chunk.
                None => chunks.push(piece.start..piece.end())?,
            }
        }
        self.join(&short, chunks)
    }

    /// Puts pieces that follow each other together to chunks.
    fn join(&self, pieces: &[Piece<'_>], chunks: &mut Chunks<'_>) -> Result<(), SplitError> {
        let (mut first, mut total) = (0, 0);
        for (place, piece) in pieces.iter().enumerate() {
            if total + piece.length > self.chunk_size && first < place {
                chunks.push_joined(&pieces[first..place])?;
                while first < place && (total > self.chunk_overlap || total + piece.length > self.chunk_size)
                {
                    total -= pieces[first].length;
                    first += 1;
                }
            }
            total += piece.length;
        }
        chunks.push_joined(&pieces[first..])
    }
}

impl Chunks<'_> {
    /// Pieces that follow each other are one stretch of the text.
    fn push_joined(&mut self, pieces: &[Piece<'_>]) -> Result<(), SplitError> {
        match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) => self.push(first.start..last.end()),
            _ => Ok(()),
        }
    }

    fn push(&mut self, place: Range<usize>) -> Result<(), SplitError> {
        let text = &self.text[place.clone()];
        let start = place.start + (text.len() - text.trim_start().len());
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        if self.found.len() == self.most {
            return Err(SplitError::TooMany(self.most));
        }
        self.found.push(start..start + text.len());
        Ok(())
    }
}

/// Cut before each separator, also before one that begins within another.
fn at_separator<'t>(whole: Piece<'t>, separator: &str) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let text = whole.text;
    let mut start = 0;
    for (place, _) in text.char_indices() {
        if place > start && text[place..].starts_with(separator) {
            pieces.push(Piece::of(&text[start..place], whole.start + start));
            start = place;
        }
    }
    if start < text.len() {
        pieces.push(Piece::of(&text[start..], whole.start + start));
    }
    pieces
}

fn characters<'t>(whole: Piece<'t>) -> Vec<Piece<'t>> {
    let text = whole.text;
    let piece = |(place, c): (usize, char)| Piece {
        text: &text[place..place + c.len_utf8()],
        start: whole.start + place,
        length: c.len_utf16(),
    };
    text.char_indices().map(piece).collect()
}

#[cfg(test)]
mod tests;
