//! The types that the engine settles itself, or that never run. A registry lists them with its own.

use crate::looping::{OPERATORS, check_mappings, check_pattern};
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

static MAP: ComponentSpec = ComponentSpec::new(
    "Map",
    "runs what is connected to Item once per element, several at a time",
)
.effect(Effect::Pure)
.flow(Flow::Map)
.settings(&[
    SettingSpec::integer("concurrency", "Concurrency", 1.0, 1000.0)
        .default("10")
        .describe("elements under way at a time"),
    SettingSpec::one_of("onError", "On Error", &["collect", "stop"]).default("collect").describe(
        "`collect`: a failure is its element's result; `stop`: none is started after a failure, and the \
                 map fails with it",
    ),
    SettingSpec::one_of("format", "Result Format", &["value", "full", "minimal", "results-array"])
        .default("value")
        .describe("one value per element; or, as ForEach has them, entries, their results, or all values"),
])
.inputs(&[PortSpec::new("Input", "Array", "the elements")])
.outputs(&[
    PortSpec::new("Item", "Any", "the element at hand"),
    PortSpec::new("Index", "Number", "its place, from 0"),
    PortSpec::new("Result", "Array", "what the elements came to, in their order"),
    PortSpec::new("Errors", "Array", "`{index, message, component}` of each failure"),
])
.errors(&[
    "`the loop has … elements, the limit is …`: before anything starts",
    "`element …: …`: with `onError` `stop`, the first failure; `Result` has what came up to it",
])
.limits(&["100,000 elements, unless the deployment sets another bound"]);

static LOOP: ComponentSpec = ComponentSpec::new(
    "Loop",
    "runs what is connected to State again and again, as long as a condition holds",
)
.effect(Effect::Pure)
.flow(Flow::While)
.settings(&[
    SettingSpec::text_or_empty("path", "Path", 500)
        .describe("where in the state the condition looks, such as `page.next`; empty: at all of it"),
    SettingSpec::one_of("operator", "Operator", OPERATORS).default("truthy").describe("how it compares"),
    SettingSpec::any("value", "Value").template().describe("what it compares with"),
    SettingSpec::one_of("test", "Test", &["before", "after"])
        .default("before")
        .describe("whether the first round needs the condition, too"),
    SettingSpec::integer("maxIterations", "Maximum Iterations", 1.0, 100_000.0)
        .default("100")
        .describe("rounds at most"),
    SettingSpec::one_of("onLimit", "On Limit", &["error", "stop"])
        .default("error")
        .describe("whether it is a failure to reach them with the condition still true"),
    SettingSpec::one_of("onError", "On Error", &["stop", "continue"])
        .default("stop")
        .describe("whether a failure in a round ends the loop; if not, the state stays as it was"),
])
.inputs(&[PortSpec::new("Input", "Any", "the first state")])
.outputs(&[
    PortSpec::new("State", "Any", "the state; what the round comes to is the next one"),
    PortSpec::new("Index", "Number", "the round, from 0"),
    PortSpec::new("Result", "Any", "the last state"),
    PortSpec::new("Iterations", "Number", "rounds that ran"),
])
.errors(&[
    "`the loop's condition still holds after … rounds, the most it may take`",
    "`round …: …`: a failure in the body, unless `onError` is `continue`",
]);

static RETRY: ComponentSpec = ComponentSpec::new(
    "Retry",
    "runs what is connected to Attempt until it succeeds, with pauses in between",
)
// Its pauses are executed; they change nothing.
.effect(Effect::Read)
.flow(Flow::Retry)
.waits()
.settings(&[
    SettingSpec::integer("maxAttempts", "Maximum Attempts", 1.0, 100.0)
        .default("3")
        .describe("attempts at most, the first one included"),
    SettingSpec::integer("delay", "Delay (ms)", 0.0, 86_400_000.0)
        .default("1000")
        .describe("the pause before the second attempt"),
    SettingSpec::one_of("backoff", "Backoff", &["exponential", "fixed"])
        .default("exponential")
        .describe("whether each pause is twice the one before"),
    SettingSpec::integer("maxDelay", "Maximum Delay (ms)", 0.0, 86_400_000.0)
        .default("60000")
        .describe("the longest pause"),
    SettingSpec::boolean("jitter", "Jitter")
        .default("false")
        .describe("shortens pauses by up to a half, so that runs do not come back together"),
    SettingSpec::one_of("retryOn", "Retry On", &["any", "transient", "timeout", "rate-limit", "unavailable"])
        .default("any")
        .describe("the failures that are worth another attempt; `transient` means the three behind it"),
    SettingSpec::text_or_empty("pattern", "Pattern", 1000)
        .check(check_pattern)
        .describe("a regular expression that the message must match, too"),
    SettingSpec::text_or_empty("unless", "Unless", 1000)
        .check(check_pattern)
        .describe("a regular expression for messages that end it at once"),
])
.inputs(&[PortSpec::new("Input", "Any", "what every attempt gets")])
.outputs(&[
    PortSpec::new("Attempt", "Any", "the input, once per attempt"),
    PortSpec::new("Number", "Number", "the attempt, from 1"),
    PortSpec::new("Result", "Any", "what the attempt that succeeded came to"),
    PortSpec::new("Attempts", "Number", "attempts that were made"),
    PortSpec::new("Errors", "Array", "the messages of those that failed"),
])
.errors(&["the message of the last attempt, once there is no further one"])
.limits(&["a pause takes a day at most; a long one holds no memory"]);

static ERROR_HANDLER: ComponentSpec =
    ComponentSpec::new("ErrorHandler", "runs what is connected to Try, and handles what fails there")
        .effect(Effect::Pure)
        .flow(Flow::Catch)
        .settings(&[
            SettingSpec::any("mappings", "Mappings").template().nullable().check(check_mappings).describe(
                "a list of `{\"match\": pattern, \"value\": anything}`: the first that the message matches gives \
                 the result; texts may have `{{message}}`, `{{component}}`, `{{type}}`, `{{title}}`, `{{details}}`, \
                 `{{input}}`",
            ),
            SettingSpec::any("fallback", "Fallback")
                .template()
                .describe("the result for all other failures, likewise; without one there is no result"),
        ])
        .inputs(&[PortSpec::new("Input", "Any", "what the body gets")])
        .outputs(&[
            PortSpec::new("Try", "Any", "the input"),
            PortSpec::new("Result", "Any", "what the body came to, or what stands for a failure"),
            PortSpec::new(
                "Error",
                "Object",
                "`{message, component, type, title}` of the first failure, with `details` where it has some",
            ),
            PortSpec::new("Message", "Text", "its message"),
        ])
        .limits(&["100 mappings"]);

static NOTE: ComponentSpec =
    ComponentSpec::new("Note", "a note on the canvas").effect(Effect::Pure).flow(Flow::Inert).unchecked();

static COMPONENT: ComponentSpec =
    ComponentSpec::new("Component", "does nothing").effect(Effect::Pure).flow(Flow::Inert).unchecked();

static BUILTIN: [TypeEntry; 9] = [
    TypeEntry::new(&API_ENDPOINT),
    TypeEntry { spec: &API_OUTPUT, post_process: Some(output::post_process), validate: None },
    TypeEntry::new(&FOR_EACH),
    TypeEntry::new(&MAP),
    TypeEntry::new(&LOOP),
    TypeEntry::new(&RETRY),
    TypeEntry::new(&ERROR_HANDLER),
    TypeEntry::new(&NOTE),
    TypeEntry::new(&COMPONENT),
];

/// The entries of the engine's own types.
pub fn types() -> &'static [TypeEntry] {
    &BUILTIN
}
