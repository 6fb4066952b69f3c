//! The promises, each compared with what servers, journal and logs say.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use sre_proto::gateway::v1::RunState;
use sre_proto::memory::v1::RecordKind;

use crate::agent::{self, Answer, HONOURED, IGNORED, MAPPED, Risky};
use crate::evidence::{self, Journal};
use crate::executions::Executions;
use crate::load::Started;
use crate::phases::LEASE;
use crate::processes::Kill;
use crate::report::Report;
use crate::servers::{Counting, Seen, Sender};

/// How long after a kill its session has expired and is found so.
const EXPIRES_WITHIN: Duration = Duration::from_secs(3);

/// Everything that is known of one suite.
pub struct Known<'a> {
    /// The name of the part, for the report.
    pub part: &'a str,
    /// How many runs were to be started.
    pub runs: usize,
    /// What its callers saw.
    pub started: &'a [Started],
    /// Who was killed when.
    pub kills: &'a [Kill],
    /// Its journal.
    pub journals: &'a HashMap<String, Journal>,
    /// What its engines logged.
    pub executions: &'a Executions,
    /// The server that honours keys.
    pub honouring: &'a Counting,
    /// The one that does not.
    pub ignoring: &'a Counting,
}

/// Checks all of it.
pub fn check(known: &Known<'_>, report: &mut Report) {
    ends(known, report);
    starts(known, report);
    keys(known, report);
    repeats(known, report);
    single_calls(known, report);
    executions(known, report);
    journals(known, report);
}

/// Every run finished, with the answer that its input and the servers make.
fn ends(known: &Known<'_>, report: &mut Report) {
    let mut unfinished = Vec::new();
    let mut wrong = Vec::new();
    let mut uncertain = 0;
    for run in known.started {
        let Some((state, answer)) = &run.end else {
            unfinished.push(format!("{} ({}) did not end", run.number, run.run_id));
            continue;
        };
        if *state != RunState::Done {
            unfinished.push(format!("{} ({}) ended {state:?}: {answer}", run.number, run.run_id));
            continue;
        }
        match Answer::read(&run.number, answer).and_then(|answer| right(known, &run.number, &answer)) {
            Ok(failed) => uncertain += failed,
            Err(why) => wrong.push(format!("{} ({}): {why}", run.number, run.run_id)),
        }
    }
    let missing = known.runs - known.started.len();
    if missing > 0 {
        unfinished.push(format!("{missing} runs were never acknowledged"));
    }
    let done = known.started.len() - unfinished.len().min(known.started.len());
    report.check(known.part, "every run finishes", format!("{done} of {}", known.runs), &unfinished);
    report.check(known.part, "with the right answer", format!("{} wrong", wrong.len()), &wrong);
    report.figure(known.part, "calls that ended as uncertain", uncertain);
    let refused: Vec<String> = known
        .started
        .iter()
        .flat_map(|run| run.wrong.iter().map(move |wrong| format!("{}: {wrong}", run.number)))
        .collect();
    report.check(known.part, "no call is refused for anything but absence", refused.len(), &refused);
}

/// The numbers in the answer are those that the servers gave; gives how many calls ended as uncertain.
fn right(known: &Known<'_>, number: &str, answer: &Answer) -> Result<usize, String> {
    let sender = |component: String| Sender { run: number.to_owned(), component };
    let honoured = answer.honoured.iter().enumerate().map(|(n, got)| (agent::honoured(n), got));
    let mapped = answer.mapped.iter().enumerate().map(|(n, got)| (agent::mapped(n), got));
    for (call, got) in honoured.chain(mapped) {
        let sender = sender(call);
        let given = known.honouring.read(|seen| seen.answers.get(&sender).copied());
        if given != Some(*got) {
            return Err(format!("{} answered {given:?}, the run has {got}", sender.component));
        }
    }
    let mut failed = 0;
    for (n, outcome) in answer.ignored.iter().enumerate() {
        let sender = sender(agent::ignored(n));
        let given = known.ignoring.read(|seen| seen.answers.get(&sender).copied());
        match outcome {
            Risky::Answered(got) if given == Some(*got) => {}
            Risky::Answered(got) => {
                return Err(format!("{} answered {given:?}, the run has {got}", sender.component));
            }
            Risky::Failed(message) if message.starts_with("EFFECT_UNCERTAIN") => failed += 1,
            Risky::Failed(message) => return Err(format!("{} failed: {message}", sender.component)),
        }
    }
    Ok(failed)
}

