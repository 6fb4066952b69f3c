//! Answers that grow when they are decompressed.

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::context::Suite;
use crate::driver::{lone, result_of};
use crate::fake::{Fake, Reply};
use crate::security::{USES, client, seen};

async fn gzip(size: usize) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&piece).await.unwrap();
    }
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

async fn brotli(size: usize) -> Vec<u8> {
    let mut encoder = BrotliEncoder::new(Vec::new());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&piece).await.unwrap();
    }
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn an_answer_that_explodes_is_put_down_by_every_way() {
    let (small, smaller) = (gzip(20 << 20).await, brotli(20 << 20).await);
    let bombs = [("gzip", small), ("br", smaller)];
    for (coding, bomb) in bombs {
        let body = bomb.clone();
        let server = Fake::start(move |_| {
            let reply = Reply::new(200, "application/json", body.clone());
            Reply {
                headers: [reply.headers, vec![("content-encoding".into(), coding.into())]].concat(),
                ..reply
            }
        })
        .await;
        for used in USES.iter().filter(|used| used.tokens.is_none()) {
            let seen = seen(used, client(&[&server.address.to_string()]), &server.url()).await;
            // It asks for plain answers and unpacks none: what it gets is no message.
            let is_packed = used.type_name == "MCPClient" && seen.contains("Deserialize error");
            assert!(
                is_packed || seen.contains("times as large"),
                "{coding}: {} by {}: {seen}",
                used.type_name,
                used.way
            );
        }
    }
}

#[tokio::test]
async fn what_compresses_well_and_stays_small_is_read() {
    let body = gzip(1 << 20).await;
    let server = Fake::start(move |request| match request.path() {
        "/cut" => {
            Reply::new(200, "text/plain", body[..body.len() / 2].to_vec()).with("content-encoding", "gzip")
        }
        "/head" => Reply::new(200, "text/plain", "").with("content-encoding", "gzip"),
        _ => Reply::new(200, "text/plain", body.clone()).with("content-encoding", "gzip"),
    })
    .await;
    let suite = Suite::new(&[server.address.to_string()]);
    let get = async |path: &str| {
        let settings = json!({"method": "GET", "url": format!("{}{path}", server.url()), "retries": 0});
        let document = lone("APICall", settings, json!([{"name": "x"}]), json!([]));
        result_of(&suite, &document, json!({"x": 1})).await
    };
    let whole = get("/whole").await;
    assert_eq!(whole["Response"].as_str().unwrap().len(), 1 << 20);
    assert!(whole["Headers"].get("content-encoding").is_none(), "{:?}", whole["Headers"]);
    assert_eq!(get("/head").await["Response"], "");
    assert_eq!(get("/cut").await["_error"], "the compressed answer is damaged or cut off");
}
