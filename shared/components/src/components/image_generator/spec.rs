//! What ImageGenerator says about itself.

use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use crate::components::llm::validation as v;

const MOST_CHARACTERS: usize = 2_000;

pub(super) static SPEC: ComponentSpec =
    ComponentSpec::new("ImageGenerator", "Makes images of a text, or edits images as a text says")
        .effect(Effect::Effect)
        .settings(&[
            SettingSpec::text("model", "Model", 100)
                .required()
                .describe("a name of the model catalogue, with the feature `image-generation`"),
            SettingSpec::text_or_empty("prompt", "Prompt", MOST_CHARACTERS)
                .template()
                .check(check_text)
                .describe("what the image shows; the input `Prompt` where empty"),
            SettingSpec::integer("numberOfImages", "Number of Images", 1.0, 10.0)
                .default("1")
                .describe("how many; of more than one the output is a list"),
            SettingSpec::text_or_empty("size", "Size", 100)
                .default("auto")
                .describe("of GPT models: such as 1024x1536"),
            SettingSpec::one_of(
                "quality",
                "Quality",
                &["standard", "hd", "auto", "high", "medium", "low", ""],
            )
            .default("the model's own")
            .describe("`standard` or `hd` of DALL-E 3; `low` to `high` or `auto` of GPT models"),
            SettingSpec::one_of("sizeDalle2", "Size (DALL-E 2)", &["256x256", "512x512", "1024x1024"])
                .default("256x256")
                .describe("of DALL-E 2"),
            SettingSpec::one_of("sizeDalle3", "Size (DALL-E 3)", &["1024x1024", "1792x1024", "1024x1792"])
                .default("1024x1024")
                .describe("of DALL-E 3"),
            SettingSpec::one_of("style", "Style", &["vivid", "natural"])
                .default("vivid")
                .describe("of DALL-E 3"),
            SettingSpec::any("isRawInputPrompt", "Is Raw Input Prompt")
                .check(check_strict)
                .default("false")
                .describe("of DALL-E 3: draws the prompt as it is, without embellishing it"),
            SettingSpec::one_of("responseFormat", "Response Format", &["url", "b64_json", ""])
                .default("url")
                .describe("kept for older agents: the output is a stored file with an address either way"),
            SettingSpec::text_or_empty("negativePrompt", "Negative Prompt", MOST_CHARACTERS)
                .check(check_text)
                .describe("of Runware: what the image does not show"),
            SettingSpec::integer("width", "Width", 128.0, 2048.0)
                .check(check_side)
                .default("1024")
                .describe("of Runware: pixels, a multiple of 64"),
            SettingSpec::integer("height", "Height", 128.0, 2048.0)
                .check(check_side)
                .default("1024")
                .describe("of Runware: pixels, a multiple of 64"),
            SettingSpec::one_of(
                "outputFormat",
                "Output Format",
                &["PNG", "JPEG", "WEBP", "auto", "png", "jpeg", "webp"],
            )
            .default("JPEG")
            .describe("of Runware: what kind of file"),
            SettingSpec::number("strength", "Strength", 0.0, 1.0)
                .default("0.5")
                .describe("of Runware: how much the image given is changed"),
            SettingSpec::one_of("aspectRatio", "Aspect Ratio", &["1:1", "3:4", "4:3", "9:16", "16:9", ""])
                .default("the model's own")
                .describe("of Google's models"),
            SettingSpec::one_of(
                "personGeneration",
                "Person Generation",
                &["dont_allow", "allow_adult", "allow_all", ""],
            )
            .default("the model's own")
            .describe("of Google's models: who may be shown"),
        ])
        .inputs(&[
            PortSpec::new("Prompt", "Text", "what the image shows, where the setting says nothing")
                .optional(),
            PortSpec::new("Attachment", "Image", "images to edit, as are all inputs of binary types")
                .optional(),
        ])
        .outputs(&[PortSpec::new(
            "Output",
            "Image",
            "the image as a stored file; a list where several were asked for",
        )])
        .scopes(v::SCOPES_WITH_FILES);

fn check_text(value: &Value) -> Result<(), String> {
    match value.as_str().map(|text| text.chars().count()) {
        Some(1) => Err("a prompt has 2 characters at least".to_owned()),
        _ => Ok(()),
    }
}

fn check_side(value: &Value) -> Result<(), String> {
    match value.to_f64_lenient() {
        Some(side) if side % 64.0 == 0.0 => Ok(()),
        _ => Err("sides of an image must be multiples of 64".to_owned()),
    }
}

/// A flag that may not be written as text.
fn check_strict(value: &Value) -> Result<(), String> {
    match value {
        Value::Bool(_) | Value::Null => Ok(()),
        _ => Err("\"Is Raw Input Prompt\" must be a boolean".to_owned()),
    }
}
