use super::*;

fn candidates(texts: &[&str]) -> Vec<Candidate> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn import(text: &str, known: &[&str]) -> Imported {
    LegacyAcl::parse(text).unwrap().import(&candidates(known)).unwrap()
}

#[test]
fn keys_match_the_recorded_ones() {
    for (id, key) in [
        ("agent1", "fcf1a5605d79016e"),
        ("agent2", "afb3ce7ce02118f0"),
        ("default", "cb14bd8a5c561c96"),
        ("Team2", "2ad0073edfda2b28"),
        ("teamA", "8d538d4ba3e543f9"),
        ("u1", "6e8417d0fe6613f"),
        ("user1", "63edb0950fc8c927"),
        ("team1", "f623df4e20112b07"),
        ("public", "61214ecf31784e87"),
        ("agent-123456", "863f07b729b1d3c6"),
        ("agA1", "5d5644b549a9e996"),
        ("agent-567", "400ba8990322e7"),
        ("service-gateway-longer-than-thirty-two-bytes-to-cross-the-stripe", "beae6f2c7d283c7c"),
        ("a", "d24ec4f1a98c6e5b"),
    ] {
        assert_eq!(xxh3_key(id), key, "{id}");
    }
}

/// services.md H15: an id with the key of another is made in a second. It is nobody but itself here, and in a list of
/// the reference nobody is told by a key that two of those known have.
#[test]
fn h15_an_id_with_the_hash_of_another_is_nobody_but_itself() {
    let (admin, forged) = (Candidate::user("admin").unwrap(), Candidate::user("x00205156-h8GzJE").unwrap());
    let key = xxh3_key("admin");
    assert_eq!(xxh3_key(forged.id()), key, "the reference takes one for the other");
    let ours = Acl::owned_by(&admin);
    assert!(ours.levels(&forged).is_empty());
    let stored = ours.to_text();
    assert!(stored.contains("admin") && !stored.contains(&key), "{stored}");
    assert!(Acl::from_text(&stored).unwrap().levels(&forged).is_empty());

    let text = format!("h:xxh3|u:{key}/o");
    let alone = import(&text, &["user/admin", "user/admin"]);
    assert!(alone.acl.levels(&admin).contains(Level::Owner));
    for known in [["user/admin", "user/x00205156-h8GzJE"], ["user/x00205156-h8GzJE", "user/admin"]] {
        let both = import(&text, &known);
        assert!(both.acl.is_empty(), "{both:?}");
        assert_eq!(both.unknown, [(Role::User, key.clone(), Levels::of(&[Level::Owner]))]);
    }
}

#[test]
fn the_recorded_texts_are_read() {
    let found = import(
        "h:xxh3|u:63edb0950fc8c927/o|a:fcf1a5605d79016e/rw,afb3ce7ce02118f0/r|t:f623df4e20112b07/r",
        &["user/user1", "agent/agent1", "agent/agent2", "team/team1"],
    );
    let mut expected = Acl::owned_by(&Candidate::user("user1").unwrap());
    expected.grant(&Candidate::agent("agent1").unwrap(), &[Level::Read, Level::Write]).unwrap();
    expected.grant(&Candidate::agent("agent2").unwrap(), &[Level::Read]).unwrap();
    expected.grant(&Candidate::team("team1").unwrap(), &[Level::Read]).unwrap();
    assert_eq!(found, Imported { acl: expected, unknown: vec![] });

    for empty in ["h:xxh3", "", "h:none"] {
        assert!(import(empty, &[]).acl.is_empty(), "{empty:?}");
    }
    let plain = import("h:none|a:agent1/rw", &[]);
    assert_eq!(
        plain.acl.levels(&Candidate::agent("agent1").unwrap()),
        Levels::of(&[Level::Read, Level::Write])
    );
    // H1: the public's entry is recognised, although the reference never matched it.
    let public = import("h:xxh3|p:61214ecf31784e87/r", &[]);
    assert_eq!(public.acl.levels(&Candidate::public()), Levels::of(&[Level::Read]));
    let file = import("h:xxh3|t:8d538d4ba3e543f9/r|a:5d5644b549a9e996/o", &["team/teamA", "agent/agA1"]);
    assert_eq!(file.acl.owners().collect::<Vec<_>>(), [&Candidate::agent("agA1").unwrap()]);
}

#[test]
fn the_recorded_texts_are_written() {
    let mut acl = Acl::owned_by(&Candidate::user("user1").unwrap());
    acl.grant(&Candidate::agent("agent1").unwrap(), &[Level::Write, Level::Read]).unwrap();
    acl.grant(&Candidate::agent("agent2").unwrap(), &[Level::Read]).unwrap();
    acl.grant(&Candidate::team("team1").unwrap(), &[Level::Read]).unwrap();
    // Canonical order: keys ascend, so agent2 comes first.
    assert_eq!(
        export(&acl, Algorithm::Xxh3),
        "h:xxh3|u:63edb0950fc8c927/o|a:afb3ce7ce02118f0/r,fcf1a5605d79016e/rw|t:f623df4e20112b07/r"
    );
    assert_eq!(export(&acl, Algorithm::Plain), "h:none|u:user1/o|a:agent1/rw,agent2/r|t:team1/r");
    assert_eq!(export(&Acl::new(), Algorithm::Xxh3), "h:xxh3");
    let mut public = Acl::new();
    public.grant(&Candidate::public(), &[Level::Read]).unwrap();
    assert_eq!(export(&public, Algorithm::Xxh3), "h:xxh3|p:61214ecf31784e87/r");
    let known: Vec<Candidate> = acl.entries().map(|(candidate, _)| candidate.clone()).collect();
    for algorithm in [Algorithm::Xxh3, Algorithm::Plain] {
        let text = export(&acl, algorithm);
        assert_eq!(LegacyAcl::parse(&text).unwrap().import(&known).unwrap().acl, acl);
    }
}

