//! Against small servers that speak the real wire formats.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::inference::{Environment, Inference, InferenceSettings, Secrets};
use crate::models::{Catalogue, Mode};

#[derive(Debug, Clone)]
struct Seen {
    path: String,
    key: String,
    body: Value,
}

type Log = Arc<Mutex<Vec<Seen>>>;
type Script = Arc<dyn Fn(usize, &Seen) -> Response + Send + Sync>;

struct Bench {
    inference: Inference,
    seen: Log,
    _server: JoinSet<()>,
}

struct Vault(&'static str);

#[async_trait::async_trait]
impl Secrets for Vault {
    async fn access(&self, _key: &str) -> Result<Option<SecretString>, tonic::Status> {
        Ok((!self.0.is_empty()).then(|| self.0.into()))
    }

    async fn keys(&self) -> Result<std::collections::BTreeSet<String>, tonic::Status> {
        Ok(std::collections::BTreeSet::new())
    }
}

async fn bench(script: impl Fn(usize, &Seen) -> Response + Send + Sync + 'static) -> Bench {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let (seen, script): (Log, Script) = (Log::default(), Arc::new(script));
    let log = Arc::clone(&seen);
    let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: bytes::Bytes| async move {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let key = header("authorization").or_else(|| header("x-goog-api-key")).unwrap_or_default();
        let path = uri.to_string();
        let seen = Seen { path, key, body: serde_json::from_slice(&body).unwrap() };
        let number = {
            let mut log = log.lock().unwrap();
            log.push(seen.clone());
            log.len() - 1
        };
        script(number, &seen)
    });
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let settings =
        InferenceSettings { repeat_wait: Duration::from_millis(1), ..InferenceSettings::default() };
    let (catalogue, _) = Catalogue::load(None, Mode::Merge);
    let urls = BTreeMap::from([("openai".to_owned(), base.clone()), ("googleai".to_owned(), base)]);
    let inference = Inference::new(catalogue, &settings, Environment::of(&[]), &urls).unwrap();
    Bench { inference, seen, _server: server }
}

impl Bench {
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn ask(model: &str, texts: &[&str]) -> pb::EmbedRequest {
    pb::EmbedRequest {
        model: model.to_owned(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..pb::EmbedRequest::default()
    }
}

/// A vector that tells which text it is of: its length in the first place.
fn told(text: &Value, dimensions: usize) -> Vec<f32> {
    let mut values = vec![0.0; dimensions];
    values[0] = text.as_str().unwrap().len() as f32;
    values
}

fn openai(seen: &Seen, dimensions: usize) -> Response {
    let inputs = seen.body["input"].as_array().unwrap();
    let mut data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let bytes: Vec<u8> = told(text, dimensions).iter().flat_map(|v| v.to_le_bytes()).collect();
            json!({"object": "embedding", "index": index, "embedding": STANDARD.encode(bytes)})
        })
        .collect();
    data.reverse();
    let usage = json!({"prompt_tokens": inputs.len(), "total_tokens": inputs.len()});
    axum::Json(json!({"object": "list", "data": data, "usage": usage})).into_response()
}

fn refused(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, axum::Json(json!({"error": {"message": "no", "type": "t"}}))).into_response()
}