/// A start that was repeated made one run.
fn starts(known: &Known<'_>, report: &mut Report) {
    let ids: HashSet<&str> = known.started.iter().map(|run| run.run_id.as_str()).collect();
    let mut wrong: Vec<String> = known
        .journals
        .values()
        .filter(|journal| !ids.contains(journal.run.run_id.as_str()))
        .map(|journal| format!("{} was started by nobody who was told so", journal.run.run_id))
        .collect();
    wrong
        .extend(ids.iter().filter(|id| !known.journals.contains_key(**id)).map(|id| format!("{id} is lost")));
    if ids.len() != known.started.len() {
        wrong.push("two starts gave the same run".to_owned());
    }
    let tries: usize = known.started.iter().map(|run| run.tries).sum();
    report.check(
        known.part,
        "a repeated start makes one run",
        format!("{} runs of {tries} tries", known.journals.len()),
        &wrong,
    );
}

/// Distinct keys are exactly as expected: one for each call of each run.
fn keys(known: &Known<'_>, report: &mut Report) {
    let mut wrong = Vec::new();
    known.honouring.read(|seen| {
        let expected = known.started.len() * (HONOURED + MAPPED);
        if seen.owners.len() != expected {
            wrong.push(format!("{} distinct keys, expected {expected}", seen.owners.len()));
        }
        for (sender, keys) in &seen.keys {
            if keys.len() != 1 || seen.owners.get(&keys[0]) != Some(sender) {
                wrong.push(format!("{sender:?} sent the keys {keys:?}"));
            }
        }
        if seen.odd > 0 {
            wrong.push(format!("{} requests without a key", seen.odd));
        }
        report.check(known.part, "distinct keys as expected", seen.owners.len(), &wrong);
    });
}

/// A call is repeated no more often than it was under way at a kill.
fn repeats(known: &Known<'_>, report: &mut Report) {
    let by_number: HashMap<&str, &Journal> = known
        .started
        .iter()
        .filter_map(|run| Some((run.number.as_str(), known.journals.get(&run.run_id)?)))
        .collect();
    let lost = lost_sessions(known);
    report.figure(known.part, "sessions that ended without a kill", lost.len());
    let deaths: Vec<&Kill> = known.kills.iter().chain(&lost).collect();
    let mut wrong = Vec::new();
    let (mut extra, mut allowed) = (0, 0);
    known.honouring.read(|seen: &Seen| {
        for (sender, calls) in &seen.calls {
            let Some(journal) = by_number.get(sender.run.as_str()) else { continue };
            let at_kills = deaths.iter().filter(|kill| under_way(journal, &sender.component, kill)).count();
            extra += calls - 1;
            allowed += at_kills;
            if calls - 1 > at_kills {
                wrong.push(format!("{sender:?} called {calls} times, under way at {at_kills} kills"));
            }
        }
    });
    report.check(
        known.part,
        "extra calls at most the effects in flight at kills",
        format!("{extra} of at most {allowed}"),
        &wrong,
    );
}

/// Sessions that nobody killed: an engine, or the journal, came to no breath for the length of a lease. Whoever
/// takes over repeats what was under way, as after a kill.
fn lost_sessions(known: &Known<'_>) -> Vec<Kill> {
    let by_a_kill = |expired: &SystemTime| {
        known.kills.iter().any(|kill| kill.before <= *expired && *expired <= kill.dead + EXPIRES_WITHIN)
    };
    let lost = known.executions.expiries.iter().filter(|expired| !by_a_kill(expired));
    lost.map(|expired| Kill { name: "session".to_owned(), before: *expired - LEASE, dead: *expired })
        .collect()
}

