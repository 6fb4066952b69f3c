//! Random histories of a few runs and sessions, against a model of a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sre_proto::memory::v1::RunState;

use super::{Bench, LEASE, empty, signal};
use crate::runtime_context::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{Append, Owner, Parked, Parking};

#[derive(Debug, Clone)]
enum Step {
    Open {
        session: Option<usize>,
    },
    Claim {
        session: usize,
    },
    /// By somebody who once owned the run.
    Append {
        owner: usize,
        close: bool,
        consume: bool,
    },
    Park {
        owner: usize,
    },
    Signal {
        run: usize,
        id: u8,
    },
    Expire {
        session: usize,
    },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => proptest::option::of(0..3usize).prop_map(|session| Step::Open { session }),
        4 => (0..3usize).prop_map(|session| Step::Claim { session }),
        6 => (0..64usize, proptest::bool::weighted(0.2), any::<bool>())
            .prop_map(|(owner, close, consume)| Step::Append { owner, close, consume }),
        3 => (0..64usize).prop_map(|owner| Step::Park { owner }),
        3 => (0..16usize, 0..4u8).prop_map(|(run, id)| Step::Signal { run, id }),
        2 => (0..3usize).prop_map(|session| Step::Expire { session }),
        1 => Just(Step::Wait),
    ]
}

/// What the journal should think of a run.
#[derive(Debug, Default)]
struct Expected {
    owner: Option<(SessionId, i64)>,
    epoch: i64,
    waits: bool,
    ended: bool,
    records: Vec<String>,
    inbox: BTreeSet<String>,
    seen: BTreeSet<String>,
    claims_without_progress: i32,
}

struct World<'a> {
    bench: &'a Bench,
    sessions: Vec<SessionId>,
    runs: BTreeMap<RunId, Expected>,
    owners: Vec<Owner>,
    count: usize,
}

pub(crate) async fn random_histories_match_the_model(bench: &Bench) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..12 {
        let steps = proptest::collection::vec(step(), 40).new_tree(&mut runner).unwrap().current();
        let sessions = vec![bench.session().await, bench.session().await, bench.session().await];
        let mut world = World { bench, sessions, runs: BTreeMap::new(), owners: Vec::new(), count: 0 };
        for step in steps {
            world.take(&step).await;
            world.check(&step).await;
            (bench.verify)().await;
        }
        world.tidy().await;
    }
}

