//! FileStore and ComponentHost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_engine::Binary;

use crate::context::Suite;
use crate::driver::{lone, result_of};

async fn store(suite: &Arc<Suite>, settings: Json, kind: &str, data: Json) -> Json {
    let document = lone(
        "FileStore",
        settings,
        json!([{"name": "Data", "type": kind}]),
        json!([{"name": "Url", "default": true}]),
    );
    result_of(suite, &document, json!({"Data": data})).await
}

fn only(suite: &Suite) -> (String, Binary, Duration) {
    let published = std::mem::take(&mut *suite.published.lock());
    assert_eq!(published.len(), 1, "{published:?}");
    let (path, (binary, time)) = published.into_iter().next().unwrap();
    (path, binary, time)
}

#[tokio::test]
async fn d34_file_and_link_end_together_and_nothing_else_is_stored() {
    let suite = Suite::new(&[]);
    let result =
        store(&suite, json!({"name": "report {{greet}}", "ttl": "600"}), "Any", json!("hello")).await;
    assert_eq!(result, json!({"Url": "http://files.test/r/1"}));
    let (path, binary, time) = only(&suite);
    assert!(path.starts_with("components_data/") && path.ends_with(".report Hello.txt"), "{path}");
    assert_eq!((binary.data.as_ref(), binary.mimetype.as_ref()), (&b"hello"[..], "text/plain"));
    assert_eq!(time, Duration::from_secs(600));
    assert!(suite.files.lock().is_empty(), "no temporary copy");
}

#[tokio::test]
async fn d34_a_repeat_writes_the_same_file() {
    let suite = Suite::new(&[]);
    store(&suite, json!({}), "Any", json!("one")).await;
    store(&suite, json!({}), "Any", json!("two")).await;
    let (_, binary, time) = only(&suite);
    assert_eq!((binary.data.as_ref(), time), (&b"two"[..], Duration::from_secs(86_400)));
}

#[tokio::test]
async fn d10_anything_becomes_bytes_or_is_refused_at_once() {
    let suite = Suite::new(&[]);
    for (kind, data, bytes, mimetype, extension) in [
        ("Any", json!({"a": [1]}), "{\"a\":[1]}", "application/json", ".json"),
        ("Any", json!(5), "5", "text/plain", ".txt"),
        ("Any", json!(""), "", "text/plain", ".txt"),
        ("Any", json!("data:text/html;base64,PGI+"), "<b>", "text/html", ".html"),
        ("Any", json!("aGVsbG8gd29ybGQhIQ=="), "aGVsbG8gd29ybGQhIQ==", "text/plain", ".txt"),
        ("Binary", json!("aGVsbG8gd29ybGQhIQ=="), "hello world!!", "application/octet-stream", ""),
    ] {
        let result = store(&suite, json!({}), kind, data.clone()).await;
        assert!(result["Url"].is_string(), "{data}: {result}");
        let (path, binary, _) = only(&suite);
        assert_eq!((binary.data.as_ref(), binary.mimetype.as_ref()), (bytes.as_bytes(), mimetype), "{data}");
        assert!(path.ends_with(extension), "{path}");
    }
    let nothing = store(&suite, json!({}), "Any", json!(null)).await;
    assert!(nothing["_error"].as_str().unwrap().contains("Data is missing"), "{nothing}");
    let several = store(&suite, json!({}), "Any", json!("https://a.test/1, https://a.test/2")).await;
    assert!(several["_error"].as_str().unwrap().contains("one by one"), "{several}");
}

#[tokio::test]
async fn d49_files_are_read_as_the_running_agent() {
    let suite = Suite::new(&[]);
    let file = Binary { name: "a.txt".into(), mimetype: "text/plain".into(), data: "mine".into() };
    suite.files.lock().insert("smythfs://lone.agent/a.txt".into(), file);
    let stored =
        |id: &str| json!({"url": format!("smythfs://{id}.agent/a.txt"), "mimetype": "text/plain", "size": 4});
    for kind in ["Any", "Binary", "Image", "Audio", "Video", "Text", "String"] {
        let foreign = store(&suite, json!({}), kind, stored("other")).await;
        assert_eq!(foreign, json!({"_error": "Access Denied"}), "{kind}");
        let own = store(&suite, json!({}), kind, stored("lone")).await;
        assert!(own["Url"].is_string(), "{kind}: {own}");
        assert_eq!(only(&suite).1.data.as_ref(), b"mine", "{kind}");
    }
    for kind in ["Any", "Binary", "Image", "Audio", "Video"] {
        let foreign = store(&suite, json!({}), kind, json!("smythfs://other.agent/a.txt")).await;
        assert_eq!(foreign, json!({"_error": "Access Denied"}), "{kind}");
    }
}

#[tokio::test]
async fn addresses_are_fetched_within_the_policy() {
    let suite = Suite::new(&[]);
    for url in ["http://169.254.169.254/latest", "http://2130706433.test:1/", "http://[::ffff:127.0.0.1]/x.y"]
    {
        let refused = store(&suite, json!({}), "Any", json!(url)).await;
        assert!(refused["_error"].is_string(), "{url}: {refused}");
    }
    assert!(suite.published.lock().is_empty());
}

#[tokio::test]
async fn settings_are_checked() {
    let suite = Suite::new(&[]);
    for (settings, wrong) in [
        (json!({"ttl": 0}), "\"TTL\" must be greater"),
        (json!({"ttl": 2_592_001}), "\"TTL\" must be less"),
        (json!({"ttl": "soon"}), "\"TTL\" must be"),
        (json!({"name": "n".repeat(1_001)}), "\"Name\" length"),
    ] {
        let result = store(&suite, settings.clone(), "Any", json!("x")).await;
        assert!(result["_error"].as_str().unwrap_or_default().contains(wrong), "{settings}: {result}");
    }
}

#[tokio::test]
async fn a_cancelled_run_waits_for_no_storage() {
    let suite = Suite::new(&[]);
    suite.hangs.store(true, Ordering::SeqCst);
    suite.cancelled.cancel();
    assert_eq!(store(&suite, json!({}), "Any", json!("x")).await, json!({"_error": "Agent killed"}));
}

async fn hosted(settings: Json) -> Json {
    let suite = Suite::new(&[]);
    let document = lone(
        "ComponentHost",
        settings,
        json!([{"name": "Data"}]),
        json!([{"name": "Hash", "default": true}]),
    );
    result_of(&suite, &document, json!({"Data": "x"})).await
}

#[tokio::test]
async fn a_host_runs_another_type() {
    let result = hosted(json!({"_component": "FHash", "algorithm": "md5"})).await;
    assert_eq!(result, json!({"Hash": "9dd4e461268c8034f5c8564e155c67a6"}));
    for name in ["NoSuch", "ComponentHost", ""] {
        let result = hosted(json!({"_component": name})).await;
        assert_eq!(result, json!({"_error": format!("Component {name} not found")}));
    }
}

#[test]
fn a_host_declares_what_its_guest_calls() {
    let document =
        lone("ComponentHost", json!({"_component": "FileStore"}), json!([{"name": "Data"}]), json!([]));
    let plan = sre_engine::compile(&document, sre_components::registry()).unwrap();
    let entry = plan.route("POST", "/api/e").unwrap();
    assert!(plan.scopes(entry).contains(&"sre.io.v1.Storage"), "{:?}", plan.scopes(entry));
}
