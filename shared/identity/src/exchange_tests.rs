use std::collections::BTreeSet;

use super::*;
use crate::test_world::peer;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// Asks without a ceiling, as callers' proofs are, or with one.
fn ask(
    who: &str,
    purpose: Purpose,
    proof: Proof,
    ceiling: Option<&[&str]>,
    audience: &[&str],
    scopes: &[&str],
) -> Result<Vec<String>, ExchangeError> {
    let (presenter, audience, scopes) = (peer(who), texts(audience), texts(scopes));
    let ceiling = ceiling.map(texts);
    permit(&Ask {
        presenter: &presenter,
        purpose,
        proof,
        ceiling: ceiling.as_deref(),
        audience: &audience,
        scopes: &scopes,
    })
}

const CEILING: &[&str] = &[
    "sre.agent.v1.AgentData:read",
    "sre.llm.v1.Inference:read",
    "sre.io.v1.Storage:owner",
    "sre.security.v1.Vault:read",
];

#[test]
fn the_edge_starts_runs_and_forwards() {
    use Purpose::{Forward, Run};
    for proof in FROM_CALLERS {
        ask("service/edge", Run, *proof, None, &["engine"], &[RUN]).unwrap();
        ask("service/edge", Run, *proof, None, &["engine"], &[DEBUG]).unwrap();
        ask("service/edge", Forward, *proof, None, &["io"], &["sre.io.v1.Storage:write"]).unwrap();
    }
    ask("service/edge", Forward, Proof::Peer, None, &["engine"], &["sre.gateway.v1.Runs:owner"]).unwrap();
    ask("service/edge", Forward, Proof::Peer, None, &["security"], &["sre.security.v1.Account:owner"])
        .unwrap();
}

#[test]
fn a_broken_edge_gets_nothing_else() {
    use Purpose::{Forward, NextHop, Run, SubAgent};
    for (purpose, audience, scope) in [
        (Run, "engine", "sre.gateway.v1.Runs:write"),
        (Run, "engine", "sre.gateway.v1.Debugger:owner"),
        (Run, "security", DEBUG),
        (Run, "engine", "sre.security.v1.Vault:read"),
        (Run, "security", "sre.security.v1.Vault:read"),
        (Run, "security", RUN),
        (Forward, "io", "sre.security.v1.Vault:read"),
        (Forward, "engine", "sre.io.v1.Storage:read"),
        (Forward, "gateway", "sre.gateway.v1.Runs:read"),
        // Internal services, and levels that no method asks for.
        (Forward, "memory", "sre.memory.v1.RuntimeContext:owner"),
        (Forward, "memory", "sre.memory.v1.LlmContext:read"),
        (Forward, "llm", "sre.llm.v1.Inference:owner"),
        (Forward, "io", "sre.io.v1.Storage:*"),
        (Forward, "io", "sre.io.v1.Storage"),
        (Forward, "io", "*"),
        (NextHop, "io", "sre.io.v1.Storage:read"),
        (SubAgent, "io", "sre.io.v1.Storage:read"),
    ] {
        let refused = ask("service/edge", purpose, Proof::Peer, None, &[audience], &[scope]);
        assert!(refused.is_err(), "{purpose:?} {audience} {scope}");
    }
    for proof in [Proof::Token, Proof::ResumeGrant] {
        assert!(ask("service/edge", Run, proof, Some(CEILING), &["engine"], &[RUN]).is_err());
        let forward =
            ask("service/edge", Forward, proof, Some(CEILING), &["io"], &["sre.io.v1.Storage:read"]);
        assert!(forward.is_err());
    }
    let two =
        ask("service/edge", Forward, Proof::Peer, None, &["io", "security"], &["sre.io.v1.Storage:read"]);
    assert!(two.is_err());
}

