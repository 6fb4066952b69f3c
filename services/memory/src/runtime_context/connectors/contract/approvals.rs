//! Questions to people.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::{ApprovalState, RecordKind, RunState};

use super::{Bench, new_id, opening, record};
use crate::runtime_context::JournalError;
use crate::runtime_context::approval::{Approval, ApprovalFilter, Decision, Question};
use crate::runtime_context::changes::Change;
use crate::runtime_context::model::{Append, Opening, Owner, Parked, Parking};
use crate::runtime_context::time::UnixMs;

fn question(id: &str, expires: Option<UnixMs>) -> Question {
    Question {
        id: id.to_owned(),
        component: "c1".to_owned(),
        kind: "approval".to_owned(),
        title: format!("may I {id}?"),
        details: Bytes::from_static(b"{\"sum\":1}"),
        approvers: vec!["user/alice".to_owned(), "admins".to_owned()],
        expires,
    }
}

fn decision(state: ApprovalState, by: &str) -> Decision {
    Decision {
        state,
        decided_by: by.to_owned(),
        comment: "go on".to_owned(),
        content: Bytes::from_static(b"{}"),
    }
}

fn yes() -> Decision {
    decision(ApprovalState::Approved, "user/alice")
}

async fn ask(bench: &Bench, owner: Owner, id: &str, expires: Option<UnixMs>) {
    let append = Append {
        records: vec![record(RecordKind::Waiting, id)],
        approvals: vec![question(id, expires)],
        ..Append::of(owner)
    };
    bench.journal.append(vec![append]).await.unwrap().remove(0).unwrap();
}

async fn get(bench: &Bench, owner: Owner, id: &str) -> Approval {
    bench.journal.approval(owner.run, id.to_owned()).await.unwrap()
}

async fn decide(bench: &Bench, owner: Owner, id: &str, decision: Decision) -> Result<Approval, JournalError> {
    bench.journal.decide(owner.run, id.to_owned(), decision).await
}

async fn list(bench: &Bench, filter: ApprovalFilter) -> Vec<String> {
    let team = if filter.team.is_empty() { "red".to_owned() } else { filter.team };
    let limit = if filter.limit == 0 { 100 } else { filter.limit };
    let found = bench.journal.approvals(ApprovalFilter { team, limit, ..filter }).await.unwrap();
    found.into_iter().map(|approval| approval.question.id).collect()
}

pub(crate) async fn a_decision_wakes_its_run(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    ask(bench, owner, "pay", None).await;
    let pending = get(bench, owner, "pay").await;
    assert_eq!((pending.state, &pending.verdict), (ApprovalState::Pending, &None));
    assert_eq!((pending.run, &*pending.team, &*pending.agent), (owner.run, "red", "a1"));
    assert_eq!(pending.question, question("pay", None));
    assert_eq!(bench.park(owner).await, Parked::Parked);
    bench.told();
    let decided = decide(bench, owner, "pay", yes()).await.unwrap();
    assert!(bench.told().contains(&Change::Claimable));
    assert_eq!(decided.state, ApprovalState::Approved);
    assert_eq!(decided.verdict.as_ref().unwrap().decision, yes());
    assert_eq!(get(bench, owner, "pay").await, decided);
    let (run, signals) = bench.claim(session, 16).await.runs.remove(0);
    assert_eq!((run.head.id, signals.len()), (owner.run, 1));
    assert_eq!((&*signals[0].id, &*signals[0].kind), ("approval/pay", "approval"));
    let body = pb::RunApproval::decode(signals[0].body.clone()).unwrap();
    assert_eq!(
        (body.state(), &*body.decided_by, &*body.comment),
        (ApprovalState::Approved, "user/alice", "go on")
    );
}

pub(crate) async fn an_owner_hears_a_decision(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    // Asked while parking, which the decision hinders if it comes first.
    let parking = Parking { approvals: vec![question("pay", None)], ..Parking::of(owner) };
    assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::Parked);
    let owner = Owner { epoch: 2, ..owner };
    bench.journal.signal(owner.run, super::signal("wake")).await.unwrap();
    bench.claim_one(session, owner.run).await;
    bench.told();
    let decided = decide(bench, owner, "pay", decision(ApprovalState::Rejected, "user/bob")).await.unwrap();
    let told = bench.told();
    assert!(told.contains(&Change::Signal { session, run: owner.run, signal: decided.signal() }), "{told:?}");
    let parked = bench.park(owner).await;
    assert!(matches!(&parked, Parked::SignalsWait(signals) if signals.len() == 2), "{parked:?}");
}

