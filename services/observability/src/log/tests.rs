//! Lines without the network.

use std::collections::HashMap;

use sre_store::sql::Database;
use sre_store::{OpenOptions, Store};

use super::{Entries, Entry, Filter, Selection, table};
use crate::schema::MIGRATIONS;

struct Fixture {
    _dir: tempfile::TempDir,
    entries: Entries,
    most: HashMap<String, i64>,
}

impl Fixture {
    fn new(most: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::from(
            Store::open(OpenOptions::new(dir.path().join("log.db"), "store.dir", MIGRATIONS)).unwrap(),
        );
        let most = [("t".to_owned(), most), ("u".to_owned(), most)].into();
        Self { _dir: dir, entries: Entries::new(store), most }
    }

    async fn append(&self, lines: Vec<Entry>, now: i64) {
        self.entries.append(lines, self.most.clone(), now).await.unwrap();
    }

    async fn messages(&self, team: &str, agent: &str, run: &str) -> Vec<String> {
        self.filtered(team, agent, Filter { run: run.into(), ..Filter::default() }).await
    }

    async fn filtered(&self, team: &str, agent: &str, filter: Filter) -> Vec<String> {
        let selection = Selection { team: team.into(), agent: agent.into(), filter };
        let found = self.entries.list(&selection, i64::MAX, 100).await.unwrap();
        found.entries.into_iter().map(|(_, entry)| entry.message).collect()
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
    let fx = Fixture::new(1000);
    let lines = vec![
        line("t", "a", "1", "one"),
        line("t", "a", "2", "two"),
        line("t", "b", "1", "b's"),
        line("u", "a", "1", "u's"),
        line("t", "a", "1", "three"),
    ];
    fx.append(lines, 0).await;
    assert_eq!(fx.messages("t", "a", "").await, ["three", "two", "one"]);
    assert_eq!(fx.messages("t", "a", "1").await, ["three", "one"]);
    assert_eq!(fx.messages("u", "a", "").await, ["u's"]);
    let selection = Selection { team: "t".into(), agent: "a".into(), filter: Filter::default() };
    let first = fx.entries.list(&selection, i64::MAX, 1).await.unwrap();
    let rest = fx.entries.list(&selection, first.looked_to.unwrap(), 10).await.unwrap();
    assert_eq!(rest.looked_to, None, "there is nothing further");
    let messages = rest.entries.into_iter().map(|(_, entry)| entry.message);
    assert_eq!(messages.collect::<Vec<_>>(), ["two", "one"]);
}

#[tokio::test]
async fn a_team_has_at_most_so_many_lines_and_costs_others_none() {
    let fx = Fixture::new(3);
    fx.append(vec![line("u", "a", "1", "kept")], 0).await;
    for n in 0..5 {
        fx.append(vec![line("t", "a", "1", &n.to_string())], 0).await;
    }
    assert_eq!(fx.messages("t", "a", "").await, ["4", "3", "2"]);
    let many = (5..15).map(|n| line("t", "a", "1", &n.to_string())).collect();
    fx.append(many, 0).await;
    assert_eq!(fx.messages("t", "a", "").await, ["14", "13", "12"]);
    assert_eq!((fx.counted("t").await, fx.counted("u").await), (3, 1));
    assert_eq!(fx.messages("u", "a", "").await, ["kept"]);
}

#[tokio::test]
async fn old_lines_go() {
    let fx = Fixture::new(10_000);
    let many = |from: usize, to: usize| (from..to).map(|n| line("t", "a", "1", &n.to_string())).collect();
    fx.append(many(0, super::SWEEP_BATCH as usize + 5), 1_000).await;
    fx.append(vec![line("u", "a", "1", "another team's")], 1_000).await;
    fx.append(many(5000, 5001), 11_000).await;
    assert_eq!(fx.entries.teams().await.unwrap(), ["t", "u"]);
    assert_eq!(fx.entries.sweep("t", 1_000).await.unwrap(), 0);
    assert_eq!(fx.entries.sweep("t", 1_001).await.unwrap(), i64::from(super::SWEEP_BATCH) + 5);
    assert_eq!(fx.messages("t", "a", "").await, ["5000"]);
    assert_eq!((fx.counted("t").await, fx.counted("u").await), (1, 1));
}

#[tokio::test]
async fn lines_pass_a_filter() {
    let fx = Fixture::new(1000);
    let at = |seconds: i64, level: i32, component: &str, message: &str| Entry {
        time: (seconds, 5),
        level,
        component: component.into(),
        ..line("t", "a", "1", message)
    };
    fx.append(vec![at(1, 1, "C1", "Begins"), at(2, 4, "C2", "it FAILED"), at(3, 2, "C1", "ends")], 0).await;
    let with = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        fx.filtered("t", "a", filter)
    };
    assert_eq!(with(|filter| filter.min_level = 2).await, ["ends", "it FAILED"]);
    assert_eq!(with(|filter| filter.component = "C1".into()).await, ["ends", "Begins"]);
    assert_eq!(with(|filter| filter.text = "failed".into()).await, ["it FAILED"]);
    assert_eq!(with(|filter| filter.start = Some((2, 5))).await, ["ends", "it FAILED"]);
    assert_eq!(with(|filter| filter.end = Some((2, 5))).await, ["Begins"]);
    assert_eq!(with(|filter| filter.text = "%".into()).await, Vec::<String>::new(), "no pattern, a text");
}

#[tokio::test]
async fn a_read_looks_at_so_many_lines_and_says_where_to_go_on() {
    let fx = Fixture::new(1000);
    fx.append((0..10).map(|n| line("t", "a", "1", &format!("line {n}"))).collect(), 0).await;
    let filter = Filter { text: "line 1".into(), ..Filter::default() };
    let selection = Selection { team: "t".into(), agent: "a".into(), filter };
    let near = |before: i64| {
        let selection = selection.clone();
        fx.entries.store.read(move |conn| table::before(conn, &selection, before, 5, 4))
    };
    let first = near(i64::MAX).await.unwrap();
    assert_eq!((first.entries.len(), first.looked_to), (0, Some(7)), "ten, nine, eight, seven");
    let second = near(7).await.unwrap();
    assert_eq!(second.looked_to, Some(3));
    let last = near(3).await.unwrap();
    assert_eq!((last.entries.len(), last.looked_to), (1, None));
    let after = fx.entries.store.read({
        let selection = selection.clone();
        move |conn| table::after(conn, &selection, 0, 5, 4)
    });
    let after = after.await.unwrap();
    assert_eq!((after.entries[0].1.message.as_str(), after.looked_to), ("line 1", Some(4)));
    assert_eq!(fx.entries.end().await.unwrap(), 10);
}
