//! Images of OpenAI's and Google's formats.

use serde_json::{Value, json};
use sre_fake_provider::FakeProvider;
use sre_fake_provider::images::PIXEL;
use sre_proto::llm::v1::media::Source;

use super::*;
use crate::inference::metering::Payer;
use crate::inference::providers::testing::{Seen, json_answer, server, settings};
use crate::inference::{Environment, NoSecrets};
use crate::models::{Catalogue, Mode, Table};

fn inference() -> Inference {
    let (catalogue, _) = Catalogue::load(None, Mode::Merge);
    Inference::new(catalogue, &settings(), Environment::of(&[]), &Default::default()).unwrap()
}

fn model(entry: Value) -> Arc<Resolved> {
    Table::new([("m".to_owned(), entry)].into(), Mode::Replace).resolve("m").unwrap()
}

fn entry(provider: &str, id: &str, base: &str) -> Value {
    json!({"modelId": id, "provider": provider, "baseURL": base, "features": ["image-generation"],
        "credentials": {"apiKey": "k"}})
}

fn ask() -> pb::GenerateImageRequest {
    pb::GenerateImageRequest { prompt: "a cat".into(), ..Default::default() }
}

fn picture() -> pb::Media {
    let data = STANDARD.decode(PIXEL).unwrap();
    pb::Media { source: Some(Source::Data(data.into())), ..Default::default() }
}

async fn made(entry: Value, request: pb::GenerateImageRequest) -> Result<Made, InferenceError> {
    let inference = inference();
    let wanted = inference.prepare_images(model(entry), request, &NoSecrets).await?;
    inference.paint(&wanted).await
}

#[tokio::test]
async fn openai_makes_and_edits() {
    let server = FakeProvider::start().await.unwrap();
    let entry = entry("OpenAI", "gpt-image-1", &server.url("/v1"));
    let set =
        pb::GenerateImageRequest { count: 2, size: "1024x1024".into(), quality: "high".into(), ..ask() };
    let two = made(entry.clone(), set).await.unwrap();
    assert_eq!(two.images.len(), 2);
    assert_eq!(
        (two.images[0].mimetype.as_str(), &two.images[0].data[..4]),
        ("image/png", b"\x89PNG".as_slice())
    );
    assert_eq!(two.usage.unwrap().output_tokens, 200);
    let sent = server.state().requests().pop().unwrap();
    assert_eq!(
        sent.body,
        json!({"model": "gpt-image-1", "prompt": "a cat", "n": 2, "size": "1024x1024", "quality": "high"})
    );
    let edit = pb::GenerateImageRequest { images: vec![picture()], mask: Some(picture()), ..ask() };
    assert_eq!(made(entry.clone(), edit).await.unwrap().images.len(), 1);
    assert!(server.state().requests().pop().unwrap().path.ends_with("/images/edits"));
    let mask = pb::GenerateImageRequest { mask: Some(picture()), ..ask() };
    assert!(made(entry, mask).await.unwrap_err().to_string().contains("send the image too"));
}

#[tokio::test]
async fn d34_shapes_and_people_reach_google() {
    let server = FakeProvider::start().await.unwrap();
    let request = pb::GenerateImageRequest {
        count: 3,
        aspect_ratio: "16:9".into(),
        person_generation: "dont_allow".into(),
        ..ask()
    };
    let imagen = entry("GoogleAI", "imagen-4.0-generate-001", &server.url("/v1beta"));
    assert_eq!(made(imagen.clone(), request.clone()).await.unwrap().images.len(), 3);
    let sent = server.state().requests().pop().unwrap();
    assert!(sent.path.ends_with("models/imagen-4.0-generate-001:predict"), "{}", sent.path);
    assert_eq!(
        sent.body,
        json!({"instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 3, "aspectRatio": "16:9", "personGeneration": "dont_allow"}})
    );
    let edit = pb::GenerateImageRequest { images: vec![picture()], ..ask() };
    assert!(made(imagen, edit).await.unwrap_err().to_string().contains("edits none"));
}

#[tokio::test]
async fn gemini_makes_one_a_request_and_edits() {
    let mut server = server(|count, seen: &Seen| {
        assert!(seen.path.ends_with("models/gemini-2.5-flash-image:generateContent"));
        json_answer(
            200,
            &json!({"responseId": format!("r{count}"), "usageMetadata": {"promptTokenCount": 3,
            "candidatesTokenCount": 1290}, "candidates": [{"content": {"parts": [{"text": "here"},
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}}]}, "finishReason": "STOP"}]}),
        )
    })
    .await;
    let request =
        pb::GenerateImageRequest { count: 2, images: vec![picture()], aspect_ratio: "1:1".into(), ..ask() };
    let two = made(entry("GoogleAI", "gemini-2.5-flash-image", &server.base), request).await.unwrap();
    assert_eq!((two.images.len(), two.usage.unwrap().output_tokens), (2, 2580));
    let body = server.seen.recv().await.unwrap().json();
    assert_eq!(body["generationConfig"]["imageConfig"], json!({"aspectRatio": "1:1"}));
    assert_eq!(
        body["contents"][0]["parts"][1],
        json!({"inlineData": {"mimeType": "image/png", "data": PIXEL}})
    );
}

