//! Ranges of bytes as HTTP asks for them (RFC 9110, section 14): one range; several are answered in whole.

use crate::storage::connectors::ByteRange;

/// What is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Everything.
    Whole(ByteRange),
    /// A part.
    Part(ByteRange),
    /// Nothing of what was asked for is there.
    Unsatisfiable,
}

/// Reads the header `Range` over a content of this size. What cannot be read is as if it were not there.
pub fn answer(header: Option<&str>, size_bytes: u64) -> Answer {
    let whole = ByteRange { offset_bytes: 0, length_bytes: size_bytes };
    match header.and_then(|header| parse(header, size_bytes)) {
        None => Answer::Whole(whole),
        Some(None) => Answer::Unsatisfiable,
        Some(Some(range)) => Answer::Part(range),
    }
}

fn parse(header: &str, size_bytes: u64) -> Option<Option<ByteRange>> {
    let (unit, range) = header.trim().split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix = number(last)?.min(size_bytes);
        let range = ByteRange { offset_bytes: size_bytes - suffix, length_bytes: suffix };
        return Some((suffix > 0).then_some(range));
    }
    let first = number(first)?;
    let last = match last {
        "" => u64::MAX,
        last => number(last)?,
    };
    if last < first {
        return None;
    }
    if first >= size_bytes {
        return Some(None);
    }
    let end = last.min(size_bytes - 1);
    Some(Some(ByteRange { offset_bytes: first, length_bytes: end - first + 1 }))
}

/// A number of digits alone; one that is too large is the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(offset_bytes: u64, length_bytes: u64) -> Answer {
        Answer::Part(ByteRange { offset_bytes, length_bytes })
    }

    #[test]
    fn ranges_are_read() {
        let whole = Answer::Whole(ByteRange { offset_bytes: 0, length_bytes: 100 });
        for (header, expected) in [
            ("bytes=0-9", part(0, 10)),
            ("bytes=90-", part(90, 10)),
            ("bytes=-5", part(95, 5)),
            ("bytes=-500", part(0, 100)),
            ("bytes=50-999999999999999999999999", part(50, 50)),
            ("bytes=100-", Answer::Unsatisfiable),
            ("bytes=-0", Answer::Unsatisfiable),
            ("bytes=5-4", whole),
            ("bytes=0-1,3-4", whole),
            ("chunks=0-1", whole),
            ("bytes=a-b", whole),
            ("bytes=+1-2", whole),
            ("", whole),
        ] {
            assert_eq!(answer(Some(header), 100), expected, "{header}");
        }
        assert_eq!(answer(None, 100), whole);
        assert_eq!(answer(Some("bytes=0-"), 0), Answer::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_content(header in "bytes=[0-9]{0,4}-[0-9]{0,4}", size in 0_u64..2000) {
            if let Answer::Part(range) = answer(Some(&header), size) {
                prop_assert!(range.length_bytes > 0);
                prop_assert!(range.offset_bytes + range.length_bytes <= size);
            }
        }

        #[test]
        fn nothing_panics(header in ".*", size in any::<u64>()) {
            answer(Some(&header), size);
        }
    }
}