impl World<'_> {
    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Open { session } => self.open(session.map(|index| self.sessions[index])).await,
            Step::Claim { session } => self.claim(self.sessions[session]).await,
            Step::Append { owner, close, consume } => self.append(owner, close, consume).await,
            Step::Park { owner } => self.park(owner).await,
            Step::Signal { run, id } => self.signal(run, id).await,
            Step::Expire { session } => self.expire(session).await,
            // Longer than any back-off: due is no part of this model.
            Step::Wait => self.renew_after(Duration::from_secs(61)).await,
        }
    }

    async fn open(&mut self, session: Option<SessionId>) {
        let (run, epoch) = match session {
            Some(session) => {
                let owner = self.bench.owned(session).await;
                self.owners.push(owner);
                (owner.run, 1)
            }
            None => (self.bench.ready().await, 0),
        };
        let owner = session.map(|session| (session, epoch));
        let records = vec!["opened".to_owned()];
        self.runs.insert(run, Expected { owner, epoch, records, ..Expected::default() });
    }

    async fn claim(&mut self, session: SessionId) {
        self.renew_after(Duration::from_secs(61)).await;
        let claimed = self.bench.claim(session, 256).await;
        let mut expected: BTreeSet<RunId> = BTreeSet::new();
        for (id, run) in &mut self.runs {
            if run.ended || run.owner.is_some() || run.waits {
                continue;
            }
            if run.claims_without_progress >= 5 {
                run.ended = true;
                run.records.push("poison".to_owned());
                run.inbox.clear();
                continue;
            }
            expected.insert(*id);
            run.epoch += 1;
            run.owner = Some((session, run.epoch));
            run.claims_without_progress += 1;
        }
        for (run, signals) in &claimed.runs {
            assert!(expected.remove(&run.head.id), "claimed {run:?}, which was not claimable");
            self.owners.push(Owner { run: run.head.id, session, epoch: run.epoch });
            let inbox: BTreeSet<_> = signals.iter().map(|signal| signal.id.clone()).collect();
            assert_eq!(inbox, self.runs[&run.head.id].inbox);
        }
        assert!(expected.is_empty(), "not claimed: {expected:?}");
    }

    fn owner(&self, index: usize) -> Option<Owner> {
        (!self.owners.is_empty()).then(|| self.owners[index % self.owners.len()])
    }

    async fn append(&mut self, owner: usize, close: bool, consume: bool) {
        let Some(owner) = self.owner(owner) else { return };
        let Some(run) = self.runs.get_mut(&owner.run) else { return };
        let valid = run.owner == Some((owner.session, owner.epoch));
        let consumed: Vec<String> = if consume { run.inbox.iter().cloned().collect() } else { Vec::new() };
        self.count += 1;
        let step = self.count.to_string();
        let end =
            crate::runtime_context::model::Close { state: RunState::Done, outcome: bytes::Bytes::new() };
        let append = Append {
            records: vec![super::record(sre_proto::memory::v1::RecordKind::Finished, &step)],
            close: close.then_some(end),
            consumed_signals: consumed,
            ..empty(owner)
        };
        let outcome = self.bench.journal.append(vec![append]).await.unwrap().pop().unwrap();
        if !valid {
            assert!(matches!(outcome, Err(JournalError::Fenced)), "{outcome:?}");
            return;
        }
        run.records.push(step);
        assert_eq!(outcome.unwrap(), run.records.len() as i64);
        run.claims_without_progress = 0;
        if consume || close {
            run.inbox.clear();
        }
        if close {
            run.ended = true;
            run.owner = None;
        }
    }

    async fn park(&mut self, owner: usize) {
        let Some(owner) = self.owner(owner) else { return };
        let Some(run) = self.runs.get_mut(&owner.run) else { return };
        let parking = Parking::of(owner);
        let parked = self.bench.journal.park(parking).await;
        if run.owner != Some((owner.session, owner.epoch)) {
            assert!(matches!(parked, Err(JournalError::Fenced)), "{parked:?}");
        } else if run.inbox.is_empty() {
            assert_eq!(parked.unwrap(), Parked::Parked);
            run.owner = None;
            run.waits = true;
            run.claims_without_progress = 0;
        } else {
            assert!(matches!(parked, Ok(Parked::SignalsWait(signals)) if signals.len() == run.inbox.len()));
        }
    }

    async fn signal(&mut self, index: usize, id: u8) {
        if self.runs.is_empty() {
            return;
        }
        let place = index % self.runs.len();
        let Some((run_id, run)) = self.runs.iter_mut().nth(place) else { return };
        let id = format!("s{id}");
        self.bench.journal.signal(*run_id, signal(&id)).await.unwrap();
        if !run.ended && run.seen.insert(id.clone()) {
            run.inbox.insert(id);
            run.waits = false;
        }
    }

    async fn expire(&mut self, index: usize) {
        let dead = self.sessions[index];
        // The others renew, this one does not.
        (self.bench.advance)(LEASE - Duration::from_millis(1));
        for session in self.sessions.iter().filter(|session| **session != dead) {
            self.bench.journal.renew_session(*session).await.unwrap().unwrap();
        }
        (self.bench.advance)(Duration::from_millis(1));
        let reaped = self.bench.journal.reap().await.unwrap();
        assert_eq!(reaped.sessions, [dead]);
        for run in self.runs.values_mut() {
            if run.owner.is_some_and(|(session, _)| session == dead) {
                run.owner = None;
            }
        }
        self.sessions[index] = self.bench.session().await;
        for session in &self.sessions {
            self.bench.journal.renew_session(*session).await.unwrap().unwrap();
        }
    }

    async fn renew_after(&self, wait: Duration) {
        (self.bench.advance)(wait);
        for session in &self.sessions {
            self.bench.journal.renew_session(*session).await.unwrap().unwrap();
        }
    }

    async fn check(&self, step: &Step) {
        for (id, expected) in &self.runs {
            let run = self.bench.get(*id).await;
            let context = format!("after {step:?}: {run:?}, expected {expected:?}");
            assert_eq!(run.epoch, expected.epoch, "{context}");
            assert_eq!(run.session, expected.owner.map(|(session, _)| session), "{context}");
            assert_eq!(run.barren_claims.min(5), expected.claims_without_progress, "{context}");
            assert_eq!(crate::runtime_context::model::is_ended(run.state), expected.ended, "{context}");
            assert_eq!(self.bench.steps(*id).await, expected.records, "{context}");
        }
    }

    /// Ends what is left, so that the next history starts without runs.
    async fn tidy(&mut self) {
        for (id, run) in &self.runs {
            if let Some((session, epoch)) = run.owner {
                self.bench.close(Owner { run: *id, session, epoch }).await;
            }
        }
        let session = self.sessions[0];
        for (id, run) in &self.runs {
            if run.waits {
                self.bench.journal.signal(*id, signal("end")).await.unwrap();
            }
        }
        self.renew_after(Duration::from_secs(61)).await;
        for (run, _) in self.bench.claim(session, 256).await.runs {
            self.bench.close(Owner { run: run.head.id, session, epoch: run.epoch }).await;
        }
        for session in &self.sessions {
            self.bench.journal.close_session(*session).await.unwrap();
        }
    }
}
