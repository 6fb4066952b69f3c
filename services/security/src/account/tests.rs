use super::members::Member;
use super::teams::Team;
use super::*;
use crate::page::Page;
use crate::rows::testing::database;

const NOW: Moment = Moment(1_700_000_000_000_000);

fn user(id: &str) -> Candidate {
    Candidate::user(id).unwrap()
}

fn agent(id: &str) -> Candidate {
    Candidate::agent(id).unwrap()
}

fn team(conn: &Connection, id: &str, admin: &Candidate) {
    let team = Team { id: id.into(), display_name: id.into(), organization: String::new(), created: NOW };
    teams::create(conn, &team, admin).unwrap();
}

fn home(conn: &Connection, who: &Candidate) -> Option<String> {
    resolve(conn, who).unwrap().map(|known| known.home_team)
}

/// services.md H14: the unknown belong to no team, not to `default`.
#[test]
fn h14_an_unknown_principal_has_no_team() {
    let conn = database();
    team(&conn, "default", &user("dev"));
    for who in [user("ghost"), agent("ghost"), Candidate::team("ghost").unwrap(), Candidate::public()] {
        assert_eq!(resolve(&conn, &who).unwrap(), None, "{who}");
    }
}

/// services.md H13: a team that calls by itself is a member of itself, not its admin.
#[test]
fn h13_a_team_is_a_member_of_itself_alone() {
    let conn = database();
    team(&conn, "t", &user("dev"));
    let known = resolve(&conn, &Candidate::team("t").unwrap()).unwrap().unwrap();
    assert_eq!(known.memberships, [Membership { team: "t".into(), role: TeamRole::Member }]);
}

/// services.md H12: an agent's team is what Account says; a second team cannot claim the id.
#[test]
fn h12_an_agent_id_belongs_to_one_team() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    team(&conn, "b", &user("bob"));
    let first = register_agent(&conn, &agent("x"), "a", NOW).unwrap();
    assert_eq!(register_agent(&conn, &agent("x"), "a", NOW).unwrap(), first);
    assert!(matches!(register_agent(&conn, &agent("x"), "b", NOW), Err(Error::AlreadyExists(_))));
    assert!(matches!(register_agent(&conn, &agent("y"), "none", NOW), Err(Error::NotFound(_))));
    assert!(unregister_agent(&conn, &agent("x")).unwrap());
    assert!(!unregister_agent(&conn, &agent("x")).unwrap());
    assert_eq!(register_agent(&conn, &agent("x"), "b", NOW).unwrap().home_team, "b");
}

#[test]
fn a_member_cannot_take_an_agent_id_that_is_not_registered() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    assert!(matches!(members::set(&conn, "a", &agent("x"), TeamRole::Member, NOW), Err(Error::NotFound(_))));
    assert_eq!(home(&conn, &agent("x")), None);
}

#[test]
fn the_last_admin_stays() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    assert!(matches!(members::remove(&conn, "a", &user("ann")), Err(Error::Precondition(_))));
    let demoted = members::set(&conn, "a", &user("ann"), TeamRole::Member, NOW);
    assert!(matches!(demoted, Err(Error::Precondition(_))));
    members::set(&conn, "a", &user("bob"), TeamRole::Admin, NOW).unwrap();
    members::remove(&conn, "a", &user("ann")).unwrap();
    assert_eq!(home(&conn, &user("ann")), None);
}

/// services.md H2: rights can be taken back.
#[test]
fn h2_a_removed_member_is_no_member() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    team(&conn, "b", &user("bob"));
    members::set(&conn, "a", &user("eve"), TeamRole::Member, NOW).unwrap();
    members::set(&conn, "b", &user("eve"), TeamRole::Member, NOW).unwrap();
    assert_eq!(home(&conn, &user("eve")).as_deref(), Some("a"));
    let before = resolve(&conn, &user("eve")).unwrap().unwrap().version;
    members::remove(&conn, "a", &user("eve")).unwrap();
    let after = resolve(&conn, &user("eve")).unwrap().unwrap();
    assert_eq!(after.home_team, "b");
    assert_eq!(after.memberships, [Membership { team: "b".into(), role: TeamRole::Member }]);
    assert!(after.version > before);
    assert!(matches!(members::remove(&conn, "a", &user("eve")), Err(Error::NotFound(_))));
}

#[test]
fn an_agent_leaves_its_home_only_by_being_deleted() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    register_agent(&conn, &agent("x"), "a", NOW).unwrap();
    assert!(matches!(members::remove(&conn, "a", &agent("x")), Err(Error::Precondition(_))));
}

