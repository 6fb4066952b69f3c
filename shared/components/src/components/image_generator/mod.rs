//! ImageGenerator: makes or edits images.

mod family;
mod spec;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::data::binary;
use sre_engine::spec::ComponentSpec;
use sre_engine::value::Value;
use sre_proto::llm::v1::GenerateImageRequest;

use self::family::Family;
use super::llm::{self, files};
use crate::context::models::PaintedImage;
use crate::context::{Call, Component, ContextError};
use crate::outcome::{one, or_error};
use crate::settings;

const NO_PROMPT: &str = "Please provide a prompt or Image";

/// The type.
pub struct ImageGenerator;

impl Component for ImageGenerator {
    fn spec(&self) -> &'static ComponentSpec {
        &spec::SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(paint(call).await) }.boxed()
    }
}

async fn paint(call: Call<'_>) -> Result<Outcome, String> {
    if settings::text(call, "model").is_empty() {
        return Err("Model Not Found: ".to_owned());
    }
    let prompt = prompt(call).await?;
    let model = llm::model(call).await?;
    let name = llm::entry_name(&model);
    let family = Family::of(&model)
        .ok_or_else(|| format!("The model '{name}' is not available. Please try a different one."))?;
    let failed = |message: String| format!("Generating Image(s)\n{message}");
    let images = family.images(files::collect(call, &[]).await.map_err(failed)?).map_err(failed)?;
    if prompt.is_empty() {
        return Err(NO_PROMPT.to_owned());
    }
    let request = GenerateImageRequest {
        model: name.to_owned(),
        images,
        idempotency_key: call.context.idempotency_key(),
        ..family.request(call, prompt).map_err(failed)?
    };
    let several = request.count > 1;
    let painted = llm::unless_cancelled(call, call.context.models().images(request)).await;
    let of_family = |error: ContextError| failed(format!("{}{}", family.prefix(), error.message));
    let painted = painted.map_err(of_family)?;
    call.context.log(tracing::Level::INFO, &format!("{name} made {} image(s)", painted.images.len()));
    let mut stored = Vec::with_capacity(painted.images.len());
    for image in &painted.images {
        stored.push(store(call, image).await.map_err(of_family)?);
    }
    match (stored.len(), several) {
        (0, _) => Err(failed(format!("{}the answer holds no image", family.prefix()))),
        (_, false) => Ok(one("Output", stored.swap_remove(0))),
        (_, true) => Ok(one("Output", Value::array(stored))),
    }
}

/// The setting, or the input where it says nothing.
async fn prompt(call: Call<'_>) -> Result<String, String> {
    let template = settings::with_template_variables(call, &settings::text(call, "prompt"));
    let rendered = settings::render(call, &template).await.map_err(|error| error.message)?;
    if !rendered.is_empty() {
        return Ok(rendered);
    }
    let input = call.get("Prompt").filter(|value| value.truthy());
    Ok(input.map(Value::to_text).unwrap_or_default())
}

async fn store(call: Call<'_>, image: &PaintedImage) -> Result<Value, ContextError> {
    let name = format!("{}-image", sre_proto::ids::new_id());
    let told = Some(image.mimetype.as_str()).filter(|mimetype| !mimetype.is_empty());
    call.context.store_temp(&binary::binary(&name, told, image.data.clone())).await
}
