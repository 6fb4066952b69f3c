//! The whole table, and every list and request there is over a small world, against an independent model.

use proptest::prelude::*;

use super::*;

fn acl(entries: &[(&str, &[Level])]) -> Acl {
    let mut acl = Acl::new();
    for (candidate, levels) in entries {
        acl.grant(&candidate.parse().unwrap(), levels).unwrap();
    }
    acl
}

fn teams(ids: &[&str]) -> Vec<TeamId> {
    ids.iter().map(|id| TeamId::new(id).unwrap()).collect()
}

use Level::{None as No, Owner, Read, Write};

#[test]
fn the_safe_table_row_by_row() {
    let columns: [(&str, Acl); 8] = [
        ("self r", acl(&[("agent/a", &[Read])])),
        ("self w", acl(&[("agent/a", &[Write])])),
        ("self o", acl(&[("agent/a", &[Owner])])),
        ("team r", acl(&[("team/t", &[Read])])),
        ("team w", acl(&[("team/t", &[Write])])),
        ("team o", acl(&[("team/t", &[Owner])])),
        ("public r", acl(&[("public/public", &[Read])])),
        ("none on self + team o", acl(&[("agent/a", &[No]), ("team/t", &[Owner])])),
    ];
    let rows: [(Level, [bool; 8]); 3] = [
        (Read, [true, false, true, true, false, true, true, false]),
        (Write, [false, true, true, false, true, true, false, false]),
        (Owner, [false, false, true, false, false, true, false, false]),
    ];
    let agent = Candidate::agent("a").unwrap();
    for (level, expected) in rows {
        for ((name, acl), allowed) in columns.iter().zip(expected) {
            let decision = decide(&agent, &teams(&["t"]), &[level], acl);
            assert_eq!(decision.is_allowed(), allowed, "{level} with {name}");
        }
    }
}

#[test]
fn an_explicit_refusal_says_so() {
    let agent = Candidate::agent("a").unwrap();
    let refused = acl(&[("agent/a", &[No]), ("team/t", &[Owner]), ("public/public", &[Read])]);
    assert_eq!(decide(&agent, &teams(&["t"]), &[Read], &refused), Decision::Deny(Denial::Explicit));
    let both = acl(&[("agent/a", &[No, Owner])]);
    assert_eq!(decide(&agent, &[], &[Write], &both), Decision::Allow);
    assert_eq!(decide(&agent, &[], &[Read], &Acl::new()), Decision::Deny(Denial::NoRight));
}

#[test]
fn rights_of_several_entries_add_up() {
    let agent = Candidate::agent("a").unwrap();
    let list = acl(&[("agent/a", &[Read]), ("team/t", &[Write])]);
    assert!(decide(&agent, &teams(&["t"]), &[Read, Write], &list).is_allowed());
    assert!(!decide(&agent, &[], &[Read, Write], &list).is_allowed());
}

#[test]
fn h1_public_entries_match_everybody_and_only_read() {
    let list = acl(&[("public/public", &[Read])]);
    for candidate in ["agent/x", "user/x", "team/x", "public/public"] {
        let candidate: Candidate = candidate.parse().unwrap();
        assert!(decide(&candidate, &[], &[Read], &list).is_allowed());
        assert!(!decide(&candidate, &[], &[Write], &list).is_allowed());
        assert!(!decide(&candidate, &[], &[Owner], &list).is_allowed());
    }
}

#[test]
fn h2_a_revoked_right_is_gone() {
    let mut list = acl(&[("user/owner", &[Owner]), ("user/bob", &[Read])]);
    let bob = Candidate::user("bob").unwrap();
    assert!(decide(&bob, &[], &[Read], &list).is_allowed());
    list.revoke(&bob).unwrap();
    assert!(!decide(&bob, &[], &[Read], &list).is_allowed());
}

#[test]
fn h4_a_request_for_nothing_is_refused() {
    let agent = Candidate::agent("a").unwrap();
    let list = Acl::owned_by(&agent);
    assert_eq!(decide(&agent, &[], &[], &list), Decision::Invalid);
    assert_eq!(decide(&agent, &[], &[No], &list), Decision::Invalid);
    assert_eq!(decide(&agent, &[], &[Read, No], &list), Decision::Invalid);
    assert!(!Decision::Invalid.is_allowed());
}

#[test]
fn h6_reading_does_not_allow_deleting() {
    // Deletion asks for write (or owner): the reference asked for read.
    let list = acl(&[("team/t", &[Read])]);
    let member = Candidate::agent("a").unwrap();
    assert!(!decide(&member, &teams(&["t"]), &[Write], &list).is_allowed());
}

#[test]
fn h7_writing_does_not_give_ownership() {
    let list = acl(&[("agent/a", &[Read, Write])]);
    assert!(!decide(&Candidate::agent("a").unwrap(), &[], &[Owner], &list).is_allowed());
}

#[test]
fn h12_h14_only_given_teams_count() {
    let list = acl(&[("team/default", &[Read]), ("team/t", &[Owner])]);
    // An unknown Candidate has no team, so neither `default` nor a team it names itself after.
    assert!(!decide(&Candidate::agent("ghost").unwrap(), &[], &[Read], &list).is_allowed());
    assert!(!decide(&Candidate::user("t").unwrap(), &[], &[Read], &list).is_allowed());
}

