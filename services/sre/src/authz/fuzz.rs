//! Random calls against the model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sre_proto::{AccessLevel, METHODS, Rule, Visibility};
use sre_service::Role;
use tonic::{Code, Status};

use super::calls::{Call, Op};
use super::rights::{List, OWNER, Person, READ, WRITE};
use super::things::{self, Kind};
use super::world::World;

/// So many calls are made in one world; the next ones get another.
const PAIRS_A_WORLD: u64 = 2_500;
/// So many findings are told in full.
const FINDINGS: usize = 10;

/// What to try.
#[derive(Debug, Clone)]
pub struct Fuzz {
    /// So many pairs of a principal and a call.
    pub pairs: u64,
    /// What randomness begins with.
    pub seed: u64,
    /// The program that runs code; without one the service `Code` is left out.
    pub worker: Option<PathBuf>,
}

/// What was tried and found.
#[derive(Debug, Default)]
pub struct Report {
    /// Pairs that were tried.
    pub pairs: u64,
    /// Calls that went through.
    pub allowed: u64,
    /// Calls that were refused.
    pub denied: u64,
    /// Calls by the way they took.
    pub ways: BTreeMap<&'static str, u64>,
    /// Answers that differ from the model.
    pub disagreements: u64,
    /// Answers that hold what their caller may not read.
    pub cross_tenant_reads: u64,
    /// The first findings, the very first as small as it could be made.
    pub findings: Vec<Finding>,
}

/// An answer that is not as it must be.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The seed and the number of the pair: `--seed` and `--pairs` bring it back.
    pub seed: u64,
    /// Which pair it was, from 1 on.
    pub pair: u64,
    /// What was found.
    pub text: String,
}

impl Report {
    fn found(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// How a call is made.
#[derive(Debug, Clone)]
enum Way {
    /// Through the edge, by one's own certificate.
    Edge,
    /// At the role, by one's own certificate.
    Direct,
    /// At the role, by the edge with a token of this scope.
    Token(String),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Edge => "through the edge",
            Self::Direct => "at the role",
            Self::Token(_) => "at the role, with a token",
        }
    }
}

/// What became of a call.
enum Outcome {
    /// It was done; what it answered.
    Done(String),
    /// It was let through, and there was nothing to do.
    Nothing(Status),
    Refused(Status),
    /// Neither: a failure.
    Odd(Status),
}

impl Outcome {
    fn of(answer: Result<String, Status>) -> Self {
        match answer {
            Ok(text) => Self::Done(text),
            Err(status) => match status.code() {
                Code::PermissionDenied | Code::Unauthenticated => Self::Refused(status),
                // Who may not see a thing is not told whether it is there (H37).
                Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => {
                    Self::Nothing(status)
                }
                _ => Self::Odd(status),
            },
        }
    }

    fn is(&self, allowed: bool) -> bool {
        match self {
            Self::Done(_) | Self::Nothing(_) => allowed,
            Self::Refused(_) => !allowed,
            Self::Odd(_) => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => write!(f, "done"),
            Self::Nothing(status) | Self::Refused(status) | Self::Odd(status) => {
                write!(f, "{:?}: {}", status.code(), status.message())
            }
        }
    }
}

/// Tries pairs until there are enough; goes on after a finding.
pub async fn fuzz(asked: &Fuzz, mut progress: impl FnMut(&Report)) -> Result<Report> {
    let mut report = Report::default();
    let mut world_number = 0;
    while report.pairs < asked.pairs {
        let seed = asked.seed.wrapping_add(world_number);
        let (mut world, mut rng) = World::start(seed, asked.worker.as_deref()).await?;
        let until = asked.pairs.min(report.pairs + PAIRS_A_WORLD);
        while report.pairs < until {
            report.pairs += 1;
            pair(&mut world, &mut rng, asked.seed, &mut report).await?;
            if report.pairs % 100 == 0 {
                progress(&report);
            }
        }
        world.stop().await;
        world_number += 1;
    }
    Ok(report)
}

async fn pair(world: &mut World, rng: &mut StdRng, seed: u64, report: &mut Report) -> Result<()> {
    let (person, call, way) = random(world, rng);
    let allowed = expected(world, &person, &call, &way);
    let outcome = run(world, &person, &call, &way).await?;
    *report.ways.entry(way.name()).or_default() += 1;
    match outcome {
        Outcome::Done(_) | Outcome::Nothing(_) => report.allowed += 1,
        _ => report.denied += 1,
    }
    let leaked = match &outcome {
        Outcome::Done(text) => world.leaks(&person, text).into_iter().next(),
        _ => None,
    };
    if let Some(name) = &leaked {
        report.cross_tenant_reads += 1;
        let text = format!("{} read {name} without the right to, by {call:?} {way:?}", person.name);
        report.found(Finding { seed, pair: report.pairs, text });
    }
    if !outcome.is(allowed) {
        report.disagreements += 1;
        let text = match report.findings.is_empty() {
            true => shrink(world, &person, call.clone(), &way, allowed, &outcome).await?,
            false => said(world, &person, &call, &way, allowed, &outcome),
        };
        report.found(Finding { seed, pair: report.pairs, text });
        // The model follows what the services did, so that one finding is not followed by many.
    }
    if matches!(outcome, Outcome::Done(_)) {
        world.learn(&person, &call, rng).await?;
    }
    Ok(())
}

