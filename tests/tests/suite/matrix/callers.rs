//! Who must be refused, row by row.

use sre_proto::{AccessLevel, MethodPolicy, Rule, Visibility};
use sre_service::Role;

use super::case::{Case, OUTSIDER, OWNER, STRANGER};
use super::driver::Way;
use super::target::Who;
use super::world::{World, level_word, serving};

/// A service of this suite that is none of its roles.
const UNLISTED: &str = "service/unlisted";
/// Who presents tokens to subsystems.
const ENGINE: &str = "service/engine";

/// Everybody who must be refused, with what is wrong with them.
pub fn refused(world: &World, way: Way, row: &MethodPolicy, case: &Case) -> Vec<(String, Who)> {
    match (way, row.rule) {
        (Way::Direct, Rule::System { services }) => of_system(services),
        (Way::Edge, Rule::System { services }) => {
            // What is internal is not forwarded, not even for those who may call it.
            let listed =
                services.iter().map(|name| ("a listed service, through the edge", format!("service/{name}")));
            let clients = [("the owner", OWNER.to_owned()), ("an agent", "agent/worker".to_owned())];
            listed.chain(clients).map(|(label, who)| (label.to_owned(), Who::is(who))).collect()
        }
        (Way::Direct, Rule::Access { level, .. }) => {
            let mut callers = tokens(world, row, case, level);
            if row.package == "gateway" {
                callers.extend(named("a client that is not the edge", &[OWNER, "agent/worker"]));
                callers.extend(named("a service that is not the edge", &["service/llm", "service/engine"]));
            } else if row.visibility == Visibility::Internal {
                callers.extend(named("a client", &[OWNER, "agent/worker"]));
                let edge = world.token(&subject(case), "service/edge", row, |_| {});
                callers.push(("the edge".to_owned(), Who::presents("service/edge", edge)));
            } else {
                callers.extend(people(case));
            }
            callers
        }
        (Way::Edge, Rule::Access { .. }) if row.visibility == Visibility::Internal => {
            let mut callers = named("a client", &[OWNER, "agent/worker"]);
            callers.extend(named("a service", &[ENGINE, UNLISTED]));
            callers
        }
        (Way::Edge, Rule::Access { .. }) => {
            let mut callers = people(case);
            callers.extend(named("a service", &[ENGINE, UNLISTED]));
            if !case.open {
                // The edge takes no tokens: whoever brings one is still themselves.
                let stolen = world.token(&subject(case), "service/edge", row, |_| {});
                callers
                    .push(("another team with a stolen token".to_owned(), Who::presents(OUTSIDER, stolen)));
            }
            callers
        }
    }
}

/// Candidates without the right.
fn people(case: &Case) -> Vec<(String, Who)> {
    if case.open {
        return Vec::new();
    }
    let mut callers = named("another team", &[OUTSIDER]);
    callers.extend(named("nobody's member", &[STRANGER]));
    callers.extend(named("too little", &case.weaker));
    callers
}

fn of_system(services: &[&str]) -> Vec<(String, Who)> {
    let mut callers = named("a client", &[OWNER, "agent/worker"]);
    callers.extend(named("a service that is none", &[UNLISTED]));
    let unlisted = Role::ALL.into_iter().filter(|role| !services.contains(&role.name()));
    callers
        .extend(unlisted.map(|role| ("an unlisted service".to_owned(), Who::is(format!("service/{role}")))));
    callers
}

/// Services, and what may be wrong with the token they present.
fn tokens(world: &World, row: &MethodPolicy, case: &Case, level: AccessLevel) -> Vec<(String, Who)> {
    let presenter = presenter(row);
    let subject = &subject(case);
    let mine = |change: &dyn Fn(&mut sre_identity::Claims)| {
        world.token(subject, presenter, row, |claims| change(claims))
    };
    let other_role = if serving(row) == Role::Io { "memory" } else { "io" };
    let other_level = match level {
        AccessLevel::Read => AccessLevel::Write,
        AccessLevel::Write => AccessLevel::Read,
        AccessLevel::Owner => AccessLevel::Write,
    };
    let good = mine(&|_| {});
    let wrong = [
        ("a forged token", forged(&good, &mine(&|claims| claims.txn.clear()))),
        ("a damaged token", format!("{good}x")),
        ("no token at all", "bearer".to_owned()),
        (
            "an expired token",
            mine(&|claims| {
                claims.iat -= 300;
                claims.exp -= 300;
            }),
        ),
        ("a token for another service", mine(&|claims| claims.aud = vec![other_role.to_owned()])),
        ("a token of another presenter", world.token(subject, "service/compute", row, |_| {})),
        (
            "a token of another issuer",
            mine(&|claims| claims.iss = "spiffe://sre.local/service/agent".to_owned()),
        ),
        (
            "a token of another scope",
            mine(&|claims| {
                claims.scope = vec![format!("{}:{}", row.service, level_word(other_level))];
            }),
        ),
        (
            "a token for another service's methods",
            mine(&|claims| {
                claims.scope = vec!["sre.nothing.v1.Nothing:owner".to_owned()];
            }),
        ),
    ];
    let mut callers: Vec<(String, Who)> =
        wrong.into_iter().map(|(label, token)| (label.to_owned(), Who::presents(presenter, token))).collect();
    callers.push(("a service without token".to_owned(), Who::is(presenter)));
    if !case.open {
        let outsider = world.token(OUTSIDER, presenter, row, |_| {});
        callers.push(("a token for another team's user".to_owned(), Who::presents(presenter, outsider)));
    }
    callers
}

/// Who may present tokens for a row.
pub fn presenter(row: &MethodPolicy) -> &'static str {
    if row.package == "gateway" { "service/edge" } else { ENGINE }
}

/// For whom the owner's call acts.
pub fn subject(case: &Case) -> String {
    match &case.owner.token {
        // A row whose owner presents a token: the subject is not the presenter.
        Some(_) => "agent/worker".to_owned(),
        None => case.owner.principal.clone(),
    }
}

/// The signature of another token of the same key.
fn forged(token: &str, other: &str) -> String {
    let (content, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{content}.{signature}")
}

fn named(label: &str, principals: &[&str]) -> Vec<(String, Who)> {
    principals.iter().map(|who| (format!("{label} ({who})"), Who::is(*who))).collect()
}
