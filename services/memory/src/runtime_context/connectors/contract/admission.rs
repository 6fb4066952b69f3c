//! Slots of teams, with a limit of [`LIMIT`] running runs per team and kind.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sre_proto::memory::v1::{RunKind, RunState};
use tokio::task::JoinSet;

use super::{Bench, LEASE, opening};
use crate::runtime_context::changes::Change;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{
    Claim, Hold, Opening, Owner, Parked, Parking, Run, RunFilter, Take, is_ended,
};
use crate::runtime_context::settings::JournalSettings;

/// Runs of one kind that a team may have running in these cases.
pub(crate) const LIMIT: u32 = 2;

/// The settings of these cases.
pub(crate) fn limited() -> JournalSettings {
    JournalSettings { team_running: LIMIT, ..JournalSettings::default() }
}

fn of_team(team: &str) -> Opening {
    let mut asked = opening();
    asked.head.team = team.to_owned();
    asked
}

async fn open(bench: &Bench, asked: Opening, session: Option<SessionId>) -> Run {
    bench.attach(Opening { session, ..asked }).await.run
}

fn owner(run: &Run, session: SessionId) -> Owner {
    Owner { run: run.head.id, session, epoch: run.epoch }
}

async fn claimed(bench: &Bench, session: SessionId, limit: u32) -> Vec<Run> {
    let claimed = bench.claim(session, limit).await.runs;
    (bench.verify)().await;
    claimed.into_iter().map(|(run, _)| run).collect()
}

fn ids(runs: &[Run]) -> Vec<RunId> {
    runs.iter().map(|run| run.head.id).collect()
}

pub(crate) async fn a_team_has_so_many_running(bench: &Bench) {
    let session = bench.session().await;
    let one = open(bench, of_team("red"), Some(session)).await;
    open(bench, of_team("red"), Some(session)).await;
    let queued = open(bench, of_team("red"), Some(session)).await;
    assert_eq!((queued.state, queued.session, queued.epoch), (RunState::Queued, None, 0));
    assert_eq!(bench.get(queued.head.id).await, queued);
    assert!(claimed(bench, session, 16).await.is_empty());
    // Other teams and other kinds have slots of their own.
    assert_eq!(open(bench, of_team("blue"), Some(session)).await.state, RunState::Leased);
    let mut job = of_team("red");
    job.head.kind = RunKind::Job;
    assert_eq!(open(bench, job, Some(session)).await.state, RunState::Leased);
    // One that anybody may claim takes no slot before.
    let anybody = open(bench, of_team("red"), None).await;
    assert_ne!(anybody.state, RunState::Leased);
    assert!(claimed(bench, session, 16).await.is_empty());

    bench.told();
    bench.close(owner(&one, session)).await;
    assert!(bench.told().contains(&Change::Claimable));
    let next = claimed(bench, session, 16).await;
    assert_eq!(ids(&next), [queued.head.id]);
    assert_eq!((next[0].state, next[0].epoch), (RunState::Leased, 1));
}

pub(crate) async fn whoever_stops_frees_a_slot(bench: &Bench) {
    for how in 0..4 {
        let session = bench.session().await;
        let team = || of_team(&format!("team{how}"));
        let first = open(bench, team(), Some(session)).await;
        assert_eq!(open(bench, team(), Some(session)).await.state, RunState::Leased, "{how}");
        let queued = open(bench, team(), Some(session)).await;
        assert_eq!(queued.state, RunState::Queued);
        bench.told();
        let freed = match how {
            0 => {
                bench.close(owner(&first, session)).await;
                1
            }
            1 => {
                assert_eq!(bench.park(owner(&first, session)).await, Parked::Parked);
                1
            }
            2 => bench.journal.close_session(session).await.unwrap(),
            _ => {
                (bench.advance)(LEASE);
                assert!(bench.journal.reap().await.unwrap().released >= 2);
                2
            }
        };
        assert!(bench.told().contains(&Change::Claimable), "{how}");
        let next = claimed(bench, bench.session().await, 16).await;
        let next = next.iter().filter(|run| run.head.team == queued.head.team).count();
        assert_eq!(next as u64, freed, "{how}");
    }
}

fn everything(team: &str) -> RunFilter {
    RunFilter { team: team.to_owned(), limit: 1000, ..RunFilter::default() }
}