/// D35: the size of batches, the length of vectors and the line breaks are as asked; llm.md §8: the order is kept.
#[tokio::test]
async fn d35_batches_dimensions_and_line_breaks_are_as_asked() {
    let bench = bench(|_, seen| openai(seen, 8)).await;
    let request = pb::EmbedRequest {
        dimensions: 8,
        batch_size: 2,
        ..ask("text-embedding-3-large", &["a", "bb\ncc", "d d d", "eeee", "ff"])
    };
    let answer = bench.inference.embed(request.clone(), &Vault("sk-1")).await.unwrap();
    let lengths: Vec<f32> = answer.embeddings.iter().map(|vector| vector.values[0]).collect();
    assert_eq!(lengths, [1.0, 5.0, 5.0, 4.0, 2.0]);
    assert_eq!((answer.dimensions, answer.usage.unwrap().input_tokens), (8, 5));
    let mut sizes: Vec<usize> =
        bench.seen().iter().map(|seen| seen.body["input"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2, 2]);
    for seen in bench.seen() {
        assert_eq!(seen.path, "/v1/embeddings");
        assert_eq!(
            (&seen.body["dimensions"], &seen.body["model"]),
            (&json!(8), &json!("text-embedding-3-large"))
        );
        assert!(!seen.body.to_string().contains("\\n"));
    }
    let kept = pb::EmbedRequest { strip_new_lines: Some(false), batch_size: 0, ..request };
    bench.inference.embed(kept, &Vault("sk-1")).await.unwrap();
    let last = bench.seen().pop().unwrap();
    assert_eq!(last.body["input"], json!(["a", "bb\ncc", "d d d", "eeee", "ff"]));
    let fixed = bench.inference.embed(ask("text-embedding-ada-002", &["a"]), &Vault("sk-1")).await;
    // 8 values came in place of 1536: that is an error, nothing is padded.
    assert!(matches!(fixed, Err(InferenceError::Broken { .. })), "{fixed:?}");
    assert_eq!(bench.seen().pop().unwrap().body.get("dimensions"), None);
}

/// H19, llm.md D36: each call goes with the key of its own caller, over connections that know none.
#[tokio::test]
async fn h19_d36_teams_with_different_keys_never_share_one() {
    let bench = bench(|_, seen| openai(seen, 3072)).await;
    for key in ["sk-red", "sk-blue", "sk-red"] {
        bench.inference.embed(ask("text-embedding-3-large", &["x"]), &Vault(key)).await.unwrap();
    }
    let keys: Vec<String> = bench.seen().into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys, ["Bearer sk-red", "Bearer sk-blue", "Bearer sk-red"]);
    let none = bench.inference.embed(ask("text-embedding-3-large", &["x"]), &Vault("")).await;
    assert!(matches!(none, Err(InferenceError::KeyMissing { .. })), "{none:?}");
    assert_eq!(bench.seen().len(), 3);
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_again_and_nothing_else() {
    let bench = bench(|number, seen| match number {
        0 => refused(429),
        1 => refused(503),
        2 => openai(seen, 3072),
        _ => refused(401),
    })
    .await;
    bench.inference.embed(ask("text-embedding-3-large", &["x"]), &Vault("k")).await.unwrap();
    assert_eq!(bench.seen().len(), 3);
    let refused = bench.inference.embed(ask("text-embedding-3-large", &["x"]), &Vault("k")).await;
    assert!(
        matches!(&refused, Err(InferenceError::Refused(refusal)) if refusal.status == 401),
        "{refused:?}"
    );
    assert_eq!(bench.seen().len(), 4);
}

