//! Scenarios by name, for the header `x-fake-scenario` and for loops over all of them.

use crate::scenario::{Cite, Framing, Order, Refuse, Scenario, Step, ToolCall, Usage, UsageStyle};

/// Every named scenario, with its name. The name's first part is its group.
pub fn all() -> Vec<(String, Scenario)> {
    let mut all = Vec::new();
    let mut add = |name: &str, scenario: Scenario| all.push((name.to_owned(), scenario));
    let text = || Scenario::of(hello());
    for (name, framing) in [
        ("text/plain", Framing::default()),
        ("text/one_byte", Framing { bytes: 1, ..Framing::default() }),
        ("text/seven_bytes", Framing { bytes: 7, ..Framing::default() }),
        ("text/together", Framing { together: true, ..Framing::default() }),
        ("text/crlf", Framing { crlf: true, ..Framing::default() }),
        ("text/comments", Framing { comments: true, ..Framing::default() }),
        ("text/crlf_one_byte", Framing { crlf: true, comments: true, bytes: 1, ..Framing::default() }),
    ] {
        add(name, text().framed(framing));
    }
    let weather = || ToolCall::of("get_weather", r#"{"city":"Oslo","unit":"c"}"#);
    let time = || ToolCall::of("get_time", r#"{"zone":"Europe/Oslo"}"#);
    for (name, steps) in [
        ("tools/one", vec![Step::tools(Order::Sequential, [weather()])]),
        ("tools/two", vec![Step::tools(Order::Sequential, [weather(), time()])]),
        ("tools/interleaved", vec![Step::tools(Order::Interleaved, [weather(), time()])]),
        ("tools/together", vec![Step::tools(Order::Together, [weather(), time()])]),
        (
            "tools/same_twice",
            vec![Step::tools(
                Order::Sequential,
                [weather(), ToolCall::of("get_weather", r#"{"city":"Rome"}"#)],
            )],
        ),
        (
            "tools/after_text",
            vec![Step::Text("Let me look. ".into()), Step::tools(Order::Sequential, [weather()])],
        ),
        ("tools/no_arguments", vec![Step::tools(Order::Sequential, [ToolCall::of("ping", "")])]),
        (
            "tools/invalid_arguments",
            vec![Step::tools(Order::Sequential, [ToolCall::of("ping", r#"{"city": "Os"#)])],
        ),
    ] {
        add(name, Scenario::of(steps));
    }
    add("think/text", Scenario::of(thinking(Vec::new())));
    let signed = ToolCall { signature: "c2lnLWNhbGw=".into(), ..weather() };
    add("think/tools", Scenario::of(thinking(vec![Step::tools(Order::Sequential, [signed])])));
    let mut sealed = vec![Step::Redacted("c2VhbGVk".into())];
    sealed.extend(hello());
    add("think/redacted", Scenario::of(sealed));
    let counted = Usage { input: 100, output: 40, cached: 60, cache_write: 20, reasoning: 15 };
    for (name, usage) in [
        ("usage/usual", UsageStyle::Usual),
        ("usage/absent", UsageStyle::Absent),
        ("usage/repeated", UsageStyle::Repeated),
        ("usage/with_finish", UsageStyle::WithFinish),
    ] {
        let mut scenario = text();
        scenario.steps.push(Step::Usage(counted));
        add(name, Scenario { usage, ..scenario });
    }
    for word in ["stop", "length", "tool_calls", "content_filter", "something_new"] {
        let mut scenario = text();
        scenario.steps.push(Step::Finish(word.into()));
        add(&format!("finish/{word}"), scenario);
    }
    add("finish/empty_length", Scenario::of([Step::Text(String::new()), Step::Finish("length".into())]));
    add("finish/refusal", Scenario::of([Step::Refusal("I cannot help with that.".into())]));
    add("finish/blocked", Scenario::of([Step::Finish("blocked".into())]));
    let mut cited = vec![Step::Search("weather in Oslo".into())];
    cited.extend(hello());
    cited.push(Step::Cite(Cite { url: "https://example.org/a".into(), title: "A page".into() }));
    cited.push(Step::Cite(Cite { url: "https://example.org/b".into(), title: "Another".into() }));
    add("search/cited", Scenario::of(cited));
    errors(&mut add);
    all
}

/// A scenario by its name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|(known, _)| known == name).map(|(_, scenario)| scenario)
}

fn hello() -> Vec<Step> {
    ["Hello, ", "wörld ", "✓ ", "日本語 ", "😀."].map(|text| Step::Text(text.into())).into()
}

fn thinking(tools: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![
        Step::Think("Where is ".into()),
        Step::Think("the sun?".into()),
        Step::Signature("c2lnLXRoaW5r".into()),
    ];
    steps.extend(hello());
    steps.extend(tools);
    steps
}

fn errors(add: &mut impl FnMut(&str, Scenario)) {
    for status in [400, 401, 403, 404, 408, 413, 422, 500, 502, 503, 529] {
        add(&format!("error/{status}"), Scenario::refusal(status));
    }
    let refuse = |refuse: Refuse| Scenario { refuse: Some(refuse), ..Scenario::default() };
    let limited = Refuse { status: 429, ..Refuse::default() };
    add("error/429", refuse(limited.clone()));
    add("error/429_after", refuse(Refuse { retry_after: Some(60), ..limited.clone() }));
    add("error/429_after_ms", refuse(Refuse { retry_after_ms: Some(20), ..limited.clone() }));
    add("error/429_quota", refuse(Refuse { code: "insufficient_quota".into(), ..limited }));
    let code = "context_length_exceeded".into();
    add("error/400_context", refuse(Refuse { status: 400, code, ..Refuse::default() }));
    add("error/500_html", refuse(Refuse { status: 500, malformed: true, ..Refuse::default() }));
    add("error/malformed", Scenario { malformed: true, ..Scenario::default() });
    let half = |last: Step| Scenario::of([Step::Text("half ".into()), last]);
    let overloaded = Refuse { status: 529, message: "too much to do".into(), ..Refuse::default() };
    add("error/mid_stream", half(Step::Error(overloaded)));
    add("error/reset", half(Step::Reset));
    add("error/stall", half(Step::Stall));
    add("error/stall_at_once", Scenario::of([Step::Stall]));
    add("error/eof", half(Step::Eof));
    add("error/corrupt", half(Step::Corrupt));
    add("error/slow_headers", Scenario { headers_after_ms: 300, ..Scenario::of(hello()) });
    add("error/no_marker", Scenario { unterminated: true, ..Scenario::of(hello()) });
}
