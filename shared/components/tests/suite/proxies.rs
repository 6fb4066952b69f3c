//! APICall through proxies, with repeats, with links to files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::driver::{lone, result_of};
use crate::fake::{Fake, Reply};

async fn call(suite: &Arc<Suite>, settings: Json, input: Json) -> Json {
    let document = lone("APICall", settings, json!([{"name": "x", "type": "Any"}]), json!([]));
    result_of(suite, &document, json!({ "x": input })).await
}

/// A proxy is asked for the whole address.
#[tokio::test]
async fn d16_a_request_goes_through_a_proxy_that_template_variables_name() {
    let proxy = Fake::start(|request| Reply::json(200, &json!({"asked": request.target}))).await;
    let suite = Suite::with_vault(&[proxy.address.to_string()], &[("proxy-password", "p%40ss")]);
    let port = proxy.address.port();
    let template = format!("http://user:{{{{KEY(proxy-password)}}}}@{{{{TEXT:Host:[\"\"]}}}}:{port}");
    let settings = json!({"method": "GET", "url": "http://203.0.114.9/x?q=1", "proxy": template,
        "_templateVars": {"ID1": "127.0.0.1"}});
    let mut document = lone("APICall", settings, json!([{"name": "x", "type": "Any"}]), json!([]));
    document["components"][1]["template"] = json!({"settings": {"ID1": {"id": "ID1", "label": "Host"}}});
    let result = result_of(&suite, &document, json!({"x": 1})).await;
    assert_eq!(result["Response"]["asked"], "http://203.0.114.9/x?q=1", "{result}");
    let seen = proxy.seen();
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic dXNlcjpwQHNz"));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_passed_over() {
    let proxy = Fake::start(|_| Reply::json(200, &json!({"ok": true}))).await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let suite = Suite::new(&[proxy.address.to_string(), dead.to_string()]);
    let proxies = format!("http://{dead}\nhttp://{}", proxy.address);
    for _ in 0..4 {
        let settings = json!({"method": "POST", "url": "http://203.0.114.9/", "proxy": proxies});
        let result = call(&suite, settings, json!(1)).await;
        assert_eq!(result["Response"]["ok"], true, "{result}");
    }
}

#[tokio::test]
async fn proxies_and_what_is_behind_them_are_under_the_policy() {
    let proxy = Fake::start(|_| Reply::json(200, &json!({"ok": true}))).await;
    let allowed = Suite::new(&[proxy.address.to_string()]);
    let through = |url: &str, proxy: String| json!({"method": "GET", "url": url, "proxy": proxy});
    let inner =
        call(&allowed, through("http://169.254.169.254/", format!("http://{}", proxy.address)), json!(1))
            .await;
    assert!(inner["_error"].as_str().unwrap().contains("egress policy"), "{inner}");
    let named =
        call(&allowed, through("http://localhost:9/", format!("http://{}", proxy.address)), json!(1)).await;
    assert!(named["_error"].as_str().unwrap().contains("egress policy"), "{named}");
    for scheme in ["http", "socks4", "socks5", "socks5h"] {
        let closed = Suite::new(&[]);
        let by = format!("{scheme}://{}", proxy.address);
        let refused = call(&closed, through("http://203.0.114.9/", by), json!(1)).await;
        assert!(refused["_error"].as_str().unwrap().contains("egress policy"), "{scheme}: {refused}");
    }
    assert!(proxy.seen().is_empty());
    for (text, error) in
        [("{{nothing}}", "Invalid URL"), ("gopher://h:1", "`gopher` is no scheme of a proxy")]
    {
        let result = call(&allowed, through("http://203.0.114.9/", text.to_owned()), json!(1)).await;
        assert!(result["_error"].as_str().unwrap().starts_with(error), "{result}");
    }
}

#[tokio::test]
async fn what_does_no_harm_is_made_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let server = Fake::start(move |request| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(503, &json!({})).with("retry-after", "0"),
        1 => Reply::json(429, &json!({})),
        _ => Reply::json(200, &json!({"method": request.method})),
    })
    .await;
    let suite = Suite::new(&[server.address.to_string()]);
    let settings =
        |method: &str, retries: Json| json!({"method": method, "url": server.url(), "retries": retries});
    let result = call(&suite, settings("PUT", json!("2")), json!(1)).await;
    assert_eq!(result["Response"]["method"], "PUT", "{result}");
    let key = |at: usize| server.seen()[at].header("idempotency-key").map(str::to_owned);
    assert_eq!(
        (key(0), key(2)),
        (Some("key".into()), Some("key".into())),
        "a repeat has the key of the first"
    );
    for (method, retries) in [("POST", json!(5)), ("GET", json!(0))] {
        count.store(0, Ordering::SeqCst);
        let result = call(&suite, settings(method, retries), json!(1)).await;
        assert_eq!((&result["Status"], count.load(Ordering::SeqCst)), (&json!(503), 1), "{method}");
    }
}

#[tokio::test]
async fn d17_a_server_that_hangs_is_given_up() {
    let server = Fake::start(|_| Reply::json(200, &json!({})).after(Duration::from_secs(30))).await;
    let suite = Suite::new(&[server.address.to_string()]);
    let settings = json!({"method": "GET", "url": server.url(), "timeout": "80"});
    let result = call(&suite, settings, json!(1)).await;
    assert_eq!(result["_error"], "timeout of 80ms exceeded");
    assert_eq!((&result["Response"], &result["Headers"]), (&Json::Null, &json!({})));
}

#[tokio::test]
async fn a_cancelled_run_waits_for_no_answer() {
    let server = Fake::start(|_| Reply::json(200, &json!({})).after(Duration::from_secs(30))).await;
    let suite = Suite::new(&[server.address.to_string()]);
    let cancel = suite.cancelled.clone();
    let called = call(&suite, json!({"method": "GET", "url": server.url()}), json!(1));
    let (result, ()) = tokio::join!(called, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    assert_eq!(result["_error"], "Agent killed");
}

#[tokio::test]
async fn stored_files_in_a_query_become_links_that_end_with_the_call() {
    const FILE: &str = "smythfs://default.team/lone/_temp/a.png";
    let server = Fake::start(|request| {
        Reply::json(if request.path() == "/x" { 200 } else { 500 }, &json!(request.query()))
    })
    .await;
    let suite = Suite::new(&[server.address.to_string()]);
    suite.doors.known.lock().push(FILE.into());
    let get = |path: &str, file: &str| json!({"method": "GET", "retries": 0, "url": format!("{}{path}?a=1&f={{{{x}}}}&g={file}", server.url())});
    let result = call(&suite, get("/x", "2"), json!(FILE)).await;
    let expected = json!([["a", "1"], ["f", "http://files.example/link-0?token=t"], ["g", "2"]]);
    assert_eq!(result["Response"], expected, "{result}");
    assert_eq!(*suite.doors.ended.lock(), ["link-0"]);
    // However it ends.
    call(&suite, get("/fails", FILE), json!(1)).await;
    assert_eq!(*suite.doors.ended.lock(), ["link-0", "link-1"]);
    // The second file is somebody else's: the first one's link ends too, and nothing was sent.
    let before = server.seen().len();
    let denied = call(&suite, get("/x", "smythfs://other.team/a/b"), json!(FILE)).await;
    assert_eq!(denied, json!({"_error": "Access Denied"}));
    assert_eq!((suite.doors.ended.lock().len(), server.seen().len()), (3, before));
}