pub(crate) async fn the_first_decision_stands(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    ask(bench, owner, "pay", None).await;
    let first = decide(bench, owner, "pay", yes()).await.unwrap();
    assert_eq!(decide(bench, owner, "pay", yes()).await.unwrap(), first);
    for other in [
        decision(ApprovalState::Rejected, "user/alice"),
        decision(ApprovalState::Approved, "user/bob"),
        Decision { content: Bytes::new(), ..yes() },
    ] {
        let refused = decide(bench, owner, "pay", other).await;
        assert!(matches!(refused, Err(JournalError::AlreadyDecided { .. })), "{refused:?}");
    }
    assert_eq!(bench.journal.pending_signals(session).await.unwrap().unwrap().len(), 1);
    // A repeat of the question, by a run that was taken over, does not ask anew.
    ask(bench, owner, "pay", None).await;
    assert_eq!(get(bench, owner, "pay").await, first);
    let unknown = decide(bench, owner, "x", yes()).await;
    assert!(matches!(unknown, Err(JournalError::ApprovalNotFound)));
    let unknown = decide(bench, Owner { run: new_id(), ..owner }, "pay", yes()).await;
    assert!(matches!(unknown, Err(JournalError::RunNotFound)));
}

pub(crate) async fn one_of_many_decides(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    for round in 0..20 {
        let id = round.to_string();
        ask(bench, owner, &id, None).await;
        let (yes, no) = tokio::join!(
            decide(bench, owner, &id, yes()),
            decide(bench, owner, &id, decision(ApprovalState::Rejected, "user/bob"))
        );
        assert!(yes.is_ok() != no.is_ok(), "{yes:?} {no:?}");
        let stands = get(bench, owner, &id).await;
        assert_eq!(stands, yes.or(no).unwrap());
    }
}

pub(crate) async fn a_question_expires(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    let hour = Duration::from_secs(3600);
    let end = bench.get(owner.run).await.created.after(hour);
    ask(bench, owner, "late", Some(end)).await;
    ask(bench, owner, "open", None).await;
    (bench.advance)(hour - Duration::from_millis(1));
    assert_eq!(get(bench, owner, "late").await.state, ApprovalState::Pending);
    (bench.advance)(Duration::from_millis(1));
    // Nobody swept yet, and after somebody did.
    for _ in 0..2 {
        assert_eq!(get(bench, owner, "late").await.state, ApprovalState::Expired);
        let refused = decide(bench, owner, "late", yes()).await;
        assert!(matches!(refused, Err(JournalError::ApprovalExpired)), "{refused:?}");
        let of = |state| ApprovalFilter { state: Some(state), ..ApprovalFilter::default() };
        assert_eq!(list(bench, of(ApprovalState::Pending)).await, ["open"]);
        assert_eq!(list(bench, of(ApprovalState::Expired)).await, ["late"]);
        bench.journal.expire().await.unwrap();
    }
    assert_eq!(bench.journal.renew_session(session).await.unwrap().unwrap().id, session);
    bench.close(owner).await;
    assert_eq!(get(bench, owner, "open").await.state, ApprovalState::Expired);
    let refused = decide(bench, owner, "open", yes()).await;
    assert!(matches!(refused, Err(JournalError::ApprovalExpired)), "{refused:?}");
    // They go with their run.
    bench.journal.delete(owner.run).await.unwrap();
    assert_eq!(list(bench, ApprovalFilter::default()).await, Vec::<String>::new());
}

pub(crate) async fn approvals_are_listed_newest_first(bench: &Bench) {
    let session = bench.session().await;
    let mut owners = Vec::new();
    for (n, team, agent) in [(0, "red", "a1"), (1, "red", "a2"), (2, "blue", "a1")] {
        let mut asked = Opening { session: Some(session), ..opening() };
        (asked.head.team, asked.head.agent) = (team.to_owned(), agent.to_owned());
        let run = bench.attach(asked).await.run;
        assert_eq!(run.state, RunState::Leased);
        let owner = Owner { run: run.head.id, session, epoch: 1 };
        ask(bench, owner, &format!("{n}a"), None).await;
        ask(bench, owner, &format!("{n}b"), None).await;
        owners.push(owner);
    }
    decide(bench, owners[0], "0a", yes()).await.unwrap();
    let all = ApprovalFilter::default;
    assert_eq!(list(bench, all()).await, ["1b", "1a", "0b", "0a"]);
    assert_eq!(list(bench, ApprovalFilter { team: "blue".to_owned(), ..all() }).await, ["2b", "2a"]);
    assert_eq!(list(bench, ApprovalFilter { agent: Some("a2".to_owned()), ..all() }).await, ["1b", "1a"]);
    assert_eq!(list(bench, ApprovalFilter { run: Some(owners[0].run), ..all() }).await, ["0b", "0a"]);
    assert!(list(bench, ApprovalFilter { run: Some(owners[2].run), ..all() }).await.is_empty());
    assert!(list(bench, ApprovalFilter { run: Some(new_id()), ..all() }).await.is_empty());
    let of = |state| ApprovalFilter { state: Some(state), ..all() };
    assert_eq!(list(bench, of(ApprovalState::Approved)).await, ["0a"]);
    assert_eq!(list(bench, of(ApprovalState::Pending)).await, ["1b", "1a", "0b"]);
    // Page by page.
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let filter = ApprovalFilter { team: "red".to_owned(), before, limit: 3, ..all() };
        let page = bench.journal.approvals(filter).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.place);
        seen.extend(page.into_iter().map(|approval| approval.question.id));
    }
    assert_eq!(seen, ["1b", "1a", "0b", "0a"]);
}
