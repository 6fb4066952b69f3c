//! Lines without the network.

use std::time::Duration;

use sre_store::{OpenOptions, Store};

use super::{Bounds, Entries, Entry, Selection, table};
use crate::schema::MIGRATIONS;

struct Fixture {
    _dir: tempfile::TempDir,
    entries: Entries,
}

impl Fixture {
    fn new(bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(OpenOptions::new(dir.path().join("log.db"), "store.dir", MIGRATIONS)).unwrap();
        Self { _dir: dir, entries: Entries::new(store, bounds) }
    }

    async fn messages(&self, team: &str, agent: &str, run: &str) -> Vec<String> {
        let selection = Selection { team: team.into(), agent: agent.into(), run: run.into() };
        let found = self.entries.list(&selection, i64::MAX, 100).await.unwrap();
        found.into_iter().map(|(_, entry)| entry.message).collect()
    }

    async fn counted(&self, team: &'static str) -> i64 {
        self.entries.store.read(move |conn| table::lines(conn, team)).await.unwrap()
    }
}

fn line(team: &str, agent: &str, run: &str, message: &str) -> Entry {
    Entry {
        team: team.into(),
        agent: agent.into(),
        run: run.into(),
        component: String::new(),
        level: 2,
        message: message.into(),
        time: (1, 0),
    }
}

#[tokio::test]
async fn lines_are_listed_newest_first_by_agent_and_run() {
    let fx = Fixture::new(Bounds::default());
    let lines = vec![
        line("t", "a", "1", "one"),
        line("t", "a", "2", "two"),
        line("t", "b", "1", "b's"),
        line("u", "a", "1", "u's"),
        line("t", "a", "1", "three"),
    ];
    fx.entries.append(lines, 0).await.unwrap();
    assert_eq!(fx.messages("t", "a", "").await, ["three", "two", "one"]);
    assert_eq!(fx.messages("t", "a", "1").await, ["three", "one"]);
    assert_eq!(fx.messages("u", "a", "").await, ["u's"]);
    let selection = Selection { team: "t".into(), agent: "a".into(), run: String::new() };
    let first = fx.entries.list(&selection, i64::MAX, 1).await.unwrap();
    let rest = fx.entries.list(&selection, first[0].0, 10).await.unwrap();
    assert_eq!(rest.into_iter().map(|(_, entry)| entry.message).collect::<Vec<_>>(), ["two", "one"]);
}

#[tokio::test]
async fn a_team_has_at_most_so_many_lines_and_costs_others_none() {
    let fx = Fixture::new(Bounds { lines_per_team: 3, ..Bounds::default() });
    fx.entries.append(vec![line("u", "a", "1", "kept")], 0).await.unwrap();
    for n in 0..5 {
        fx.entries.append(vec![line("t", "a", "1", &n.to_string())], 0).await.unwrap();
    }
    assert_eq!(fx.messages("t", "a", "").await, ["4", "3", "2"]);
    let many = (5..15).map(|n| line("t", "a", "1", &n.to_string())).collect();
    fx.entries.append(many, 0).await.unwrap();
    assert_eq!(fx.messages("t", "a", "").await, ["14", "13", "12"]);
    assert_eq!((fx.counted("t").await, fx.counted("u").await), (3, 1));
    assert_eq!(fx.messages("u", "a", "").await, ["kept"]);
}

#[tokio::test]
async fn old_lines_go() {
    let fx = Fixture::new(Bounds { retention: Duration::from_secs(10), ..Bounds::default() });
    let many = |from: usize, to: usize| (from..to).map(|n| line("t", "a", "1", &n.to_string())).collect();
    fx.entries.append(many(0, super::SWEEP_BATCH as usize + 5), 1_000).await.unwrap();
    fx.entries.append(many(5000, 5001), 11_000).await.unwrap();
    assert_eq!(fx.entries.sweep(11_000).await.unwrap(), 0);
    assert_eq!(fx.entries.sweep(11_001).await.unwrap(), i64::from(super::SWEEP_BATCH) + 5);
    assert_eq!(fx.messages("t", "a", "").await, ["5000"]);
    assert_eq!(fx.counted("t").await, 1);
}
