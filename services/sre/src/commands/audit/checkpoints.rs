//! `sre audit checkpoints`, and reading what it wrote.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sre_proto::security::v1::{Checkpoint, ListCheckpointsRequest};

use super::Lines;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

const PAGE: i32 = 1000;

/// A checkpoint as a line of JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    number: i64,
    previous_digest: String,
    writer: String,
    sequence: i64,
    digest: String,
    /// For people; what is signed is in microseconds.
    time: String,
    time_us: i64,
    key_id: String,
    signature: String,
}

/// Writes checkpoints as lines of JSON.
pub async fn write(output: Output, client: &Client, file: Option<&Path>, all: bool) -> Result<()> {
    let mut lines = Lines::to(file)?;
    let mut request = ListCheckpointsRequest { page_size: PAGE, page_token: String::new(), newest: !all };
    let mut count = 0;
    loop {
        let answer = client.audit().list_checkpoints(request.clone()).await?.into_inner();
        for one in &answer.checkpoints {
            lines.write(&serde_json::to_string(&Line::of(one))?)?;
        }
        count += answer.checkpoints.len();
        request.page_token = answer.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    lines.finish()?;
    if let Some(file) = file {
        output.done(&format!("{count} checkpoints are in {}", file.display()));
    }
    Ok(())
}

/// Reads what [`write`] wrote.
pub fn read(file: &Path) -> Result<Vec<Checkpoint>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let parsed = lines.enumerate().map(|(number, line)| {
        let wrong = || Failure::usage(format!("{}: line {} is no checkpoint", file.display(), number + 1));
        serde_json::from_str::<Line>(line).ok().and_then(Line::checkpoint).ok_or_else(wrong)
    });
    parsed.collect()
}

impl Line {
    fn of(one: &Checkpoint) -> Self {
        let micros = |time: &prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
        Self {
            number: one.number,
            previous_digest: hex::encode(&one.previous_digest),
            writer: one.writer.clone(),
            sequence: one.sequence,
            digest: hex::encode(&one.digest),
            time: dates::text(one.time.as_ref()),
            time_us: one.time.as_ref().map(micros).unwrap_or_default(),
            key_id: one.key_id.clone(),
            signature: hex::encode(&one.signature),
        }
    }

    fn checkpoint(self) -> Option<Checkpoint> {
        let nanos = i32::try_from(self.time_us.rem_euclid(1_000_000) * 1_000).ok()?;
        Some(Checkpoint {
            number: self.number,
            previous_digest: hex::decode(self.previous_digest).ok()?.into(),
            writer: self.writer,
            sequence: self.sequence,
            digest: hex::decode(self.digest).ok()?.into(),
            time: Some(prost_types::Timestamp { seconds: self.time_us.div_euclid(1_000_000), nanos }),
            key_id: self.key_id,
            signature: hex::decode(self.signature).ok()?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_checkpoint_that_it_was() {
        let one = Checkpoint {
            number: 3,
            previous_digest: vec![1; 32].into(),
            writer: "io/1".into(),
            sequence: 9,
            digest: vec![2; 32].into(),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_456_000 }),
            key_id: "k".into(),
            signature: vec![3; 64].into(),
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("witness");
        std::fs::write(&file, serde_json::to_string(&Line::of(&one)).unwrap()).unwrap();
        assert_eq!(read(&file).unwrap(), [one]);
        std::fs::write(&file, "{}").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("line 1"));
    }
}
