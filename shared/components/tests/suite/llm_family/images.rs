//! ImageGenerator.

use serde_json::{Value as Json, json};
use sre_proto::llm::v1::GenerateImageRequest;

use super::{run, suite};
use crate::context::Suite;

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";
const INPUTS: [(&str, &str); 2] = [("Prompt", "Text"), ("Attachment", "Image")];

async fn painted(suite: &std::sync::Arc<Suite>, settings: Json, body: Json) -> Json {
    run(suite, "ImageGenerator", settings, &INPUTS, &[("Output", true)], body).await
}

/// What a model is asked for.
async fn asked(settings: Json) -> GenerateImageRequest {
    let suite = suite(&[]);
    let result = painted(&suite, settings, json!({"Prompt": "a cat"})).await;
    assert!(result["Output"].is_object() || result["Output"].is_array(), "{result}");
    suite.scene.paintings.lock().pop().unwrap()
}

#[tokio::test]
async fn an_image_comes_out_as_a_stored_file() {
    let suite = suite(&[]);
    let result = painted(&suite, json!({"model": "gpt-image-1"}), json!({"Prompt": "a cat"})).await;
    let output = &result["Output"];
    assert_eq!((&output["mimetype"], &output["size"]), (&json!("image/png"), &json!(8)));
    assert!(suite.files.lock().contains_key(output["url"].as_str().unwrap()));
    let request = suite.scene.paintings.lock().pop().unwrap();
    assert_eq!((request.prompt.as_str(), request.idempotency_key.as_str()), ("a cat", "key"));
}

#[tokio::test]
async fn d27_each_family_is_asked_in_its_own_settings() {
    let all = |model: &str| {
        json!({"model": model, "prompt": "a {{Prompt}}", "size": "1024x1536", "sizeDalle2": "512x512",
            "sizeDalle3": "1792x1024", "quality": "auto", "style": "natural", "width": "512", "height": 768,
            "aspectRatio": "16:9", "personGeneration": "allow_adult", "negativePrompt": "dogs",
            "outputFormat": "png", "strength": "0.7"})
    };
    let gpt = asked(all("gpt-image-1")).await;
    assert_eq!(
        (gpt.prompt.as_str(), gpt.size.as_str(), gpt.quality.as_str()),
        ("a a cat", "1024x1536", "auto")
    );
    assert!(gpt.style.is_empty() && gpt.aspect_ratio.is_empty() && gpt.negative_prompt.is_empty());
    let two = asked(all("dall-e-2")).await;
    assert_eq!((two.size.as_str(), two.quality.as_str()), ("512x512", ""));
    let three = asked(all("dall-e-3")).await;
    assert_eq!((three.size.as_str(), three.style.as_str()), ("1792x1024", "natural"));
    assert_eq!(three.quality, "", "`auto` is no quality of DALL-E 3 and no reason to fail");
    let google = asked(all("imagen-4")).await;
    assert_eq!((google.aspect_ratio.as_str(), google.person_generation.as_str()), ("16:9", "allow_adult"));
    let runware = asked(all("runware-model")).await;
    assert_eq!((runware.size.as_str(), runware.negative_prompt.as_str()), ("512x768", "dogs"));
    assert_eq!((runware.output_format.as_str(), runware.strength), ("PNG", Some(0.7)));
}

#[tokio::test]
async fn what_is_not_said_is_what_the_reference_assumes() {
    assert_eq!(asked(json!({"model": "gpt-image-1"})).await.size, "auto");
    assert_eq!(asked(json!({"model": "dall-e-2"})).await.size, "256x256");
    let three = asked(json!({"model": "dall-e-3", "isRawInputPrompt": true})).await;
    assert_eq!((three.size.as_str(), three.style.as_str()), ("1024x1024", "vivid"));
    assert!(three.prompt.ends_with("a cat") && three.prompt.len() > "a cat".len());
    let runware = asked(json!({"model": "runware-model"})).await;
    assert_eq!((runware.size.as_str(), runware.output_format.as_str()), ("1024x1024", "JPEG"));
    assert_eq!(runware.strength, Some(0.5));
}