#[test]
fn the_same_id_in_another_role_is_somebody_else() {
    let list = acl(&[("agent/x", &[Owner])]);
    assert!(!decide(&Candidate::user("x").unwrap(), &[], &[Read], &list).is_allowed());
    assert!(!decide(&Candidate::team("x").unwrap(), &[], &[Read], &list).is_allowed());
}

/// The specification's lines, written with sets of words and no code of this crate's but the inputs.
mod model {
    use std::collections::BTreeSet;

    pub type Words = BTreeSet<&'static str>;
    pub type List = Vec<((&'static str, String), Words)>;

    pub fn levels(list: &List, role: &str, id: &str) -> Words {
        list.iter().filter(|((r, i), _)| *r == role && i == id).flat_map(|(_, l)| l.iter().copied()).collect()
    }

    pub fn allowed(role: &str, id: &str, teams: &[String], wanted: &Words, list: &List) -> bool {
        if wanted.is_empty() || wanted.contains("none") {
            return false;
        }
        let mine = levels(list, role, id);
        if mine.contains("none") && !mine.contains("owner") {
            return false;
        }
        let mut given = Words::new();
        if role != "public" {
            given.extend(mine);
        }
        for team in teams {
            given.extend(levels(list, "team", team));
        }
        if levels(list, "public", "public").contains("read") {
            given.insert("read");
        }
        if given.contains("owner") {
            given.extend(["read", "write"]);
        }
        wanted.is_subset(&given)
    }
}

const WORDS: [&str; 4] = ["none", "read", "write", "owner"];

fn words(mask: u8) -> model::Words {
    (0..4).filter(|n| mask & (1 << n) != 0).map(|n| WORDS[n]).collect()
}

fn to_levels(words: &model::Words) -> Vec<Level> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn to_acl(list: &model::List) -> Acl {
    let mut acl = Acl::new();
    for ((role, id), levels) in list {
        let candidate: Candidate = format!("{role}/{id}").parse().unwrap();
        acl.grant(&candidate, &to_levels(levels)).unwrap();
    }
    acl
}

fn compare(role: &'static str, id: &str, team_ids: &[String], wanted: &model::Words, list: &model::List) {
    let candidate: Candidate = format!("{role}/{id}").parse().unwrap();
    let teams: Vec<TeamId> = team_ids.iter().map(|id| TeamId::new(id).unwrap()).collect();
    let decision = decide(&candidate, &teams, &to_levels(wanted), &to_acl(list));
    let expected = model::allowed(role, id, team_ids, wanted, list);
    assert_eq!(decision.is_allowed(), expected, "{role}/{id} in {team_ids:?} wants {wanted:?} of {list:?}");
}

/// Every combination: own entry (15 and absent) x team entry (15 and absent) x public read or not x request (16)
/// x member or not x role (4).
#[test]
fn the_whole_table_agrees_with_the_model() {
    for (role, id) in [("agent", "x"), ("user", "x"), ("team", "x"), ("public", "public")] {
        for own in 0..16u8 {
            // What no list can hold: the public with more than read.
            if role == "public" && own != 0 && own != 2 {
                continue;
            }
            for team in 0..16u8 {
                for public in [0u8, 2] {
                    let mut list = model::List::new();
                    let entries = [
                        ((role, id.to_owned()), own),
                        (("team", "t".to_owned()), team),
                        (("public", "public".to_owned()), public),
                    ];
                    for (who, mask) in entries {
                        if mask != 0 && !list.iter().any(|(known, _)| *known == who) {
                            list.push((who, words(mask)));
                        }
                    }
                    for wanted in 0..16u8 {
                        compare(role, id, &[], &words(wanted), &list);
                        compare(role, id, &["t".to_owned()], &words(wanted), &list);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_list_agrees_with_the_model(
        role in prop::sample::select(vec!["agent", "user", "team"]),
        id in "[ab]",
        team_ids in prop::collection::vec("[abc]", 0..3),
        wanted in 0..16u8,
        public in any::<bool>(),
        entries in prop::collection::btree_map(
            (prop::sample::select(vec!["agent", "user", "team"]), "[abc]"), 1..16u8, 0..8),
    ) {
        let mut list: model::List =
            entries.into_iter().map(|(who, mask)| (who, words(mask))).collect();
        if public {
            list.push((("public", "public".to_owned()), words(2)));
        }
        compare(role, &id, &team_ids, &words(wanted), &list);
    }

    #[test]
    fn more_entries_for_others_never_take_rights_away(
        wanted in prop::sample::select(vec![Read, Write, Owner]),
        own in 1..16u8,
        other in 1..16u8,
    ) {
        let me = Candidate::agent("me").unwrap();
        let mut list = Acl::new();
        list.grant(&me, &to_levels(&words(own))).unwrap();
        let before = decide(&me, &teams(&["t"]), &[wanted], &list);
        list.grant(&Candidate::team("t").unwrap(), &to_levels(&words(other))).unwrap();
        list.grant(&Candidate::user("me").unwrap(), &to_levels(&words(other))).unwrap();
        let after = decide(&me, &teams(&["t"]), &[wanted], &list);
        prop_assert!(!before.is_allowed() || after.is_allowed());
    }
}
