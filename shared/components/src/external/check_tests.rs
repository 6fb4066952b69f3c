//! Declarations that are wrong, each in one way.

use sre_proto::component::v1::{Description, Effect, Example, Limits, OnUncertain, Port, Setting};

use super::*;

pub fn good() -> Description {
    Description {
        r#type: "Acme.Echo".into(),
        version: "1.0.0".into(),
        description: "Gives back what it gets".into(),
        effect: Effect::Pure.into(),
        settings: vec![Setting {
            name: "times".into(),
            description: "how often".into(),
            schema_json: r#"{"type":"integer","minimum":1}"#.into(),
            ..Setting::default()
        }],
        inputs: vec![Port { name: "Text".into(), description: "what".into(), ..Port::default() }],
        outputs: vec![Port { name: "Out".into(), description: "the same".into(), ..Port::default() }],
        examples: vec![Example { name: "one".into(), inputs_json: "{}".into(), ..Example::default() }],
        ..Description::default()
    }
}

#[test]
fn a_good_one_has_no_problems() {
    assert_eq!(problems(&good()), Vec::<String>::new());
}

#[test]
fn each_mistake_is_named() {
    type Spoil = fn(&mut Description);
    let spoils: [(Spoil, &str); 18] = [
        (|it| it.r#type = "9x".into(), "a letter first"),
        (|it| it.r#type = "a/b".into(), "a letter first"),
        (|it| it.r#type = "FHash".into(), "is a type of the suite"),
        (|it| it.r#type = "Classifier".into(), "is a type of the suite"),
        (|it| it.version = "1 0".into(), "version"),
        (|it| it.description = " ".into(), "the description is empty"),
        (|it| it.settings[0].description.clear(), "its description is empty"),
        (|it| it.settings[0].schema_json = "{".into(), "not JSON"),
        (|it| it.settings[0].name = "onUncertain".into(), "has it already"),
        (|it| it.settings.push(it.settings[0].clone()), "declared twice"),
        (|it| it.outputs[0].name = "_error".into(), "the engine's own"),
        (|it| it.outputs[0].name.clear(), "a name has"),
        (|it| it.scopes = vec!["sre.llm.v1.Inference:read".into()], "a pure type calls nothing"),
        (
            |it| {
                it.effect = Effect::Read.into();
                it.scopes = vec!["sre.security.v1.Vault:read".into()];
            },
            "secrets come with settings",
        ),
        (|it| it.limits = Some(Limits { timeout_ms: -1, ..Limits::default() }), "limits"),
        (|it| it.on_uncertain = OnUncertain::LookUp.into(), "can_look_up"),
        (|it| it.examples[0].inputs_json = "[]".into(), "inputs_json"),
        (|it| it.description = "x".repeat(300 << 10), "larger than"),
    ];
    for (spoil, expected) in spoils {
        let mut described = good();
        spoil(&mut described);
        let found = problems(&described);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
}
