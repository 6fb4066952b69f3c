//! WebSearch, WebScrape, HuggingFace and ZapierAction, against services that speak as theirs do.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_components::Charge;
use sre_components::context::web::Scraper;
use sre_engine::Binary;

use crate::context::Suite;
use crate::driver::{lone, result_of};
use crate::fake::{Fake, Reply};
use crate::mock_http::Received;
use crate::world::places;

const FILE: &str = "smythfs://default.team/lone/_temp/a.png";

fn suite(fake: &Fake, keys: &[(&str, &str)], scraper: Scraper) -> Arc<Suite> {
    let suite = Suite::with_vault(&[fake.address.to_string()], keys);
    *suite.places.lock() = places(&fake.url(), scraper);
    let file =
        Binary { name: "a.png".into(), mimetype: "image/png".into(), data: vec![137, 80, 78, 71].into() };
    suite.files.lock().insert(FILE.into(), file);
    suite.doors.known.lock().push(FILE.into());
    suite
}

/// Runs one component; its inputs are the members of `body`.
pub async fn run(suite: &Arc<Suite>, name: &str, settings: Json, body: Json) -> Json {
    let inputs: Vec<Json> =
        body.as_object().unwrap().keys().map(|name| json!({"name": name, "type": "Any"})).collect();
    let document = lone(name, settings, Json::Array(inputs), json!([{"name": "Out", "default": true}]));
    result_of(suite, &document, body).await
}

pub fn error(result: &Json) -> &str {
    result["_error"].as_str().unwrap_or_else(|| panic!("no error: {result}"))
}

fn tavily(request: &Received) -> Reply {
    match request.header("authorization") {
        Some("Bearer tvly-key") => Reply::json(
            200,
            &json!({"query": "q", "results": [{"title": "T", "url": "https://h", "content": "c", "score": 0.5}],
                "images": ["https://h/i.png"], "answer": "42"}),
        ),
        _ => Reply::json(401, &json!({"detail": {"error": "Unauthorized: missing or invalid API key."}})),
    }
}

#[tokio::test]
async fn tavily_web_search_asks_and_answers() {
    let fake = Fake::start(tavily).await;
    let suite = suite(&fake, &[("tavily", "tvly-key")], Scraper::Auto);
    let settings = json!({"sourcesLimit": "3", "searchTopic": "news", "timeRange": "week", "includeImages": true,
        "includeQAs": "true", "excludeDomains": "a.example, b.example"});
    let result = run(&suite, "TavilyWebSearch", settings, json!({"SearchQuery": "rust \"async\""})).await;
    assert_eq!(result["Results"][0]["title"], "T");
    assert_eq!((&result["Images"][0], &result["Answer"]), (&json!("https://h/i.png"), &json!("42")));
    let asked = &fake.seen()[0];
    assert_eq!((asked.method.as_str(), asked.path()), ("POST", "/tavily/search"));
    assert_eq!(
        asked.json(),
        json!({"query": "rust \"async\"", "topic": "news", "exclude_domains": ["a.example", "b.example"],
            "max_results": 3, "time_range": "week", "include_images": true, "include_answer": true})
    );
    assert!(asked.header("traceparent").unwrap().starts_with("00-"));
}

#[tokio::test]
async fn d40_web_search_applies_its_declared_limit_and_gives_no_more_than_asked_for() {
    let fake = Fake::start(tavily).await;
    let suite = suite(&fake, &[("tavily", "tvly-key")], Scraper::Auto);
    let result = run(&suite, "WebSearch", json!({}), json!({"SearchQuery": "q"})).await;
    assert_eq!(fake.seen()[0].json()["max_results"], 10);
    assert!(result.get("Images").is_none() && result.get("Answer").is_none(), "{result}");
}

