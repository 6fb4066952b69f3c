//! One request and one transcript for each service and scenario, written down below `tests/golden`.

use tokio::task::JoinSet;

use super::*;
use crate::inference::providers::google::answer::MADE_ID;
use crate::inference::providers::openai_tests::{compare, golden};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts_are_as_written_down() {
    let mut runs = JoinSet::new();
    for column in COLUMNS {
        runs.spawn(async move {
            let call = column.call(None);
            let text = golden::transcript(column, of(patient(), &call), of(hasty(), &call), keyed).await;
            (column.name, text)
        });
    }
    for (name, text) in runs.join_all().await {
        compare(&format!("{name}.txt"), &normal(&text));
    }
}

/// Ids that this service makes differ each time.
fn normal(text: &str) -> String {
    let mut pieces = text.split(MADE_ID);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(MADE_ID);
        out.push_str(piece.trim_start_matches(|letter: char| letter.is_ascii_hexdigit() || letter == '-'));
    }
    out
}
