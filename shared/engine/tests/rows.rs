//! The conformance edge cases of `agent-execution.md` §12 that concern the engine, by row number.
//! Where the table says "→", that is what is expected here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use serde_json::{Value as Json, json};
use support::Agent;

/// EP(x)→A:E.
fn one() -> Agent {
    Agent::new().ep(&["x"]).add("A", "E").link("e.x", "A.Input")
}

fn e(id: &str, input: Json) -> Json {
    json!({"id": id, "name": "E", "result": {"Output": {"Input": input}, "Input": input}})
}

#[test]
fn rows_1_to_6_leaves_and_values() {
    let alone = Agent::new().ep(&["x"]);
    let result = json!({"headers": {}, "body": {"x": 1}, "query": {}, "params": {}});
    assert_eq!(alone.run(json!({"x": 1})), json!({"id": "e", "name": "APIEndpoint", "result": result}));
    assert_eq!(one().run(json!({"x": 1})), e("A", json!(1)));
    assert_eq!(one().run(json!({})), json!([]));
    for value in [json!(null), json!(0), json!(""), json!(false), json!([]), json!([1])] {
        assert_eq!(one().run(json!({"x": value})), e("A", value));
    }
    let body = Agent::new().ep(&["x"]).add("A", "E").link("e.1", "A.0");
    assert_eq!(body.run(json!({"x": [1], "z": 2})), e("A", json!({"x": [1], "z": 2})));
    let two = one().add("B", "E").link("e.x", "B.Input");
    assert_eq!(two.run(json!({"x": 1})), json!([e("A", json!(1)), e("B", json!(1))]));
}

#[test]
fn rows_7_to_16_api_output() {
    let full = one().output("B", json!({"format": "full"}), &["s"]).link("A.Output", "B.s");
    assert_eq!(
        full.run(json!({"x": 1})),
        json!({"id": "B", "name": "APIOutput", "result": {"Output": {"s": {"Input": 1}}}})
    );
    let out = |data: Json| Agent::new().ep(&["x"]).output("B", data, &["r"]).link("e.x", "B.r");
    assert_eq!(out(json!({"format": "minimal"})).run(json!({"x": "v"})), json!({"r": "v"}));
    let plain = json!({"format": "full", "contentType": "text/plain"});
    assert_eq!(out(plain).run(json!({"x": "v"})), json!({"r": "v"}));
    let raw_text = json!({"format": "raw", "contentType": "text/plain"});
    assert_eq!(out(raw_text).run(json!({"x": {"a": 1}})), json!("{\"a\":1}"));
    let two = Agent::new().ep(&["x", "y"]).output("B", json!({"format": "raw"}), &["r", "s"]);
    let two = two.links(&[("e.x", "B.r"), ("e.y", "B.s")]);
    assert_eq!(two.run(json!({"x": "1", "y": {"z": 1}}))["result"]["Output"], json!("1{\"z\":1}"));
    assert_eq!(
        out(json!({"format": "raw"})).run(json!({"x": ""})),
        json!({"id": "B", "name": "APIOutput", "result": {"Output": ""}})
    );
    let parallel = out(json!({"format": "minimal"})).output("C", json!({"format": "minimal"}), &["s"]);
    assert_eq!(parallel.link("e.x", "C.s").run(json!({"x": 1})), json!([{"r": 1}, {"s": 1}]));
    let not_last = out(json!({"format": "minimal"})).add("A", "E").link("B.Output", "A.Input");
    assert_eq!(not_last.run(json!({"x": 1})), e("A", json!({"r": 1})));
    let message = "Schema Validation error: \"Output Format\" must be one of [full, minimal, raw] on component \
                   APIOutput label:B";
    assert_eq!(
        out(json!({"format": "weird"})).run(json!({"x": 1})),
        json!({"id": "B", "name": "APIOutput", "result": {"id": "B", "name": "APIOutput", "_error": message}})
    );
    assert_eq!(out(json!({"format": "minimal"})).var("r", "vv").run(json!({"x": "v"})), json!({"r": "v"}));
}