#[tokio::test]
async fn web_search_says_what_went_wrong() {
    let fake = Fake::start(tavily).await;
    let missing = suite(&fake, &[], Scraper::Auto);
    let result = run(&missing, "WebSearch", json!({}), json!({"SearchQuery": "q"})).await;
    assert_eq!(error(&result), "Vault key 'tavily' not found");
    let wrong = suite(&fake, &[("tavily", "other")], Scraper::Auto);
    let result = run(&wrong, "WebSearch", json!({}), json!({"SearchQuery": "q"})).await;
    assert_eq!(
        error(&result),
        "Request failed with status code 401: Unauthorized: missing or invalid API key."
    );
    let result = run(&wrong, "WebSearch", json!({}), json!({"SearchQuery": " "})).await;
    assert!(error(&result).contains("SearchQuery is empty"));
    for (settings, word) in
        [(json!({"sourcesLimit": 0}), "Sources Limit"), (json!({"searchTopic": "x"}), "Search Topic")]
    {
        let result = run(&wrong, "WebSearch", settings, json!({"SearchQuery": "q"})).await;
        assert!(error(&result).contains(word), "{result}");
    }
}

#[tokio::test]
async fn a_search_that_was_answered_is_charged_once() {
    let times = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let fake = Fake::start(move |request| match times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::json(503, &json!({"detail": {"error": "later"}})),
        _ => tavily(request),
    })
    .await;
    let search = json!({"SearchQuery": "q"});
    let found = suite(&fake, &[("tavily", "tvly-key")], Scraper::Auto);
    let result = run(&found, "TavilyWebSearch", json!({}), search.clone()).await;
    assert_eq!((fake.seen().len(), result["Results"].as_array().unwrap().len()), (2, 1), "{result}");
    let charge =
        Charge { source: "api:websearch.smyth", provider: "Tavily", answer: 0, credits: 1, cost_micros: 0 };
    assert_eq!(*found.charged.lock(), [charge]);
    let refused = suite(&fake, &[("tavily", "other")], Scraper::Auto);
    let result = run(&refused, "TavilyWebSearch", json!({}), search).await;
    assert!(refused.charged.lock().is_empty(), "a refusal costs nothing");
    let body = json!({"detail": {"error": "Unauthorized: missing or invalid API key."}});
    assert_eq!(result["_error_details"], json!({"status": 401, "body": body}));
}

#[tokio::test]
async fn each_page_is_charged_what_scrapfly_says() {
    let fake = Fake::start(|request| match request.target.contains("dear.example") {
        true => Reply::json(
            422,
            &json!({"result": {"error": {"message": "blocked"}}, "context": {"cost": {"total": 25}}}),
        ),
        false => scrapfly(request),
    })
    .await;
    let by_scrapfly = suite(&fake, &[("scrapfly", "scp-key")], Scraper::Auto);
    let urls = json!(["https://ok.example/", "https://bad.example/", "https://dear.example/", "ftp://d"]);
    run(&by_scrapfly, "ScrapflyWebScrape", json!({}), json!({"URLs": urls})).await;
    let mut charged: Vec<(usize, i64)> =
        by_scrapfly.charged.lock().iter().map(|charge| (charge.answer, charge.credits)).collect();
    charged.sort_unstable();
    assert_eq!(charged, [(0, 6), (2, 25)], "one that failed without a cost costs nothing");
    assert!(by_scrapfly.charged.lock().iter().all(|charge| charge.source == "api:webscrape.smyth"));
    let by_itself = suite(&fake, &[], Scraper::Local);
    run(&by_itself, "ScrapflyWebScrape", json!({}), json!({"URLs": fake.url()})).await;
    assert!(by_itself.charged.lock().is_empty());
}

fn scrapfly(request: &Received) -> Reply {
    let query = request.query();
    let get = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    match get("url").unwrap().as_str() {
        "https://bad.example/" => Reply::json(
            422,
            &json!({"result": {"error": {"message": "the page could not be reached"}}, "context": {}}),
        ),
        _ => Reply::json(200, &json!({"result": {"content": "# Page"}, "context": {"cost": {"total": 6}}})),
    }
}