#[test]
fn members_and_teams_are_paged() {
    let conn = database();
    for id in ["a", "b", "c"] {
        team(&conn, id, &user("ann"));
    }
    register_agent(&conn, &agent("x"), "a", NOW).unwrap();
    let (teams, next) = teams::list_of(&conn, &user("ann"), &Page::read(2, "").unwrap()).unwrap();
    assert_eq!(teams.iter().map(|team| team.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let (teams, next) = teams::list_of(&conn, &user("ann"), &Page::read(2, &next).unwrap()).unwrap();
    assert_eq!((teams.len(), next.as_str()), (1, ""));
    let (first, next) = members::list(&conn, "a", &Page::read(1, "").unwrap()).unwrap();
    assert_eq!(first, [Member { candidate: agent("x"), role: TeamRole::Member, home: true }]);
    let (second, next) = members::list(&conn, "a", &Page::read(1, &next).unwrap()).unwrap();
    assert_eq!(second, [Member { candidate: user("ann"), role: TeamRole::Admin, home: true }]);
    assert_eq!(next, "");
}

#[test]
fn only_people_and_agents_are_members() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    for who in [Candidate::team("a").unwrap(), Candidate::public()] {
        assert!(
            matches!(members::set(&conn, "a", &who, TeamRole::Member, NOW), Err(Error::Invalid { .. })),
            "{who}"
        );
    }
}

#[test]
fn an_empty_value_deletes_a_setting_and_agents_take_theirs_along() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    register_agent(&conn, &agent("x"), "a", NOW).unwrap();
    let mut setting = settings::Setting {
        owner: agent("x"),
        key: "k".into(),
        value: "v".into(),
        updated: NOW,
        inherit: false,
    };
    settings::set(&conn, &setting).unwrap();
    assert_eq!(settings::get(&conn, &agent("x"), "k").unwrap().as_ref(), Some(&setting));
    assert_eq!(settings::get(&conn, &user("x"), "k").unwrap(), None);
    unregister_agent(&conn, &agent("x")).unwrap();
    assert_eq!(settings::list(&conn, &agent("x")).unwrap(), []);
    settings::set(&conn, &setting).unwrap();
    setting.value = String::new();
    settings::set(&conn, &setting).unwrap();
    assert_eq!(settings::list(&conn, &agent("x")).unwrap(), []);
}

/// Who sets limits is checked by the service; what may be set is checked here.
#[test]
fn a_teams_limits_reach_its_members() {
    let conn = database();
    team(&conn, "a", &user("ann"));
    let limits = |text: &str| settings::Setting {
        owner: Candidate::team("a").unwrap(),
        key: settings::LIMITS.into(),
        value: text.into(),
        updated: NOW,
        inherit: false,
    };
    assert!(settings::set(&conn, &limits(r#"{"no_limit":1}"#)).is_err());
    settings::set(&conn, &limits(r#"{"edge_calls_per_second":100}"#)).unwrap();
    for who in [user("ann"), Candidate::team("a").unwrap()] {
        let known = resolve(&conn, &who).unwrap().unwrap();
        assert_eq!(known.limits.into_iter().collect::<Vec<_>>(), [("edge_calls_per_second".to_owned(), 100)]);
    }
    settings::set(&conn, &limits("")).unwrap();
    assert!(resolve(&conn, &user("ann")).unwrap().unwrap().limits.is_empty());
    // What was there before limits were has no say, and locks nobody out.
    let old = "insert into setting (scope, scope_id, key, value, updated_us) values ('teams', 'a', 'sre-limits', 'x', 1)";
    conn.execute(old, params![]).unwrap();
    assert!(resolve(&conn, &user("ann")).unwrap().unwrap().limits.is_empty());
}

/// What budgets of organisations count together.
#[test]
fn an_organisation_is_all_its_teams() {
    let conn = database();
    let of = |id: &str, organization: &str| {
        let team =
            Team { id: id.into(), display_name: id.into(), organization: organization.into(), created: NOW };
        teams::create(&conn, &team, &user("dev")).unwrap();
    };
    of("b", "acme");
    of("a", "acme");
    of("c", "other");
    of("d", "");
    assert_eq!(teams::of_organization(&conn, "acme").unwrap(), ["a", "b"]);
    assert_eq!(teams::of_organization(&conn, "").unwrap(), Vec::<String>::new());
    let known = resolve(&conn, &Candidate::team("a").unwrap()).unwrap().unwrap();
    assert_eq!(known.organization, "acme");
    assert_eq!(resolve(&conn, &Candidate::team("d").unwrap()).unwrap().unwrap().organization, "");
}
