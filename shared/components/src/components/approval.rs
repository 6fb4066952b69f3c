//! Approval: asks people whether to go on. The run leaves memory until they say.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component};
use crate::question::{Decision, Question, Said};
use crate::settings;

/// The longest that people may take: a run's authority does not last longer.
const LONGEST_SECONDS: f64 = 30.0 * 24.0 * 3600.0;
const USUAL_SECONDS: f64 = 24.0 * 3600.0;
const TITLE_CHARACTERS: usize = 200;
const MOST_APPROVERS: usize = 100;

static SPEC: ComponentSpec = ComponentSpec::new("Approval", "Asks people whether the run may go on")
    // Asking is an effect; a question that was asked is found again, so it never happens twice.
    .effect(Effect::Effect)
    .waits()
    .settings(&[
        SettingSpec::text("title", "Title", 1000)
            .required()
            .template()
            .describe("what is asked, in one line"),
        SettingSpec::any("message", "Message").template().describe("what people should know to decide"),
        SettingSpec::any("approvers", "Approvers")
            .default("admins")
            .check(check_approvers)
            .describe("who may decide: `user/x`, `team/x`, `admins`, `members`; a list, or text with commas"),
        SettingSpec::integer("timeLimit", "Time Limit", 1.0, LONGEST_SECONDS)
            .default("86400")
            .describe("seconds that people have, at most 30 days"),
        SettingSpec::one_of("onTimeout", "On Timeout", &["reject", "error"])
            .default("reject")
            .describe("what it means that nobody decided in time"),
    ])
    .outputs(&[
        PortSpec::new("Approved", "Object", "the inputs, if people said yes"),
        PortSpec::new("Rejected", "Object", "the inputs, if people said no"),
        PortSpec::new("Comment", "Text", "what they said"),
        PortSpec::new("DecidedBy", "Text", "who decided, such as `user/alice`; empty where nobody did"),
    ])
    .scopes(&["sre.memory.v1.RuntimeContext"]);

/// The type.
pub struct Approval;

impl Component for Approval {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { ask(call).await.unwrap_or_else(Outcome::error) }.boxed()
    }
}

async fn ask(call: Call<'_>) -> Result<Outcome, String> {
    let text = async |name: &str| {
        let text = settings::with_template_variables(call, &settings::text(call, name));
        settings::render(call, &text).await.map_err(|error| error.message)
    };
    let title: String = text("title").await?.lines().collect::<Vec<_>>().join(" ");
    let message = text("message").await?;
    let inputs = call.declared();
    let details =
        [("message".into(), Value::from(message)), ("inputs".into(), Value::object(inputs.clone()))];
    let question = Question {
        title: title.chars().take(TITLE_CHARACTERS).collect(),
        details: details.into(),
        approvers: approvers(call.node.setting("approvers"))?,
        time_limit: Duration::from_secs_f64(settings::number(call, "timeLimit").unwrap_or(USUAL_SECONDS)),
    };
    match call.context.approval(question).await.map_err(|error| error.message)? {
        Decision::Approved(said) => Ok(decided("Approved", inputs, said)),
        Decision::Rejected(said) => Ok(decided("Rejected", inputs, said)),
        Decision::Expired if settings::text(call, "onTimeout") == "error" => {
            Err("nobody decided in time".to_owned())
        }
        Decision::Expired => {
            let said = Said { by: String::new(), comment: "nobody decided in time".to_owned() };
            Ok(decided("Rejected", inputs, said))
        }
    }
}

fn decided(branch: &str, inputs: Map, said: Said) -> Outcome {
    Outcome::output(
        [
            (branch.into(), Value::object(inputs)),
            ("Comment".into(), Value::from(said.comment)),
            ("DecidedBy".into(), Value::from(said.by)),
        ]
        .into(),
    )
}

fn check_approvers(setting: &Value) -> Result<(), String> {
    approvers(Some(setting)).map(|_| ())
}

/// Who may decide, each once; the team's admins where nobody is named.
fn approvers(setting: Option<&Value>) -> Result<Vec<String>, String> {
    let texts: Vec<String> = match setting {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(Value::to_text).collect(),
        // An editor writes a list as its JSON text.
        Some(Value::String(text)) if text.trim_start().starts_with('[') => serde_json::from_str(text)
            .map_err(|_| "\"Approvers\" must be a list of texts, or text with commas".to_owned())?,
        Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
        Some(_) => return Err("\"Approvers\" must be a list of texts, or text with commas".to_owned()),
    };
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        let name = text.trim().to_owned();
        if !name.is_empty() && !found.contains(&name) {
            check_name(&name)?;
            found.push(name);
        }
    }
    if found.len() > MOST_APPROVERS {
        return Err(format!("\"Approvers\" must name {MOST_APPROVERS} at most: name a team"));
    }
    if found.is_empty() {
        found.push("admins".to_owned());
    }
    Ok(found)
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let is_id = |id: &str| !id.is_empty() && id.len() <= 64 && id.bytes().all(fits);
    let known = match name.split_once('/') {
        None => matches!(name, "admins" | "members"),
        Some(("user" | "team", id)) => is_id(id),
        Some(_) => false,
    };
    if known {
        Ok(())
    } else {
        Err(format!("\"Approvers\" must be user/x, team/x, admins or members, not \"{name}\""))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn approvers_are_a_list_or_text_with_commas() {
        let read = |setting: serde_json::Value| approvers(Some(&Value::from(setting)));
        for (setting, names) in [
            (json!(null), vec!["admins"]),
            (json!(""), vec!["admins"]),
            (json!("user/alice, team/red ,user/alice"), vec!["user/alice", "team/red"]),
            (json!(["members", "user/bob"]), vec!["members", "user/bob"]),
            (json!("[\"user/bob\"]"), vec!["user/bob"]),
        ] {
            assert_eq!(read(setting.clone()).unwrap(), names, "{setting}");
        }
        assert_eq!(approvers(None).unwrap(), ["admins"]);
        for wrong in
            [json!("agent/x"), json!("everybody"), json!("user/"), json!(5), json!("[1"), json!(["user/a b"])]
        {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_inputs_take_the_branch_that_was_decided() {
        let inputs: Map = [("amount".into(), Value::from(5))].into();
        let said = Said { by: "user/alice".into(), comment: "too much".into() };
        let output = decided("Rejected", inputs, said).output.unwrap();
        let expected = json!({
            "Rejected": {"amount": 5}, "Comment": "too much", "DecidedBy": "user/alice",
        });
        assert_eq!(serde_json::to_value(&output).unwrap(), expected);
    }
}
