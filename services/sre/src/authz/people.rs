//! Random people: teams with members, their agents, services, and strangers.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::rights::Person;

pub(super) const TEAMS: usize = 4;
/// Who makes everything: the administrator of the deployment and of every team.
pub(super) const DEV: &str = "user/dev";

/// Everybody there is.
pub(super) struct People {
    pub(super) teams: Vec<String>,
    /// Those that Account knows, without [`DEV`].
    pub(super) known: Vec<Person>,
    pub(super) dev: Person,
    services: Vec<Person>,
    strangers: Vec<Person>,
}

impl People {
    pub(super) fn random(rng: &mut StdRng) -> Self {
        let teams: Vec<String> = (0..TEAMS).map(|n| format!("t{n}")).collect();
        let mut known = Vec::new();
        for (n, team) in teams.iter().map(String::as_str).enumerate() {
            for (role, admin) in [("admin", true), ("member", false), ("guest", false)] {
                let mut person = Person::new(&format!("user/{role}{n}"), &[(team, admin)]);
                // Some belong to others besides.
                for other in teams.iter().filter(|other| *other != team) {
                    if rng.random_bool(0.15) {
                        person.teams.push((other.clone(), rng.random_bool(0.3)));
                    }
                }
                known.push(person);
            }
            for agent in agents_of(n) {
                known.push(Person::new(&format!("agent/{agent}"), &[(team, false)]));
            }
            known.push(Person::new(&format!("team/{team}"), &[(team, false)]));
        }
        let mut dev = Person::new(DEV, &[("default", true)]);
        dev.teams.extend(teams.iter().map(|team| (team.clone(), true)));
        dev.root = true;
        let services = ["engine", "edge", "llm", "io", "memory", "unlisted"];
        Self {
            teams,
            known,
            dev,
            services: services.map(|name| Person::new(&format!("service/{name}"), &[])).into(),
            strangers: ["user/ghost", "agent/ghost", "team/ghost"].map(|name| Person::new(name, &[])).into(),
        }
    }

    /// Somebody who calls; more often than not of the team that is asked about.
    pub(super) fn caller(&self, rng: &mut StdRng, team: &str) -> Person {
        let pick =
            |from: &[Person], rng: &mut StdRng| from.choose(rng).cloned().unwrap_or_else(|| self.dev.clone());
        match rng.random_range(0..100) {
            0..50 => {
                let members: Vec<Person> = self.of(team).cloned().collect();
                pick(&members, rng)
            }
            50..85 => pick(&self.known, rng),
            85..93 => pick(&self.strangers, rng),
            93..99 => pick(&self.services, rng),
            _ => self.dev.clone(),
        }
    }

    fn of<'a>(&'a self, team: &'a str) -> impl Iterator<Item = &'a Person> {
        self.known.iter().filter(move |person| person.teams.iter().any(|(known, _)| known == team))
    }

    pub(super) fn homes(&self) -> BTreeMap<String, String> {
        let all = self.known.iter().chain([&self.dev]);
        all.filter_map(|person| Some((person.name.clone(), person.home()?.to_owned()))).collect()
    }
}

/// The agents of a team, by its number.
pub(super) fn agents_of(team: usize) -> [String; 2] {
    [format!("alpha{team}"), format!("beta{team}")]
}