#[tokio::test]
async fn d37_scrapfly_gets_each_address_as_it_is_and_failures_are_told_one_by_one() {
    let fake = Fake::start(scrapfly).await;
    let suite = suite(&fake, &[("scrapfly", "scp-key")], Scraper::Auto);
    let settings = json!({"antiScrapingProtection": true, "autoScroll": "true", "countries": ["us", "ca"],
        "format": "markdown:no_links"});
    let urls = json!(["https://ok.example/a b?q=1&r=ü", "https://bad.example/", "ftp://d"]);
    let result = run(&suite, "ScrapflyWebScrape", settings, json!({"URLs": urls})).await;
    assert_eq!(result["Results"], json!([{"url": "https://ok.example/a b?q=1&r=ü", "content": "# Page"}]));
    assert_eq!(
        result["FailedURLs"],
        json!([{"url": "https://bad.example/", "error": "the page could not be reached"},
            {"url": "ftp://d", "error": "Unsupported protocol ftp:"}])
    );
    let seen = fake.seen();
    let of_first = seen.iter().find(|request| request.target.contains("ok.example")).unwrap();
    let asked: Vec<(String, String)> = of_first.query();
    let asked: Vec<(&str, &str)> =
        asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        asked,
        [
            ("url", "https://ok.example/a%20b?q=1&r=%C3%BC"),
            ("cost_budget", "80"),
            ("format", "markdown:no_links"),
            ("asp", "true"),
            ("render_js", "true"),
            ("auto_scroll", "true"),
            ("country", "us,ca"),
            ("key", "scp-key"),
        ]
    );
}

fn pages(request: &Received) -> Reply {
    match request.path() {
        "/page" => Reply::new(
            200,
            "text/html; charset=iso-8859-1",
            b"<title>x</title><h1>Caf\xe9</h1><p>A <a href=\"/y\">link</a></p><script>no()</script>".to_vec(),
        ),
        "/plain" => Reply::new(200, "text/plain", "as it is"),
        "/image" => Reply::new(200, "image/png", vec![1, 2]),
        "/slow" => Reply::new(200, "text/html", "late").after(Duration::from_secs(20)),
        _ => Reply::new(404, "text/html", "nothing here"),
    }
}

#[tokio::test]
async fn web_scrape_reads_pages_by_itself_where_there_is_no_key() {
    let fake = Fake::start(pages).await;
    let suite = suite(&fake, &[], Scraper::Auto);
    let at = |path: &str| format!("{}{path}", fake.url());
    let urls = format!("{}, {},{},{}", at("/page"), at("/plain"), at("/image"), at("/none"));
    let result = run(&suite, "WebScrape", json!({}), json!({"URLs": urls})).await;
    assert_eq!(result["Results"][0]["content"], "# Café\n\nA [link](/y)", "{result}");
    assert_eq!(result["Results"][1]["content"], "as it is");
    assert_eq!(result["FailedURLs"][0]["error"], "the answer is no page but `image/png`");
    assert_eq!(result["FailedURLs"][1]["error"], "Request failed with status code 404");
    for (format, content) in [("text", "Café\nA link"), ("markdown:no_links", "# Café\n\nA link")] {
        let result = run(&suite, "WebScrape", json!({"format": format}), json!({"URLs": at("/page")})).await;
        assert_eq!(result["Results"][0]["content"], content, "{format}");
    }
    let result = run(&suite, "WebScrape", json!({"format": "json"}), json!({"URLs": at("/page")})).await;
    assert!(result["FailedURLs"][0]["error"].as_str().unwrap().contains("needs Scrapfly"));
}

