//! Events that one event holds: what a run and its components did, that became durable at once.

use sre_proto::observability::v1::UsageEvent;
use sre_proto::observability::v1::usage_event::Use;

/// An event, or those that it holds, with what it says for them all.
pub fn each(event: UsageEvent) -> Vec<UsageEvent> {
    let UsageEvent { team, agent, user, run_id, r#use, .. } = event;
    let Some(Use::Together(together)) = r#use else {
        return vec![UsageEvent { team, agent, user, run_id, r#use, ..event }];
    };
    let named = |held| UsageEvent {
        team: team.clone(),
        agent: agent.clone(),
        user: user.clone(),
        run_id: run_id.clone(),
        ..held
    };
    together.events.into_iter().map(named).collect()
}

/// Whether an event holds only what it may.
pub fn may_hold(event: &UsageEvent) -> bool {
    let Some(Use::Together(together)) = &event.r#use else { return true };
    let may_be = |held: &UsageEvent| {
        !held.id.is_empty() && matches!(held.r#use, Some(Use::Run(_) | Use::Component(_)))
    };
    !together.events.is_empty() && together.events.iter().all(may_be)
}
