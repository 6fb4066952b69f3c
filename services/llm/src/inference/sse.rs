//! Server-sent events, decoded from pieces cut anywhere: inside a line, a line end, or a character.

use crate::inference::providers::wire::Framing;

/// The longest line, and the longest event.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// An event without end, or a line without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Decodes the data of events. Names, ids and retry hints are read over; comments too.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    /// The last byte was a carriage return that ended a line: a line feed right after it belongs to it.
    after_return: bool,
    data: String,
    has_data: bool,
    at_start: Started,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Started {
    #[default]
    No,
    Yes,
}

impl Framing for Decoder {
    type TooLong = TooLong;

    /// Gives the data of the events that a piece completes.
    fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        let mut rest = piece;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_return) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, ended) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + part.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            rest = match ended.split_first() {
                None => break,
                Some((byte, rest)) => {
                    self.after_return = *byte == b'\r';
                    rest
                }
            };
            if let Some(event) = self.end_line()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn finish(mut self) -> Result<Option<String>, TooLong> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        Ok(self.has_data.then_some(self.data))
    }
}

impl Decoder {
    /// Whole lines are whole characters, however they were cut.
    fn end_line(&mut self) -> Result<Option<String>, TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&line);
        if self.at_start == Started::No {
            self.at_start = Started::Yes;
            if let Some(rest) = line.strip_prefix('\u{feff}') {
                line = rest.to_owned().into();
            }
        }
        if line.is_empty() {
            return Ok(std::mem::take(&mut self.has_data).then(|| std::mem::take(&mut self.data)));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            if self.data.len() + value.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push('\n');
            }
            self.data.push_str(value);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(decoder.push(piece).unwrap());
        }
        events.extend(decoder.finish().unwrap());
        events
    }

    #[test]
    fn fields_lines_and_ends() {
        for (text, expected) in [
            ("data: a\n\ndata: b\n\n", vec!["a", "b"]),
            ("data:a\r\n\r\ndata:  b\r\n\r\n", vec!["a", " b"]),
            ("data: a\rdata: b\r\r", vec!["a\nb"]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            (": ping\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", vec!["a"]),
            ("data\n\n", vec![""]),
            ("data: a\n\n\n\ndata: [DONE]", vec!["a", "[DONE]"]),
            ("database: no\n\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(decode(&[text.as_bytes()]), expected, "{text:?}");
        }
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1024 * 1024];
        let refused = (0..10).find_map(|_| decoder.push(&piece).err());
        assert_eq!(refused, Some(TooLong));
        let mut decoder = Decoder::default();
        let line = [b"data: ", &piece[..], b"\n"].concat();
        let refused = (0..10).find_map(|_| decoder.push(&line).err());
        assert_eq!(refused, Some(TooLong));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            events in proptest::collection::vec("[a-zé✓😀 \\{\\}:]{0,12}", 0..8),
            ends in proptest::collection::vec(0..3usize, 0..8),
            cuts in proptest::collection::vec(0..400usize, 0..40),
        ) {
            let mut text = String::new();
            for (index, event) in events.iter().enumerate() {
                let end = ["\n", "\r\n", "\r"][ends.get(index).copied().unwrap_or(0)];
                text += &format!(": comment{end}data: {event}{end}data: +{end}{end}");
            }
            let expected: Vec<String> = events.iter().map(|event| format!("{event}\n+")).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(decode(&pieces), expected.clone());
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decode(&single), expected);
        }
    }
}
