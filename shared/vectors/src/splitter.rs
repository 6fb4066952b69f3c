//! Cuts a text into chunks, with the same chunks as the reference's.
//!
//! Lengths are in UTF-16 units. The text is cut at the coarsest separator it holds (blank line, line, space), which
//! stays at the beginning of the piece after it; pieces shorter than a chunk are put together again as long as
//! they fit, the others are cut at the next finer one. A chunk begins with the last pieces of the one before it
//! that are not longer than the overlap. Chunks are trimmed, and blank ones left out.

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

/// A piece with its length in UTF-16 units.
#[derive(Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    length: usize,
}

impl<'t> Piece<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, length: text.encode_utf16().count() }
    }
}

/// Chunks so far.
struct Chunks {
    found: Vec<String>,
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
        let mut chunks = Chunks { found: Vec::new(), most };
        self.cut(Piece::of(text), &SEPARATORS, &mut chunks)?;
        Ok(chunks.found)
    }

    /// Recursion as deep as there are separators.
    fn cut(&self, piece: Piece<'_>, separators: &[&str], chunks: &mut Chunks) -> Result<(), SplitError> {
        let found = separators.iter().position(|separator| piece.text.contains(separator));
        let (pieces, finer) = match found.and_then(|place| separators.split_at_checked(place)) {
            Some((_, [separator, finer @ ..])) => (at_separator(piece.text, separator), Some(finer)),
            _ => (characters(piece.text), None),
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
                None => chunks.push(piece.text)?,
            }
        }
        self.join(&short, chunks)
    }

    /// Puts pieces that follow each other together to chunks.
    fn join(&self, pieces: &[Piece<'_>], chunks: &mut Chunks) -> Result<(), SplitError> {
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

impl Chunks {
    fn push_joined(&mut self, pieces: &[Piece<'_>]) -> Result<(), SplitError> {
        let joined: String = pieces.iter().map(|piece| piece.text).collect();
        self.push(&joined)
    }

    fn push(&mut self, text: &str) -> Result<(), SplitError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        if self.found.len() == self.most {
            return Err(SplitError::TooMany(self.most));
        }
        self.found.push(text.to_owned());
        Ok(())
    }
}

/// Cut before each separator, also before one that begins within another.
fn at_separator<'t>(text: &'t str, separator: &str) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (place, _) in text.char_indices() {
        if place > start && text[place..].starts_with(separator) {
            pieces.push(Piece::of(&text[start..place]));
            start = place;
        }
    }
    if start < text.len() {
        pieces.push(Piece::of(&text[start..]));
    }
    pieces
}

fn characters(text: &str) -> Vec<Piece<'_>> {
    text.char_indices()
        .map(|(place, c)| Piece { text: &text[place..place + c.len_utf8()], length: c.len_utf16() })
        .collect()
}

#[cfg(test)]
mod tests;