pub(crate) async fn the_queue_is_served_in_order(bench: &Bench) {
    let session = bench.session().await;
    let mut running = Vec::new();
    for _ in 0..LIMIT {
        running.push(open(bench, of_team("red"), Some(session)).await);
    }
    let mut queued = Vec::new();
    for _ in 0..3 {
        (bench.advance)(Duration::from_millis(1));
        queued.push(open(bench, of_team("red"), Some(session)).await);
    }
    bench.close(owner(&running[0], session)).await;
    // A slot is free, and belongs to those who wait for it.
    let late = open(bench, of_team("red"), Some(session)).await;
    assert_eq!(late.state, RunState::Queued);
    // A child goes before them all.
    let mut child = of_team("red");
    child.head.parent = Some(running[1].head.id);
    let child = open(bench, child, Some(session)).await;
    assert_eq!(child.state, RunState::Leased);
    bench.close(owner(&child, session)).await;
    bench.close(owner(&running[1], session)).await;
    assert_eq!(ids(&claimed(bench, session, 16).await), ids(&queued[..2]));
    (bench.verify)().await;
}

pub(crate) async fn teams_are_served_in_turn(bench: &Bench) {
    let session = bench.session().await;
    // Red came first, with ten; blue and green have one each.
    let mut red = Vec::new();
    for _ in 0..10 {
        red.push(open(bench, of_team("red"), None).await.head.id);
    }
    (bench.advance)(Duration::from_secs(1));
    let blue = open(bench, of_team("blue"), None).await.head.id;
    (bench.advance)(Duration::from_secs(1));
    let green = open(bench, of_team("green"), None).await.head.id;
    let team = |runs: &[Run]| runs.iter().map(|run| run.head.team.clone()).collect::<Vec<_>>();
    let first = claimed(bench, session, 3).await;
    assert_eq!(team(&first), ["red", "blue", "green"]);
    assert_eq!((first[1].head.id, first[2].head.id), (blue, green));
    let second = claimed(bench, session, 16).await;
    assert_eq!(team(&second), ["red"]);
    assert!(claimed(bench, session, 16).await.is_empty());

    // Whoever has fewer running goes first, however late it comes.
    (bench.advance)(Duration::from_secs(1));
    bench.journal.renew_session(session).await.unwrap();
    bench.close(owner(&first[0], session)).await;
    bench.close(owner(&first[1], session)).await;
    let late = open(bench, of_team("blue"), None).await.head.id;
    assert_eq!(ids(&claimed(bench, session, 1).await), [late]);
    assert_eq!(team(&claimed(bench, session, 16).await), ["red"]);
}

pub(crate) async fn a_full_team_wakes_nobody(bench: &Bench) {
    let session = bench.session().await;
    let parked = open(bench, of_team("red"), Some(session)).await;
    let until = Some(parked.created.after(Duration::from_secs(1)));
    bench.journal.park(Parking { until, ..Parking::of(owner(&parked, session)) }).await.unwrap();
    let mut running = Vec::new();
    for _ in 0..LIMIT {
        running.push(open(bench, of_team("red"), Some(session)).await);
    }
    (bench.advance)(Duration::from_secs(2));
    // Due and without a slot: nothing to wake for but the session's end.
    assert_eq!(bench.journal.next_wake().await.unwrap(), Some(LEASE - Duration::from_secs(2)));
    assert!(claimed(bench, session, 16).await.is_empty());
    bench.told();
    bench.close(owner(&running[0], session)).await;
    assert!(bench.told().contains(&Change::Claimable));
    assert_eq!(bench.journal.next_wake().await.unwrap(), Some(Duration::ZERO));
    assert_eq!(ids(&claimed(bench, session, 16).await), [parked.head.id]);
}

/// Parents that wait hold no slot: with as many slots as parents, all children finish.
pub(crate) async fn waiting_parents_let_children_run(bench: &Bench) {
    let session = bench.session().await;
    let mut parents = Vec::new();
    for _ in 0..LIMIT {
        let parent = open(bench, of_team("red"), Some(session)).await;
        let mut child = of_team("red");
        child.head.parent = Some(parent.head.id);
        child.head.idempotency_key = "k".to_owned();
        let child = open(bench, child, None).await;
        parents.push((parent, child));
    }
    for (parent, child) in &parents {
        let parking = Parking { wake_on_end: vec![child.head.id], ..Parking::of(owner(parent, session)) };
        assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::Parked);
    }
    let children = claimed(bench, session, 16).await;
    assert_eq!(children.len(), LIMIT as usize);
    for child in &children {
        assert!(child.head.parent.is_some());
        bench.close(owner(child, session)).await;
    }
    let woken: HashSet<_> = ids(&claimed(bench, session, 16).await).into_iter().collect();
    assert_eq!(woken, parents.iter().map(|(parent, _)| parent.head.id).collect());
}