#[test]
fn rows_17_to_23_merging() {
    let merge = Agent::new().ep(&["x", "y"]).add("A", "E").links(&[("e.x", "A.Input"), ("e.y", "A.Input")]);
    for (body, merged) in [
        (json!({"x": 1, "y": 1}), json!([1, 1])),
        (json!({"x": [1, 2], "y": [3]}), json!([1, 2, [3]])),
        (json!({"x": 5, "y": [3, 4]}), json!([5, [3, 4]])),
        (json!({"x": [], "y": 5}), json!(5)),
    ] {
        assert_eq!(merge.run(body), e("A", merged));
    }
    let reversed =
        Agent::new().ep(&["x", "y"]).add("A", "E").links(&[("e.y", "A.Input"), ("e.x", "A.Input")]);
    assert_eq!(reversed.run(json!({"x": 1, "y": 2})), e("A", json!([2, 1])));
    let twice = Agent::new().ep(&["x"]).add("A", "E").links(&[("e.x", "A.0"), ("e.x", "A.0")]);
    assert_eq!(twice.run(json!({"x": 1})), e("A", json!([1, 1])));
    // Row 23: the driver completes A and B in every order.
    let race =
        Agent::new().ep(&["x"]).raw("A", json!({"Output": "slow"})).raw("B", json!({"Output": "fast"}));
    let race = race.add("C", "E").links(&[
        ("e.x", "A.Input"),
        ("e.x", "B.Input"),
        ("A.Output", "C.Input"),
        ("B.Output", "C.Input"),
    ]);
    assert_eq!(race.run(json!({"x": 1})), e("C", json!(["slow", "fast"])));
}

#[test]
fn rows_24_to_30_waiting() {
    let uneven = Agent::new().ep(&["x"]).add("A", "E").add("B", "E").add("C", "E");
    let uneven = uneven.links(&[("e.x", "A.0"), ("A.Output", "B.0"), ("B.Output", "C.0"), ("e.x", "C.0")]);
    assert_eq!(uneven.run(json!({"x": 1})), e("C", json!(1)));

    let ports = |q: Json| json!([{"name": "p"}, q]);
    let join = |q: Json| Agent::new().ep(&["x", "y"]).with_inputs("C", "E", ports(q)).link("e.x", "C.p");
    let q = json!({"name": "q"});
    let waits = join(q.clone()).link("e.y", "C.q");
    assert_eq!(waits.run(json!({"x": 1})), json!([]));
    let starved = waits.answer("e", json!({"x": 1})).starved.pop_first().unwrap();
    assert_eq!((starved.component.as_str(), starved.missing[0].as_ref()), ("C", "q"));
    let result = |map: Json| {
        let mut result = map.as_object().unwrap().clone();
        result.insert("Output".into(), map);
        json!({"id": "C", "name": "E", "result": result})
    };
    assert_eq!(waits.run(json!({"x": 1, "y": 2})), result(json!({"p": 1, "q": 2})));
    let optional = join(json!({"name": "q", "optional": true})).link("e.y", "C.q");
    assert_eq!(optional.run(json!({"x": 1})), result(json!({"p": 1})));
    let default = join(json!({"name": "q", "defaultVal": "dv {{V}}"})).link("e.y", "C.q").var("V", "vvv");
    assert_eq!(default.run(json!({"x": 1})), result(json!({"p": 1, "q": "dv vvv"})));
    assert_eq!(join(q.clone()).run(json!({"x": 1})), result(json!({"p": 1})));
    let other = join(q).endpoint("e2", &["z"]).link("e2.z", "C.q");
    assert_eq!(other.run(json!({"x": 1})), result(json!({"p": 1})));
}

#[test]
fn row_25_joins_wait_for_the_longer_path() {
    let ports = json!([{"name": "p"}, {"name": "q"}]);
    let agent = Agent::new().ep(&["x"]).add("A", "E").add("B", "E").with_inputs("C", "E", ports);
    let agent = agent.links(&[("e.x", "C.p"), ("e.x", "A.0"), ("A.Output", "B.0"), ("B.Output", "C.q")]);
    let q = json!({"Input": {"Input": 1}});
    assert_eq!(agent.run(json!({"x": 1}))["result"]["Output"], json!({"p": 1, "q": q}));
}

