//! JobSchedulerTrigger: a payload of the author's, each time it is called. When it is called is the scheduler's.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, Flow, SettingSpec, TypeEntry};
use sre_engine::value::{Map, Value};

use super::{ENDPOINT, PAYLOAD, RESULT};
use crate::context::{Call, Component};
use crate::settings;
use crate::trigger::{Collected, Payloads, Refused, TriggerRequest};

static SPEC: ComponentSpec =
    ComponentSpec::new("JobSchedulerTrigger", "Starts a run with a payload of the author's, on a schedule")
        .effect(Effect::Pure)
        .flow(Flow::Trigger)
        .settings(&[
            ENDPOINT,
            SettingSpec::integer("interval", "Interval (minutes)", 1.0, 44_640.0)
                .default("5")
                .nullable()
                .describe("how often it is to be called"),
            SettingSpec::any("payload", "Payload")
                .nullable()
                .describe("a JSON object; anything else is an empty one"),
        ])
        .outputs(&[PAYLOAD, RESULT]);

/// The type.
pub struct JobSchedulerTrigger;

impl Component for JobSchedulerTrigger {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn entry(&self) -> TypeEntry {
        TypeEntry { post_process: Some(super::post_process), ..TypeEntry::new(&SPEC) }
    }

    fn process<'a>(&'a self, _: Call<'a>) -> BoxFuture<'a, Outcome> {
        async { super::not_executed() }.boxed()
    }

    fn collect<'a>(
        &'a self,
        call: Call<'a>,
        request: &'a TriggerRequest,
    ) -> BoxFuture<'a, Result<Collected, Refused>> {
        async move {
            if request.method != "POST" {
                return Err(Refused::new(405, "this trigger takes POST"));
            }
            let parsed = permissive_json::parse(&settings::text(call, "payload"));
            let payload = parsed.filter(|value| value.as_object().is_some());
            let items = vec![payload.unwrap_or_else(|| Value::object(Map::new()))];
            Ok(Payloads { items, ..Payloads::default() }.into())
        }
        .boxed()
    }
}
