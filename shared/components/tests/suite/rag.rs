//! DataSourceIndexer, DataSourceLookup, DataSourceCleaner, and what they read: DocumentExtractor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value as Json, json};
use sre_engine::Binary;

use crate::context::Suite;
use crate::driver::{lone, result_of};

async fn run(suite: &Arc<Suite>, type_name: &str, settings: Json, inputs: Json, body: Json) -> Json {
    let outputs = json!([{"name": "Success", "default": true}, {"name": "Results", "default": true}]);
    result_of(suite, &lone(type_name, settings, inputs, outputs), body).await
}

async fn index(suite: &Arc<Suite>, namespace: &str, id: &str, source: Json) -> Json {
    let settings =
        json!({"namespace": namespace, "id": "{{id}}", "name": "n {{id}}", "metadata": "{\"k\":\"{{id}}\"}"});
    let inputs = json!([{"name": "Source"}, {"name": "id"}]);
    run(suite, "DataSourceIndexer", settings, inputs, json!({"Source": source, "id": id})).await
}

async fn look(suite: &Arc<Suite>, more: Json, query: Json) -> Json {
    let mut settings = json!({"namespace": "my_docs"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run(suite, "DataSourceLookup", settings, json!([{"name": "Query"}]), json!({"Query": query})).await
}

async fn forget(suite: &Arc<Suite>, namespace: &str, id: &str) -> Json {
    let settings = json!({"namespaceId": namespace, "id": "{{id}}"});
    run(suite, "DataSourceCleaner", settings, json!([{"name": "id"}]), json!({"id": id})).await
}

#[tokio::test]
async fn texts_are_indexed_found_and_forgotten() {
    let suite = Suite::new(&[]);
    let done = index(&suite, "my_docs", "cats", json!("the cat sat")).await;
    assert_eq!(done, json!({"Success": {"result": true, "id": "cats"}}));
    index(&suite, "my_docs", "dogs", json!("a dog ran")).await;
    assert_eq!(look(&suite, json!({}), json!("cat")).await, json!({"Results": ["the cat sat"]}));
    assert_eq!(forget(&suite, "my_docs", "cats").await, json!({"Success": true}));
    assert_eq!(forget(&suite, "my_docs", "cats").await, json!({"Success": true}));
    assert_eq!(look(&suite, json!({}), json!("cat")).await, json!({"Results": []}));
}

#[tokio::test]
async fn d25_one_namespace_under_all_its_names() {
    let suite = Suite::new(&[]);
    for name in ["default_my_docs", "my_docs", "clull3pxo0058dr1ov3ghg1ye_my_docs"] {
        index(&suite, name, "x", json!("text")).await;
    }
    assert_eq!(suite.vectors.lock().keys().collect::<Vec<_>>(), ["my_docs"]);
    assert_eq!(forget(&suite, "default_my_docs", "x").await, json!({"Success": true}));
    assert_eq!(look(&suite, json!({}), json!("text")).await, json!({"Results": []}));
}

#[tokio::test]
async fn d26_the_same_id_again_replaces() {
    let suite = Suite::new(&[]);
    for text in ["first version", "second version"] {
        index(&suite, "my_docs", "x", json!(text)).await;
    }
    assert_eq!(look(&suite, json!({}), json!("version")).await, json!({"Results": ["second version"]}));
}

#[tokio::test]
async fn d26_chunk_settings_are_honoured() {
    let suite = Suite::new(&[]);
    let settings =
        json!({"namespace": "my_docs", "id": "x", "chunkSize": "300", "chunkOverlap": 20, "model": "m"});
    run(&suite, "DataSourceIndexer", settings, json!([{"name": "Source"}]), json!({"Source": "text"})).await;
    let vectors = suite.vectors.lock();
    let namespace = &vectors["my_docs"];
    let text = &namespace.texts["x"];
    assert_eq!((namespace.model.as_str(), text.chunk_size, text.chunk_overlap), ("m", Some(300), Some(20)));
}

#[tokio::test]
async fn flags_shape_the_results() {
    let suite = Suite::new(&[]);
    for (id, text) in [("a", "red green"), ("b", "red blue"), ("c", "yellow")] {
        index(&suite, "my_docs", id, json!(text)).await;
    }
    let results = async |more: Json| look(&suite, more, json!("red green")).await["Results"].clone();
    assert_eq!(results(json!({"topK": "1"})).await, json!(["red green"]));
    assert_eq!(results(json!({"topK": 0})).await, json!(["red green", "red blue"]));
    assert_eq!(results(json!({"scoreThreshold": "0.9"})).await, json!(["red green"]));
    assert_eq!(results(json!({"scoreThreshold": 0.9999, "topK": 1})).await, json!(["red green"]));
    assert_eq!(results(json!({"scoreThreshold": 2})).await, json!([]));
    let all = json!({"topK": 1, "includeMetadata": true, "includeScore": "true", "includeCitations": true});
    let place = json!({"id": "a", "source": "n a", "page": null, "start": 0, "end": 9});
    assert_eq!(
        results(all).await,
        json!([{"content": "red green", "metadata": {"k": "a"}, "score": 1, "citation": place}])
    );
    let object = look(&suite, json!({}), json!({"not": "text"})).await;
    assert_eq!(object, json!({"Results": []}));
}

#[tokio::test]
async fn metadata_that_is_no_object_comes_back_as_it_was() {
    let suite = Suite::new(&[]);
    let settings = json!({"namespace": "my_docs", "id": "x", "metadata": "just \"words\""});
    run(&suite, "DataSourceIndexer", settings, json!([{"name": "Source"}]), json!({"Source": "text"})).await;
    let found = look(&suite, json!({"includeMetadata": true}), json!("text")).await;
    assert_eq!(found["Results"][0]["metadata"], "just \"words\"");
}

#[tokio::test]
async fn d29_failures_are_plain_errors() {
    let suite = Suite::new(&[]);
    let unknown = json!({"_error": "Namespace my_docs does not exist"});
    assert_eq!(look(&suite, json!({"postprocess": true, "prompt": "p"}), json!("x")).await, unknown);
    assert_eq!(forget(&suite, "my_docs", "x").await, unknown);
    assert_eq!(index(&suite, "my_docs", "", json!("x")).await, json!({"_error": "Id is required"}));
    let bad = "Invalid id. Accepted characters: 'a-z', 'A-Z', '0-9', '-', '_', '.'";
    assert_eq!(index(&suite, "my_docs", "a/b", json!("x")).await, json!({"_error": bad}));
    let nothing = index(&suite, "my_docs", "x", json!(null)).await;
    assert!(nothing["_error"].as_str().unwrap().starts_with("Input validation error"), "{nothing}");
    let blank = index(&suite, "my_docs", "x", json!("  ")).await;
    assert_eq!(blank["_error"], "the source has no text to index");
    assert_eq!(forget(&suite, "", "x").await, json!({"_error": "Namespace is required"}));
    for (type_name, settings, wrong) in [
        ("DataSourceLookup", json!({}), "\"Namespace\" is required"),
        ("DataSourceLookup", json!({"namespace": "n", "topK": 101}), "\"Results Count\" must be less"),
        (
            "DataSourceLookup",
            json!({"namespace": "n", "includeMetadata": "perhaps"}),
            "\"Include Metadata\" must be",
        ),
        ("DataSourceIndexer", json!({"namespace": "n", "id": "a b"}), "Invalid id"),
        ("DataSourceIndexer", json!({"namespace": "n", "chunkSize": 0}), "\"Chunk Size\" must be greater"),
        ("DataSourceIndexer", json!({"namespace": "n".repeat(81)}), "\"Namespace\" length"),
    ] {
        let result =
            run(&suite, type_name, settings.clone(), json!([{"name": "Query"}]), json!({"Query": "x"})).await;
        assert!(result["_error"].as_str().unwrap_or_default().contains(wrong), "{settings}: {result}");
    }
}

#[tokio::test]
async fn documents_are_indexed_with_their_pages() {
    let suite = Suite::new(&[]);
    let pdf = include_bytes!("../../../documents/tests/fixtures/two-pages.pdf");
    let file =
        Binary { name: "two.pdf".into(), mimetype: "application/pdf".into(), data: pdf.to_vec().into() };
    suite.files.lock().insert("smythfs://lone.agent/two.pdf".into(), file);
    let done = index(&suite, "my_docs", "pdf", json!("smythfs://lone.agent/two.pdf")).await;
    assert_eq!(done["Success"]["result"], true, "{done}");
    {
        let vectors = suite.vectors.lock();
        let text = &vectors["my_docs"].texts["pdf"];
        assert_eq!(text.pages.iter().map(|(_, page)| *page).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(text.source, "smythfs://lone.agent/two.pdf");
        assert!(text.text.contains("second page"), "{}", text.text);
    }
    let foreign = index(&suite, "my_docs", "pdf", json!("smythfs://other.agent/two.pdf")).await;
    assert_eq!(foreign, json!({"_error": "Access Denied"}));
    let image =
        index(&suite, "my_docs", "png", json!("data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==")).await;
    assert!(
        image["_error"].as_str().unwrap().contains("this kind of document is not read (image/png)"),
        "{image}"
    );
}

async fn extract(suite: &Arc<Suite>, settings: Json, document: Json) -> Json {
    let document_of = lone(
        "DocumentExtractor",
        settings,
        json!([{"name": "Document", "type": "Binary"}]),
        json!([{"name": "Text", "default": true}]),
    );
    result_of(suite, &document_of, json!({"Document": document})).await
}

#[tokio::test]
async fn documents_are_extracted() {
    let suite = Suite::new(&[]);
    let page = "data:text/html;base64,PGgxPk9uZTwvaDE+PHA+YTwvcD48aDI+VHdvPC9oMj48cD5iPC9wPg==";
    let result = extract(&suite, json!({}), json!(page)).await;
    assert_eq!(result["Text"], "# One\n\na\n\n## Two\n\nb");
    assert_eq!((&result["Pages"], &result["Truncated"]), (&json!([]), &json!(false)));
    assert_eq!(
        result["Sections"][1],
        json!({"number": 2, "title": "Two", "text": "## Two\n\nb", "start": 10, "end": 19})
    );
    assert_eq!(result["Metadata"]["format"], "html");
    let cut = extract(&suite, json!({"maxCharacters": "7"}), json!(page)).await;
    assert_eq!((&cut["Text"], &cut["Truncated"]), (&json!("# One\n\n"), &json!(true)));
    for (document, wrong) in [
        (json!(null), "Document is missing"),
        (json!("data:application/zip;base64,UEsDBAoAAAAAAA=="), "neither DOCX nor XLSX"),
        (json!("data:application/pdf;base64,JVBERi0xLjcK"), "the PDF document cannot be read"),
        (json!("smythfs://other.agent/x.pdf"), "Access Denied"),
        (json!("http://169.254.169.254/a.pdf"), "not allowed by the egress policy"),
    ] {
        let result = extract(&suite, json!({}), document.clone()).await;
        assert!(result["_error"].as_str().unwrap_or_default().contains(wrong), "{document}: {result}");
    }
    let wrong = extract(&suite, json!({"maxPages": 0}), json!(page)).await;
    assert!(wrong["_error"].as_str().unwrap().contains("\"Max Pages\" must be greater"), "{wrong}");
}

#[tokio::test]
async fn a_cancelled_run_waits_for_nothing() {
    let suite = Suite::new(&[]);
    suite.hangs.store(true, Ordering::SeqCst);
    suite.cancelled.cancel();
    let killed = json!({"_error": "Agent killed"});
    assert_eq!(index(&suite, "my_docs", "x", json!("text")).await, killed);
    assert_eq!(look(&suite, json!({}), json!("x")).await, killed);
    assert_eq!(forget(&suite, "my_docs", "x").await, killed);
    assert_eq!(extract(&suite, json!({}), json!("data:text/plain;base64,eA==")).await, killed);
}
