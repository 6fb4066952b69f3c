//! `sre vault`: secrets are put, listed without their values, shared with another team, and deleted.

use serde_json::Value;

use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite};

fn rows(text: &Value) -> Vec<Value> {
    text.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_put_shared_and_deleted_on_the_command_line() {
    let suite = Suite::start("vault-commands", Mode::AllInOne, Options::default()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let words = async |words: &[&str]| say(suite.folder(), &[&["vault"], words].concat()).await;
    let json = async |list: &[&str]| rows(&words(&[list, &["--json"]].concat()).await.ok().json());

    for (number, value) in ["first-value", "second-value"].iter().enumerate() {
        std::fs::write(file.path(), value).unwrap();
        let said = words(&["put", "partner", "--file", file.path().to_str().unwrap()]).await.ok();
        assert!(said.out.contains(&format!("version {}", number + 1)), "{said:?}");
    }
    let listed = json(&["list"]).await;
    assert_eq!((listed[0]["key"].as_str(), listed[0]["version"].as_i64()), (Some("partner"), Some(2)));
    assert_eq!(listed[0]["by"], "user/dev", "{listed:?}");
    assert_eq!(json(&["versions", "partner"]).await.len(), 2);

    say(suite.folder(), &["teams", "create", "red", "--name", "Red"]).await.ok();
    words(&["grant", "partner", "--to", "red"]).await.ok();
    assert_eq!(json(&["grants"]).await[0]["granted to"], "teams/red");
    let theirs = json(&["list", "--team", "red"]).await;
    assert_eq!((theirs.len(), theirs[0]["key"].as_str()), (1, Some("partner")), "{theirs:?}");
    words(&["revoke", "partner", "--to", "red"]).await.ok();
    assert!(json(&["list", "--team", "red"]).await.is_empty());
    let nobody = words(&["grant", "partner"]).await;
    assert_eq!(nobody.code, 2, "to whom is not said: {nobody:?}");

    words(&["delete", "partner"]).await.ok();
    assert!(json(&["list"]).await.is_empty());
    let gone = words(&["versions", "partner"]).await;
    assert!(gone.code == 3 && gone.err.contains("no key \"partner\""), "{gone:?}");
    let mut everything = format!("{listed:?}{theirs:?}");
    everything.push_str(&std::fs::read_to_string(suite.folder().join("sre.log")).unwrap());
    assert!(!everything.contains("-value"), "{everything}");
    suite.stop().await;
}