fn random(world: &World, rng: &mut StdRng) -> (Person, Call, Way) {
    let fixed = rng.random_bool(0.2);
    let call = match (world.things.places.choose(rng), world.people.teams.choose(rng)) {
        (Some(place), _) if !fixed => {
            let list = things::list(rng, &world.people, place);
            Call::on(place, list, rng)
        }
        (_, Some(team)) => Call::at(team, &world.people.teams, rng),
        (_, None) => Call::at("default", &world.people.teams, rng),
    };
    let person = world.people.caller(rng, &call.team);
    // `-` is the caller's own team: where it has another one, it would ask for something else.
    let own = call.own && person.home() == Some(call.team.as_str());
    let call = Call { own, ..call };
    let way = match rng.random_range(0..100) {
        0..70 => Way::Edge,
        70..85 => Way::Direct,
        _ if person.is_service() || person.home().is_none() || call.op == Op::Run => Way::Edge,
        _ => Way::Token(scope(&call, rng)),
    };
    (person, call, way)
}

/// A scope that more often than not is the right one, and always one that somebody may obtain: of a level that a
/// method of the service asks for.
fn scope(call: &Call, rng: &mut StdRng) -> String {
    let (service, _) = call.service();
    let levels: Vec<&str> = METHODS
        .iter()
        .filter(|row| row.service == service && row.visibility == Visibility::Public)
        .filter_map(|row| match row.rule {
            Rule::Access { level: AccessLevel::Read, .. } => Some("read"),
            Rule::Access { level: AccessLevel::Write, .. } => Some("write"),
            Rule::Access { level: AccessLevel::Owner, .. } => Some("owner"),
            Rule::System { .. } => None,
        })
        .collect();
    let right = match call.level() {
        READ => "read",
        WRITE => "write",
        _ => "owner",
    };
    match rng.random_range(0..10) {
        0..6 => format!("{service}:{right}"),
        6..9 => format!("{service}:{}", levels.choose(rng).unwrap_or(&right)),
        _ => "sre.observability.v1.Log:read".to_owned(),
    }
}

/// What the model says.
fn expected(world: &World, person: &Person, call: &Call, way: &Way) -> bool {
    let (service, role) = call.service();
    match way {
        Way::Edge => world.allows(person, call),
        // The engine takes calls from the edge alone.
        Way::Direct => role != Role::Engine && world.allows(person, call),
        Way::Token(scope) => {
            let covers = scope.rsplit_once(':').is_some_and(|(name, given)| {
                let level = match given {
                    "read" => READ,
                    "write" => WRITE,
                    _ => OWNER,
                };
                name == service && (level == OWNER || level == call.level())
            });
            covers && world.allows(person, call)
        }
    }
}

async fn run(world: &mut World, person: &Person, call: &Call, way: &Way) -> Result<Outcome> {
    let (_, role) = call.service();
    let link = match way {
        Way::Edge => world.link(&person.name, Role::Edge),
        Way::Direct => world.link(&person.name, role),
        Way::Token(scope) => match world.token(person, role, scope.clone()).await {
            Ok(token) => world.link("service/edge", role).with_jwt(&token),
            Err(status) => return Ok(Outcome::of(Err(status))),
        },
    };
    Ok(Outcome::of(call.make(link).await))
}

/// Takes entries out of the thing's list while the two still disagree, and says what is left.
async fn shrink(
    world: &mut World,
    person: &Person,
    call: Call,
    way: &Way,
    allowed: bool,
    outcome: &Outcome,
) -> Result<String> {
    let mut text = said(world, person, &call, way, allowed, outcome);
    let place = call.place.clone();
    let list = place.as_ref().and_then(|place| world.things.lists.get(place)).cloned();
    // What changes a thing cannot be tried again and again.
    let repeats = matches!(call.op, Op::Read | Op::Look | Op::List | Op::GetList);
    let (Some(place), Some(whole), true) = (place, list, repeats) else { return Ok(text) };
    if matches!(place.kind, Kind::Skills | Kind::Run) {
        return Ok(text);
    }
    let mut smallest = whole.clone();
    for who in whole.keys().filter(|who| *who != super::people::DEV) {
        let mut smaller: List = smallest.clone();
        smaller.remove(who);
        world.relist(&place, smaller.clone()).await?;
        let allowed = expected(world, person, &call, way);
        let outcome = run(world, person, &call, way).await?;
        if !outcome.is(allowed) {
            text = said(world, person, &call, way, allowed, &outcome);
            smallest = smaller;
        }
    }
    world.relist(&place, smallest).await?;
    Ok(text)
}

/// A disagreement in words.
fn said(world: &World, person: &Person, call: &Call, way: &Way, allowed: bool, outcome: &Outcome) -> String {
    let expected = if allowed { "allowed" } else { "refused" };
    let list = call.place.as_ref().and_then(|place| world.things.lists.get(place));
    format!(
        "expected {expected}, got {outcome}\n  who: {} in {:?}\n  what: {:?} on {} {}\n  list: {list:?}",
        person.name,
        person.teams,
        call.op,
        call.resource(),
        way.name(),
    )
}
