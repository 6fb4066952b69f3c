//! What is stored of registered types.

use sre_proto::component::v1::{Description, Effect};
use sre_store::sql::Database;
use sre_store::{OpenOptions, Store};

use super::*;
use crate::schema;

fn store() -> (tempfile::TempDir, Registrations) {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(dir.path().join("agent.db"), "store.dir", schema::MIGRATIONS);
    let registrations = Registrations::new(Database::from(Store::open(options).unwrap()));
    (dir, registrations)
}

fn version(version: &str, description: &str) -> NewVersion {
    NewVersion {
        description: Description {
            r#type: "Acme.Echo".into(),
            version: version.into(),
            description: description.into(),
            effect: Effect::Pure.into(),
            ..Description::default()
        },
        endpoints: vec!["unix:/run/echo.sock".into()],
        identity: String::new(),
        creator: "user/alice".into(),
    }
}

fn silent() -> Record {
    Box::new(|_| Ok(()))
}

fn alice() -> Acl {
    Acl::owned_by(&Candidate::user("alice").unwrap())
}

#[tokio::test]
async fn a_version_never_says_something_else() {
    let (_dir, types) = store();
    types.register("red", &alice(), version("1", "echoes"), silent()).await.unwrap();
    let taken = types.register("blue", &alice(), version("1", "echoes"), silent()).await.unwrap_err();
    assert!(matches!(taken, AgentError::ComponentExists(name) if name == "Acme.Echo"));
    let known = types.find("Acme.Echo").await.unwrap().unwrap();
    let mut elsewhere = version("1", "echoes");
    elsewhere.endpoints = vec!["unix:/run/other.sock".into()];
    types.put_version(&known, elsewhere, false, silent()).await.unwrap();
    let known = types.find("Acme.Echo").await.unwrap().unwrap();
    assert_eq!(known.version(None).unwrap().endpoints, ["unix:/run/other.sock"]);
    let changed = types.put_version(&known, version("1", "shouts"), false, silent()).await.unwrap_err();
    assert!(changed.to_string().contains("new version"), "{changed}");
    types.put_version(&known, version("2", "shouts"), true, silent()).await.unwrap();
    let known = types.find("Acme.Echo").await.unwrap().unwrap();
    assert_eq!(known.version(None).unwrap().row.version, "2");
    assert_eq!(known.version(Some("1")).unwrap().description.description, "echoes");
    assert!(known.version(Some("3")).is_none());
}

#[tokio::test]
async fn the_default_stays_and_the_type_goes() {
    let (_dir, types) = store();
    types.register("red", &alice(), version("1", "a"), silent()).await.unwrap();
    let known = types.find("Acme.Echo").await.unwrap().unwrap();
    types.put_version(&known, version("2", "b"), false, silent()).await.unwrap();
    let known = types.find("Acme.Echo").await.unwrap().unwrap();
    let refused = types.delete(&known, "1", silent()).await.unwrap_err();
    assert!(refused.to_string().contains("is the default"), "{refused}");
    assert!(matches!(types.delete(&known, "9", silent()).await, Err(AgentError::NotFound(_))));
    types.delete(&known, "2", silent()).await.unwrap();
    let known = types.find("Acme.Echo").await.unwrap().unwrap();
    assert_eq!(known.versions.len(), 1);
    types.delete(&known, "", silent()).await.unwrap();
    assert!(types.find("Acme.Echo").await.unwrap().is_none());
    let gone = types.put_version(&known, version("3", "c"), false, silent()).await.unwrap_err();
    assert!(matches!(gone, AgentError::AclChanged));
}

/// H33: what was decided on an older list is decided again.
#[tokio::test]
async fn a_change_on_an_older_list_is_refused() {
    let (_dir, types) = store();
    types.register("red", &alice(), version("1", "a"), silent()).await.unwrap();
    let before = types.find("Acme.Echo").await.unwrap().unwrap();
    let mut other = alice();
    other.grant(&Candidate::user("bob").unwrap(), &[Level::Owner]).unwrap();
    types.set_acl(&before, &other, silent()).await.unwrap();
    let stale = types.put_version(&before, version("2", "b"), false, silent()).await.unwrap_err();
    assert!(matches!(stale, AgentError::AclChanged));
    assert!(types.find("Acme.Echo").await.unwrap().unwrap().acl == other);
}
