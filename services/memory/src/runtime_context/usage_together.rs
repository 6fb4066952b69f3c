//! What one append adds to the ledger, as few events: there each has a row, two indexes and its names, while what a
//! run did by itself is known or new all at once.

use std::mem::take;

use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{UsageEvent, UsageTogether};
use sre_service::usage::{BATCH, MAX_ID_BYTES};

/// Joins what the run and its components did under the id of the first of them. What others may tell the ledger too,
/// answers of models and of services outside, stays apart: each of those is known by itself.
pub fn together(written: Vec<UsageEvent>) -> Vec<UsageEvent> {
    let Some(first) = written.iter().find(|event| is_the_runs_own(event)) else { return written };
    let is_own: Vec<bool> =
        written.iter().map(|event| is_the_runs_own(event) && is_of(first, event)).collect();
    let (mut own, mut all) = (Vec::new(), Vec::new());
    for (event, is_own) in written.into_iter().zip(is_own) {
        if is_own { own.push(event) } else { all.push(event) }
    }
    let mut own = own.into_iter();
    loop {
        let events: Vec<UsageEvent> = own.by_ref().take(BATCH).collect();
        match events.len() {
            0 => return all,
            1 => all.extend(events),
            _ => all.extend(whole(events)),
        }
    }
}

/// One event that holds others, and says for all what they share.
fn whole(mut events: Vec<UsageEvent>) -> Option<UsageEvent> {
    let first = events.first_mut()?;
    let whole = UsageEvent {
        id: first.id.clone(),
        team: take(&mut first.team),
        agent: take(&mut first.agent),
        user: take(&mut first.user),
        run_id: take(&mut first.run_id),
        time: first.time,
        ..UsageEvent::default()
    };
    for event in events.iter_mut().skip(1) {
        for shared in [&mut event.team, &mut event.agent, &mut event.user, &mut event.run_id] {
            shared.clear();
        }
    }
    Some(UsageEvent { r#use: Some(Use::Together(UsageTogether { events })), ..whole })
}

/// Of the run itself, and of an id that the ledger takes: the others must not be refused for one that it does not.
fn is_the_runs_own(event: &UsageEvent) -> bool {
    event.id.len() <= MAX_ID_BYTES && matches!(event.r#use, Some(Use::Run(_) | Use::Component(_)))
}

fn is_of(first: &UsageEvent, event: &UsageEvent) -> bool {
    (&first.team, &first.agent, &first.user, &first.run_id)
        == (&event.team, &event.agent, &event.user, &event.run_id)
}

#[cfg(test)]
mod tests {
    use sre_proto::observability::v1::{ComponentUse, ModelUse, RunUse};
    use sre_service::usage::counted;

    use super::*;

    fn event(id: &str, used: Use) -> UsageEvent {
        UsageEvent {
            id: id.into(),
            team: "red".into(),
            agent: "helper".into(),
            user: "user/alice".into(),
            run_id: "r".into(),
            step: id.into(),
            r#use: Some(used),
            ..UsageEvent::default()
        }
    }

    fn component(id: &str) -> UsageEvent {
        event(id, Use::Component(ComponentUse::default()))
    }

    fn ids(events: &[UsageEvent]) -> Vec<&str> {
        events.iter().map(|event| event.id.as_str()).collect()
    }

    fn held(event: &UsageEvent) -> &[UsageEvent] {
        match &event.r#use {
            Some(Use::Together(together)) => &together.events,
            _ => panic!("{event:?}"),
        }
    }

    #[test]
    fn what_a_run_did_by_itself_is_one_event_and_answers_stay_apart() {
        let written = vec![
            event("r/opened", Use::Run(RunUse::default())),
            event("llm/1", Use::Model(ModelUse::default())),
            component("r/A@1"),
            UsageEvent { run_id: "other".into(), ..component("other/A@1") },
        ];
        let joined = together(written.clone());
        assert_eq!(ids(&joined), ["llm/1", "other/A@1", "r/opened"]);
        let whole = &joined[2];
        assert_eq!((whole.team.as_str(), whole.run_id.as_str(), counted(whole)), ("red", "r", 2));
        assert_eq!(ids(held(whole)), ["r/opened", "r/A@1"]);
        assert!(held(whole).iter().all(|event| event.team.is_empty() && event.run_id.is_empty()));
        assert_eq!(held(whole)[1].step, "r/A@1");
        assert_eq!(together(written), joined, "the same write is the same event");
    }

    #[test]
    fn what_is_alone_stays_as_it_is() {
        let alone = vec![component("r/A@1"), event("llm/1", Use::Model(ModelUse::default()))];
        let joined = together(alone.clone());
        assert_eq!((joined.len(), counted(&joined[0])), (2, 1));
        assert!(alone.iter().all(|event| joined.contains(event)));
        assert_eq!(together(Vec::new()), []);
    }

    #[test]
    fn an_id_that_the_ledger_refuses_takes_no_other_event_along() {
        let long = format!("r/{}", "x".repeat(MAX_ID_BYTES));
        let joined = together(vec![component(&long), component("r/A@1"), component("r/A@2")]);
        assert_eq!(ids(&joined), [long.as_str(), "r/A@1"]);
        assert_eq!(ids(held(&joined[1])), ["r/A@1", "r/A@2"]);
    }

    #[test]
    fn no_event_holds_more_than_the_ledger_takes_in_a_call() {
        let written: Vec<_> = (0..=BATCH).map(|number| component(&format!("r/A@{number}"))).collect();
        let joined = together(written);
        assert_eq!(joined.iter().map(counted).collect::<Vec<_>>(), [BATCH, 1]);
        assert_eq!(joined[1].team, "red");
    }
}
