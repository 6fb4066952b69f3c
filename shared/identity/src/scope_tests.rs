use super::*;

const NONE: &str = "";

/// The worlds' people: `alice` admin of t, `bob` member of t, `eve` of another team, agents `a` and `b` of t, `x`
/// of another, team t itself, `root` of the deployment, and somebody Account does not know.
fn world(who: &str) -> (Candidate, Memberships) {
    let member = |team: &str, role| Memberships {
        home: Some(TeamId::new(team).unwrap()),
        teams: vec![(TeamId::new(team).unwrap(), role)],
        ..Memberships::default()
    };
    let memberships = match who {
        "user/alice" => member("t", TeamRole::Admin),
        "user/bob" | "agent/a" | "agent/b" => member("t", TeamRole::Member),
        "user/eve" => member("other", TeamRole::Admin),
        "agent/x" => member("other", TeamRole::Member),
        "user/root" => Memberships { deployment: DeploymentRole::Admin, ..Memberships::default() },
        _ => Memberships::default(),
    };
    (who.parse().unwrap(), memberships)
}

fn rights(who: &str, resource: &str) -> String {
    let (candidate, memberships) = world(who);
    // Account's answer about whoever the resource belongs to.
    let home = subject_of(resource).and_then(|subject| world(&subject.to_string()).1.home);
    implied(&candidate, &memberships, resource, home.as_ref()).to_string()
}

/// One row: the resource, then what alice, bob, eve, agent a, agent b, agent x, team t and the unknown get.
type Row = (&'static str, [&'static str; 8]);

const PEOPLE: [&str; 8] =
    ["user/alice", "user/bob", "user/eve", "agent/a", "agent/b", "agent/x", "team/t", "user/ghost"];

const R: &str = "read";
const RW: &str = "read+write";
const O: &str = "owner";