#[tokio::test]
async fn runware_is_told_of_size_seed_and_what_to_leave_out() {
    let mut server = server(|count, _| match count {
        0 => json_answer(200, &json!({"data": [{"imageBase64Data": PIXEL, "cost": 0.0013}]})),
        _ => json_answer(200, &json!({"errors": [{"code": "invalidModel", "message": "no such model"}]})),
    })
    .await;
    let entry = || entry("Runware", "runware:101@1", &format!("{}/v1", server.base));
    let request = pb::GenerateImageRequest {
        size: "512x768".into(),
        images: vec![picture()],
        strength: Some(0.5),
        negative_prompt: "dogs".into(),
        output_format: "png".into(),
        ..ask()
    };
    assert_eq!(made(entry(), request).await.unwrap().images.len(), 1);
    let refused = made(entry(), ask()).await.unwrap_err().to_string();
    assert!(refused.contains("no such model"), "{refused}");
    let odd = pb::GenerateImageRequest { size: "100x100".into(), ..ask() };
    assert!(made(entry(), odd).await.unwrap_err().to_string().contains("multiples of 64"));
    let seen = server.seen.recv().await.unwrap();
    assert_eq!((seen.path.as_str(), seen.headers["authorization"].to_str().unwrap()), ("/v1", "Bearer k"));
    let task = &seen.json()[0];
    assert_eq!((&task["width"], &task["height"]), (&json!(512), &json!(768)));
    assert_eq!((&task["model"], &task["positivePrompt"]), (&json!("runware:101@1"), &json!("a cat")));
    assert_eq!((&task["negativePrompt"], &task["outputFormat"]), (&json!("dogs"), &json!("PNG")));
    assert_eq!(task["strength"], 0.5);
    assert!(task["seedImage"].as_str().unwrap().starts_with("data:image/png;base64,"));
}

#[tokio::test]
async fn what_makes_no_images_says_so() {
    let refused = async |entry: Value, request| made(entry, request).await.unwrap_err().to_string();
    let mut text = entry("OpenAI", "gpt-4o", "http://127.0.0.1:1");
    text["features"] = json!(["text"]);
    assert!(refused(text, ask()).await.contains("image-generation"));
    let some = || entry("OpenAI", "gpt-image-1", "http://127.0.0.1:1");
    assert!(refused(some(), pb::GenerateImageRequest { count: 11, ..ask() }).await.contains("1 to 10"));
    assert!(
        refused(some(), pb::GenerateImageRequest { prompt: " ".into(), ..ask() }).await.contains("prompt")
    );
    assert!(refused(entry("Anthropic", "claude", "http://127.0.0.1:1"), ask()).await.contains("not built"));
    let filtered =
        server(|_, _| json_answer(200, &json!({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}))).await;
    assert!(
        refused(entry("GoogleAI", "gemini-2.5-flash-image", &filtered.base), ask()).await.contains("filter")
    );
    let address = server(|_, _| json_answer(200, &json!({"data": [{"url": "http://x.test/a.png"}]}))).await;
    assert!(
        refused(entry("OpenAI", "gpt-image-1", &address.base), ask()).await.contains("address in place of")
    );
}

#[tokio::test]
async fn images_come_in_pieces_and_end_once() {
    let data = Bytes::from(vec![7; CHUNK_BYTES + 5]);
    let image = |data| Image { mimetype: "image/png".into(), data, revised_prompt: "a black cat".into() };
    let made = Made { images: vec![image(data), image(Bytes::from_static(b"x"))], ..Made::default() };
    let call = crate::inference::providers::testing::call("OpenAI", "gpt-image-1");
    let payer = Payer { team: "red".into(), ..Payer::default() };
    let metered = Metered::images(payer, &call.model, &ask());
    let (pieces, event) = pieces(made, &call, &metered);
    assert!(event.is_some());
    let parts: Vec<_> = pieces.map(|piece| piece.unwrap().part.unwrap()).collect().await;
    let chunks: Vec<_> = parts[..3]
        .iter()
        .map(|part| match part {
            Part::Chunk(chunk) => {
                (chunk.index, chunk.mimetype.as_str(), chunk.data.len(), chunk.revised_prompt.as_str())
            }
            Part::Finished(_) => panic!("a piece"),
        })
        .collect();
    assert_eq!(
        chunks,
        [(0, "image/png", CHUNK_BYTES, "a black cat"), (0, "", 5, ""), (1, "image/png", 1, "a black cat")]
    );
    assert!(matches!(&parts[3..], [Part::Finished(end)] if end.count == 2 && !end.usage_event.is_empty()));
}
