//! Sources of an answer.

use sre_proto::llm::v1 as pb;

/// More than these are left out.
const MOST: usize = 200;

/// The sources of one answer: each address and place once.
#[derive(Debug, Default)]
pub struct Citations(Vec<pb::Citation>);

impl Citations {
    /// One more. Its place is in characters, as providers count.
    pub fn add(&mut self, url: &str, title: &str, place: Option<(usize, usize)>) {
        if url.is_empty() || self.0.len() >= MOST {
            return;
        }
        let (start, end) = place.unwrap_or((0, 0));
        let in_range = |place: usize| i32::try_from(place).unwrap_or(0);
        let citation = pb::Citation {
            url: url.to_owned(),
            title: title.to_owned(),
            start: in_range(start),
            end: in_range(end),
            quote: String::new(),
        };
        let known = self.0.iter_mut().find(|known| {
            known.url == citation.url && (known.start, known.end) == (citation.start, citation.end)
        });
        match known {
            Some(known) if known.title.is_empty() => known.title = citation.title,
            Some(_) => {}
            None => self.0.push(citation),
        }
    }

    /// The sources, with their places in bytes of the text.
    pub fn finish(self, text: &str) -> Vec<pb::Citation> {
        let byte = |place: i32| {
            let place = usize::try_from(place).unwrap_or(0);
            let found = text.char_indices().nth(place).map_or(text.len(), |(byte, _)| byte);
            i32::try_from(found).unwrap_or(0)
        };
        let placed = self.0.into_iter().map(|mut citation| {
            if citation.end > 0 {
                (citation.start, citation.end) = (byte(citation.start), byte(citation.end));
            }
            citation
        });
        placed.collect()
    }
}
