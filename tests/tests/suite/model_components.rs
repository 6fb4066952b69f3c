//! The components that ask models, in a real suite: with files that the llm service reads as the agent, with what they
//! remember among the agent's files, with images that are stored.

use serde_json::{Value, json};
use sre_fake_provider::FakeProvider;
use sre_fake_provider::images::PIXEL;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::{Mode, Options, Suite};

const AGENT: &str = "teams/default/agents/asker";

fn agent() -> Value {
    let optional = |mut component: Value| {
        for input in component["inputs"].as_array_mut().unwrap() {
            input["optional"] = true.into();
        }
        component
    };
    let mut see = component(
        "look",
        "GenAILLM",
        json!({"model": "seer", "prompt": "what is it?"}),
        &["file"],
        &["Reply"],
    );
    see["inputs"][0]["type"] = "Image".into();
    let talk = component(
        "talk",
        "LLMAssistant",
        json!({"model": "seer", "behavior": "be brief", "ttl": "600"}),
        &["UserInput", "UserId"],
        &["Response"],
    );
    let paint = component(
        "paint",
        "ImageGenerator",
        json!({"model": "painter", "quality": "low"}),
        &["Prompt"],
        &["Output"],
    );
    let schema = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    let data =
        json!({"model": "seer", "prompt": "{\"name\": \"{{Input}}\"}", "schema": schema, "maxRepairs": 1});
    let mut shape = component("shape", "StructuredOutput", data, &["Input"], &["Output"]);
    shape["outputs"].as_array_mut().unwrap().push(json!({"name": "name"}));
    document(
        "asker",
        json!({}),
        &[
            endpoint("see", "POST", &[("file", "Any")]),
            see,
            output("seen", &["reply"]),
            endpoint("say", "POST", &[("text", "Text"), ("who", "Text")]),
            optional(talk),
            output("said", &["reply"]),
            endpoint("draw", "POST", &[("what", "Text")]),
            paint,
            output("drawn", &["image"]),
            endpoint("fit", "POST", &[("name", "Text")]),
            shape,
            output("fitted", &["name"]),
        ],
        &[
            "see.file > look.file",
            "look.Reply > seen.reply",
            "say.text > talk.UserInput",
            "say.who > talk.UserId",
            "talk.Response > said.reply",
            "draw.what > paint.Prompt",
            "paint.Output > drawn.image",
            "fit.name > shape.Input",
            "shape.name > fitted.name",
        ],
    )
}

/// Texts of all messages of a request, whatever its format.
fn body_of(provider: &FakeProvider) -> String {
    provider.state().requests().pop().unwrap().body.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_see_files_remember_people_draw_and_are_held_to_a_schema() {
    let provider = FakeProvider::start().await.unwrap();
    let models = tempfile::tempdir().unwrap();
    let entry = |id: &str, features: Value| {
        json!({"modelId": id, "provider": "OpenAI", "credentials": {"apiKey": "sk-x"}, "tokens": 32000,
            "completionTokens": 4000, "baseURL": provider.url("/v1"), "features": features})
    };
    let table = json!({"seer": entry("gpt-4o", json!(["text", "image"])),
        "painter": entry("gpt-image-1", json!(["image-generation"]))});
    std::fs::write(models.path().join("models.json"), table.to_string()).unwrap();
    let address = provider.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("egress.allow", format!("[\"{address}\"]"));
    let mut suite = Suite::start("model-components", Mode::AllInOne, options.clone()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &agent()).await.unwrap();

    // A file of an input is stored by the engine and read by the llm service, both as the agent.
    let image = format!("data:image/png;base64,{PIXEL}");
    let seen = dev.answer(AGENT, "see", &json!({"file": image})).await.unwrap();
    assert!(seen["reply"].as_str().unwrap().contains("what is it?"), "{seen}");
    assert!(body_of(&provider).contains(PIXEL), "the model was shown the file");
    let foreign = json!({"file": "smythfs://blue.team/other/_temp/x.png"});
    let refused = dev.answer(AGENT, "see", &foreign).await.unwrap();
    assert!(
        refused.to_string().contains("_error") && !refused.to_string().contains("what is it?"),
        "{refused}"
    );

    // What was said is the agent's own document.
    let say = async |text: &str| {
        dev.answer(AGENT, "say", &json!({"text": text, "who": "ada"})).await.unwrap()["reply"].clone()
    };
    assert!(say("my name is Ada").await.is_string());
    say("who am I?").await;
    let body = body_of(&provider);
    for text in ["be brief", "my name is Ada", "who am I?"] {
        assert!(body.contains(text), "{text}: {body}");
    }

    let drawn = dev.answer(AGENT, "draw", &json!({"what": "a dot"})).await.unwrap();
    assert_eq!(drawn["image"]["mimetype"], "image/png", "{drawn}");
    assert!(drawn["image"]["url"].as_str().unwrap().starts_with("smythfs://"), "{drawn}");
    let fitted = dev.answer(AGENT, "fit", &json!({"name": "Ada"})).await.unwrap();
    // The provider answers in words: it is told what does not fit, once, and then the component fails.
    assert!(fitted.to_string().contains("after 2 attempt(s)"), "{fitted}");
    let body = body_of(&provider);
    assert!(body.contains("json_schema") && body.contains("does not fit the JSON Schema"), "{body}");

    // It outlives the process, however that ends.
    suite.crash();
    let suite = Suite::start("model-components", Mode::AllInOne, options.again()).await;
    let later = json!({"text": "and where do I live?", "who": "ada"});
    suite.client("user/dev").answer(AGENT, "say", &later).await.unwrap();
    let body = body_of(&provider);
    for text in ["be brief", "my name is Ada", "who am I?", "and where do I live?"] {
        assert!(body.contains(text), "{text}: {body}");
    }
    let stranger = json!({"text": "hello", "who": "bob"});
    suite.client("user/dev").answer(AGENT, "say", &stranger).await.unwrap();
    assert!(!body_of(&provider).contains("Ada"), "another person has another history");
    suite.stop().await;
}
