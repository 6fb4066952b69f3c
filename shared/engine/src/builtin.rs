//! The types that the engine settles itself, or that never run. A registry lists them with its own.

use crate::run::output;
use crate::spec::{ComponentSpec, Effect, Flow, PortSpec, SettingKind, SettingSpec, TypeEntry};

/// The pattern of an endpoint's name.
pub const ENDPOINT_PATTERN: &str = "^[a-zA-Z0-9_]+([-_][a-zA-Z0-9_]+)*$";

static API_ENDPOINT: ComponentSpec =
    ComponentSpec::new("APIEndpoint", "an entry point: a skill callers and models can use")
        .effect(Effect::Pure)
        .flow(Flow::Endpoint)
        .settings(&[
            SettingSpec::new("endpoint", "", SettingKind::Pattern { regex: ENDPOINT_PATTERN, max_len: 50 })
                .required()
                .describe("name of the skill, the last part of its path"),
            SettingSpec::one_of("method", "", &["POST", "GET", ""]).default("POST").describe("HTTP method"),
            SettingSpec::text_or_empty("description", "", 5000).describe("what the skill does, for models"),
            SettingSpec::text_or_empty("summary", "", 1000).describe("a short form"),
            SettingSpec::text_or_empty("doc", "", 1000).describe("what the skill does, for people"),
            SettingSpec::boolean("ai_exposed", "").default("true").describe("offer it to models as a tool"),
            SettingSpec::boolean("advancedModeEnabled", "").describe("editor: show all fields"),
            SettingSpec::text_or_empty("endpointLabel", "", 100).describe("label in editors"),
        ])
        .outputs(&[
            PortSpec::new("headers", "Object", "request headers, names in lower case"),
            PortSpec::new("body", "Object", "request body"),
            PortSpec::new("query", "Object", "query parameters"),
        ]);

static API_OUTPUT: ComponentSpec = ComponentSpec::new("APIOutput", "shapes the answer of a skill")
    .effect(Effect::Pure)
    .flow(Flow::Output)
    .settings(&[
        SettingSpec::one_of("format", "Output Format", &["full", "minimal", "raw"])
            .required()
            .describe("the entry, its output alone, or one text"),
        SettingSpec::one_of(
            "contentType",
            "Content Type",
            &["application/json", "text/plain", "text/html", "application/xml", ""],
        )
        .describe("anything but JSON gives the output alone"),
    ])
    .outputs(&[PortSpec::new("Output", "Any", "the declared inputs")]);

static FOR_EACH: ComponentSpec =
    ComponentSpec::new("ForEach", "runs what is connected to Loop once per element")
        .effect(Effect::Pure)
        .flow(Flow::Loop)
        .settings(&[SettingSpec::one_of("format", "Result Format", &["full", "minimal", "results-array"])
            .default("full")
            .describe("entries, their results, or all values in one list")])
        .inputs(&[PortSpec::new("Input", "Array", "the elements")])
        .outputs(&[
            PortSpec::new("Loop", "Any", "the element at hand"),
            PortSpec::new("Result", "Array", "what the elements came to"),
        ])
        .unchecked();

static NOTE: ComponentSpec =
    ComponentSpec::new("Note", "a note on the canvas").effect(Effect::Pure).flow(Flow::Inert).unchecked();

static COMPONENT: ComponentSpec =
    ComponentSpec::new("Component", "does nothing").effect(Effect::Pure).flow(Flow::Inert).unchecked();

static BUILTIN: [TypeEntry; 5] = [
    TypeEntry::new(&API_ENDPOINT),
    TypeEntry { spec: &API_OUTPUT, post_process: Some(output::post_process), validate: None },
    TypeEntry::new(&FOR_EACH),
    TypeEntry::new(&NOTE),
    TypeEntry::new(&COMPONENT),
];

/// The entries of the engine's own types.
pub fn types() -> &'static [TypeEntry] {
    &BUILTIN
}
