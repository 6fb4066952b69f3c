//! What a component type says about itself. Validation, documentation, scopes and scheduling derive from
//! this one declaration, so they cannot drift apart.
//!
//! ```
//! use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
//!
//! static SPEC: ComponentSpec = ComponentSpec::new("FHash", "Digest of text or bytes")
//!     .effect(Effect::Pure)
//!     .settings(&[SettingSpec::one_of("algorithm", "Algorithm", &["md5", "sha256"]).required()])
//!     .inputs(&[PortSpec::new("Data", "Any", "what to hash")])
//!     .outputs(&[PortSpec::new("Hash", "Text", "the digest")]);
//! assert_eq!(SPEC.settings.len(), 1);
//! ```

mod flow;

pub use flow::Flow;

use crate::node::Node;
use crate::value::{Map, Value};

/// What executing a component does to the world; it decides journalling and retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Same input, same output; may be executed again at will.
    Pure,
    /// Changes nothing, but its output may differ: clocks, random numbers, look-ups.
    Read,
    /// Changes something, costs something, or nobody knows; model calls included.
    Effect,
}

/// What becomes of an effect that was started before its engine died, so that nobody knows whether it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUncertain {
    /// It is started again under the same key.
    #[default]
    Retry,
    /// The component finds out whether it happened; where it cannot, the activation fails.
    LookUp,
    /// The activation fails. It is never started twice.
    Fail,
    /// People are asked.
    Ask,
}

impl OnUncertain {
    /// The setting of a record that overrides the type's policy.
    pub const SETTING: &'static str = "onUncertain";
    /// What the setting may hold.
    pub const NAMES: &'static [&'static str] = &["retry", "lookup", "fail", "ask"];

    /// The setting, which every type with effects has.
    pub const SPEC: SettingSpec = SettingSpec::one_of(Self::SETTING, "On Uncertain", Self::NAMES).describe(
        "what becomes of it if its engine dies while it runs: `retry` under the same key, `lookup`, `fail`, `ask`",
    );

    /// Reads the setting's text.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "retry" => Some(Self::Retry),
            "lookup" => Some(Self::LookUp),
            "fail" => Some(Self::Fail),
            "ask" => Some(Self::Ask),
            _ => None,
        }
    }

    /// The policy of a component: its record's, or its type's. A record with a policy that nobody knows fails
    /// its validation before anything starts, so the careful reading of it never shows.
    pub fn of(node: &Node) -> Self {
        match node.setting(Self::SETTING) {
            Some(Value::String(name)) => Self::parse(name).unwrap_or(Self::Fail),
            Some(_) | None => node.entry.map_or(Self::Retry, |entry| entry.spec.on_uncertain),
        }
    }
}

/// Whether executing a component may take as long as a person or a clock wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// No.
    #[default]
    Never,
    /// It may: the run leaves memory meanwhile.
    Durably,
}

/// The declaration of a component type.
#[derive(Clone, Copy, Debug)]
pub struct ComponentSpec {
    /// Registry name.
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// What it does, for people and models.
    pub description: &'static str,
    /// What executing it does to the world.
    pub effect: Effect,
    /// The setting and its values with which an effect is only a look-up: executed again at will, so that nothing has to
    /// be durable before it. A record that says what becomes of it when its engine dies is taken at its word.
    pub reads_with: Option<(&'static str, &'static [&'static str])>,
    /// What becomes of an effect of which nobody knows whether it happened.
    pub on_uncertain: OnUncertain,
    /// Whether it waits for jobs, people or a time.
    pub waits: Waits,
    /// How the engine treats it.
    pub flow: Flow,
    /// Its settings.
    pub settings: &'static [SettingSpec],
    /// Its native inputs; a record may declare more.
    pub inputs: &'static [PortSpec],
    /// Its native outputs; a record may declare more.
    pub outputs: &'static [PortSpec],
    /// Services it calls, e.g. `sre.llm.v1.Inference`.
    pub scopes: &'static [&'static str],
    /// False for types whose settings the reference never validates.
    pub validate_settings: bool,
    /// The setting that names another type, which runs in its place: its services count as this one's.
    pub hosts: Option<&'static str>,
    /// What can go wrong beside wrong settings: the message, or how it begins, and when.
    pub errors: &'static [&'static str],
    /// Bounds that no setting shows.
    pub limits: &'static [&'static str],
}

