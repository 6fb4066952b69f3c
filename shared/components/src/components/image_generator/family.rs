//! The families of models that make images, each with settings of its own.

use sre_proto::llm::v1::{GenerateImageRequest, Media, Model};

use crate::components::llm::entry_name;
use crate::components::llm::file_types::{EDITABLE, is_editable};
use crate::components::llm::parameters::whole;
use crate::context::Call;
use crate::settings;

/// Asks DALL·E 3 to draw what is written, which it would otherwise embellish.
const AS_IT_IS: &str = "Draw exactly what follows, word for word, and add no detail to it: ";
const USUAL_SIDE: i64 = 1024;
const USUAL_STRENGTH: f64 = 0.5;

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenAI's models that see what they make.
    Gpt,
    /// DALL·E 2.
    Dalle2,
    /// DALL·E 3.
    Dalle3,
    /// Google's.
    Google,
    /// Those that Runware runs.
    Runware,
}

impl Family {
    /// The family of a model, by its name and its provider.
    pub(super) fn of(model: &Model) -> Option<Self> {
        let name = |name: &str| name.strip_prefix("smythos/").unwrap_or(name).to_lowercase();
        // An entry may have any name; what it is at its provider tells as well.
        let names = [name(entry_name(model)), name(&model.model_id)];
        let starts = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        match model.provider.to_ascii_lowercase().as_str() {
            _ if starts("gpt") => Some(Self::Gpt),
            "runware" => Some(Self::Runware),
            _ if starts("dall-e-2") => Some(Self::Dalle2),
            _ if starts("dall-e") => Some(Self::Dalle3),
            "googleai" => Some(Self::Google),
            _ if names.iter().any(|name| name.contains("imagen")) => Some(Self::Google),
            _ => None,
        }
    }

    /// What stands before the words of a provider's error.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Gpt | Self::Dalle2 | Self::Dalle3 => "OpenAI Image Generation Error: ",
            Self::Google => "Google AI Image Generation Error: ",
            Self::Runware => "Runware Image Generation Error: ",
        }
    }

    /// The images to edit, or to begin with.
    pub(super) fn images(self, found: Vec<Media>) -> Result<Vec<Media>, String> {
        if found.is_empty() {
            return Ok(found);
        }
        if matches!(self, Self::Dalle2 | Self::Dalle3) {
            return Err(format!(
                "{}DALL-E models do not support image editing or variations. Please use a different model.",
                self.prefix()
            ));
        }
        let images: Vec<Media> = found.into_iter().filter(|media| is_editable(&media.mimetype)).collect();
        match images.is_empty() {
            true => Err(format!("Supported image file types are: {}", EDITABLE.join(", "))),
            false => Ok(images),
        }
    }

    /// What the family's settings ask for.
    pub(super) fn request(self, call: Call<'_>, prompt: String) -> Result<GenerateImageRequest, String> {
        let text = |name: &str| settings::text(call, name);
        let or = |name: &str, usual: &str| match text(name) {
            text if text.is_empty() => usual.to_owned(),
            text => text,
        };
        let count = settings::number(call, "numberOfImages").map_or(1, whole);
        let asked = GenerateImageRequest {
            count: i32::try_from(count).unwrap_or(i32::MAX),
            prompt,
            ..GenerateImageRequest::default()
        };
        Ok(match self {
            Self::Gpt => GenerateImageRequest {
                size: or("size", "auto"),
                quality: one_of(&text("quality"), &["auto", "low", "medium", "high"]),
                ..asked
            },
            Self::Dalle2 => GenerateImageRequest { size: or("sizeDalle2", "256x256"), ..asked },
            Self::Dalle3 if count > 1 => {
                return Err(format!(
                    "{}DALL-E 3 makes one image at a time: set Number of Images to 1",
                    self.prefix()
                ));
            }
            Self::Dalle3 => GenerateImageRequest {
                size: or("sizeDalle3", "1024x1024"),
                // Other words are those of other models: it has its own usual quality.
                quality: one_of(&text("quality"), &["standard", "hd"]),
                style: or("style", "vivid"),
                prompt: match settings::flag(call, "isRawInputPrompt") {
                    true => format!("{AS_IT_IS}{}", asked.prompt),
                    false => asked.prompt,
                },
                count: 1,
                ..GenerateImageRequest::default()
            },
            Self::Google => GenerateImageRequest {
                aspect_ratio: text("aspectRatio"),
                person_generation: text("personGeneration"),
                ..asked
            },
            Self::Runware => {
                let side = |name: &str| settings::number(call, name).map_or(USUAL_SIDE, whole);
                let format = or("outputFormat", "JPEG");
                GenerateImageRequest {
                    size: format!("{}x{}", side("width"), side("height")),
                    negative_prompt: text("negativePrompt"),
                    strength: Some(settings::number(call, "strength").unwrap_or(USUAL_STRENGTH)),
                    output_format: if format == "auto" { String::new() } else { format.to_uppercase() },
                    ..asked
                }
            }
        })
    }
}

fn one_of(text: &str, known: &[&str]) -> String {
    if known.contains(&text) { text.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d27_names_and_providers_tell_the_family() {
        for (provider, name, family) in [
            ("OpenAI", "gpt-image-1", Some(Family::Gpt)),
            ("OpenAI", "smythos/gpt-image-1", Some(Family::Gpt)),
            ("OpenAI", "smythos/dall-e-3", Some(Family::Dalle3)),
            ("OpenAI", "dall-e-2", Some(Family::Dalle2)),
            ("GoogleAI", "gemini-2.5-flash-image", Some(Family::Google)),
            ("VertexAI", "imagen-4.0", Some(Family::Google)),
            ("Runware", "runware:101@1", Some(Family::Runware)),
            ("Anthropic", "claude", None),
        ] {
            let model =
                Model { name: format!("models/{name}"), provider: provider.into(), ..Model::default() };
            assert_eq!(Family::of(&model), family, "{provider} {name}");
        }
    }
}
