//! MemoryWriteKeyVal, MemoryReadKeyVal, MemoryDeleteKeyVal, MemoryWriteObject.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::driver::{lone, result_of};

async fn run(suite: &Arc<Suite>, type_name: &str, settings: Json, body: Json) -> Json {
    let names: Vec<Json> =
        body.as_object().unwrap().keys().map(|name| json!({"name": name, "optional": true})).collect();
    let outputs = json!([{"name": "Key", "default": true}, {"name": "Value", "default": true}]);
    result_of(suite, &lone(type_name, settings, json!(names), outputs), body).await
}

async fn write(suite: &Arc<Suite>, scope: &str, key: &str, value: Json) -> Json {
    let settings = json!({"memoryName": "m", "key": "{{k}}", "value": "{{v}}", "scope": scope});
    run(suite, "MemoryWriteKeyVal", settings, json!({"k": key, "v": value})).await
}

async fn read(suite: &Arc<Suite>, key: &str) -> Json {
    run(suite, "MemoryReadKeyVal", json!({"memoryName": "m", "key": "{{k}}"}), json!({"k": key})).await
}

async fn delete(suite: &Arc<Suite>, key: &str) -> Json {
    run(suite, "MemoryDeleteKeyVal", json!({"memoryName": "m", "key": "{{k}}"}), json!({"k": key})).await
}

fn become_run(suite: &Suite, run: &str, session: &str) {
    *suite.run.lock() = (run.to_owned(), session.to_owned());
}

#[tokio::test]
async fn values_are_written_read_and_forgotten() {
    let suite = Suite::new(&[]);
    assert_eq!(write(&suite, "session", "k", json!("v")).await, json!({"Key": "k"}));
    assert_eq!(read(&suite, "k").await, json!({"Value": "v"}));
    assert_eq!(read(&suite, "other").await, json!({"_warning": "key not found"}));
    assert_eq!(delete(&suite, "k").await, json!({"Key": "k", "deleted": true}));
    assert_eq!(delete(&suite, "k").await, json!({"_warning": "key not found"}));
    assert_eq!(read(&suite, "k").await, json!({"_warning": "key not found"}));
}

#[tokio::test]
async fn d30_runs_cannot_hide_each_others_values() {
    let suite = Suite::new(&[]);
    become_run(&suite, "one", "s1");
    write(&suite, "request", "k", json!("of one")).await;
    become_run(&suite, "two", "s2");
    assert_eq!(read(&suite, "k").await, json!({"_warning": "key not found"}));
    write(&suite, "request", "k", json!("of two")).await;
    write(&suite, "ttl", "k", json!("of the agent")).await;
    // For the run that wrote twice the later counts,
    assert_eq!(read(&suite, "k").await, json!({"Value": "of the agent"}));
    become_run(&suite, "one", "s1");
    // for the other its own still does,
    assert_eq!(read(&suite, "k").await, json!({"Value": "of one"}));
    become_run(&suite, "three", "s3");
    assert_eq!(read(&suite, "k").await, json!({"Value": "of the agent"}));
    // and what one forgets is its own and the agent's.
    become_run(&suite, "two", "s2");
    delete(&suite, "k").await;
    become_run(&suite, "one", "s1");
    assert_eq!(read(&suite, "k").await, json!({"Value": "of one"}));
}

#[tokio::test]
async fn a_session_outlives_its_runs() {
    let suite = Suite::new(&[]);
    become_run(&suite, "one", "s");
    write(&suite, "session", "k", json!(1)).await;
    become_run(&suite, "two", "s");
    assert_eq!(read(&suite, "k").await, json!({"Value": 1}));
    become_run(&suite, "three", "other");
    assert_eq!(read(&suite, "k").await, json!({"_warning": "key not found"}));
}

#[tokio::test]
async fn d30_any_json_value_keeps_its_type_and_its_quotes() {
    let suite = Suite::new(&[]);
    for value in [
        json!(5),
        json!(true),
        json!(null),
        json!({"a": [1, {"b": "c"}]}),
        json!([]),
        json!("he said \"hi\" \\ \n"),
    ] {
        write(&suite, "", "k", value.clone()).await;
        assert_eq!(read(&suite, "k").await, json!({"Value": value}));
    }
    let settings = json!({"memoryName": "m", "key": "k", "value": "n={{v}} {{o}}"});
    run(&suite, "MemoryWriteKeyVal", settings, json!({"v": 5, "o": {"q": "\""}})).await;
    assert_eq!(read(&suite, "k").await, json!({"Value": "n=5 {\"q\":\"\\\"\"}"}));
}

#[tokio::test]
async fn d30_the_memorys_name_is_rendered() {
    let suite = Suite::new(&[]);
    let settings = json!({"memoryName": "of-{{who}}", "key": "k", "value": "x"});
    run(&suite, "MemoryWriteKeyVal", settings, json!({"who": "ann"})).await;
    let ask = async |name: &str| {
        run(&suite, "MemoryReadKeyVal", json!({"memoryName": name, "key": "k"}), json!({"x": 1})).await
    };
    assert_eq!(ask("of-ann").await, json!({"Value": "x"}));
    assert_eq!(ask("of-{{who}}").await, json!({"_warning": "key not found"}));
}

