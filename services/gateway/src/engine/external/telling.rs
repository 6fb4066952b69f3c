//! What a component says while it works: passed on, within bounds.

use sre_components::{Content as Kind, Context};
use sre_proto::component::v1::{Content, Log, LogLevel, Progress};
use tracing::Level;

/// Lines of one activation that are written.
const MOST_LINES: u32 = 1_000;
/// The longest line.
const LONGEST_LINE: usize = 8 << 10;
/// All content of one activation.
const MOST_CONTENT: usize = 16 << 20;

/// Passes on what one stream says.
pub struct Telling<'a> {
    context: &'a dyn Context,
    lines: u32,
    content: usize,
    percent: Option<u8>,
}

impl<'a> Telling<'a> {
    /// Nothing was said yet.
    pub fn new(context: &'a dyn Context) -> Self {
        Self { context, lines: 0, content: 0, percent: None }
    }

    /// How far it is, in whole percents: what does not change is not said again.
    pub fn progress(&mut self, progress: &Progress) {
        let fraction = if progress.fraction.is_finite() { progress.fraction.clamp(0.0, 1.0) } else { 0.0 };
        let percent = (fraction * 100.0) as u8;
        if self.percent.replace(percent) == Some(percent) && progress.message.is_empty() {
            return;
        }
        let colon = if progress.message.is_empty() { "" } else { ": " };
        self.line(Level::DEBUG, &format!("{percent}%{colon}{}", cut(&progress.message)));
    }

    /// A line of its log.
    pub fn log(&mut self, log: &Log) {
        let level = match log.level() {
            LogLevel::Debug => Level::DEBUG,
            LogLevel::Info | LogLevel::Unspecified => Level::INFO,
            LogLevel::Warn => Level::WARN,
            LogLevel::Error => Level::ERROR,
        };
        self.line(level, cut(&log.message));
    }

    /// A piece of its answer.
    ///
    /// # Errors
    /// If there is too much of it.
    pub fn content(&mut self, content: &Content) -> Result<(), String> {
        self.content = self.content.saturating_add(content.text.len());
        if self.content > MOST_CONTENT {
            return Err(format!("it said more than {MOST_CONTENT} bytes of content"));
        }
        let kind = if content.thinking { Kind::Thinking } else { Kind::Answer };
        self.context.emit_content(&content.text, kind);
        Ok(())
    }

    fn line(&mut self, level: Level, text: &str) {
        self.lines = self.lines.saturating_add(1);
        match self.lines {
            ..=MOST_LINES => self.context.log(level, text),
            lines if lines == MOST_LINES + 1 => {
                self.context.log(Level::WARN, "there are more lines, which are left out");
            }
            _ => {}
        }
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=LONGEST_LINE.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}
