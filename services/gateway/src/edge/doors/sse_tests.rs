use super::*;

fn event(sequence: i64, sub: i32, seconds: i64, event: Event) -> RunEvent {
    RunEvent {
        cursor: Some(EventCursor { sequence, sub }),
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        event: Some(event),
    }
}

fn of(frame: &Frame) -> Value {
    serde_json::from_str(&frame.data).unwrap()
}

#[test]
fn a_run_is_told_in_the_words_of_the_reference() {
    let mut translator = Translator::new("greeter", "teams/t/agents/greeter/runs/00-r");
    let opened = RunOpened { path: "/api/e".into(), input_json: r#"{"x":1}"#.into(), ..Default::default() };
    let opened = translator.frames(event(1, 0, 10, Event::RunOpened(opened)));
    let start = of(&opened[0]);
    assert_eq!((opened[0].event, opened[0].id.as_deref()), ("agent", Some("1.0")));
    assert_eq!(start["action"], "callStart");
    assert_eq!((&start["endpointPath"], &start["startTime"]), (&json!("/api/e"), &json!(10_000)));
    assert_eq!(start["input"], json!({"x": 1}));

    let started = ComponentStarted {
        component: "A".into(),
        r#type: "FHash".into(),
        activation: "A@1".into(),
        name: "Hash".into(),
        input_json: r#"{"Data":"v"}"#.into(),
        ..Default::default()
    };
    let began = translator.frames(event(1, 1, 11, Event::ComponentStarted(started)));
    assert_eq!(of(&began[0])["input"], json!({"Data": "v"}));
    let log = ComponentLog {
        component: "A".into(),
        level: "warn".into(),
        message: "m".into(),
        ..Default::default()
    };
    let log = of(&translator.frames(event(1, 2, 11, Event::Log(log)))[0]);
    assert_eq!((&log["eventId"], &log["logs"]), (&json!("A@1"), &json!([{"level": "warn", "message": "m"}])));
    let finished = ComponentFinished {
        component: "A".into(),
        activation: "A@1".into(),
        output_json: r#"{"Hash":"h"}"#.into(),
        ..Default::default()
    };
    let stopped = translator.frames(event(2, 0, 13, Event::ComponentFinished(finished)));
    assert_eq!(stopped.len(), 1, "its start was heard");
    let stop = of(&stopped[0]);
    assert_eq!((&stop["eventId"], &stop["duration"]), (&json!("A@1"), &json!(2_000)));

    let ended = RunEnded { legacy_json: r#"{"id":"A"}"#.into(), ..Default::default() };
    let ended = of(&translator.frames(event(3, 0, 14, Event::RunEnded(ended)))[0]);
    assert_eq!((&ended["action"], &ended["eventId"]), (&json!("callStop"), &start["eventId"]));
    assert_eq!((&ended["result"], &ended["duration"]), (&json!({"id": "A"}), &json!(4_000)));
    assert_eq!((&ended["input"], ended.get("error")), (&json!({"x": 1}), None));
}

#[test]
fn a_stop_whose_start_was_not_heard_gets_one_and_only_the_stop_has_the_id() {
    let mut translator = Translator::new("a", "r");
    let finished = ComponentFinished {
        component: "A".into(),
        r#type: "FHash".into(),
        activation: "A@1".into(),
        start_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let frames = translator.frames(event(7, 0, 3, Event::ComponentFinished(finished)));
    let actions: Vec<Value> = frames.iter().map(|frame| of(frame)["action"].clone()).collect();
    assert_eq!(actions, [json!("callStart"), json!("callStop")]);
    assert_eq!((frames[0].id.clone(), frames[1].id.as_deref()), (None, Some("7.0")));
    assert_eq!(of(&frames[1])["duration"], json!(2_000));
}

#[test]
fn errors_end_the_agent_event_as_texts() {
    let mut translator = Translator::new("a", "r");
    let ended =
        RunEnded { legacy_json: r#"{"error":"AGENT_KILLED","reason":"x"}"#.into(), ..Default::default() };
    let ended = of(&translator.frames(event(1, 0, 1, Event::RunEnded(ended)))[0]);
    assert_eq!((&ended["error"], ended.get("result")), (&json!("AGENT_KILLED"), None));
}

#[test]
fn texts_of_several_lines_stay_one_event() {
    let mut translator = Translator::new("a", "r");
    let chunk = |text: &str| ContentChunk { component: "A".into(), text: text.into(), thinking: false };
    let frames = translator.frames(event(4, 2, 1, Event::Content(chunk("a\nb\r\nc\n"))));
    assert_eq!(
        frames[0].bytes(),
        "event: llm/passthrough/content\nid: 4.2\ndata: a\ndata: b\ndata: c\ndata: \n\n"
    );
    assert!(translator.frames(event(4, 3, 1, Event::Content(chunk("")))).is_empty());
}

#[test]
fn cursors_are_read_strictly() {
    assert_eq!(cursor("12.3"), Some(EventCursor { sequence: 12, sub: 3 }));
    for bad in ["", "12", "12.", "x.1", "-1.0", "1.-1", "1.2.3"] {
        assert_eq!(cursor(bad), None, "{bad}");
    }
}