#[tokio::test]
async fn who_reads_is_the_deployments_and_the_components_choice() {
    let fake = Fake::start(scrapfly).await;
    let without = suite(&fake, &[], Scraper::Scrapfly);
    let result = run(&without, "WebScrape", json!({}), json!({"URLs": "https://ok.example"})).await;
    assert_eq!(error(&result), "Vault key 'scrapfly' not found");
    let with = suite(&fake, &[("scrapfly", "k")], Scraper::Scrapfly);
    let url = format!("{}/x?url=local", fake.url());
    let result =
        run(&with, "WebScrape", json!({"scraper": "local", "format": "raw"}), json!({"URLs": url})).await;
    assert_eq!(result["Results"].as_array().unwrap().len(), 1, "{result}");
    assert_eq!(fake.seen().last().unwrap().path(), "/x");
}

#[tokio::test]
async fn web_scrape_says_what_it_cannot_read() {
    let fake = Fake::start(pages).await;
    let suite = suite(&fake, &[], Scraper::Local);
    let result = run(&suite, "WebScrape", json!({}), json!({"URLs": ""})).await;
    assert!(error(&result).contains("no address is given"));
    let result = run(&suite, "WebScrape", json!({}), json!({"URLs": {"a": 1}})).await;
    assert!(error(&result).contains("'URLs'"));
    let many: Vec<String> = (0..101).map(|n| format!("https://h/{n}")).collect();
    let result = run(&suite, "WebScrape", json!({}), json!({"URLs": many})).await;
    assert!(error(&result).contains("100 at most"));
}

#[tokio::test]
async fn a_cancelled_run_reads_no_further() {
    let fake = Fake::start(pages).await;
    let suite = suite(&fake, &[], Scraper::Local);
    let cancel = suite.cancelled.clone();
    let url = format!("{}/slow", fake.url());
    let scraped = run(&suite, "WebScrape", json!({}), json!({"URLs": url}));
    let (result, ()) = tokio::join!(scraped, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    });
    assert_eq!(error(&result), "Agent killed");
}

fn hub(request: &Received) -> Reply {
    if request.header("authorization") != Some("Bearer hf-token") {
        return Reply::json(401, &json!({"error": "Invalid credentials in Authorization header"}));
    }
    match request.path() {
        "/hf/models/org/loading" if request.header("x-wait-for-model").is_none() => Reply::json(
            503,
            &json!({"error": "Model org/loading is currently loading", "estimated_time": 20.0}),
        ),
        "/hf/models/org/bad" => Reply::json(400, &json!({"error": "unknown parameter"})),
        "/hf/models/org/speech" => Reply::new(200, "audio/flac", vec![1, 2, 3]),
        "/hf/models/org/parts" => {
            Reply::json(200, &json!([{"label": "a", "blob": "AQID", "content-type": "audio/flac"}]))
        }
        _ => Reply::json(200, &json!([{"label": "POSITIVE", "score": 0.9}])),
    }
}

fn task(task: &str, model: &str, parameters: Json) -> Json {
    json!({"accessToken": "{{KEY(hf)}}", "modelName": model, "modelTask": task, "parameters": parameters,
        "name": "n", "displayName": "d", "desc": "e"})
}

