//! Files on their way to a model.

use serde_json::{Value as Json, json};
use sre_engine::Binary;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::{Media, part::Part};

use super::{run, suite};
use crate::context::Suite;

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";
const PDF: &str = "data:application/pdf;base64,JVBERi0xLjQKJcfs";

fn media(suite: &Suite) -> Vec<Media> {
    let request = suite.requests.lock().pop().unwrap();
    let parts = request.messages.last().unwrap().parts.clone();
    parts
        .into_iter()
        .map(|part| match part.part {
            Some(Part::Media(media)) => media,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn asking(model: &str) -> Json {
    json!({"model": model, "prompt": "what is it?"})
}

#[tokio::test]
async fn files_of_binary_inputs_go_with_the_prompt() {
    let suite = suite(&["a dot"]);
    let inputs = [("Attachment", "Image"), ("Paper", "Binary"), ("Words", "Text")];
    let body = json!({"Attachment": [PNG, "", PNG], "Paper": PDF, "Words": PNG});
    let result = run(&suite, "GenAILLM", asking("seeing"), &inputs, &[("Reply", true)], body).await;
    assert_eq!(result, json!({"Reply": "a dot"}));
    let types: Vec<String> = media(&suite).into_iter().map(|media| media.mimetype).collect();
    assert_eq!(types, ["image/png", "image/png", "application/pdf"]);
}

#[tokio::test]
async fn the_older_components_find_files_in_inputs_of_any_type() {
    for (type_name, input) in [("VisionLLM", "Images"), ("MultimodalLLM", "Input")] {
        let suite = suite(&["a dot"]);
        let body = json!({input: [PNG, null]});
        let result =
            run(&suite, type_name, asking("seeing"), &[(input, "Any")], &[("Reply", true)], body).await;
        assert_eq!(result, json!({"Reply": "a dot"}), "{type_name}");
        let media = media(&suite);
        assert_eq!(media.len(), 1, "{type_name}");
        assert!(matches!(media[0].source, Some(Source::Data(_))), "{type_name}: bytes go inside");
    }
}

#[tokio::test]
async fn a_stored_file_is_named_and_what_the_model_does_not_take_is_left_out() {
    let suite = suite(&["fine"]);
    let url = "smythfs://default.team/lone/_temp/a.png";
    let file = json!({"url": url, "mimetype": "image/png", "size": 8, "name": "a.png"});
    let wav = json!({"url": "smythfs://default.team/lone/_temp/b.wav", "mimetype": "audio/wav", "size": 8});
    let body = json!({"Images": [file, wav]});
    run(&suite, "VisionLLM", asking("seeing"), &[("Images", "Any")], &[("Reply", true)], body).await;
    let media = media(&suite);
    assert_eq!(media.len(), 1);
    assert_eq!(media[0].source, Some(Source::File(url.to_owned())));
}

#[tokio::test]
async fn files_of_which_a_model_takes_none_are_an_error_with_what_it_takes() {
    let body = json!({"Attachment": "data:audio/wav;base64,UklGRg==", "Other": "data:video/mp4;base64,AAAA"});
    let inputs = [("Attachment", "Audio"), ("Other", "Video")];
    let result = run(&suite(&[]), "GenAILLM", asking("seeing"), &inputs, &[("Reply", true)], body).await;
    assert_eq!(
        result["_error"],
        "Model 'seeing' does not support the provided file type(s): audio/wav, video/mp4.\nSupported types: \
         image/png, image/jpeg, image/jpg, image/webp, image/gif, application/pdf"
    );
}

#[tokio::test]
async fn the_feature_decides_and_the_provider() {
    // Gemini hears, but does not see here; OpenAI's models hear nothing.
    for (model, file, works) in [
        ("hearing", "data:audio/flac;base64,ZkxhQw==", true),
        ("hearing", PNG, false),
        ("seeing", "data:text/plain;base64,aGVsbG8=", false),
        ("scripted", PNG, false),
    ] {
        let suite = suite(&["ok"]);
        let result = run(
            &suite,
            "GenAILLM",
            asking(model),
            &[("Attachment", "Binary")],
            &[("Reply", true)],
            json!({"Attachment": file}),
        )
        .await;
        assert_eq!(result["Reply"] == "ok", works, "{model} {file}: {result}");
    }
}

#[tokio::test]
async fn bytes_that_nobody_can_tell_are_unreadable() {
    let body = json!({"Images": "aGVsbG8gd29ybGQ="});
    let result =
        run(&suite(&[]), "VisionLLM", asking("seeing"), &[("Images", "Any")], &[("Reply", true)], body).await;
    assert_eq!(
        result["_error"],
        "Unable to process the provided file(s). Please ensure file(s) are not corrupted, have valid formats, and \
         contain readable data."
    );
}

#[tokio::test]
async fn d10_what_is_no_file_fails_at_once() {
    for value in [json!(5), json!({"a": 1}), json!(true)] {
        let body = json!({"Images": value});
        let result =
            run(&suite(&[]), "VisionLLM", asking("seeing"), &[("Images", "Any")], &[("Reply", true)], body)
                .await;
        let error = result["_error"].as_str().unwrap();
        assert!(error.starts_with("Unable to process the provided file(s).") && error.contains("'Images'"));
    }
    let body = json!({"Images": ""});
    let suite = suite(&["nothing to see"]);
    let result =
        run(&suite, "VisionLLM", asking("seeing"), &[("Images", "Any")], &[("Reply", true)], body).await;
    assert_eq!(result, json!({"Reply": "nothing to see"}), "no file is none, not an undefined one");
}

#[tokio::test]
async fn d49_files_of_others_and_forbidden_addresses_are_refused() {
    for (address, words) in [
        ("smythfs://other.team/spy/secret.png", "Access Denied"),
        ("http://169.254.169.254/latest/meta-data.png", "cannot be read"),
    ] {
        let body = json!({"Images": address});
        let result =
            run(&suite(&[]), "VisionLLM", asking("seeing"), &[("Images", "Any")], &[("Reply", true)], body)
                .await;
        let error = result["_error"].as_str().unwrap();
        assert!(error.contains(words) && error.contains(address), "{error}");
    }
}

#[tokio::test]
async fn large_bytes_are_stored_and_named() {
    let suite = suite(&["big"]);
    let mut data = b"\x89PNG\r\n\x1a\n".to_vec();
    data.resize(3 << 20, 0);
    let url = "smythfs://default.team/lone/big.png";
    let binary = Binary { name: "big.png".into(), mimetype: "image/png".into(), data: data.into() };
    suite.files.lock().insert(url.to_owned(), binary.clone());
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(&binary.data);
    let body = json!({"Images": format!("data:image/png;base64,{text}")});
    run(&suite, "VisionLLM", asking("seeing"), &[("Images", "Any")], &[("Reply", true)], body).await;
    assert!(matches!(&media(&suite)[0].source, Some(Source::File(url)) if url.contains("/_temp/")));
}

#[tokio::test]
async fn echo_sees_no_files() {
    let suite = suite(&[]);
    let body = json!({"Attachment": PNG});
    let result =
        run(&suite, "GenAILLM", asking("Echo"), &[("Attachment", "Image")], &[("Reply", true)], body).await;
    assert_eq!(result, json!({"Reply": "what is it?"}));
}
