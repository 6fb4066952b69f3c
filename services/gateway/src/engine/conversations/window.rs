//! Which messages a model sees (`llm.md` §6.2, FIX): as many of the newest as its budget takes, whole tool turns, the
//! current turn in any case. A pure function of the log.
//!
//! A window begins where the one before it began as long as that fits; where it does not, a whole block is dropped at
//! once. So the beginning of what is sent stays the same for many turns, and providers that keep prefixes can.

use super::history::{Item, Kept};

/// Of the budget, what a window has after a block was dropped, in percent.
const AFTER_A_DROP: i64 = 75;
/// A window fuller than this is worth a summary, in percent.
const WORTH_A_SUMMARY: i64 = 70;
/// A tool's result is not cut to less.
const SHORTEST_RESULT: usize = 512;

/// A kept message with what it costs.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// The message.
    pub kept: Kept,
    /// Tokens.
    pub tokens: i64,
}

/// What a model sees.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The messages, oldest first.
    pub kept: Vec<Kept>,
    /// What earlier ones said.
    pub summary: Option<String>,
    /// The first message's place.
    pub from: i64,
    /// What all of it costs.
    pub tokens: i64,
    /// Messages before it that a summary does not cover.
    pub dropped: usize,
}

/// The part that must be there does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What it takes.
    pub needed: i64,
}

/// Builds the window of a turn whose first message is at `turn_from`. `weigh` counts a text.
pub fn build(
    log: &[Weighed],
    turn_from: i64,
    budget: i64,
    weigh: &dyn Fn(&str) -> i64,
) -> Result<Window, TooLong> {
    let summary = log.iter().rev().find_map(|weighed| match &weighed.kept.item {
        Item::Summary { up_to, text } => Some((*up_to, text.clone(), weighed.tokens)),
        _ => None,
    });
    let (covered, summary, summary_tokens) = match summary {
        // The current turn is never behind a summary.
        Some((up_to, text, tokens)) => (up_to.min(turn_from - 1), Some(text), tokens),
        None => (0, None, 0),
    };
    let budget = budget - summary_tokens;
    let open: Vec<&Weighed> = log
        .iter()
        .filter(|weighed| {
            weighed.kept.sequence > covered && !matches!(weighed.kept.item, Item::Summary { .. })
        })
        .collect();
    let earlier = open.iter().take_while(|weighed| weighed.kept.sequence < turn_from).count();
    let (earlier, current) = open.split_at(earlier);
    let mut current: Vec<Weighed> = current.iter().map(|weighed| (*weighed).clone()).collect();
    let first = start_of(earlier, total(&current), budget);
    let mut kept: Vec<Weighed> = earlier[first..].iter().map(|weighed| (*weighed).clone()).collect();
    if kept.is_empty() {
        shorten(&mut current, budget, weigh)
            .map_err(|long| TooLong { needed: long.needed + summary_tokens })?;
    }
    let dropped = first;
    kept.append(&mut current);
    let tokens = total(&kept) + summary_tokens;
    let from = kept.first().map_or(turn_from, |first| first.kept.sequence);
    let kept = kept.into_iter().map(|weighed| weighed.kept).collect();
    Ok(Window { kept, summary, from, tokens, dropped })
}

/// Up to which message a summary would do good: none as long as there is room enough, or nothing before the turn.
pub fn worth_a_summary(log: &[Weighed], turn_from: i64, budget: i64) -> Option<i64> {
    let covered = log.iter().rev().find_map(|weighed| match weighed.kept.item {
        Item::Summary { up_to, .. } => Some(up_to),
        _ => None,
    });
    let covered = covered.unwrap_or(0);
    let open = || log.iter().filter(|weighed| weighed.kept.sequence > covered);
    if open().map(|weighed| weighed.tokens).sum::<i64>() * 100 <= budget * WORTH_A_SUMMARY {
        return None;
    }
    let earlier = open().filter(|weighed| weighed.kept.sequence < turn_from);
    let earlier = earlier.filter(|weighed| !matches!(weighed.kept.item, Item::Summary { .. }));
    earlier.map(|weighed| weighed.kept.sequence).max()
}

fn total(weighed: &[Weighed]) -> i64 {
    weighed.iter().map(|weighed| weighed.tokens).sum()
}

/// Where the earlier messages begin: at a turn, so that the first one is the user's.
fn start_of(earlier: &[&Weighed], current: i64, budget: i64) -> usize {
    let starts: Vec<usize> =
        (0..earlier.len()).filter(|place| begins_a_turn(&earlier[*place].kept.item)).collect();
    let tokens_from = |place: usize| current + earlier[place..].iter().map(|w| w.tokens).sum::<i64>();
    let at = |sequence: i64| starts.iter().copied().find(|place| earlier[*place].kept.sequence >= sequence);
    // Where the last model's window began; everything where there was none.
    let before = earlier.iter().rev().find_map(|weighed| match &weighed.kept.item {
        Item::Assistant(said) => Some(said.window_from),
        Item::Tools(turn) => Some(turn.said.window_from),
        _ => None,
    });
    let Some(begin) = at(before.unwrap_or(0)) else { return earlier.len() };
    if tokens_from(begin) <= budget {
        return begin;
    }
    let room = budget * AFTER_A_DROP / 100;
    starts
        .iter()
        .copied()
        .filter(|place| *place > begin)
        .find(|place| tokens_from(*place) <= room)
        .unwrap_or(earlier.len())
}

fn begins_a_turn(item: &Item) -> bool {
    matches!(item, Item::User(asked) if !asked.internal)
}

/// Makes the current turn fit: its older tool turns go, then results are cut, the largest first. What was asked and
/// the newest tool turn stay.
fn shorten(current: &mut Vec<Weighed>, budget: i64, weigh: &dyn Fn(&str) -> i64) -> Result<(), TooLong> {
    let is_tools = |weighed: &Weighed| matches!(weighed.kept.item, Item::Tools(_));
    while total(current) > budget && current.iter().filter(|weighed| is_tools(weighed)).count() > 1 {
        let Some(oldest) = current.iter().position(is_tools) else { break };
        current.remove(oldest);
    }
    while total(current) > budget {
        let over = total(current) - budget;
        let Some(weighed) = current.iter_mut().find(|weighed| is_tools(weighed)) else { break };
        let Item::Tools(turn) = &mut weighed.kept.item else { break };
        let Some(largest) = turn.calls.iter_mut().max_by_key(|called| called.result.len()) else { break };
        let size = largest.result.len();
        if size <= SHORTEST_RESULT {
            break;
        }
        let before = weigh(&largest.result);
        // A token has a byte at least; in doubt it is cut again.
        let less = usize::try_from(over).unwrap_or(usize::MAX).clamp(size / 8, size);
        largest.result =
            super::tools::capped(&largest.result, size.saturating_sub(less).max(SHORTEST_RESULT));
        let saved = before - weigh(&largest.result);
        if largest.result.len() >= size || saved <= 0 {
            break;
        }
        weighed.tokens -= saved;
    }
    match total(current) {
        needed if needed > budget => Err(TooLong { needed }),
        _ => Ok(()),
    }
}
