//! The audit log through the command line: asked, exported, verified; and what tampering with the store's file does.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::agents::hasher;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite};

fn rows(text: &Value) -> Vec<Value> {
    text.as_array().unwrap().clone()
}

async fn verify(folder: &Path) -> (i32, Value) {
    let said = say(folder, &["audit", "verify", "--json"]).await;
    let line = said.out.lines().next().unwrap_or_else(|| panic!("{said:?}")).to_owned();
    (said.code, serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {said:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_asked_exported_and_verified() {
    let suite = Suite::start("audit", Mode::AllInOne, Options::default()).await;
    let folder = suite.folder().to_owned();
    suite.client("user/dev").put("teams/default/agents/hasher", &hasher("hasher")).await.unwrap();
    say(&folder, &["teams", "create", "red", "--name", "Red"]).await.ok();
    say(&folder, &["teams", "add", "user/ann", "--team", "red", "--role", "admin"]).await.ok();
    say(&folder, &["teams", "settings", "set", "color", "blue", "--team", "red"]).await.ok();

    // What the commands did is on record, for the team's admins.
    let words = ["audit", "list", "--team", "red", "--method", "sre.security.v1.Account", "--json"];
    let listed = crate::harness::eventually("the records", std::time::Duration::from_secs(20), async || {
        let listed = rows(&say(&folder, &words).await.ok().json());
        (listed.len() >= 2).then_some(listed)
    })
    .await;
    assert!(
        listed.iter().all(|row| row["subject"] == "user/dev" && row["decision"] == "allowed"),
        "{listed:?}"
    );
    let narrow = [&words[..], &["--resource", "teams/red/members"]].concat();
    assert_eq!(rows(&say(&folder, &narrow).await.ok().json()).len(), 1);
    let denied = [&words[..], &["--decision", "denied"]].concat();
    assert!(rows(&say(&folder, &denied).await.ok().json()).is_empty());
    let wrong = say(&folder, &["audit", "list", "--since", "yesterday"]).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");

    // Members and settings, as scripts read them.
    let members = rows(&say(&folder, &["teams", "members", "--team", "red", "--json"]).await.ok().json());
    assert!(members.iter().any(|row| row["member"] == "user/ann" && row["role"] == "admin"), "{members:?}");
    let settings =
        rows(&say(&folder, &["teams", "settings", "list", "--team", "red", "--json"]).await.ok().json());
    assert_eq!((settings[0]["key"].as_str(), settings[0]["value"].as_str()), (Some("color"), Some("blue")));
    let teams = rows(&say(&folder, &["teams", "list", "--json"]).await.ok().json());
    assert!(teams.iter().any(|row| row["team"] == "red" && row["name"] == "Red"), "{teams:?}");
    say(&folder, &["teams", "remove", "user/ann", "--team", "red"]).await.ok();
    let last = say(&folder, &["teams", "remove", "user/dev", "--team", "red"]).await;
    assert_eq!(last.code, 2, "the last admin stays: {last:?}");
    say(&folder, &["teams", "settings", "unset", "color", "--team", "red"]).await.ok();

    let export = folder.join("export.jsonl");
    say(&folder, &["audit", "export", "--all-teams", "-o", export.to_str().unwrap()]).await.ok();
    let exported = std::fs::read_to_string(&export).unwrap();
    let records: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() > 5 && records.iter().all(|one| one["digest"].as_str().unwrap().len() == 64));
    let (code, report) = verify(&folder).await;
    assert_eq!((code, report["whole"].as_bool()), (0, Some(true)), "{report}");
    let witness = folder.join("witness.jsonl");
    say(&folder, &["audit", "checkpoints", "-o", witness.to_str().unwrap()]).await.ok();
    say(&folder, &["audit", "verify", "--witness", witness.to_str().unwrap()]).await.ok();
    suite.stop().await;

    // Whoever has the file changes a record.
    let store = Connection::open(folder.join("store/security.db")).unwrap();
    let changed = store
        .execute(
            "update audit_record set team = 'nobody' where (writer, sequence) in
             (select writer, sequence from audit_record order by writer, sequence limit 1)",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    drop(store);
    let suite = Suite::start("audit", Mode::AllInOne, Options::default().again()).await;
    let (code, report) = verify(&folder).await;
    assert_eq!((code, report["whole"].as_bool()), (1, Some(false)), "{report}");
    assert_eq!(report["findings"][0]["fault"], "changed", "{report}");
    suite.stop().await;
}
