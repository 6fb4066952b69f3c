//! What each task takes, and how it travels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sre_engine::value::{Binary, Map, Value};

use crate::context::Call;
use crate::files;

/// The body of a request.
pub(super) enum Body {
    /// Members beside model and parameters.
    Json(Map),
    /// A file as it is.
    Bytes(Binary),
}

/// How a task's inputs are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One input is `inputs`.
    Inputs(&'static str),
    /// They are members of `inputs`.
    Nested(&'static [&'static str]),
    /// They are members of the body.
    Flat(&'static [&'static str]),
    /// One is the body.
    Data(&'static str),
    /// A file is `inputs`, in base64.
    File(&'static str),
}

fn shape(task: &str) -> Option<Shape> {
    Some(match task {
        "text-classification"
        | "token-classification"
        | "translation"
        | "summarization"
        | "text-generation"
        | "text2text-generation"
        | "fill-mask"
        | "text-to-image"
        | "text-to-speech"
        | "feature-extraction"
        | "zero-shot-classification" => Shape::Inputs("Text"),
        "question-answering" => Shape::Nested(&["Question", "Context"]),
        "table-question-answering" => Shape::Nested(&["Query", "Table"]),
        "sentence-similarity" => Shape::Nested(&["Source_sentence", "Sentences"]),
        "conversational" => Shape::Flat(&["Text", "Generated_responses", "Past_user_inputs"]),
        "document-question-answering" | "visual-question-answering" => Shape::Nested(&["Image", "Question"]),
        "zero-shot-image-classification" => Shape::Nested(&["Image"]),
        "image-to-text" | "image-classification" | "object-detection" | "image-segmentation" => {
            Shape::Data("Image")
        }
        "image-to-image" => Shape::File("Image"),
        "automatic-speech-recognition" | "audio-to-audio" | "audio-classification" => Shape::Data("Audio"),
        _ => return None,
    })
}

/// What is sent for a task.
///
/// # Errors
/// In the reference's words, if nobody knows the task or an input is missing.
pub(super) async fn body(call: Call<'_>, task: &str) -> Result<Body, String> {
    let Some(shape) = shape(task) else {
        return Err(format!("Inference API does not support for this task - {task}"));
    };
    Ok(match shape {
        Shape::Inputs(input) => Body::Json([("inputs".into(), given(call, input).await?)].into()),
        Shape::Nested(inputs) => {
            Body::Json([("inputs".into(), Value::object(members(call, inputs).await?))].into())
        }
        Shape::Flat(inputs) => Body::Json(members(call, inputs).await?),
        Shape::Data(input) => Body::Bytes(file(call, input).await?),
        Shape::File(input) => {
            let file = file(call, input).await?;
            Body::Json([("inputs".into(), Value::from(STANDARD.encode(&file.data)))].into())
        }
    })
}

async fn members(call: Call<'_>, inputs: &[&str]) -> Result<Map, String> {
    let mut members = Map::new();
    for input in inputs {
        // A conversation begins without what was said before.
        let missing = call.get(input).is_none_or(Value::is_null);
        if missing && matches!(*input, "Generated_responses" | "Past_user_inputs") {
            continue;
        }
        members.insert(input.to_lowercase().into(), given(call, input).await?);
    }
    Ok(members)
}

/// An input; a file in base64.
async fn given(call: Call<'_>, input: &str) -> Result<Value, String> {
    if input == "Image" {
        let file = file(call, input).await?;
        return Ok(Value::from(STANDARD.encode(&file.data)));
    }
    match call.get(input) {
        None | Some(Value::Null) => Err(missing(input)),
        Some(Value::String(text)) if text.is_empty() => Err(missing(input)),
        Some(value) => Ok(value.clone()),
    }
}

async fn file(call: Call<'_>, input: &str) -> Result<Binary, String> {
    let read = files::read(call, call.get(input)).await.map_err(|error| error.message)?;
    read.ok_or_else(|| missing(input))
}

fn missing(input: &str) -> String {
    format!("Please provide a valid input! '{input}' is missing, or is not what this task takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_the_reference_is_known() {
        let tasks = [
            "text-classification",
            "token-classification",
            "translation",
            "summarization",
            "text-generation",
            "text2text-generation",
            "fill-mask",
            "text-to-image",
            "text-to-speech",
            "feature-extraction",
            "zero-shot-classification",
            "question-answering",
            "table-question-answering",
            "sentence-similarity",
            "conversational",
            "document-question-answering",
            "visual-question-answering",
            "zero-shot-image-classification",
            "image-to-text",
            "image-classification",
            "object-detection",
            "image-segmentation",
            "image-to-image",
            "automatic-speech-recognition",
            "audio-to-audio",
            "audio-classification",
        ];
        assert!(tasks.iter().all(|task| shape(task).is_some()));
        assert_eq!(shape("text-to-video"), None);
    }
}
