//! ComponentHost: runs another component type in its place.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, SettingSpec};

use crate::context::{Call, Component};
use crate::registry::registry;
use crate::settings;

/// What the setting names.
const HOSTED: &str = "_component";

static SPEC: ComponentSpec = ComponentSpec::new(
    "ComponentHost",
    "Runs the component type that a setting names, with the same inputs and settings",
)
.effect(Effect::Effect)
.settings(&[SettingSpec::text_or_empty(HOSTED, "Component", 100).describe("name of the type to run")])
.hosts(HOSTED)
.unchecked();

/// The type.
pub struct ComponentHost;

impl Component for ComponentHost {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let name = settings::text(call, HOSTED);
            match registry().component(&name) {
                // A host of a host would never end.
                Some(hosted) if hosted.spec().name != SPEC.name => hosted.process(call).await,
                _ => Outcome::error(format!("Component {name} not found")),
            }
        }
        .boxed()
    }
}
