//! Whatever comes in, nothing panics, and what is data stays data.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use sre_engine::data::typing::{InputType, convert};
use sre_engine::data::{binary, dates, permissive_json};
use sre_engine::{ActivationKey, Map, RequestData, Value, template};
use support::Agent;

/// Text with a good share of what templates, JSON and dates are made of.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{"),
        Just("}}"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("\""),
        Just("'"),
        Just(","),
        Just(":"),
        Just("a"),
        Just("x.y"),
        Just("KEY("),
        Just(")"),
        Just("\n"),
        Just("\\"),
        Just("é"),
        Just("1"),
        Just("-"),
        Just("e"),
        Just("0x"),
        Just("2024-01-20"),
        Just(" "),
        Just("/"),
        Just("*"),
        Just("```"),
        Just("GMT"),
        Just("+"),
        Just("smythfs://"),
        Just("https://a.b/"),
        Just("data:"),
        Just(";base64,"),
    ];
    prop_oneof![any::<String>(), proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_a_parser(text in texts()) {
        let data: Map = [("a".into(), Value::from("{{a}}")), ("x".into(), json!({"y": 1}).into())].into();
        let _ = template::parse(&text, &data);
        let _ = template::clean(&text);
        let _ = template::parse_raw(&text, &data);
        let _ = permissive_json::parse(&text);
        let _ = dates::parse(&text);
        let _ = binary::recognise(&Value::from(text.as_str()), "n");
        let _ = text.parse::<ActivationKey>();
        let _ = Value::object(data).path(&text);
        for kind in ["Text", "Number", "Integer", "Boolean", "Array", "Object", "Date", "Binary"] {
            let _ = convert(&Value::from(text.as_str()), InputType::parse(kind), || "n".into());
        }
    }

    #[test]
    fn strict_json_survives_lenient_parsing(text in texts()) {
        let object = json!({ "k": text, "l": [text, 1.5, null] }).to_string();
        let parsed = permissive_json::parse(&object).unwrap();
        prop_assert_eq!(parsed, Value::from(serde_json::from_str::<serde_json::Value>(&object).unwrap()));
    }

    #[test]
    fn request_data_is_never_expanded(text in texts()) {
        let agent = Agent::new().ep(&["x"]).with_inputs("A", "E", json!([{"name": "Input", "type": "Text"}]));
        let agent = agent.link("e.x", "A.Input").var("a", "SECRET").var("x.y", "SECRET");
        let plan = agent.plan();
        let mut document = agent.json();
        document["components"][0]["inputs"][0]["type"] = json!("Text");
        let plan_text = std::sync::Arc::new(sre_engine::compile(&document, &support::Doubles).unwrap());
        for plan in [plan, plan_text] {
            let request = RequestData::post("/api/e", json!({ "x": text }).into());
            let answer = support::drive(&plan, &request, support::options(&plan), 0).legacy_json();
            prop_assert!(!answer.to_string().contains("SECRET"));
        }
    }

    #[test]
    fn any_document_is_compiled_or_refused(from in texts(), to in texts(), index in any::<i64>()) {
        let document = json!({"components": [{"id": from, "name": to, "data": {"endpoint": to},
            "inputs": [{"name": from}], "outputs": [{"name": to, "expression": from}]}, {"id": to, "name": "ForEach",
            "inputs": [{"name": "Input"}], "outputs": []}],
            "connections": [{"sourceId": from, "sourceIndex": index % 3, "targetId": to, "targetIndex": from}]});
        let _ = sre_engine::compile(&document, &support::Doubles);
    }
}