pub(crate) async fn a_taken_run_asks_for_no_slot(bench: &Bench) {
    let session = bench.session().await;
    for _ in 0..LIMIT {
        open(bench, of_team("red"), Some(session)).await;
    }
    let queued = open(bench, of_team("red"), Some(session)).await;
    let take = Take { session, run: queued.head.id, max_record_format: 1 };
    let (run, _) = bench.journal.take(take).await.unwrap();
    (bench.verify)().await;
    // It counts all the same.
    let next = open(bench, of_team("red"), Some(session)).await;
    assert_eq!(next.state, RunState::Queued);
    bench.close(owner(&run, session)).await;
    assert!(claimed(bench, session, 16).await.is_empty());
}

pub(crate) async fn claims_at_once_keep_the_limit(bench: &Bench) {
    let teams = ["red", "blue", "green"];
    for _ in 0..20 {
        for team in teams {
            open(bench, of_team(team), None).await;
        }
    }
    let sessions = [bench.session().await, bench.session().await, bench.session().await];
    let mut seen = HashSet::new();
    while seen.len() < 60 {
        let mut claims = JoinSet::new();
        for session in sessions {
            let journal = Arc::clone(&bench.journal);
            claims.spawn(async move {
                let claim = Claim { session, limit: 16, max_record_format: 1 };
                let runs = journal.claim(claim).await.unwrap().runs;
                runs.into_iter().map(|(run, _)| (session, run)).collect::<Vec<_>>()
            });
        }
        let mut running: BTreeMap<String, Vec<(SessionId, Run)>> = BTreeMap::new();
        for (session, run) in claims.join_all().await.into_iter().flatten() {
            assert!(seen.insert(run.head.id), "claimed twice: {run:?}");
            running.entry(run.head.team.clone()).or_default().push((session, run));
        }
        assert!(!running.is_empty());
        for runs in running.values() {
            assert!(runs.len() <= LIMIT as usize, "{runs:?}");
        }
        (bench.verify)().await;
        let mut ends = JoinSet::new();
        for (session, run) in running.into_values().flatten() {
            let (journal, owner) = (Arc::clone(&bench.journal), owner(&run, session));
            ends.spawn(async move {
                let close = crate::runtime_context::model::Close {
                    state: RunState::Done,
                    outcome: bytes::Bytes::new(),
                };
                let append = crate::runtime_context::model::Append {
                    close: Some(close),
                    ..crate::runtime_context::model::Append::of(owner)
                };
                journal.append(vec![append]).await.unwrap().remove(0).unwrap();
            });
        }
        ends.join_all().await;
    }
    (bench.verify)().await;
}

#[derive(Debug, Clone)]
enum Step {
    Open { team: usize, kind: bool, child: bool, owned: bool, later: bool },
    Claim { session: usize, limit: u32 },
    Close { run: usize },
    Park { run: usize, paused: bool, wakes: bool, timed: bool },
    Signal { run: usize, resume: bool },
    Take { session: usize, run: usize },
    Leave { session: usize, orderly: bool },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let flag = any::<bool>;
    prop_oneof![
        5 => (0..3usize, flag(), flag(), flag(), flag())
            .prop_map(|(team, kind, child, owned, later)| Step::Open { team, kind, child, owned, later }),
        5 => (0..3usize, 1..5u32).prop_map(|(session, limit)| Step::Claim { session, limit }),
        4 => (0..64usize).prop_map(|run| Step::Close { run }),
        4 => (0..64usize, flag(), flag(), flag())
            .prop_map(|(run, paused, wakes, timed)| Step::Park { run, paused, wakes, timed }),
        3 => (0..64usize, flag()).prop_map(|(run, resume)| Step::Signal { run, resume }),
        2 => (0..3usize, 0..64usize).prop_map(|(session, run)| Step::Take { session, run }),
        1 => (0..3usize, flag()).prop_map(|(session, orderly)| Step::Leave { session, orderly }),
        2 => Just(Step::Wait),
    ]
}

/// Whatever happens, in whatever order: counters equal counts, claims stay within the limit and take what
/// fits.
pub(crate) async fn random_histories_keep_the_counts(bench: &Bench) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut sessions = vec![bench.session().await, bench.session().await, bench.session().await];
    let mut runs = Vec::new();
    for _ in 0..4 {
        for step in proptest::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current() {
            take_step(bench, &mut sessions, &mut runs, &step).await;
            (bench.verify)().await;
        }
    }
    assert!(runs.len() > 20);
}