#[test]
fn rows_31_to_39_errors() {
    let fails = |kind: &str| Agent::new().ep(&["x", "y"]).add("A", kind).link("e.x", "A.Input");
    let x = json!({"x": 1});
    let boom = json!({"id": "A", "name": "FAIL", "result": {"_error": "boom"}});
    assert_eq!(fails("FAIL").run(x.clone()), boom);
    assert_eq!(fails("FAIL").add("B", "E").link("A.Output", "B.Input").run(x.clone()), boom);
    let handled = |kind: &str| fails(kind).add("H", "E").link("A._error", "H.Input");
    assert_eq!(handled("FAIL").run(x.clone()), e("H", json!("boom")));

    let raw = |v: Json| Agent::new().ep(&["x"]).raw("A", v).add("B", "E").add("H", "E");
    let raw = |v: Json| raw(v).links(&[("e.x", "A.0"), ("A.Output", "B.0"), ("A._error", "H.0")]);
    assert_eq!(
        raw(json!({"Output": 1, "_error": "E"})).run(x.clone()),
        json!([e("B", json!(1)), e("H", json!("E"))])
    );
    assert_eq!(raw(json!({"Output": 1, "_error": null})).run(x.clone()), e("B", json!(1)));

    assert_eq!(handled("HARD").run(x.clone()), e("H", json!("hard")));
    let unhandled = json!({"id": "A", "name": "HARD label", "result": null, "error": "hard"});
    assert_eq!(fails("HARD").run(x.clone()), unhandled);

    let starved = fails("FAIL").with_inputs("H", "E", json!([{"name": "p"}, {"name": "q"}]));
    let starved = starved.links(&[("A._error", "H.p"), ("e.y", "H.q")]);
    assert_eq!(starved.run(x.clone()), boom);

    let both = fails("FAIL").add("B", "E").link("e.x", "B.Input");
    assert_eq!(both.run(x.clone()), json!([boom, e("B", json!(1))]));
    let inner = fails("FAIL").add("B", "E").add("Z", "E").links(&[("e.x", "B.0"), ("A.Output", "Z.0")]);
    assert_eq!(inner.run(x.clone()), json!([e("B", json!(1)), boom]));
    let again = fails("FAIL").add("H", "FAIL").link("A._error", "H.Input");
    assert_eq!(again.run(x), json!({"id": "H", "name": "FAIL", "result": {"_error": "boom"}}));
}

#[test]
fn rows_40_to_45_odd_components() {
    let x = json!({"x": 1});
    let unknown = Agent::new().ep(&["x"]).add("N", "Nope").link("e.x", "N.Input");
    let entry = json!({"id": "N", "name": "Nope", "result": {"_error": "Component Nope not found"}});
    assert_eq!(unknown.run(x.clone()), entry);
    assert_eq!(one().add("N", "Nope").run(x.clone()), e("A", json!(1)));
    let none = Agent::new().ep(&["x"]).add("A", "NONE").link("e.x", "A.Input");
    assert_eq!(none.run(x.clone())["result"], json!({"_error": "component returned no output"}));
    let leaf = |v: Json| Agent::new().ep(&["x"]).raw("A", v).link("e.x", "A.Input");
    for value in [json!("hello"), json!(5), json!([1, 2]), json!({})] {
        assert_eq!(leaf(value.clone()).run(x.clone())["result"], value);
    }
    let then = |v: Json| leaf(v).add("B", "E").link("A.Output", "B.Input");
    assert_eq!(then(json!({})).run(x.clone()), json!([]));
    assert_eq!(then(json!({"Output": null})).run(x.clone()), e("B", json!(null)));
    assert_eq!(then(json!({"Output": false})).run(x.clone()), e("B", json!(false)));
    let noisy = json!({"Output": 1, "_debug": "d", "_debug_time": 5, "_error": "", "_warning": "w"});
    assert_eq!(leaf(noisy).run(x.clone())["result"], json!({"Output": 1, "_warning": "w"}));
    let note = Agent::new().ep(&["x"]).add("N", "Note").link("e.x", "N.Input");
    assert_eq!(note.run(x)["name"], json!("APIEndpoint"));
}

