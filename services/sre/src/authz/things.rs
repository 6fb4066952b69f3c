//! Random things: files, namespaces, stores of vectors, entries, agents, code, runs and what they ask, with random lists.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sre_proto::types::v1 as pb;

use super::people::{DEV, People, agents_of};
use super::rights::{List, NONE, OWNER, READ, WRITE};

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    File,
    Namespace,
    /// A namespace of vectors.
    Space,
    Entry,
    /// An agent's definition.
    Agent,
    /// The right to use its skills, which has a list of its own.
    Skills,
    Run,
    /// A piece of code.
    Code,
    /// What a run asks people. It has no list: see `questions`.
    Approval,
}

/// A place for a thing. Whether there is one is in [`Things::lists`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) kind: Kind,
    /// Its resource name.
    pub(super) name: String,
    pub(super) team: String,
}

/// All places, and the lists of what is there.
#[derive(Default)]
pub(super) struct Things {
    pub(super) places: Vec<Place>,
    pub(super) lists: BTreeMap<Place, List>,
}

impl Things {
    /// Places of all teams; runs are added when they are made.
    pub(super) fn places(people: &People) -> Vec<Place> {
        let mut places = Vec::new();
        for (n, team) in people.teams.iter().enumerate() {
            let mut add = |kind, name: String| places.push(Place { kind, name, team: team.clone() });
            for agent in agents_of(n) {
                let name = format!("teams/{team}/agents/{agent}");
                add(Kind::File, format!("{name}/files/one.txt"));
                add(Kind::File, format!("{name}/files/folder/two.txt"));
                add(Kind::Entry, format!("{name}/cache/one"));
                add(Kind::Space, format!("{name}/vectors/one"));
                add(Kind::Code, format!("{name}/code/one"));
                add(Kind::Skills, format!("{name}/skills"));
                add(Kind::Agent, name);
            }
            add(Kind::File, format!("teams/{team}/users/member{n}/files/mine.txt"));
            add(Kind::File, format!("teams/{team}/files/shared.txt"));
            add(Kind::Entry, format!("teams/{team}/users/member{n}/cache/mine"));
            add(Kind::Entry, format!("teams/{team}/cache/shared"));
            add(Kind::Space, format!("teams/{team}/users/member{n}/vectors/mine"));
            add(Kind::Space, format!("teams/{team}/vectors/shared"));
            for space in ["a", "ab"] {
                add(Kind::Namespace, format!("teams/{team}/nkv/{space}"));
            }
        }
        places
    }
}

/// A random list; [`DEV`] owns everything, so that it can be put right again. An agent reads its own definition:
/// otherwise nobody could run it, whatever the list of its skills says.
pub(super) fn list(rng: &mut StdRng, people: &People, place: &Place) -> List {
    let mut list = List::from([(DEV.to_owned(), OWNER)]);
    for _ in 0..rng.random_range(0..5) {
        let Some(person) = people.known.choose(rng) else { break };
        let levels = [READ, WRITE, OWNER, READ | WRITE, NONE, NONE | READ][rng.random_range(0..6)];
        list.insert(person.name.clone(), levels);
    }
    if let Some(team) = people.teams.choose(rng).filter(|_| rng.random_bool(0.3)) {
        list.insert(format!("team/{team}"), [READ, WRITE, OWNER][rng.random_range(0..3)]);
    }
    if rng.random_bool(0.1) {
        list.insert("public/public".to_owned(), READ);
    }
    if let (Kind::Agent, Some(id)) = (place.kind, place.name.rsplit('/').next()) {
        list.insert(format!("agent/{id}"), READ);
    }
    list
}

/// A list as a message.
pub(super) fn message(list: &List) -> pb::Acl {
    let levels = |bits: u8| -> Vec<i32> {
        let all = [
            (READ, pb::Level::Read),
            (WRITE, pb::Level::Write),
            (OWNER, pb::Level::Owner),
            (NONE, pb::Level::None),
        ];
        all.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, level)| i32::from(level)).collect()
    };
    let entry =
        |(who, bits): (&String, &u8)| pb::AclEntry { candidate: candidate(who), levels: levels(*bits) };
    pb::Acl { entries: list.iter().map(entry).collect(), etag: String::new() }
}

/// `user/alice` as a message; none for services.
pub(super) fn candidate(name: &str) -> Option<pb::Candidate> {
    let (role, id) = name.split_once('/')?;
    let role = match role {
        "agent" => pb::Role::Agent,
        "user" => pb::Role::User,
        "team" => pb::Role::Team,
        "public" => pb::Role::Public,
        _ => return None,
    };
    Some(pb::Candidate { role: role.into(), id: id.to_owned() })
}

/// What a thing holds, so that it is known wherever it turns up.
pub(super) fn mark(place: &Place) -> String {
    format!("<<{:?} {}>>", place.kind, place.name)
}
