//! Files that a component hands to a model: what the inputs hold, and what of that the model takes.

use sre_engine::data::binary::{NeedsIo, Recognised, UNKNOWN_TYPE, recognise};
use sre_engine::data::typing::InputType;
use sre_engine::value::{Binary, Value};
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::{Media, Model, Part, part};

use super::file_types::{self, Feature};
use super::{entry_name, is_echo};
use crate::binary_io;
use crate::context::{Call, Failure};

/// Files of one call.
const MOST_FILES: usize = 64;
/// Bytes that go inside a request; what is more is stored, and read by the service.
const INLINE_BYTES: usize = 2 << 20;

const UNREADABLE: &str = "Unable to process the provided file(s). Please ensure file(s) are not corrupted, have \
                          valid formats, and contain readable data.";

/// The files of a call as parts of its message. `Echo` sees none.
///
/// # Errors
/// If there are files and the model takes none of them, or one cannot be had.
pub(crate) async fn parts(call: Call<'_>, model: &Model, native: &[&str]) -> Result<Vec<Part>, String> {
    if is_echo(model) {
        return Ok(Vec::new());
    }
    let found = collect(call, native).await?;
    let taken = taken(found, model)?;
    Ok(taken.into_iter().map(|media| Part { part: Some(part::Part::Media(media)) }).collect())
}

/// Everything that inputs of binary types, and the inputs named, hold.
///
/// # Errors
/// If something is no file, or cannot be had.
pub(crate) async fn collect(call: Call<'_>, native: &[&str]) -> Result<Vec<Media>, String> {
    let is_file =
        |name: &str, kind: &str| InputType::parse(kind) == InputType::Binary || native.contains(&name);
    let ports = call.node.inputs.iter().filter(|port| is_file(&port.name, &port.type_name));
    let mut found = Vec::new();
    let mut inline = 0;
    for port in ports {
        let Some(value) = call.get(&port.name) else { continue };
        let mut values = Vec::new();
        flatten(value, &mut values);
        for value in values {
            if found.len() == MOST_FILES {
                return Err(format!("A model is given {MOST_FILES} files at most."));
            }
            let Some(recognised) = recognise(value, &port.name) else {
                return Err(format!("{UNREADABLE} Input '{}' holds a {}.", port.name, value.kind()));
            };
            for value in had(call, recognised).await? {
                found.push(media(call, value, &mut inline).await?);
            }
        }
    }
    Ok(found)
}

/// The values of nested lists, without those that are nothing.
fn flatten<'a>(value: &'a Value, values: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, values)),
        value if value.truthy() => values.push(value),
        _ => {}
    }
}

/// Does what is needed to have a value: addresses are fetched under the egress policy, stored files looked up as the
/// running agent.
async fn had(call: Call<'_>, recognised: Recognised) -> Result<Vec<Value>, String> {
    let mut had = Vec::new();
    let mut waiting = vec![recognised];
    while let Some(next) = waiting.pop() {
        match next {
            Recognised::Ready(value) => had.push(value),
            Recognised::List(list) => waiting.extend(list.into_iter().rev()),
            Recognised::Needs(need) => {
                let value = binary_io::perform(call.context, &need).await;
                had.push(value.map_err(|error| denied(&need, &error.message, error.kind))?);
            }
        }
    }
    Ok(had)
}

fn denied(need: &NeedsIo, message: &str, kind: Failure) -> String {
    match need {
        _ if kind == Failure::Cancelled => message.to_owned(),
        NeedsIo::Fetch { url, .. } | NeedsIo::Stat { url } => format!("File {url} cannot be read: {message}"),
        NeedsIo::DataUrl { .. } | NeedsIo::Store { .. } => message.to_owned(),
    }
}

async fn media(call: Call<'_>, value: Value, inline: &mut usize) -> Result<Media, String> {
    let stored = match value {
        Value::Binary(binary) if *inline + binary.data.len() <= INLINE_BYTES => {
            *inline += binary.data.len();
            return Ok(here(&binary));
        }
        Value::Binary(binary) => call
            .context
            .store_temp(&binary)
            .await
            .map_err(|error| format!("{UNREADABLE} {}", error.message))?,
        stored => stored,
    };
    let text = |name: &str| stored.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut media = Media {
        mimetype: text("mimetype"),
        file_name: text("name"),
        source: Some(Source::File(text("url"))),
    };
    if matches!(media.mimetype.as_str(), "" | UNKNOWN_TYPE) {
        let read = call.context.read_file(&text("url")).await.map_err(|error| error.message)?;
        media.mimetype = file_types::told(&read);
    }
    Ok(media)
}

fn here(binary: &Binary) -> Media {
    Media {
        mimetype: file_types::told(binary),
        file_name: binary.name.to_string(),
        source: Some(Source::Data(binary.data.to_vec().into())),
    }
}

/// The files that a model takes.
///
/// # Errors
/// If there are files and it takes none of them.
fn taken(found: Vec<Media>, model: &Model) -> Result<Vec<Media>, String> {
    if found.is_empty() {
        return Ok(found);
    }
    // An entry that lists nothing is trusted, as the service trusts it.
    let features = &model.features;
    let has = |feature: Feature| features.is_empty() || features.iter().any(|known| known == feature.name());
    let fits = |media: &Media| Feature::of(&model.provider, &media.mimetype).is_some_and(has);
    let (taken, refused): (Vec<Media>, Vec<Media>) = found.into_iter().partition(fits);
    if !taken.is_empty() {
        return Ok(taken);
    }
    let mut types: Vec<&str> = Vec::new();
    for media in &refused {
        let known = !matches!(media.mimetype.as_str(), "" | UNKNOWN_TYPE);
        if known && !types.contains(&media.mimetype.as_str()) {
            types.push(&media.mimetype);
        }
    }
    if types.is_empty() {
        return Err(UNREADABLE.to_owned());
    }
    let name = entry_name(model);
    let refusal = format!("Model '{name}' does not support the provided file type(s): {}.", types.join(", "));
    let supported = file_types::supported(&model.provider, has);
    Err(match supported.is_empty() {
        true => refusal,
        false => format!("{refusal}\nSupported types: {}", supported.join(", ")),
    })
}