/// llm.md D37: Google is told the length where it reads it, and nothing is padded.
#[tokio::test]
async fn d37_google_is_told_the_dimensions() {
    let bench = bench(|_, seen| {
        let requests = seen.body["requests"].as_array().unwrap();
        let values = requests.iter().map(|request| {
            assert_eq!(request["model"], "models/gemini-embedding-001");
            let dimensions = request["outputDimensionality"].as_u64().unwrap() as usize;
            json!({"values": told(&request["content"]["parts"][0]["text"], dimensions)})
        });
        axum::Json(json!({"embeddings": values.collect::<Vec<_>>()})).into_response()
    })
    .await;
    let request = pb::EmbedRequest { dimensions: 4, ..ask("gemini-embedding-001", &["aa", "b"]) };
    let answer = bench.inference.embed(request, &Vault("g-1")).await.unwrap();
    assert_eq!(answer.embeddings[0].values, [1.0, 0.0, 0.0, 0.0], "shortened vectors have length 1");
    let answer = bench.inference.embed(ask("gemini-embedding-001", &["aa"]), &Vault("g-1")).await.unwrap();
    assert_eq!((answer.embeddings[0].values.len(), answer.embeddings[0].values[0]), (3072, 2.0));
    let seen = bench.seen();
    assert_eq!(seen[0].path, "/v1/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(seen[0].key, "g-1");
}

/// Against the fake provider: Ollama's own interface, and a server that the configuration names alone.
#[tokio::test]
async fn ollama_and_named_servers_make_vectors() {
    let server = sre_fake_provider::FakeProvider::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.json");
    let vectors = json!({"dimensions": 8, "settable": true});
    let entry = |provider: &str, more: Value| {
        let mut entry = json!({"modelId": "v", "provider": provider, "features": ["embeddings"],
            "embedding": vectors, "tokens": 512});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let models = json!({
        "own": entry("Ollama", json!({"baseURL": server.url("/v1")})),
        "as-openai": entry("Ollama", json!({"baseURL": server.url("/v1"), "interface": "chat.completions",
            "credentials": {"apiKey": "k"}})),
        "named": entry("my-vllm", json!({"credentials": {"apiKey": "k"}})),
        "nowhere": entry("unheard-of", json!({})),
    });
    std::fs::write(&path, models.to_string()).unwrap();
    let (catalogue, _) = Catalogue::load(Some(path), Mode::Merge);
    let urls = BTreeMap::from([("My-vLLM".to_owned(), server.url("/vllm/v1"))]);
    let inference =
        Inference::new(catalogue, &InferenceSettings::default(), Environment::of(&[]), &urls).unwrap();
    for (model, path) in
        [("own", "/api/embed"), ("as-openai", "/v1/embeddings"), ("named", "/vllm/v1/embeddings")]
    {
        let answer = inference.embed(ask(model, &["a b", "c"]), &Vault("")).await.unwrap();
        let expected = sre_fake_provider::embeddings::vector("c", 8);
        assert_eq!(answer.embeddings[1].values, expected, "{model}");
        assert_eq!(answer.usage.unwrap().input_tokens, 3);
        assert_eq!(server.state().requests().pop().unwrap().path, path);
    }
    let error = inference.embed(ask("nowhere", &["a"]), &Vault("")).await.unwrap_err();
    assert_eq!(error.kind(), "unknown_provider");
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anybody_is_asked() {
    let bench = bench(|_, _| refused(500)).await;
    let model = "text-embedding-3-large";
    let many: Vec<&str> = vec!["x"; 300];
    let wrong = [
        (ask("gpt-4o", &["x"]), "model"),
        (ask(model, &[" "]), "texts"),
        (ask(model, &many), "texts"),
        (pb::EmbedRequest { batch_size: -1, ..ask(model, &["x"]) }, "batch_size"),
        (pb::EmbedRequest { dimensions: -1, ..ask(model, &["x"]) }, "dimensions"),
        (pb::EmbedRequest { dimensions: 5000, ..ask(model, &["x"]) }, "dimensions"),
        (pb::EmbedRequest { dimensions: 7, ..ask("text-embedding-ada-002", &["x"]) }, "dimensions"),
    ];
    for (request, wanted) in wrong {
        let found = bench.inference.embed(request, &Vault("k")).await;
        assert!(
            matches!(&found, Err(InferenceError::Invalid { field, .. }) if *field == wanted),
            "{found:?}"
        );
    }
    // No text: no call, and no key is needed for knowing the length.
    let none = bench.inference.embed(ask(model, &[]), &Vault("")).await.unwrap();
    assert_eq!((none.embeddings.len(), none.dimensions), (0, 3072));
    assert_eq!(bench.seen().len(), 0);
}

#[tokio::test]
async fn without_key_and_network_there_are_hashed_vectors() {
    let bench = bench(|_, _| refused(500)).await;
    let answer =
        bench.inference.embed(ask("hash-embedding", &["a b", "a b", "c"]), &Vault("")).await.unwrap();
    assert_eq!((answer.dimensions, answer.embeddings.len()), (384, 3));
    assert_eq!(answer.embeddings[0], answer.embeddings[1]);
    assert_ne!(answer.embeddings[0], answer.embeddings[2]);
}

#[test]
fn batches_are_bounded_by_count_and_bytes() {
    let lengths = |sizes: &[usize], most| -> Vec<usize> {
        cut(sizes.iter().map(|size| "x".repeat(*size)).collect(), most).iter().map(Vec::len).collect()
    };
    assert_eq!(lengths(&[1, 1, 1], 2), [2, 1]);
    assert_eq!(lengths(&[1, 1], 0), [1, 1]);
    assert_eq!(lengths(&[BATCH_BYTES, 1, BATCH_BYTES + 1, 1], 9), [1, 1, 1, 1]);
    assert_eq!(lengths(&[], 9), [0; 0]);
}
