//! `sre audit`: what was done and refused, and whether the log is whole.

mod checkpoints;
mod records;
mod verify;

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cli::args::{Audit, Global};
use crate::cli::output::{Output, line};
use crate::client::Client;

/// Runs the command.
pub async fn run(global: &Global, command: Audit) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    match command {
        Audit::List { filter, limit } => records::list(output, &client, &filter, limit).await,
        Audit::Export { filter, file } => records::export(output, &client, &filter, file.as_deref()).await,
        Audit::Verify { witness } => verify::run(output, &client, witness.as_deref()).await,
        Audit::Checkpoints { file, all } => checkpoints::write(output, &client, file.as_deref(), all).await,
    }
}

/// Lines on their way to a file or standard output.
enum Lines {
    File(std::io::BufWriter<std::fs::File>),
    Standard,
}

impl Lines {
    /// A new file: what is there is kept.
    fn to(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else { return Ok(Self::Standard) };
        let file = std::fs::File::create_new(path).with_context(|| path.display().to_string())?;
        Ok(Self::File(std::io::BufWriter::new(file)))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        match self {
            Self::File(file) => writeln!(file, "{text}")?,
            Self::Standard => line(text),
        }
        Ok(())
    }

    /// Everything is in the file when this returns.
    fn finish(self) -> Result<()> {
        if let Self::File(file) = self {
            file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        }
        Ok(())
    }
}
