//! Streams cut anywhere are read alike: every scenario of every format, cut at random.

use proptest::prelude::*;
use sre_fake_provider::answer::{Answer, Asked};
use sre_fake_provider::named;
use sre_fake_provider::wires::Frame;

use super::*;
use crate::inference::providers::anthropic::Messages;
use crate::inference::providers::bedrock::Bedrock;
use crate::inference::providers::cloud_tests;
use crate::inference::providers::google::GoogleAi;
use crate::inference::providers::ollama::Ollama;
use crate::inference::providers::openai_chat::OpenAiChat;
use crate::inference::providers::responses::Responses;
use crate::inference::providers::wire::{Reading, Wire as _};

/// What a reading gave: pieces, and the answer or the kind of its error.
type Read = (Vec<Piece>, Result<pb::GenerateResponse, String>);

fn reading(column: &Column, call: &Call) -> Box<dyn Reading> {
    match column.format {
        Format::Responses => Responses.reading(call),
        Format::Ollama => Ollama.reading(call),
        Format::Messages => Messages.reading(call),
        Format::Gemini => GoogleAi.reading(call),
        Format::Converse => Bedrock.reading(call),
        Format::Chat => OpenAiChat.reading(call),
    }
}

fn read<'b>(column: &Column, call: &Call, pieces: impl Iterator<Item = &'b [u8]>) -> Read {
    let mut reading = reading(column, call);
    let mut seen = Vec::new();
    for piece in pieces {
        if reading.is_done() {
            break;
        }
        match reading.push(call, piece) {
            Ok(pieces) => seen.extend(pieces),
            // What came before the fault in the same segment is not given out: compared is what all splits share.
            Err(error) => return (Vec::new(), Err(error.to_string())),
        }
    }
    if !reading.is_done() {
        match reading.end(call) {
            Ok(pieces) => seen.extend(pieces),
            Err(error) => return (Vec::new(), Err(error.to_string())),
        }
    }
    (seen, Ok(reading.finish(call)))
}

/// Ids that are made here differ.
fn plain(mut read: Read) -> Read {
    for piece in &mut read.0 {
        if let Piece::ToolCall(delta) = piece {
            delta.id.clear();
        }
    }
    if let Ok(answer) = &mut read.1 {
        answer.tool_calls.iter_mut().for_each(|call| call.id.clear());
    }
    read
}

fn transcripts() -> Vec<(Column, Vec<u8>)> {
    let mut all = Vec::new();
    for column in COLUMNS.into_iter().chain(cloud_tests::COLUMNS) {
        for (_, scenario) in named::all() {
            let flavour = column.path.split('/').nth(1).unwrap_or_default().to_owned();
            let body = json!({"stream_options": {"include_usage": true}});
            let asked = Asked { number: 1, flavour, model: "m".into(), streams: true, body };
            let frames = column.format.frames(&Answer::of(asked, scenario));
            let bytes = frames.into_iter().filter_map(|frame| match frame {
                Frame::Data(bytes, _) => Some(bytes),
                _ => None,
            });
            all.push((column, bytes.collect::<Vec<_>>().concat()));
        }
    }
    all
}

#[test]
fn one_byte_at_a_time_is_read_alike() {
    for (column, bytes) in transcripts() {
        let call = column.call(None);
        let whole = plain(read(&column, &call, std::iter::once(&bytes[..])));
        let single = plain(read(&column, &call, bytes.chunks(1)));
        assert_eq!(whole, single, "{}: {}", column.name, String::from_utf8_lossy(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn cuts_do_not_matter(pick in any::<prop::sample::Index>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        static ALL: std::sync::LazyLock<Vec<(Column, Vec<u8>)>> = std::sync::LazyLock::new(transcripts);
        let (column, bytes) = &ALL[pick.index(ALL.len())];
        let call = column.call(None);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        let whole = plain(read(column, &call, std::iter::once(&bytes[..])));
        prop_assert_eq!(plain(read(column, &call, pieces)), whole);
    }

    /// Whatever a server sends, a reading ends: with an answer or an error.
    #[test]
    fn noise_is_survived(pick in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..40)) {
        static ALL: std::sync::LazyLock<Vec<(Column, Vec<u8>)>> = std::sync::LazyLock::new(transcripts);
        let (column, bytes) = &ALL[pick.index(ALL.len())];
        let at = place.index(bytes.len() + 1);
        let spoilt = [&bytes[..at], &noise[..], &bytes[at..]].concat();
        let (_, end) = read(column, &column.call(None), spoilt.chunks(7));
        if let Ok(answer) = end {
            prop_assert!(answer.text.len() <= spoilt.len());
        }
    }
}
