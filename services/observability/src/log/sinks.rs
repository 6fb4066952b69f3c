//! Where lines go beside the store: the process's log (and with it OTLP), standard output, a file that rotates.
//! They are copies: what a slow disk does not take is left out and counted, and nobody waits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use sre_proto::observability::v1::LogLevel;
use sre_service::config::AgentLog;

use super::Entry;

/// Lines that may wait for the disk.
const CAPACITY: usize = 8192;
/// What is written is flushed when nothing comes for so long.
const FLUSH: Duration = Duration::from_millis(200);

/// The sinks that the configuration names. Clones share them.
#[derive(Debug, Clone)]
pub struct Sinks {
    process: bool,
    copies: Option<SyncSender<Arc<str>>>,
}

impl Sinks {
    /// Opens the sinks.
    pub fn open(config: &AgentLog, data_dir: &Path) -> anyhow::Result<Self> {
        let file = match &config.file {
            Some(path) => {
                let path = data_dir.join(path);
                let wrong = || format!("telemetry.agent_log.file: cannot write to {}", path.display());
                Some(Rotating::open(path.clone(), config.file_bytes, config.files).with_context(wrong)?)
            }
            None => None,
        };
        if !config.stdout && file.is_none() {
            return Ok(Self { process: config.process, copies: None });
        }
        let (copies, lines) = sync_channel(CAPACITY);
        let stdout = config.stdout;
        let writer = move || write(&lines, stdout, file);
        std::thread::Builder::new().name("agent log".to_owned()).spawn(writer).context("a thread")?;
        Ok(Self { process: config.process, copies: Some(copies) })
    }

    /// Hands lines over.
    pub fn take(&self, entries: &[Entry]) {
        if self.process {
            entries.iter().for_each(trace);
        }
        let Some(copies) = &self.copies else { return };
        for entry in entries {
            if copies.try_send(line(entry).into()).is_err() {
                metrics::counter!("sre_log_sink_lines_lost_total").increment(1);
            }
        }
    }
}

fn level(entry: &Entry) -> &'static str {
    match LogLevel::try_from(entry.level).unwrap_or_default() {
        LogLevel::Unspecified | LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// The same line for whoever collects this process's log. An agent's error is none of ours, so the level is a
/// field.
fn trace(entry: &Entry) {
    tracing::info!(
        target: "sre::agent",
        team = entry.team,
        agent = entry.agent,
        run = entry.run,
        component = entry.component,
        agent_level = level(entry),
        message = entry.message,
    );
}

fn line(entry: &Entry) -> String {
    let (seconds, nanos) = entry.time;
    let mut line = json!({
        "time_unix_nano": (i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).to_string(),
        "level": level(entry),
        "team": entry.team,
        "agent": entry.agent,
        "run": entry.run,
        "component": entry.component,
        "message": entry.message,
    })
    .to_string();
    line.push('\n');
    line
}

fn write(lines: &Receiver<Arc<str>>, stdout: bool, mut file: Option<Rotating>) {
    use std::sync::mpsc::RecvTimeoutError;
    let mut failed = false;
    loop {
        let written = match lines.recv_timeout(FLUSH) {
            Ok(line) => {
                let out = if stdout { io::stdout().lock().write_all(line.as_bytes()) } else { Ok(()) };
                out.and(file.as_mut().map_or(Ok(()), |file| file.write(&line)))
            }
            Err(RecvTimeoutError::Timeout) => file.as_mut().map_or(Ok(()), |file| file.out.flush()),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match written {
            Ok(()) => failed = false,
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(%error, "the agents' log cannot be copied; the store has it");
            }
            Err(_) => metrics::counter!("sre_log_sink_lines_lost_total").increment(1),
        }
    }
}

/// A file that is set aside when it is full: `name`, then `name.1` and so on, the oldest of which goes.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    most_bytes: u64,
    files: u32,
    bytes: u64,
    out: BufWriter<File>,
}

impl Rotating {
    fn open(path: PathBuf, most_bytes: u64, files: u32) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let out = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = out.metadata()?.len();
        Ok(Self { path, most_bytes: most_bytes.max(1), files: files.max(1), bytes, out: BufWriter::new(out) })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.most_bytes {
            self.rotate()?;
        }
        self.bytes += line.len() as u64;
        self.out.write_all(line.as_bytes())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        // `files` counts the one that is written.
        for number in (1..self.files.saturating_sub(1)).rev() {
            if aside(number).exists() {
                fs::rename(aside(number), aside(number + 1))?;
            }
        }
        match self.files {
            1 => fs::remove_file(&self.path)?,
            _ => fs::rename(&self.path, aside(1))?,
        }
        let out = OpenOptions::new().create(true).append(true).open(&self.path)?;
        (self.out, self.bytes) = (BufWriter::new(out), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &str) -> Entry {
        Entry {
            team: "t".into(),
            agent: "a".into(),
            run: "r".into(),
            component: "c".into(),
            level: LogLevel::Warn.into(),
            message: message.into(),
            time: (1, 5),
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let line = line(&entry("two\nlines"));
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["message"], &read["level"]), (&json!("two\nlines"), &json!("warn")));
        assert_eq!(read["time_unix_nano"], "1000000005");
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/agents.jsonl");
        let mut file = Rotating::open(path.clone(), 10, 3).unwrap();
        for number in 0..8 {
            file.write(&format!("line {number}\n")).unwrap();
        }
        file.out.flush().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join("logs").join(name)).unwrap();
        assert_eq!((read("agents.jsonl"), read("agents.jsonl.1")), ("line 7\n".into(), "line 6\n".into()));
        assert_eq!(read("agents.jsonl.2"), "line 5\n");
        assert_eq!(fs::read_dir(dir.path().join("logs")).unwrap().count(), 3);
        let mut again = Rotating::open(path, 10, 3).unwrap();
        again.write("after a restart\n").unwrap();
        again.out.flush().unwrap();
        assert_eq!(
            (read("agents.jsonl"), read("agents.jsonl.1")),
            ("after a restart\n".into(), "line 7\n".into())
        );
    }
}