#[tokio::test]
async fn hugging_face_sends_what_each_task_takes() {
    let fake = Fake::start(hub).await;
    let suite = suite(&fake, &[("hf", "hf-token")], Scraper::Auto);
    let parameters = json!(r#"{"top_k": "3", "flag": "true", "gone": "None", "who": "{{Text}}", "n": 1}"#);
    let mut settings = task("text-classification", "org/model", parameters);
    settings["disableCache"] = json!(true);
    let result = run(&suite, "HuggingFace", settings, json!({"Text": "fine"})).await;
    assert_eq!(result["Output"], json!([{"label": "POSITIVE", "score": 0.9}]));
    let asked = fake.seen().pop().unwrap();
    assert_eq!(asked.path(), "/hf/models/org/model");
    assert_eq!(asked.header("x-use-cache"), Some("false"));
    assert_eq!(
        asked.json(),
        json!({"model": "org/model", "inputs": "fine",
            "parameters": {"top_k": 3, "flag": true, "who": "fine", "n": 1}})
    );
    for (name, body, inputs) in [
        (
            "question-answering",
            json!({"Question": "q", "Context": "c"}),
            json!({"inputs": {"question": "q", "context": "c"}}),
        ),
        (
            "sentence-similarity",
            json!({"Source_sentence": "a", "Sentences": ["b"]}),
            json!({"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
        ),
        ("conversational", json!({"Text": "t"}), json!({"text": "t"})),
        (
            "visual-question-answering",
            json!({"Image": FILE, "Question": "q"}),
            json!({"inputs": {"image": "iVBORw==", "question": "q"}}),
        ),
        ("image-to-image", json!({"Image": FILE}), json!({"inputs": "iVBORw=="})),
    ] {
        run(&suite, "HuggingFace", task(name, "m", json!("")), body).await;
        let mut sent = fake.seen().pop().unwrap().json();
        sent.as_object_mut().unwrap().remove("model");
        assert_eq!(sent, inputs, "{name}");
    }
    run(&suite, "HuggingFace", task("image-classification", "m", json!("")), json!({"Image": FILE})).await;
    let sent = fake.seen().pop().unwrap();
    assert_eq!(
        (sent.header("content-type"), sent.body.as_slice()),
        (Some("image/png"), &[137, 80, 78, 71][..])
    );
}

#[tokio::test]
async fn hugging_face_gives_files_and_waits_for_models() {
    let fake = Fake::start(hub).await;
    let suite = suite(&fake, &[("hf", "hf-token")], Scraper::Auto);
    let speech =
        run(&suite, "HuggingFace", task("text-to-speech", "org/speech", json!("")), json!({"Text": "t"}))
            .await;
    assert_eq!((&speech["Output"]["mimetype"], &speech["Output"]["size"]), (&json!("audio/flac"), &json!(3)));
    let parts =
        run(&suite, "HuggingFace", task("text-to-speech", "org/parts", json!("")), json!({"Text": "t"}))
            .await;
    assert_eq!(parts["Output"][0]["blob"]["mimetype"], "audio/flac", "{parts}");
    let loading =
        run(&suite, "HuggingFace", task("fill-mask", "org/loading", json!("")), json!({"Text": "t"})).await;
    assert_eq!(loading["Output"][0]["label"], "POSITIVE");
}

#[tokio::test]
async fn d48_hugging_face_says_what_is_wrong_and_repeats_no_mistake() {
    let fake = Fake::start(hub).await;
    let suite = suite(&fake, &[("hf", "hf-token"), ("other", "x")], Scraper::Auto);
    let run = async |settings: Json, body: Json| run(&suite, "HuggingFace", settings, body).await;
    let result = run(task("fill-mask", "m", json!("not json")), json!({"Text": "t"})).await;
    assert_eq!(
        error(&result),
        "Schema Validation error: \"Parameters\" must be a JSON object, for example {\"top_k\": 3} on component HuggingFace:c"
    );
    let result = run(task("text-to-video", "m", json!("")), json!({"Text": "t"})).await;
    assert_eq!(error(&result), "Inference API does not support for this task - text-to-video");
    let result = run(task("fill-mask", "m", json!("")), json!({"Text": ""})).await;
    assert!(error(&result).starts_with("Please provide a valid input!"));
    let result = run(task("fill-mask", "../../x", json!("")), json!({"Text": "t"})).await;
    assert!(error(&result).contains("no model of the hub"));
    assert!(fake.seen().is_empty());
    let result = run(task("fill-mask", "org/bad", json!("")), json!({"Text": "t"})).await;
    assert_eq!(
        error(&result),
        "Error from Hugging Face: \nRequest failed with status code 400: unknown parameter"
    );
    assert_eq!(fake.seen().len(), 1, "what the caller did wrong is not tried again");
    let mut settings = task("fill-mask", "m", json!(""));
    settings["accessToken"] = json!("{{KEY(other)}}");
    let result = run(settings.clone(), json!({"Text": "t"})).await;
    assert!(error(&result).contains("401: Invalid credentials"));
    settings["accessToken"] = json!(" ");
    let result = run(settings, json!({"Text": "t"})).await;
    assert_eq!(error(&result), "Please provide a valid Hugging Face Access Token");
}

fn zapier(request: &Received) -> Reply {
    match (request.path(), request.header("x-api-key")) {
        ("/zapier/api/v1/exposed/01ABC/execute/", Some("zap-key")) => {
            Reply::json(200, &json!({"status": "success", "result": {"id": 7}}))
        }
        (_, Some("zap-key")) => Reply::json(404, &json!({"detail": "no such action"})),
        _ => Reply::json(401, &json!({"detail": "Invalid API key"})),
    }
}

fn action(id: &str, key: &str) -> Json {
    json!({"actionName": "Send", "actionId": id, "apiKey": key, "params": "{\"to\": \"\"}"})
}

#[tokio::test]
async fn d22_zapier_gets_what_is_declared_and_the_key_in_a_header() {
    let fake = Fake::start(zapier).await;
    let suite = suite(&fake, &[("zapier", "zap-key")], Scraper::Auto);
    let file = json!({"mimetype": "image/png", "size": 4, "url": FILE, "name": "a.png"});
    let result =
        run(&suite, "ZapierAction", action("01ABC", "{{KEY(zapier)}}"), json!({"to": "x", "files": [file]}))
            .await;
    assert_eq!(result["Output"], json!({"status": "success", "result": {"id": 7}}));
    let sent = fake.seen().pop().unwrap();
    assert!(!sent.target.contains("zap-key") && !sent.target.contains('?'), "{}", sent.target);
    // The agent's variables `greet` and `secret` are not among it.
    assert_eq!(sent.json(), json!({"to": "x", "files": ["http://files.example/link-0?token=t"]}));
    assert_eq!(sent.header("idempotency-key"), Some("key"));
    assert_eq!(*suite.doors.ended.lock(), ["link-0"]);
}

#[tokio::test]
async fn zapier_says_what_went_wrong_and_ends_its_links() {
    let fake = Fake::start(zapier).await;
    let suite = suite(&fake, &[("zapier", "zap-key"), ("other", "x")], Scraper::Auto);
    let run =
        async |id: &str, key: &str, body: Json| run(&suite, "ZapierAction", action(id, key), body).await;
    let result = run("02DEF", "{{KEY(zapier)}}", json!({"f": {"url": FILE}})).await;
    assert_eq!(error(&result), "Zapier Error: {\"detail\":\"no such action\"}");
    assert_eq!(*suite.doors.ended.lock(), ["link-0"]);
    let result = run("01ABC", "{{KEY(other)}}", json!({"to": 1})).await;
    assert_eq!(error(&result), "Zapier Error: {\"detail\":\"Invalid API key\"}");
    let result = run("01ABC", " ", json!({"to": 1})).await;
    assert_eq!(error(&result), "You are not authorized to run the Zapier Action!");
    let result = run("../x", "{{KEY(zapier)}}", json!({"to": 1})).await;
    assert!(error(&result).contains("letters, digits"));
    let result = run("01ABC", "{{KEY(zapier)}}", json!({"f": {"url": "smythfs://other.team/a/b"}})).await;
    assert_eq!(error(&result), "Access Denied");
    let mut settings = action("01ABC", "{{KEY(zapier)}}");
    settings["params"] = json!("nonsense");
    let document = lone("ZapierAction", settings, json!([{"name": "to", "type": "Any"}]), json!([]));
    let result = result_of(&suite, &document, json!({"to": 1})).await;
    assert!(error(&result).contains("\"Params\" must be a JSON object"), "{result}");
}
