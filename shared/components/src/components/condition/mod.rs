//! Condition: passes its input on to the branch whose conditions hold.

mod branch;
mod compare;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec, TypeEntry};
use sre_engine::value::{Map, Value};
use sre_engine::{Node, Outcome};

use crate::context::{Call, Component};
use crate::outcome::or_error;
use crate::{rendered, settings};
use branch::{Branch, Test};

/// The output of what no branch takes.
const ELSE: &str = "Else";

static SPEC: ComponentSpec = ComponentSpec::new(
    "Condition",
    "Passes its input on to the first branch whose conditions hold, or to Else; each branch is an output",
)
.aliases(&["Switch"])
.effect(Effect::Pure)
.settings(&[
    SettingSpec::any("branches", "Branches").required().template().describe(
        "a list of `{output, match, conditions}`: `match` is `all` or `any` of the conditions \
         `{value, operator, compare, type, ignoreCase}`; a branch with one condition may hold it itself. \
         `operator`: equals, not_equals, greater, greater_or_equal, less, less_or_equal, contains, not_contains, \
         starts_with, ends_with, matches, in, not_in, is_empty, is_not_empty, exists, not_exists, is_true, \
         is_false, has_type. `type`: auto, text, number, boolean, date",
    ),
    SettingSpec::one_of("mode", "Mode", &["first", "all", ""])
        .default("first")
        .describe("`first`: the first branch that holds; `all`: every branch that holds"),
])
.inputs(&[PortSpec::new("Input", "Any", "what is passed on; without it, all inputs together").optional()])
.outputs(&[PortSpec::new(ELSE, "Any", "the input, where no branch holds")]);

/// The type.
pub struct Condition;

impl Component for Condition {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn entry(&self) -> TypeEntry {
        TypeEntry { validate: Some(check), ..TypeEntry::new(&SPEC) }
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(decide(call).await) }.boxed()
    }
}

fn check(node: &Node) -> Result<(), String> {
    branches(node).map(|_| ())
}

fn branches(node: &Node) -> Result<Vec<Branch>, String> {
    branch::read(node.setting("branches").unwrap_or(&Value::Null))
}

async fn decide(call: Call<'_>) -> Result<Outcome, String> {
    let every = settings::text(call, "mode") == "all";
    let mut output = Map::new();
    for branch in branches(call.node)? {
        if output.contains_key(branch.output.as_str()) || !holds(call, &branch).await? {
            continue;
        }
        output.insert(branch.output.as_str().into(), passed(call));
        if !every {
            break;
        }
    }
    if output.is_empty() {
        output.insert(ELSE.into(), passed(call));
    }
    Ok(Outcome::output(output))
}

/// What goes on: the native input, or all that were declared.
fn passed(call: Call<'_>) -> Value {
    call.get("Input").cloned().unwrap_or_else(|| Value::object(call.declared()))
}

async fn holds(call: Call<'_>, branch: &Branch) -> Result<bool, String> {
    for test in &branch.tests {
        let held = one(call, test).await.map_err(|error| format!("branch '{}': {error}", branch.output))?;
        if held == branch.any {
            return Ok(held);
        }
    }
    Ok(!branch.any)
}

async fn one(call: Call<'_>, test: &Test) -> Result<bool, String> {
    let value = rendered::optional(call, &test.value).await.map_err(|error| error.message)?;
    let with = rendered::optional(call, &test.compare).await.map_err(|error| error.message)?;
    compare::holds(test, value.as_ref(), with.as_ref())
}
