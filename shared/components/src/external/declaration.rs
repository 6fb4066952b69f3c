//! What a component out of process says about itself, as a type that the engine knows.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sre_engine::spec::{
    ComponentSpec, Effect, OnUncertain, PortSpec, SettingKind, SettingSpec, TypeEntry, ValueCheck,
};
use sre_proto::component::v1 as proto;

use super::check::problems;
use super::schema::Schema;

/// What all declarations of a process may take. They are kept for good, each once: plans hold on to them.
const ROOM_BYTES: usize = 64 << 20;
/// What a declaration takes beside its text: its compiled schemas, roughly.
const OVERHEAD: usize = 4;

/// A declared type.
#[derive(Debug)]
pub struct Declaration {
    /// What the engine knows of it.
    pub entry: TypeEntry,
    /// Its version.
    pub version: String,
    /// Names this content: another declaration has another one.
    pub digest: String,
    /// Limits of its own.
    pub bounds: Bounds,
    /// What it calls in the suite, `<service>:<level>`.
    pub scopes: Vec<String>,
    /// Whether it knows a repeat by its key.
    pub is_idempotent: bool,
    /// Whether it can say what became of an activation.
    pub can_look_up: bool,
    pub(super) input_schemas: Vec<Option<Schema>>,
    pub(super) output_schemas: Vec<Option<Schema>>,
}

/// Limits of a type's own; none where it states none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Of inputs and settings.
    pub input_bytes: Option<usize>,
    /// Of outputs.
    pub output_bytes: Option<usize>,
    /// Of one activation.
    pub time: Option<Duration>,
    /// Of activations at one endpoint at a time.
    pub concurrency: Option<usize>,
}

impl Declaration {
    /// Its type's name.
    pub fn name(&self) -> &'static str {
        self.entry.spec.name
    }
}

/// `Type@version` as a document writes it: the type, and the version where it names one.
pub fn split_version(type_name: &str) -> (&str, Option<&str>) {
    match type_name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (type_name, None),
    }
}

/// The digest of a description.
pub fn digest(described: &proto::Description) -> String {
    hex::encode(Sha256::digest(described.encode_to_vec()))
}

#[derive(Default)]
struct Known {
    by_digest: HashMap<String, &'static Declaration>,
    bytes: usize,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Makes a type of a description, or gives the one that was made of it before.
///
/// # Errors
/// What is wrong with it, or that this process has known too many.
pub fn declare(described: &proto::Description) -> Result<&'static Declaration, String> {
    let digest = digest(described);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(declared) = known.by_digest.get(&digest) {
        return Ok(declared);
    }
    let found = problems(described);
    if !found.is_empty() {
        return Err(found.join("; "));
    }
    let bytes = described.encoded_len() * OVERHEAD;
    if known.bytes + bytes > ROOM_BYTES {
        return Err(format!(
            "this process has known so many component types and versions that their {ROOM_BYTES} bytes are full: \
             start it again"
        ));
    }
    let declared: &'static Declaration = Box::leak(Box::new(build(described, digest.clone())?));
    known.bytes += bytes;
    known.by_digest.insert(digest, declared);
    Ok(declared)
}