impl ComponentSpec {
    /// A plain component with an effect, no settings and no ports: the safe assumptions.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            description,
            effect: Effect::Effect,
            reads_with: None,
            on_uncertain: OnUncertain::Retry,
            waits: Waits::Never,
            flow: Flow::Plain,
            settings: &[],
            inputs: &[],
            outputs: &[],
            scopes: &[],
            validate_settings: true,
            hosts: None,
            errors: &[],
            limits: &[],
        }
    }

    /// Sets the other names.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Sets the effect.
    pub const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets with which values of a setting an effect is a look-up.
    pub const fn reads_with(mut self, setting: &'static str, values: &'static [&'static str]) -> Self {
        self.reads_with = Some((setting, values));
        self
    }

    /// Sets what becomes of an effect of which nobody knows whether it happened.
    pub const fn on_uncertain(mut self, policy: OnUncertain) -> Self {
        self.on_uncertain = policy;
        self
    }

    /// It waits for jobs, people or a time.
    pub const fn waits(mut self) -> Self {
        self.waits = Waits::Durably;
        self
    }

    /// Sets the flow.
    pub const fn flow(mut self, flow: Flow) -> Self {
        self.flow = flow;
        self
    }

    /// Sets the settings.
    pub const fn settings(mut self, settings: &'static [SettingSpec]) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the native inputs.
    pub const fn inputs(mut self, inputs: &'static [PortSpec]) -> Self {
        self.inputs = inputs;
        self
    }

    /// Sets the native outputs.
    pub const fn outputs(mut self, outputs: &'static [PortSpec]) -> Self {
        self.outputs = outputs;
        self
    }

    /// Sets the services it calls.
    pub const fn scopes(mut self, scopes: &'static [&'static str]) -> Self {
        self.scopes = scopes;
        self
    }

    /// Runs the type that a setting names.
    pub const fn hosts(mut self, setting: &'static str) -> Self {
        self.hosts = Some(setting);
        self
    }

    /// Documents what can go wrong.
    pub const fn errors(mut self, errors: &'static [&'static str]) -> Self {
        self.errors = errors;
        self
    }

    /// Documents bounds that no setting shows.
    pub const fn limits(mut self, limits: &'static [&'static str]) -> Self {
        self.limits = limits;
        self
    }

    /// Leaves the settings unchecked, as the reference does for this type.
    pub const fn unchecked(mut self) -> Self {
        self.validate_settings = false;
        self
    }
}

/// A check of one setting; the error is the whole detail of the message.
pub type SettingCheck = fn(&Value) -> Result<(), String>;

/// A check of a whole record; the error is the detail of the message.
pub type RecordCheck = fn(&Node) -> Result<(), String>;

/// A check that no plain function can make, because it was read at run time: a schema.
pub trait ValueCheck: std::fmt::Debug + Send + Sync {
    /// What is wrong with a value, without the value itself.
    ///
    /// # Errors
    /// The detail, to be put behind the name of the setting.
    fn check(&self, value: &Value) -> Result<(), String>;
}

/// The declaration of a setting.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// Key in the record's `data`.
    pub name: &'static str,
    /// Label in messages and editors.
    pub label: &'static str,
    /// What it does.
    pub description: &'static str,
    /// What it may hold.
    pub kind: SettingKind,
    /// Must be present.
    pub required: bool,
    /// Its text is rendered as a template.
    pub template: bool,
    /// May be `null`.
    pub nullable: bool,
    /// What the component assumes when it is absent; documentation, never applied by the engine.
    pub default: Option<&'static str>,
    /// A further check, run after the kind's; the error is the whole detail of the message.
    pub check: Option<SettingCheck>,
    /// A schema; a template is held to it once it is rendered.
    pub schema: Option<&'static dyn ValueCheck>,
}

/// What a setting may hold. Numbers and flags may always be written as text.
#[derive(Clone, Copy, Debug)]
pub enum SettingKind {
    /// Text of at most `max_len` characters (0: no limit).
    Text {
        /// Longest text, 0 for no limit.
        max_len: usize,
        /// Accepts `""`.
        empty: bool,
    },
    /// Text that matches a regular expression.
    Pattern {
        /// The expression, anchored by itself.
        regex: &'static str,
        /// Longest text, 0 for no limit.
        max_len: usize,
    },
    /// A number in a range.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
        /// No fraction.
        integer: bool,
    },
    /// `true` or `false`.
    Boolean,
    /// One of some texts (an empty text must be listed to be accepted).
    Enum(&'static [&'static str]),
    /// Anything.
    Any,
}