#[test]
fn rows_46_47_cycles() {
    let cycle = one().add("B", "E").links(&[("A.Output", "B.Input"), ("B.Output", "A.Input")]);
    assert_eq!(
        cycle.run(json!({"x": 1})),
        json!({"error": "Circular Calls Limit Reached on A. Current circular limit is 100"})
    );
    assert_eq!(one().link("A.Output", "A.Input").run(json!({"x": 1})), json!([]));
    let two = cycle.add("C", "E").add("D", "E");
    let two = two.links(&[("e.x", "C.Input"), ("C.Output", "D.Input"), ("D.Output", "C.Input")]);
    assert_eq!(
        two.run(json!({"x": 1})),
        json!({"error": "Circular Calls Limit Reached on A. Current circular limit is 100"})
    );
}

#[test]
fn rows_54_to_59_paths() {
    let agent = |output: Json| {
        Agent::new()
            .component(json!({"id": "e", "name": "APIEndpoint", "data": {"endpoint": "e"},
                "inputs": [{"name": "host"}], "outputs": [{"name": "headers", "default": true},
                {"name": "body", "default": true}, output]}))
            .add("A", "E")
            .link("e.2", "A.Input")
    };
    for output in [json!({"name": "host", "expression": "body.host"}), json!({"name": "body.host"})] {
        let plan = agent(output).plan();
        let mut request = sre_engine::RequestData::post("/api/e", json!({"host": "BODY"}).into());
        request.headers.insert("host".into(), "HDR".into());
        let answer = support::drive(&plan, &request, support::options(&plan), 0);
        assert_eq!(answer.legacy_json(), e("A", json!("BODY")));
    }
    let mut request = sre_engine::RequestData::post("/api/e", json!({}).into());
    request.headers.insert("X-Foo".into(), "a".into());
    let plan = Agent::new().ep(&[]).plan();
    let answer = support::drive(&plan, &request, support::options(&plan), 0).legacy_json();
    assert_eq!(answer["result"]["headers"], json!({"x-foo": "a"}));
    let deep = agent(json!({"name": "u", "expression": "body.x.a[0].b"}));
    assert_eq!(deep.run(json!({"x": {"a": [{"b": 7}]}})), e("A", json!(7)));
}

#[test]
fn rows_65_to_71_request_data() {
    let x = |kind: &str, default: Json| {
        Agent::new()
            .component(json!({"id": "e", "name": "APIEndpoint", "data": {"endpoint": "e"},
                "inputs": [{"name": "x", "type": kind, "defaultVal": default}],
                "outputs": [{"name": "headers", "default": true}, {"name": "body", "default": true},
                            {"name": "x", "expression": "body.x"}]}))
            .var("V", "vv")
    };
    let body = |agent: &Agent, body: Json| agent.run(body)["result"]["body"].clone();
    let text = x("String", json!(null));
    assert_eq!(body(&text, json!({"x": "{\"a\":1}"})), json!({"x": "{\"a\":1}"}));
    let any = x("Any", json!(null));
    assert_eq!(
        body(&any, json!({"x": "{\"a\":1}", "y": "{a:'b',}", "z": "[1]", "w": "{just braces}"})),
        json!({"x": {"a": 1}, "y": {"a": "b"}, "z": "[1]", "w": "{just braces}"})
    );
    let default = x("Any", json!("dv"));
    for empty in [json!({}), json!({"x": ""}), json!({"x": "   "}), json!({"x": null})] {
        assert_eq!(body(&default, empty), json!({"x": "dv"}));
    }
    for kept in [json!({"x": 0}), json!({"x": false})] {
        assert_eq!(body(&default, kept.clone()), kept);
    }
    assert_eq!(body(&x("Number", json!(0)), json!({})), json!({"x": 0}));
    assert_eq!(body(&x("Boolean", json!(false)), json!({})), json!({"x": false}));
    assert_eq!(body(&x("Any", json!("{{V}}!")), json!({})), json!({"x": "vv!"}));
    for data in ["a {{KEY(K1)}} {{KEY(teamid)}} b", "hi {{V}}", "{{}}"] {
        assert_eq!(body(&any, json!({"x": data})), json!({"x": data}));
    }
}