fn build(described: &proto::Description, digest: String) -> Result<Declaration, String> {
    let effect = match described.effect() {
        proto::Effect::Pure => Effect::Pure,
        proto::Effect::Read => Effect::Read,
        // Nobody knows: the careful assumption.
        proto::Effect::Effect | proto::Effect::Unspecified => Effect::Effect,
    };
    let scopes: Vec<&'static str> = described.scopes.iter().map(|scope| kept(scope)).collect();
    let settings = described.settings.iter().map(setting).collect::<Result<Vec<_>, _>>()?;
    let spec = ComponentSpec::new(kept(&described.r#type), kept(&described.description))
        .effect(effect)
        .on_uncertain(on_uncertain(described))
        .settings(settings.leak())
        .inputs(described.inputs.iter().map(port).collect::<Vec<_>>().leak())
        .outputs(described.outputs.iter().map(port).collect::<Vec<_>>().leak())
        .scopes(scopes.leak());
    Ok(Declaration {
        entry: TypeEntry::new(Box::leak(Box::new(spec))),
        version: described.version.clone(),
        digest,
        bounds: bounds(described.limits.as_ref()),
        scopes: described.scopes.clone(),
        is_idempotent: described.idempotent,
        can_look_up: described.can_look_up,
        input_schemas: schemas(&described.inputs)?,
        output_schemas: schemas(&described.outputs)?,
    })
}

fn on_uncertain(described: &proto::Description) -> OnUncertain {
    match described.on_uncertain() {
        proto::OnUncertain::Retry => OnUncertain::Retry,
        proto::OnUncertain::LookUp => OnUncertain::LookUp,
        proto::OnUncertain::Fail => OnUncertain::Fail,
        proto::OnUncertain::Ask => OnUncertain::Ask,
        proto::OnUncertain::Unspecified if described.idempotent => OnUncertain::Retry,
        proto::OnUncertain::Unspecified => OnUncertain::Fail,
    }
}

fn bounds(limits: Option<&proto::Limits>) -> Bounds {
    let Some(limits) = limits else { return Bounds::default() };
    let size = |number: i64| usize::try_from(number).ok().filter(|number| *number > 0);
    Bounds {
        input_bytes: size(limits.max_input_bytes),
        output_bytes: size(limits.max_output_bytes),
        time: u64::try_from(limits.timeout_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis),
        concurrency: size(limits.max_concurrency.into()),
    }
}

fn setting(described: &proto::Setting) -> Result<SettingSpec, String> {
    let label = if described.label.is_empty() { &described.name } else { &described.label };
    let mut spec = SettingSpec::new(kept(&described.name), kept(label), SettingKind::Any)
        .describe(kept(&described.description));
    spec.required = described.required;
    spec.template = described.template;
    if !described.default_json.is_empty() {
        spec.default = Some(kept(&String::from_utf8_lossy(&described.default_json)));
    }
    if let Some(schema) = Schema::compile(&described.schema_json)? {
        let schema: &'static dyn ValueCheck = Box::leak(Box::new(schema));
        spec.schema = Some(schema);
    }
    Ok(spec)
}

fn port(described: &proto::Port) -> PortSpec {
    let type_name = if described.r#type.is_empty() { "Any" } else { &described.r#type };
    let spec = PortSpec::new(kept(&described.name), kept(type_name), kept(&described.description));
    if described.optional { spec.optional() } else { spec }
}

fn schemas(ports: &[proto::Port]) -> Result<Vec<Option<Schema>>, String> {
    ports.iter().map(|port| Schema::compile(&port.schema_json)).collect()
}

fn kept(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::good;
    use super::*;

    #[test]
    fn a_declaration_is_made_once() {
        let (first, second) = (declare(&good()).unwrap(), declare(&good()).unwrap());
        assert!(std::ptr::eq(first, second));
        let mut other = good();
        other.version = "1.0.1".into();
        assert!(!std::ptr::eq(first, declare(&other).unwrap()));
        assert_eq!((first.name(), first.entry.spec.effect), ("Acme.Echo", Effect::Pure));
    }

    #[test]
    fn what_is_not_said_counts_as_an_effect_that_is_not_repeated() {
        let mut described = good();
        described.effect = 0;
        let careful = declare(&described).unwrap();
        assert_eq!(
            (careful.entry.spec.effect, careful.entry.spec.on_uncertain),
            (Effect::Effect, OnUncertain::Fail)
        );
        described.idempotent = true;
        assert_eq!(declare(&described).unwrap().entry.spec.on_uncertain, OnUncertain::Retry);
    }

    #[test]
    fn a_document_may_name_the_version() {
        assert_eq!(split_version("Acme.Echo@1.0"), ("Acme.Echo", Some("1.0")));
        assert_eq!(split_version("Acme.Echo"), ("Acme.Echo", None));
    }
}