#[tokio::test]
async fn d27_all_images_come_out() {
    let suite = suite(&[]);
    let settings = json!({"model": "gpt-image-1", "numberOfImages": "3"});
    let result = painted(&suite, settings, json!({"Prompt": "a cat"})).await;
    assert_eq!(result["Output"].as_array().unwrap().len(), 3);
    assert_eq!(suite.files.lock().len(), 3);
    let one = json!({"model": "dall-e-3", "numberOfImages": 2});
    let result = painted(&suite, one, json!({"Prompt": "a cat"})).await;
    assert!(result["_error"].as_str().unwrap().contains("one image at a time"), "{result}");
}

#[tokio::test]
async fn images_to_edit_go_along() {
    let suite = suite(&[]);
    let body = json!({"Prompt": "a hat", "Attachment": [PNG, "data:image/gif;base64,R0lGODlh"]});
    painted(&suite, json!({"model": "gpt-image-1"}), body.clone()).await;
    assert_eq!(
        suite.scene.paintings.lock().pop().unwrap().images.len(),
        1,
        "what cannot be edited is left out"
    );
    let gif = json!({"Prompt": "a hat", "Attachment": "data:image/gif;base64,R0lGODlh"});
    let result = painted(&suite, json!({"model": "gpt-image-1"}), gif).await;
    assert_eq!(
        result["_error"],
        "Generating Image(s)\nSupported image file types are: image/png, image/jpeg, image/jpg, image/webp"
    );
    let result = painted(&suite, json!({"model": "dall-e-3"}), body).await;
    assert_eq!(
        result["_error"],
        "Generating Image(s)\nOpenAI Image Generation Error: DALL-E models do not support image editing or \
         variations. Please use a different model."
    );
}

#[tokio::test]
async fn failures_are_told_in_words() {
    let missing = painted(&suite(&[]), json!({"model": "nope"}), json!({"Prompt": "a cat"})).await;
    assert_eq!(missing["_error"], "The model 'nope' is not available. Please try a different one.");
    let wrong = painted(&suite(&[]), json!({"model": "mock-gpt"}), json!({"Prompt": "a cat"})).await;
    assert_eq!(wrong["_error"], "The model 'mock-gpt' is not available. Please try a different one.");
    let nothing = painted(&suite(&[]), json!({"model": "gpt-image-1"}), json!({"Prompt": ""})).await;
    assert_eq!(nothing["_error"], "Please provide a prompt or Image");
    for (model, words) in [
        ("gpt-image-1", "OpenAI Image Generation Error: "),
        ("imagen-4", "Google AI Image Generation Error: "),
        ("runware-model", "Runware Image Generation Error: "),
    ] {
        let suite = suite(&[]);
        suite.scene.images.lock().push_back(Err("400 refused".into()));
        let result = painted(&suite, json!({"model": model}), json!({"Prompt": "a cat"})).await;
        assert_eq!(result["_error"], format!("Generating Image(s)\n{words}400 refused"));
    }
    let suite = suite(&[]);
    suite.scene.images.lock().push_back(Ok(Vec::new()));
    let result = painted(&suite, json!({"model": "gpt-image-1"}), json!({"Prompt": "a cat"})).await;
    assert!(result["_error"].as_str().unwrap().contains("holds no image"), "no silent success: {result}");
}

#[tokio::test]
async fn limits_of_settings_are_checked() {
    for (setting, value) in [
        ("width", json!(100)),
        ("width", json!("130")),
        ("quality", json!("best")),
        ("isRawInputPrompt", json!("true")),
        ("prompt", json!("x")),
        ("aspectRatio", json!("2:1")),
        ("numberOfImages", json!(11)),
    ] {
        let mut settings = json!({"model": "runware-model"});
        settings[setting] = value;
        let result = painted(&suite(&[]), settings, json!({"Prompt": "a cat"})).await;
        assert!(result["_error"].as_str().unwrap().starts_with("Schema Validation error: "), "{setting}");
    }
}

#[tokio::test]
async fn d10_what_is_no_image_and_the_end_of_a_run_end_it() {
    let suite = suite(&[]);
    let body = json!({"Prompt": "a", "Attachment": {"a": 1}});
    let result = painted(&suite, json!({"model": "gpt-image-1"}), body).await;
    assert!(result["_error"].as_str().unwrap().starts_with("Invalid Binary value"), "{result}");
    suite.cancelled.cancel();
    let result = painted(&suite, json!({"model": "gpt-image-1"}), json!({"Prompt": "a"})).await;
    assert!(result["_error"].as_str().unwrap().contains("Agent killed"), "{result}");
}
