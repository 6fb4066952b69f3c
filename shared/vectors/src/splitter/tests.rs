use proptest::prelude::*;

use super::*;

fn split(text: &str, size: usize, overlap: usize) -> Vec<String> {
    Splitter::new(size, overlap).unwrap().split(text, usize::MAX).unwrap()
}

/// services.md §3.2.4 and llm.md A.2: recorded from the reference.
#[test]
fn golden_chunks() {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let hello = "hello world hello again hello once more";
    let paragraphs = "para one\n\npara two is longer\nwith a line\n\nend";
    let recorded: &[(&str, usize, usize, &[&str])] = &[
        (alphabet, 10, 2, &["ABCDEFGHIJ", "IJKLMNOPQR", "QRSTUVWXYZ"]),
        (hello, 11, 3, &["hello world", "hello", "again", "hello once", "more"]),
        (paragraphs, 20, 5, &["para one", "para two is longer", "with a line", "end"]),
        ("exactlyten!", 10, 0, &["exactlyten", "!"]),
        ("", 10, 2, &[]),
        (" \n\n \n", 10, 2, &[]),
        ("aaa bbb ccc ddd eee", 10, 3, &["aaa bbb", "ccc ddd", "eee"]),
        ("abcdefghijkl", 5, 0, &["abcde", "fghij", "kl"]),
        ("para one.\n\npara two is long\nline", 12, 4, &["para one.", "para two is", "is long", "line"]),
    ];
    for (text, size, overlap, chunks) in recorded {
        assert_eq!(split(text, *size, *overlap), *chunks, "{text:?} {size}/{overlap}");
    }
}

#[test]
fn an_overlap_as_long_as_a_chunk_is_refused() {
    for (size, overlap) in [(5, 5), (5, 6), (0, 0)] {
        let error = Splitter::new(size, overlap).unwrap_err();
        assert_eq!(error.to_string(), "Cannot have chunkOverlap >= chunkSize");
    }
}

#[test]
fn too_many_chunks_are_refused() {
    let splitter = Splitter::new(1, 0).unwrap();
    assert_eq!(splitter.split("abc", 3).unwrap().len(), 3);
    assert_eq!(splitter.split("abcd", 3), Err(SplitError::TooMany(3)));
}

/// Lengths are those of UTF-16: a character outside the first plane counts twice.
#[test]
fn lengths_are_in_utf16_units() {
    assert_eq!(split("ééé", 2, 0), ["éé", "é"]);
    assert_eq!(split("😀😀😀", 4, 0), ["😀😀", "😀"]);
    assert_eq!(split("😀a", 1, 0), ["😀", "a"]);
}

/// White space as the reference sees it is what `char::is_whitespace` says here.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    /// Nothing but white space is lost, nothing is added, and no chunk is too long.
    #[test]
    fn chunks_without_overlap_are_the_text(text in "[a-c \n😀]{0,200}", size in 2usize..20) {
        let chunks = split(&text, size, 0);
        prop_assert_eq!(squeezed(&chunks.concat()), squeezed(&text));
        for chunk in &chunks {
            prop_assert!(chunk.encode_utf16().count() <= size && !chunk.is_empty());
            prop_assert_eq!(chunk.trim(), chunk.as_str());
        }
    }

    /// With overlap, each chunk stands in the text, in order, and every word is in one.
    #[test]
    fn chunks_with_overlap_cover_the_text(text in "[a-e \n]{0,200}", size in 2usize..20, overlap in 0usize..19) {
        prop_assume!(overlap < size);
        let chunks = split(&text, size, overlap);
        let mut from = 0;
        let mut covered = vec![false; text.len()];
        for chunk in &chunks {
            prop_assert!(chunk.encode_utf16().count() <= size);
            let place = text[from..].find(chunk.as_str());
            prop_assert!(place.is_some(), "{chunk:?} of {chunks:?}");
            let place = from + place.unwrap();
            covered[place..place + chunk.len()].fill(true);
            from = place;
        }
        for (place, c) in text.char_indices() {
            prop_assert!(c.is_whitespace() || covered[place] || chunks.iter().any(|chunk| chunk.contains(c)));
        }
    }
}