#[test]
fn the_engine_gets_what_the_ceiling_allows() {
    for purpose in [Purpose::NextHop, Purpose::SubAgent] {
        for proof in FROM_RUNS {
            let ceiling = ask(
                "service/engine",
                purpose,
                *proof,
                Some(CEILING),
                &["llm", "io"],
                &["sre.llm.v1.Inference:read", "sre.io.v1.Storage:read", "sre.io.v1.Storage:owner"],
            );
            // The ceiling stays what it was: it never grows.
            assert_eq!(ceiling.unwrap(), texts(CEILING));
            for scope in
                ["sre.io.v1.Nkv:read", "sre.agent.v1.AgentData:write", "sre.security.v1.Account:owner"]
            {
                let refused = ask("service/engine", purpose, *proof, Some(CEILING), &["io"], &[scope]);
                assert_eq!(refused, Err(ExchangeError::Scope(scope.into())));
            }
            let without = ask("service/engine", purpose, *proof, None, &["io"], &["sre.io.v1.Storage:read"]);
            assert!(without.is_err());
        }
        for proof in FROM_CALLERS {
            let refused = ask("service/engine", purpose, *proof, None, &["io"], &["sre.io.v1.Storage:read"]);
            assert!(matches!(refused, Err(ExchangeError::NotInTable { .. })));
        }
    }
    let run = ask("service/engine", Purpose::Run, Proof::Peer, None, &["engine"], &[RUN]);
    assert!(matches!(run, Err(ExchangeError::NotInTable { .. })));
}

#[test]
fn a_sub_agent_has_a_proof_of_its_own() {
    ask("service/engine", Purpose::SubAgent, Proof::Token, Some(CEILING), &["engine"], &[RUN]).unwrap();
    let mixed =
        ask("service/engine", Purpose::SubAgent, Proof::Token, Some(CEILING), &["engine", "io"], &[RUN]);
    assert!(mixed.is_err());
    let hop = ask("service/engine", Purpose::NextHop, Proof::Token, Some(CEILING), &["engine"], &[RUN]);
    assert!(hop.is_err());
}

#[test]
fn subsystems_have_their_few_next_hops() {
    let hops: &[(&str, &str, &str)] = &[
        ("llm", "security", USE_KEY),
        ("llm", "io", READ_FILES),
        ("io", "llm", INFER),
        ("compute", "security", USE_KEY),
    ];
    let roles = ["edge", "engine", "agent", "memory", "llm", "io", "security", "compute", "observability"];
    let scopes = [USE_KEY, READ_FILES, INFER, "sre.security.v1.Vault:write", "sre.io.v1.Storage:write", RUN];
    let everything: Vec<&str> =
        vec![USE_KEY, READ_FILES, INFER, "sre.security.v1.Vault:owner", "sre.io.v1.Storage:owner"];
    for from in roles.into_iter().filter(|role| *role != "engine") {
        for to in roles {
            for scope in scopes {
                let who = format!("service/{from}");
                let hop = ask(&who, Purpose::NextHop, Proof::Token, Some(&everything), &[to], &[scope]);
                assert_eq!(hop.is_ok(), hops.contains(&(from, to, scope)), "{from} to {to}: {scope}");
                // Never beyond the ceiling, and never by another proof.
                assert!(ask(&who, Purpose::NextHop, Proof::Token, Some(&[]), &[to], &[scope]).is_err());
                assert!(
                    ask(&who, Purpose::NextHop, Proof::ResumeGrant, Some(&everything), &[to], &[scope])
                        .is_err()
                );
                assert!(ask(&who, Purpose::NextHop, Proof::Peer, None, &[to], &[scope]).is_err());
                assert!(
                    ask(&who, Purpose::SubAgent, Proof::Token, Some(&everything), &[to], &[scope]).is_err()
                );
            }
        }
    }
}

#[test]
fn only_services_obtain_tokens() {
    for who in ["user/edge", "agent/edge", "team/edge", "service/other"] {
        let refused = ask(who, Purpose::Run, Proof::Peer, None, &["engine"], &[RUN]);
        assert!(matches!(refused, Err(ExchangeError::NotInTable { .. })), "{who}");
    }
    assert!(may_hold_grants(&peer("service/engine")));
    assert!(!may_hold_grants(&peer("service/edge")));
    assert!(!may_hold_grants(&peer("user/engine")));
}

#[test]
fn a_request_names_audience_and_scope() {
    for (audience, scopes) in [(&["engine"][..], &[][..]), (&[], &[RUN])] {
        let refused = ask("service/edge", Purpose::Run, Proof::Peer, None, audience, scopes);
        assert_eq!(refused, Err(ExchangeError::Empty));
    }
}