const TABLE: &[Row] = &[
    ("teams/t", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/-", [O, R, O, R, R, R, NONE, NONE]),
    ("teams/t/agents", [O, RW, NONE, RW, RW, NONE, RW, NONE]),
    ("teams/t/agents/a", [O, NONE, NONE, R, NONE, NONE, NONE, NONE]),
    ("teams/-/agents/a", [O, NONE, O, R, NONE, NONE, NONE, NONE]),
    ("teams/t/agents/a/versions/v1", [O, NONE, NONE, R, NONE, NONE, NONE, NONE]),
    ("teams/t/agents/a/files/x/y", [O, NONE, NONE, O, NONE, NONE, NONE, NONE]),
    ("teams/t/agents/a/files", [O, NONE, NONE, O, NONE, NONE, NONE, NONE]),
    ("teams/t/agents/a/runs", [O, NONE, NONE, O, NONE, NONE, NONE, NONE]),
    ("teams/t/agents/a/skills", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("teams/t/agents/a/skills/s", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    // In another team's place nobody creates anything, whatever its own id is.
    ("teams/t/agents/x/files/f", [O, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("teams/other/agents/a/files/f", [NONE, NONE, O, NONE, NONE, NONE, NONE, NONE]),
    ("teams/t/users/bob/files/f", [NONE, O, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("teams/t/nkv/ns/keys/k", [O, RW, NONE, RW, RW, NONE, RW, NONE]),
    ("teams/t/vectors/ns/datasources/d", [O, RW, NONE, RW, RW, NONE, RW, NONE]),
    ("teams/t/agents/a/vectors/ns", [O, NONE, NONE, O, NONE, NONE, NONE, NONE]),
    ("teams/t/files/f", [O, RW, NONE, RW, RW, NONE, RW, NONE]),
    ("teams/t/cache/k", [O, RW, NONE, RW, RW, NONE, RW, NONE]),
    ("teams/t/secrets", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/t/secrets/k", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/t/members", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/t/settings/k", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/t/revocations", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/t/apiKeys", [O, R, NONE, R, R, NONE, R, NONE]),
    ("teams/t/audit", [O, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("teams/t/approvals", [R, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("teams/t/whatever", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("teams/ghosts", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("users/bob/settings/k", [R, O, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("users/bob/apiKeys", [R, O, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("users/-/apiKeys", [O, O, O, NONE, NONE, NONE, NONE, O]),
    ("agents/a/settings/k", [O, NONE, NONE, R, NONE, NONE, NONE, NONE]),
    ("agents/-/settings", [NONE, NONE, NONE, R, R, R, NONE, NONE]),
    ("deployment", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("self", [R, R, R, R, R, R, R, R]),
    ("teams", [R, R, R, R, R, R, R, R]),
    ("components", [R, R, R, R, R, R, R, R]),
    ("components/APICall", [R, R, R, R, R, R, R, R]),
    ("models/openai/gpt", [R, R, R, R, R, R, R, R]),
    ("deployment/x", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("self/x", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
    ("elsewhere", [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]),
];

#[test]
fn rights_by_name() {
    for (resource, expected) in TABLE {
        for (who, expected) in PEOPLE.iter().zip(expected) {
            assert_eq!(rights(who, resource), *expected, "{who} on {resource}");
        }
    }
}

#[test]
fn the_deployment_has_its_own_admins() {
    assert_eq!(rights("user/root", "deployment"), O);
    assert_eq!(rights("user/root", "deployment/audit"), O);
    assert_eq!(rights("user/root", "teams/t"), NONE);
}

#[test]
fn h5_nothing_is_named_by_nothing() {
    for resource in
        ["", "/", "teams/", "teams//agents", "teams/t/", "/secrets", "teams/t/agents/../secrets", "teams/t//"]
    {
        for who in PEOPLE {
            assert_eq!(rights(who, resource), NONE, "{who} on {resource:?}");
        }
    }
    // Listing is a right of its own.
    assert_eq!(rights("user/eve", "teams/t/secrets"), NONE);
}

#[test]
fn h8_nobody_creates_in_anothers_place() {
    for resource in ["teams/t/agents/a/files/new", "teams/t/nkv/new", "teams/t/agents", "users/bob/apiKeys"] {
        assert_eq!(rights("agent/x", resource), NONE, "{resource}");
        assert_eq!(rights("user/ghost", resource), NONE, "{resource}");
    }
}

#[test]
fn h12_h14_strangers_belong_nowhere() {
    let unknown = proto::Principal {
        known: false,
        home_team: "default".into(),
        memberships: vec![proto::Membership { team: "default".into(), role: proto::TeamRole::Admin.into() }],
        ..Default::default()
    };
    assert_eq!(Memberships::try_from(&unknown).unwrap(), Memberships::default());
    for team in ["teams/default", "teams/default/secrets", "teams/-"] {
        assert_eq!(rights("agent/ghost", team), NONE);
    }
    // An agent named like a user, or a user named like a team, is neither.
    assert_eq!(rights("agent/alice", "teams/t"), NONE);
    assert_eq!(rights("user/t", "teams/t"), NONE);
    assert_eq!(rights("agent/bob", "users/bob/apiKeys"), NONE);
}

#[test]
fn h37_what_is_absent_looks_like_what_is_forbidden() {
    // Rights by name do not depend on what exists, and a stranger has none on either.
    for who in ["agent/x", "user/eve", "user/ghost", "user/bob"] {
        for pattern in [
            "teams/t/agents/{}",
            "teams/t/agents/{}/skills",
            "teams/t/agents/{}/runs/r",
            "agents/{}/settings",
        ] {
            let (there, absent) = (pattern.replace("{}", "a"), pattern.replace("{}", "no-such"));
            assert_eq!(
                (rights(who, &there), rights(who, &absent)),
                (NONE.into(), NONE.into()),
                "{who} on {pattern}"
            );
        }
    }
}

#[test]
fn the_public_has_no_rights_by_name() {
    for (resource, _) in TABLE {
        assert_eq!(rights("public/public", resource), NONE, "{resource}");
    }
}

#[test]
fn memberships_come_from_accounts_answer() {
    let message = proto::Principal {
        known: true,
        home_team: "t".into(),
        memberships: vec![
            proto::Membership { team: "t".into(), role: proto::TeamRole::Admin.into() },
            proto::Membership { team: "u".into(), role: proto::TeamRole::Unspecified.into() },
        ],
        ..Default::default()
    };
    let memberships = Memberships::try_from(&message).unwrap();
    assert_eq!(memberships.home.as_ref().unwrap().as_str(), "t");
    assert_eq!(memberships.role_in("t"), Some(TeamRole::Admin));
    assert_eq!(memberships.role_in("u"), Some(TeamRole::Member));
    assert_eq!(memberships.role_in("v"), None);
    assert_eq!(memberships.team_ids().len(), 2);
}

#[test]
fn own_names_resolve() {
    let (alice, memberships) = world("user/alice");
    let own = |resource| resolve_own(&alice, &memberships, resource).map(Cow::into_owned);
    assert_eq!(own("teams/-/nkv/x").as_deref(), Some("teams/t/nkv/x"));
    assert_eq!(own("teams/-").as_deref(), Some("teams/t"));
    assert_eq!(own("users/-/apiKeys").as_deref(), Some("users/alice/apiKeys"));
    assert_eq!(own("agents/-"), None);
    assert_eq!(own("teams/t/agents/-").as_deref(), Some("teams/t/agents/-"));
    assert_eq!(own("teams").as_deref(), Some("teams"));
    let (ghost, nowhere) = world("user/ghost");
    assert_eq!(resolve_own(&ghost, &nowhere, "teams/-"), None);
}