/// Whether an effect had been written down as begun, and not as finished, when a process died.
fn under_way(journal: &Journal, component: &str, kill: &Kill) -> bool {
    let of = |kind| {
        journal
            .records
            .iter()
            .filter(move |record| record.kind() == kind && agent::is_step_of(&record.step, component))
            .map(evidence::time)
            .min()
    };
    let begun = of(RecordKind::Intent).is_some_and(|begun| begun <= kill.dead);
    // The store gives a record its time before it is durable.
    let landing = Duration::from_millis(250);
    let finished = of(RecordKind::Finished).is_some_and(|finished| finished + landing < kill.before);
    begun && !finished
}

/// Who knows no keys is called once, or not at all.
fn single_calls(known: &Known<'_>, report: &mut Report) {
    known.ignoring.read(|seen| {
        let twice = seen.calls.iter().filter(|(_, calls)| **calls > 1);
        let wrong: Vec<String> =
            twice.map(|(sender, calls)| format!("{sender:?} called {calls} times")).collect();
        let figure = format!("{} calls of {}", seen.requests(), known.started.len() * IGNORED);
        report.check(known.part, "a call whose policy is to fail is made at most once", figure, &wrong);
    });
}

/// What has a durable end is not executed again, and nothing is executed twice by one owner.
fn executions(known: &Known<'_>, report: &mut Report) {
    let mut wrong = Vec::new();
    let mut again = 0;
    for (run, journal) in known.journals {
        let Some(executed) = known.executions.of.get(run) else {
            wrong.push(format!("{run}: no execution is logged"));
            continue;
        };
        for (activation, epochs) in executed {
            again += epochs.len() - 1;
            let distinct: HashSet<&i64> = epochs.iter().collect();
            if distinct.len() != epochs.len() {
                wrong.push(format!("{run} {activation}: executed in the epochs {epochs:?}"));
            }
            let Some(finished) = journal.first(RecordKind::Finished, activation) else { continue };
            let late: Vec<&&i64> = distinct.iter().filter(|epoch| ***epoch > finished.epoch).collect();
            if !late.is_empty() {
                wrong.push(format!(
                    "{run} {activation}: finished in epoch {}, executed in {late:?}",
                    finished.epoch
                ));
            }
        }
    }
    let figure = format!("{} executions, {again} again", known.executions.count);
    report.check(known.part, "nothing with a durable end runs again", figure, &wrong);
    // A database that was taken away is an error that its user may log.
    let taken_away = known.kills.iter().any(|kill| kill.name == "postgres");
    let expected = |line: &&String| taken_away && line.contains("the database is not available");
    let errors: Vec<String> =
        known.executions.errors.iter().filter(|line| !expected(line)).cloned().collect();
    report.check(known.part, "no process logs an error", errors.len(), &errors);
}

/// Journals are whole: sequences without a gap, epochs that only grow, each end written once.
fn journals(known: &Known<'_>, report: &mut Report) {
    let mut wrong = Vec::new();
    let (mut records, mut taken_over) = (0, 0);
    for (run, journal) in known.journals {
        records += journal.records.len();
        taken_over += journal.records.iter().filter(|record| record.kind() == RecordKind::TakenOver).count();
        let sequences = journal.records.iter().map(|record| record.sequence);
        if !sequences.eq(1..=journal.records.len() as i64) {
            wrong.push(format!("{run}: the sequence has a gap"));
        }
        if !journal.records.iter().map(|record| record.epoch).is_sorted() {
            wrong.push(format!("{run}: an epoch comes after a later one"));
        }
        let mut ends: Vec<&str> = journal
            .records
            .iter()
            .filter(|record| record.kind() == RecordKind::Finished)
            .map(|record| record.step.as_str())
            .collect();
        let count = ends.len();
        ends.sort_unstable();
        ends.dedup();
        if ends.len() != count {
            wrong.push(format!("{run}: an activation finished twice"));
        }
    }
    let figure = format!("{records} records, {taken_over} takeovers");
    report.check(known.part, "journals are whole", figure, &wrong);
}