#[test]
fn a_run_holds_no_power_over_accounts_and_runs() {
    let ceiling = ask("service/edge", Purpose::Run, Proof::Peer, None, &["engine"], &[RUN]).unwrap();
    let expected: BTreeSet<&str> = [
        "sre.agent.v1.AgentData:read",
        "sre.agent.v1.Components:read",
        "sre.compute.v1.Code:write",
        "sre.io.v1.Nkv:owner",
        "sre.io.v1.Storage:owner",
        "sre.llm.v1.Inference:read",
        "sre.llm.v1.Models:read",
        "sre.memory.v1.Cache:owner",
        "sre.security.v1.Account:read",
        "sre.security.v1.Vault:read",
    ]
    .into();
    let found: BTreeSet<&str> = ceiling.iter().map(String::as_str).collect();
    assert!(found.is_superset(&expected), "missing of {found:?}");
    for scope in found {
        let (service, level) = scope.rsplit_once(':').unwrap();
        let package = service.split('.').nth(1).unwrap();
        assert!(["agent", "memory", "llm", "io", "security", "compute"].contains(&package), "{scope}");
        // Its agent's own tokens it may renew, and not take away.
        let own = service == MANAGED && level != "owner";
        assert!(package != "security" || own || [USE_KEY, READ_SETTINGS].contains(&scope), "{scope}");
        assert!(!["agent", "llm"].contains(&package) || level == "read", "{scope}");
    }
}

#[test]
fn a_forwarded_call_has_the_next_hops_of_its_service() {
    let forward = |role: &str, scope: &str| {
        let ceiling = ask("service/edge", Purpose::Forward, Proof::Peer, None, &[role], &[scope]).unwrap();
        ceiling.into_iter().collect::<BTreeSet<_>>()
    };
    assert_eq!(forward("llm", INFER), texts(&[USE_KEY, READ_FILES, INFER]).into_iter().collect());
    assert_eq!(forward("compute", "sre.compute.v1.Code:write"), texts(&[USE_KEY]).into_iter().collect());
    assert_eq!(forward("security", USE_KEY), BTreeSet::new());
    assert_eq!(forward("engine", RUN), texts(&[READ_DEFINITION, READ_COMPONENTS]).into_iter().collect());
    // With a conversation go its files, and with nothing else of the engine's.
    let with_files = texts(&[READ_DEFINITION, READ_COMPONENTS, WRITE_FILES]).into_iter().collect();
    assert_eq!(forward("engine", DELETE_CONVERSATIONS), with_files);
}

#[test]
fn chains_end_at_eight() {
    let mut via = Vec::new();
    for n in 0..MAX_VIA {
        via = extend_chain(&via, &format!("spiffe://sre.local/agent/v{n}")).unwrap();
        assert_eq!(via.len(), n + 1);
    }
    assert_eq!(extend_chain(&via, "spiffe://sre.local/agent/v8"), Err(ExchangeError::ChainTooDeep));
    let status = Status::from(ExchangeError::ChainTooDeep);
    assert_eq!(error::reason(&status), Some(Reason::ChainTooDeep));
}

#[test]
fn every_listed_scope_is_one_that_a_method_asks_for() {
    for row in TABLE {
        if let Scopes::Listed(listed) = row.scopes {
            for scope in listed {
                let (service, level) = scope.rsplit_once(':').unwrap();
                assert!(
                    METHODS.iter().any(|method| method.service == service
                        && matches!(method.rule, Rule::Access { level: asked, .. } if level_word(asked) == level)),
                    "{scope}"
                );
            }
        }
    }
}

/// Those whom a component calls may go on as for everybody; the component itself derives nothing.
#[test]
fn a_component_gets_what_the_ceiling_allows_and_hands_nothing_on() {
    let of = |audience: &[&str], scopes: &[&str]| {
        ask("service/engine", Purpose::Component, Proof::Token, Some(CEILING), audience, scopes)
    };
    let further: BTreeSet<String> =
        of(&["llm"], &["sre.llm.v1.Inference:read"]).unwrap().into_iter().collect();
    let expected = ["sre.io.v1.Storage:read", "sre.llm.v1.Inference:read", "sre.security.v1.Vault:read"];
    assert_eq!(further, texts(&expected).into_iter().collect());
    assert!(of(&["io"], &["sre.io.v1.Nkv:read"]).is_err());
    for audience in ["security", "engine", "observability"] {
        let refused = of(&[audience], &["sre.security.v1.Vault:read"]);
        assert!(matches!(refused, Err(ExchangeError::NotInTable { .. })), "{audience}");
    }
    for service in ["edge", "llm", "io", "acme"] {
        let who = format!("service/{service}");
        let scopes = ["sre.llm.v1.Inference:read"];
        assert!(
            ask(&who, Purpose::Component, Proof::Token, Some(CEILING), &["llm"], &scopes).is_err(),
            "{service}"
        );
    }
}