async fn take_step(bench: &Bench, sessions: &mut [SessionId], runs: &mut Vec<RunId>, step: &Step) {
    let chosen = async |index: usize| match runs.is_empty() {
        true => None,
        false => Some(bench.get(runs[index % runs.len()]).await),
    };
    let leased = async |index| chosen(index).await.filter(|run| run.state == RunState::Leased);
    match *step {
        Step::Open { team, kind, child, owned, later } => {
            let mut asked = of_team(["red", "blue", "green"][team]);
            asked.head.kind = if kind { RunKind::Skill } else { RunKind::Job };
            asked.head.parent = runs.last().copied().filter(|_| child);
            let now = bench.get(bench.ready().await).await.created;
            asked.due = later.then(|| now.after(Duration::from_secs(5)));
            let before = running(bench, &asked.head.team, asked.head.kind).await;
            let run = open(bench, asked, owned.then(|| sessions[0])).await;
            assert!(run.state != RunState::Leased || before < LIMIT, "{step:?}");
            runs.push(run.head.id);
        }
        Step::Claim { session, limit } => {
            let runs = bench.claim(sessions[session], limit).await.runs;
            let served: HashSet<_> = runs.iter().map(|(run, _)| (&run.head.team, run.head.kind)).collect();
            for (team, kind) in &served {
                assert!(running(bench, team, *kind).await <= LIMIT, "{step:?}");
            }
            if runs.len() < limit as usize {
                // All that is left is due later, or full.
                assert!(bench.claim(sessions[session], limit).await.runs.is_empty(), "{step:?}");
            }
        }
        Step::Close { run } => {
            if let Some(run) = leased(run).await {
                bench.close(owner(&run, run.session.unwrap())).await;
            }
        }
        Step::Park { run: index, paused, wakes, timed } => {
            if let Some(run) = leased(index).await {
                let parking = Parking {
                    hold: if paused { Hold::Paused } else { Hold::Waiting },
                    until: timed.then(|| run.created.after(Duration::from_secs(8))),
                    wake_on_end: runs[..1].iter().copied().filter(|_| wakes).collect(),
                    ..Parking::of(owner(&run, run.session.unwrap()))
                };
                bench.journal.park(parking).await.unwrap();
            }
        }
        Step::Signal { run, resume } => {
            if let Some(run) = chosen(run).await {
                let kind = if resume { "resume" } else { "note" }.to_owned();
                let id = format!("{}-{resume}", run.epoch);
                let signal = crate::runtime_context::model::Signal { id, kind, body: bytes::Bytes::new() };
                bench.journal.signal(run.head.id, signal).await.unwrap();
            }
        }
        Step::Take { session, run } => {
            if let Some(run) = chosen(run).await {
                let take = Take { session: sessions[session], run: run.head.id, max_record_format: 1 };
                let taken = bench.journal.take(take).await;
                let free = !is_ended(run.state) && run.state != RunState::Leased;
                assert_eq!(taken.is_ok(), free, "{run:?} {taken:?}");
            }
        }
        Step::Leave { session, orderly } => {
            if orderly {
                bench.journal.close_session(sessions[session]).await.unwrap();
            } else {
                for (index, other) in sessions.iter().enumerate() {
                    if index == session {
                        (bench.advance)(LEASE / 2);
                    }
                    bench.journal.renew_session(*other).await.unwrap().unwrap();
                }
                (bench.advance)(LEASE / 2);
                for other in sessions.iter().filter(|other| **other != sessions[session]) {
                    bench.journal.renew_session(*other).await.unwrap().unwrap();
                }
                (bench.advance)(LEASE / 2);
                bench.journal.reap().await.unwrap();
            }
            sessions[session] = bench.session().await;
            for other in sessions.iter() {
                bench.journal.renew_session(*other).await.unwrap().unwrap();
            }
        }
        Step::Wait => {
            (bench.advance)(Duration::from_secs(3));
            for session in sessions.iter() {
                bench.journal.renew_session(*session).await.unwrap().unwrap();
            }
        }
    }
}

async fn running(bench: &Bench, team: &str, kind: RunKind) -> u32 {
    let filter = RunFilter { state: Some(RunState::Leased), kind: Some(kind), ..everything(team) };
    bench.journal.list(filter).await.unwrap().len() as u32
}