#[tokio::test]
async fn d30_every_value_ends() {
    let suite = Suite::new(&[]);
    for (settings, seconds) in [
        (json!({"scope": "ttl", "ttl": "600"}), 600),
        (json!({"scope": "ttl"}), 10_800),
        (json!({"scope": "ttl", "ttl": null}), 10_800),
        (json!({"scope": "session", "ttl": 600}), 10_800),
        (json!({}), 10_800),
    ] {
        let mut all = json!({"memoryName": "m", "key": "k", "value": "x"});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        run(&suite, "MemoryWriteKeyVal", all, json!({"x": 1})).await;
        let memory = std::mem::take(&mut *suite.memory.lock());
        assert_eq!(memory.values().next().unwrap().1, Duration::from_secs(seconds), "{settings}");
    }
}

#[tokio::test]
async fn objects_are_written_member_by_member() {
    let suite = Suite::new(&[]);
    let of = async |data: Json| {
        run(&suite, "MemoryWriteObject", json!({"memoryName": "m"}), json!({"Data": data})).await
    };
    let data = json!({"a": 1, "c": {"d": [1]}, "f": null, "q": "\"x\""});
    assert_eq!(of(data.clone()).await, json!({"Keys": ["a", "c", "f", "q"], "Count": 4}));
    for (key, value) in data.as_object().unwrap() {
        assert_eq!(read(&suite, key).await, json!({"Value": value}), "{key}");
    }
    assert_eq!(of(json!("{\"z\":1}")).await, json!({"Keys": ["z"], "Count": 1}));
    for (data, error) in [
        (json!("not json"), "Invalid JSON data provided"),
        (json!([1]), "Data must be a valid JSON object"),
        (json!("[1]"), "Data must be a valid JSON object"),
        (json!(5), "Data must be a valid JSON object"),
        (json!({"": 1}), "a member has an empty name: name it"),
    ] {
        assert_eq!(of(data).await, json!({"_error": error}));
    }
    let many: Json = (0..1_001).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>().into();
    assert!(of(many).await["_error"].as_str().unwrap().contains("at most 1000"));
}

#[tokio::test]
async fn limits_are_told() {
    let suite = Suite::new(&[]);
    let large = write(&suite, "", "k", json!("x".repeat(1 << 20))).await;
    assert!(large["_error"].as_str().unwrap().contains("use FileStore"), "{large}");
    let empty = write(&suite, "", "", json!("x")).await;
    assert_eq!(empty["_error"], "the key is empty: name the value");
    let settings = json!({"memoryName": "m", "key": "k", "value": "v", "scope": "ttl", "ttl": 5});
    let short = run(&suite, "MemoryWriteKeyVal", settings, json!({"x": 1})).await;
    assert!(
        short["_error"].as_str().unwrap().contains("\"TTL\" must be greater than or equal to 300"),
        "{short}"
    );
    let settings = json!({"key": "k", "value": "y".repeat(100_001)});
    let long = run(&suite, "MemoryWriteKeyVal", settings, json!({"x": 1})).await;
    assert!(long["_error"].as_str().unwrap().contains("100000 characters"), "{long}");
    assert!(suite.memory.lock().is_empty());
    // A key of any length and with any characters is a key.
    let key = "/../ü".repeat(50);
    write(&suite, "session", &key, json!(1)).await;
    assert_eq!(read(&suite, &key).await, json!({"Value": 1}));
}

#[tokio::test]
async fn a_cancelled_run_waits_for_no_cache() {
    let suite = Suite::new(&[]);
    suite.hangs.store(true, Ordering::SeqCst);
    suite.cancelled.cancel();
    assert_eq!(read(&suite, "k").await, json!({"_error": "Agent killed"}));
    assert_eq!(write(&suite, "", "k", json!(1)).await, json!({"_error": "Agent killed"}));
    assert_eq!(delete(&suite, "k").await, json!({"_error": "Agent killed"}));
    let object = run(&suite, "MemoryWriteObject", json!({}), json!({"Data": {"a": 1}})).await;
    assert_eq!(object, json!({"_error": "Agent killed"}));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_hangs_ends_with_the_runs_time() {
    let suite = Suite::new(&[]);
    suite.hangs.store(true, Ordering::SeqCst);
    assert_eq!(read(&suite, "k").await, json!({"_error": "the run's time is over"}));
}

#[tokio::test]
async fn secrets_are_not_remembered() {
    let suite = Suite::new(&[]);
    for value in [json!("{{KEY(my-key)}}"), json!("x {{secret}}"), json!({"a": ["{{KEY(my-key)}}"]})] {
        let settings = json!({"key": "k", "value": value});
        let result = run(&suite, "MemoryWriteKeyVal", settings, json!({"x": 1})).await;
        assert!(result["_error"].as_str().unwrap().contains("may not be remembered"), "{value}: {result}");
    }
    assert!(suite.memory.lock().is_empty());
}
