//! `sre logs`: what an agent wrote, and what it writes.

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::observability::v1::{ListEntriesRequest, LogEntry, LogFilter, LogLevel, TailEntriesRequest};

use crate::cli::args::{Global, LogLevel as Level, Logs};
use crate::cli::output::{Output, line};
use crate::client::Client;
use crate::dates;

/// Largest page a service gives.
const PAGE: usize = 1000;

/// Shows lines, oldest first.
pub async fn run(global: &Global, arguments: Logs) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    let parent = client.agent_name(&arguments.agent);
    let filter = filter(&arguments);
    if arguments.follow {
        return follow(output, &client, parent, filter).await;
    }
    let mut entries = Vec::new();
    let mut page_token = String::new();
    while entries.len() < arguments.limit {
        let size = (arguments.limit - entries.len()).min(PAGE);
        let request = ListEntriesRequest {
            parent: parent.clone(),
            page_size: i32::try_from(size).unwrap_or(i32::MAX),
            page_token,
            filter: Some(filter.clone()),
            ..ListEntriesRequest::default()
        };
        let page = client.logs().list_entries(request).await?.into_inner();
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    entries.iter().rev().for_each(|entry| show(output, entry));
    Ok(())
}

async fn follow(output: Output, client: &Client, parent: String, filter: LogFilter) -> Result<()> {
    let mut cursor = String::new();
    loop {
        let request = TailEntriesRequest {
            parent: parent.clone(),
            filter: Some(filter.clone()),
            cursor: cursor.clone(),
        };
        let mut pages = client.logs().tail_entries(request).await?.into_inner();
        while let Some(page) = pages.message().await? {
            page.entries.iter().for_each(|entry| show(output, entry));
            cursor = page.cursor;
        }
        // The service drains: another replica, or the next process, goes on.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

fn filter(arguments: &Logs) -> LogFilter {
    let level = arguments.level.map_or(LogLevel::Unspecified, |level| match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    });
    LogFilter {
        run_id: arguments.run.rsplit('/').next().unwrap_or_default().to_owned(),
        component: arguments.component.clone(),
        min_level: level.into(),
        start_time: arguments.since,
        end_time: arguments.until,
        text: arguments.grep.clone(),
    }
}

fn word(level: i32) -> String {
    let name = LogLevel::try_from(level).unwrap_or_default().as_str_name();
    name.trim_start_matches("LOG_LEVEL_").to_lowercase()
}

/// One line of the log is one line of the output, whatever an agent wrote.
fn show(output: Output, entry: &LogEntry) {
    let time = dates::text(entry.time.as_ref());
    if output.is_json() {
        let whole: Value = json!({
            "time": time,
            "level": word(entry.level),
            "run": entry.run_id,
            "component": entry.component,
            "message": entry.message,
        });
        return output.json(&whole);
    }
    let place = if entry.component.is_empty() { "-" } else { &entry.component };
    line(&format!("{time} {:5} {} {place}: {}", word(entry.level), entry.run_id, plain(&entry.message)));
}

/// Without what a terminal would act upon.
fn plain(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_writes_does_not_steer_the_terminal() {
        assert_eq!(plain("two\nlines \u{1b}[2J"), "two lines  [2J");
        assert_eq!(word(LogLevel::Warn.into()), "warn");
    }
}