impl SettingSpec {
    /// A setting of some kind.
    pub const fn new(name: &'static str, label: &'static str, kind: SettingKind) -> Self {
        Self {
            name,
            label,
            description: "",
            kind,
            required: false,
            template: false,
            nullable: false,
            default: None,
            check: None,
            schema: None,
        }
    }

    /// Text of at most `max_len` characters (0: no limit), not empty.
    pub const fn text(name: &'static str, label: &'static str, max_len: usize) -> Self {
        Self::new(name, label, SettingKind::Text { max_len, empty: false })
    }

    /// Text of at most `max_len` characters (0: no limit), which may be empty.
    pub const fn text_or_empty(name: &'static str, label: &'static str, max_len: usize) -> Self {
        Self::new(name, label, SettingKind::Text { max_len, empty: true })
    }

    /// A number from `min` to `max`.
    pub const fn number(name: &'static str, label: &'static str, min: f64, max: f64) -> Self {
        Self::new(name, label, SettingKind::Number { min, max, integer: false })
    }

    /// An integer from `min` to `max`.
    pub const fn integer(name: &'static str, label: &'static str, min: f64, max: f64) -> Self {
        Self::new(name, label, SettingKind::Number { min, max, integer: true })
    }

    /// A flag.
    pub const fn boolean(name: &'static str, label: &'static str) -> Self {
        Self::new(name, label, SettingKind::Boolean)
    }

    /// One of some texts.
    pub const fn one_of(name: &'static str, label: &'static str, allowed: &'static [&'static str]) -> Self {
        Self::new(name, label, SettingKind::Enum(allowed))
    }

    /// Anything.
    pub const fn any(name: &'static str, label: &'static str) -> Self {
        Self::new(name, label, SettingKind::Any)
    }

    /// Sets the description.
    pub const fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Must be present.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Rendered as a template.
    pub const fn template(mut self) -> Self {
        self.template = true;
        self
    }

    /// May be `null`.
    pub const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Documents the default.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Adds a check.
    pub const fn check(mut self, check: SettingCheck) -> Self {
        self.check = Some(check);
        self
    }
}

/// The declaration of a native input or output.
#[derive(Clone, Copy, Debug)]
pub struct PortSpec {
    /// Name.
    pub name: &'static str,
    /// Type name as in documents.
    pub type_name: &'static str,
    /// What it carries.
    pub description: &'static str,
    /// Does not hold the component back.
    pub optional: bool,
}

impl PortSpec {
    /// A port.
    pub const fn new(name: &'static str, type_name: &'static str, description: &'static str) -> Self {
        Self { name, type_name, description, optional: false }
    }

    /// Does not hold the component back.
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// What the registry knows about a type.
#[derive(Clone, Copy, Debug)]
pub struct TypeEntry {
    /// The declaration.
    pub spec: &'static ComponentSpec,
    /// Shapes this type's entry in the answer (and in a loop's result).
    pub post_process: Option<fn(PostProcess<'_>) -> Posted>,
    /// A check over the whole record, after the settings'; the error is the detail of the message.
    pub validate: Option<RecordCheck>,
}

impl TypeEntry {
    /// An entry without post-processing or further checks.
    pub const fn new(spec: &'static ComponentSpec) -> Self {
        Self { spec, post_process: None, validate: None }
    }
}

/// What post-processing sees.
#[derive(Clone, Copy, Debug)]
pub struct PostProcess<'a> {
    /// The component.
    pub node: &'a Node,
    /// Its output, without debug members.
    pub result: &'a Value,
    /// The agent's variables.
    pub variables: &'a Map,
}

/// What post-processing makes of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Posted {
    /// The entry `{id, name, result}` with this result.
    Entry(Value),
    /// This value in place of the entry.
    Bare(Value),
}

/// The component types a document may name.
pub trait Types: Send + Sync {
    /// The entry of a type, by name or alias.
    fn lookup(&self, type_name: &str) -> Option<&TypeEntry>;

    /// All names, for suggestions.
    fn names(&self) -> Vec<&str>;
}
