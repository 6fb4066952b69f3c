//! Golden tests for agents: a fresh embedded suite per agent file, each vector through the gateway, each answer
//! the same as recorded, or different on purpose and then right.

pub mod compare;
pub mod differences;
pub mod report;
mod send;
pub mod vectors;
mod world;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use futures::StreamExt as _;
use serde_json::Value;

use compare::{with_recorded, with_right};
use differences::DeliberateDifference;
use report::{Outcome, Report};
use vectors::Vector;
use world::World;

/// Vectors of no group that are sent at the same time.
const AT_ONCE: usize = 4;

/// What is tested with what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of agent files.
    pub agents: PathBuf,
    /// The vectors file.
    pub vectors: PathBuf,
    /// A folder that is imported first.
    pub fixtures: Option<PathBuf>,
    /// The file of deliberate differences.
    pub differences: Option<PathBuf>,
    /// Only vectors whose id begins so.
    pub only: Option<String>,
}

/// An answer to a vector, or why there is none.
pub enum Sent {
    /// The answer, in the shape of `Vector::result`.
    Answered(Value),
    /// Not sent.
    Skipped(String),
}

/// Sends every vector and compares.
pub async fn run(options: &Options, mut progress: impl FnMut(&str)) -> Result<Report> {
    let differences = options.differences.as_deref().map(differences::read).transpose()?.unwrap_or_default();
    let mut report = Report::default();
    for (agent, vectors) in selected(options)? {
        progress(&agent);
        for (vector, sent) in send_all(options, &agent, vectors).await? {
            let outcome = match sent {
                Sent::Skipped(why) => Outcome::Skipped(why),
                Sent::Answered(actual) => judge(&vector, &actual, &differences),
            };
            report.add(&agent, vector.id, outcome);
        }
    }
    let unknown = differences.keys().filter(|id| options.only.is_none() && !report.has(id));
    for id in unknown.cloned().collect::<Vec<_>>() {
        report.add(
            "differences",
            id,
            Outcome::Different("no such vector: take it out of the differences".to_owned()),
        );
    }
    Ok(report)
}

/// Sends every vector and gives the vectors back with the answers as their results.
pub async fn record(options: &Options, mut progress: impl FnMut(&str)) -> Result<Vec<Vector>> {
    let mut recorded = Vec::new();
    for (agent, vectors) in selected(options)? {
        progress(&agent);
        for (mut vector, sent) in send_all(options, &agent, vectors).await? {
            if let Sent::Answered(answer) = sent {
                vector.result = answer;
                vector.normalized = None;
            }
            recorded.push(vector);
        }
    }
    Ok(recorded)
}

fn selected(options: &Options) -> Result<std::collections::BTreeMap<String, Vec<Vector>>> {
    let mut all = vectors::read(&options.vectors)?;
    if let Some(prefix) = &options.only {
        all.retain(|vector| vector.id.starts_with(prefix));
    }
    Ok(vectors::by_agent(all))
}

async fn send_all(options: &Options, agent: &str, vectors: Vec<Vector>) -> Result<Vec<(Vector, Sent)>> {
    let world = World::start(options, agent, &vectors).await?;
    let mut sent = Vec::new();
    // A group's vectors build on each other; they come first and in order.
    let (grouped, alone): (Vec<_>, Vec<_>) = vectors.into_iter().partition(|vector| vector.group.is_some());
    for vector in grouped {
        let answer = world.send(&vector).await?;
        sent.push((vector, answer));
    }
    let mut answers = futures::stream::iter(alone)
        .map(|vector| async {
            let answer = world.send(&vector).await;
            (vector, answer)
        })
        .buffered(AT_ONCE);
    while let Some((vector, answer)) = answers.next().await {
        sent.push((vector, answer?));
    }
    drop(answers);
    world.stop().await;
    Ok(sent)
}

fn judge(vector: &Vector, actual: &Value, differences: &HashMap<String, DeliberateDifference>) -> Outcome {
    let recorded = with_recorded(vector, actual);
    match (differences.get(&vector.id), recorded) {
        (None, Ok(())) => Outcome::Same,
        (None, Err(difference)) => {
            Outcome::Different(format!("{} is {}", at(&difference.path), difference.text))
        }
        (Some(deliberate), Ok(())) => Outcome::Different(format!(
            "equals the reference's answer, but {} orders another: take the difference out, or mend the defect",
            deliberate.by
        )),
        (Some(deliberate), Err(_)) => match with_right(&deliberate.result, actual) {
            Ok(()) => Outcome::Deliberate(deliberate.by.clone()),
            Err(difference) => Outcome::Different(format!(
                "{} is {} (by {})",
                at(&difference.path),
                difference.text,
                deliberate.by
            )),
        },
    }
}

fn at(path: &str) -> &str {
    if path.is_empty() { "the answer" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector(result: Value) -> Vector {
        let request = json!({"method": "POST", "path": "/api/x"});
        serde_json::from_value(json!({"id": "a#1", "agent": "a", "request": request, "result": result}))
            .unwrap()
    }

    #[test]
    fn a_deliberate_difference_must_be_right_and_must_differ() {
        let listed = HashMap::from([(
            "a#1".to_owned(),
            DeliberateDifference { vector: "a#1".into(), by: "rulings 1".into(), result: json!({"data": 2}) },
        )]);
        let recorded = vector(json!({"data": 1}));
        assert!(matches!(judge(&recorded, &json!({"data": 1}), &HashMap::new()), Outcome::Same));
        assert!(matches!(judge(&recorded, &json!({"data": 2}), &HashMap::new()), Outcome::Different(_)));
        assert!(matches!(judge(&recorded, &json!({"data": 2}), &listed), Outcome::Deliberate(_)));
        assert!(matches!(judge(&recorded, &json!({"data": 1}), &listed), Outcome::Different(_)));
        assert!(matches!(judge(&recorded, &json!({"data": 3}), &listed), Outcome::Different(_)));
    }
}