#[test]
fn other_orders_and_duplicates_are_read() {
    // Twice the same level, sections in any order, two sections of one role.
    let found = import(
        "h:xxh3|t:f623df4e20112b07/r|a:fcf1a5605d79016e/rr|a:fcf1a5605d79016e/w",
        &["agent/agent1", "team/team1"],
    );
    let agent = found.acl.levels(&Candidate::agent("agent1").unwrap());
    assert_eq!(agent, Levels::of(&[Level::Read, Level::Write]));
}

#[test]
fn zero_levels_and_strangers_give_nothing() {
    let found = import("h:xxh3|a:fcf1a5605d79016e/|u:0/o", &["agent/agent1"]);
    assert!(found.acl.is_empty());
    assert_eq!(found.unknown, [(Role::User, "0".to_owned(), Levels::of(&[Level::Owner]))]);
    // A key of another role is not the same Candidate.
    assert!(import("h:xxh3|u:fcf1a5605d79016e/o", &["agent/agent1"]).acl.is_empty());
    let public = import("h:xxh3|p:61214ecf31784e87/rwo", &[]);
    assert_eq!(public.acl.levels(&Candidate::public()), Levels::of(&[Level::Read]));
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "h:xxh64",
        "h:b3",
        "h:",
        "xxh3",
        "h:xxh3|",
        "h:xxh3|x:fcf1a5605d79016e/r",
        "h:xxh3|a",
        "h:xxh3|a:",
        "h:xxh3|a:fcf1a5605d79016e",
        "h:xxh3|a:/r",
        "h:xxh3|a:fcf1a5605d79016e/x",
        "h:xxh3|a:FCF1A5605D79016E/r",
        "h:xxh3|a:fcf1a5605d79016e0/r",
        "h:xxh3|a:fcf1a5605d79016e/r,",
        "h:xxh3|a:fcf1a5605d79016e/r|",
        "h:xxh3|a:agent1/r",
        "h:none|a:a b/r",
        "a:fcf1a5605d79016e/r",
    ] {
        assert!(LegacyAcl::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(LegacyAcl::parse(&"x".repeat(MAX_LEGACY_BYTES + 1)), Err(LegacyError::TooLong));
    let many: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("{n:x}/r")).collect();
    assert_eq!(LegacyAcl::parse(&format!("h:xxh3|a:{}", many.join(","))), Err(LegacyError::TooManyEntries));
}

/// What the fuzz target `acl` checks, too: a text is refused, or means the same after it was written again.
fn read_or_refused(text: &str) {
    let Ok(parsed) = LegacyAcl::parse(text) else { return };
    let plain: Vec<Candidate> = parsed
        .entries
        .keys()
        .filter(|_| parsed.algorithm == Algorithm::Plain)
        .filter_map(|(role, id)| Candidate::new(*role, id).ok())
        .collect();
    let Ok(imported) = parsed.import(&plain) else { return };
    for algorithm in [Algorithm::Xxh3, Algorithm::Plain] {
        let written = export(&imported.acl, algorithm);
        let known: Vec<Candidate> = imported.acl.entries().map(|(who, _)| who.clone()).collect();
        let again = LegacyAcl::parse(&written).unwrap().import(&known).unwrap();
        assert_eq!(again.acl, imported.acl, "{text:?} became {written:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(h:(xxh3|none|b3)?)?([|:,/a-f0-9utpnorwx \\PC]{0,60})") {
        read_or_refused(&text);
    }

    #[test]
    fn mutations_of_good_texts_are_read_or_refused(
        at in 0_usize..120,
        with in "[|:,/a-z0-9]{0,3}",
        cut in 0_usize..4,
        plain in proptest::bool::ANY,
    ) {
        let good = if plain {
            "h:none|u:user1/o|a:agent1/rw,agent2/r|t:team1/r|p:public/r"
        } else {
            "h:xxh3|u:63edb0950fc8c927/o|a:afb3ce7ce02118f0/r,fcf1a5605d79016e/rw|t:f623df4e20112b07/r"
        };
        let (from, to) = (at.min(good.len()), (at + cut).min(good.len()));
        read_or_refused(&format!("{}{with}{}", &good[..from], &good[to..]));
    }

    /// A stored list of ours is read back as it is, or refused whole.
    #[test]
    fn any_stored_text_is_read_or_refused(text in "\\PC{0,80}") {
        if let Ok(acl) = Acl::from_text(&text) {
            assert_eq!(Acl::from_text(&acl.to_text()).unwrap(), acl);
        }
    }
}