#[test]
fn rows_72_73_variables() {
    let agent = Agent::new()
        .ep(&["x"])
        .with_inputs("A", "E", json!([{"name": "Input"}, {"name": "V"}]))
        .link("e.x", "A.Input");
    let v = |agent: &Agent| agent.run(json!({"x": "{{V}}"}))["result"]["Output"].clone();
    for (text, value) in [("{{KEY(TK)}}", "tval"), ("pre {{KEY(TK)}}", "pre tval"), ("{{KEY(K1)}}", "{{V}}")]
    {
        assert_eq!(v(&agent.clone().var("V", text)), json!({"Input": "{{V}}", "V": value}));
    }
    let missing = agent.clone().var("V", "{{KEY(NOPE)}}").run(json!({"x": 1}));
    assert_eq!(missing["result"], json!({"_error": "Vault key 'NOPE' not found"}));
    let overridden = agent.var("V", "var").link("e.x", "A.V");
    assert_eq!(v(&overridden), json!({"Input": "{{V}}", "V": "{{V}}"}));
}

#[test]
fn rows_74_to_76_binaries() {
    let agent = Agent::new().component(json!({"id": "e", "name": "APIEndpoint", "data": {"endpoint": "e"},
        "inputs": [{"name": "x", "type": "Binary"}], "outputs": [{"name": "body", "default": true}]}));
    let x = |value: Json| agent.run(json!({"x": value}))["result"].clone();
    let text = x(json!("some text here!"))["body"]["x"].clone();
    assert_eq!((&text["mimetype"], &text["size"]), (&json!("text/plain"), &json!(15)));
    let name = text["name"].as_str().unwrap();
    assert!(name.ends_with("-x.txt") && text["url"].as_str().unwrap().ends_with(name));
    let two =
        x(json!(["data:text/plain;base64,SGVsbG8=", "data:text/html;base64,SGVsbG8="]))["body"]["x"].clone();
    assert!(two[0]["name"].as_str().unwrap().ends_with(".txt"));
    assert!(two[1]["name"].as_str().unwrap().ends_with(".html"));
    assert_eq!(two[1]["size"], 5);
    assert_eq!(x(json!(123)), json!({"_error": "Invalid Binary value for input x of e"}));
    for url in ["smythfs://t.team/a/missing.png", "https://a.org/missing"] {
        assert_eq!(x(json!(url)), json!({"_error": format!("{url} cannot be read")}));
    }
    assert_eq!(x(json!("https://a.org/page"))["body"]["x"]["size"], 3);
}

#[test]
fn row_77_uploads() {
    let plan = Agent::new()
        .component(json!({"id": "e", "name": "APIEndpoint", "data": {"endpoint": "e"},
            "inputs": [{"name": "x", "type": "Binary"}], "outputs": [{"name": "body", "default": true}]}))
        .plan();
    let file = |name: &str, data: &'static [u8]| sre_engine::UploadedFile {
        field: "x".into(),
        name: name.into(),
        mimetype: "text/plain".into(),
        data: data.into(),
    };
    let mut request = sre_engine::RequestData::post("/api/e", json!({}).into());
    request.files = vec![file("a.txt", b"12345"), file("b.txt", b"1")];
    let answer = support::drive(&plan, &request, support::options(&plan), 0).legacy_json();
    let files = &answer["result"]["body"]["x"];
    assert_eq!((&files[0]["size"], &files[1]["size"]), (&json!(5), &json!(1)));
    assert!(files[0]["name"].as_str().unwrap().ends_with("-a.txt"));
}
