//! Following runs: every journalled event once and in order, whoever runs them.

use futures::StreamExt as _;
use serde_json::json;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{EventCursor, RunEvent, WatchRunRequest};

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};

async fn agent(world: &World) -> String {
    let agent = document(
        "watched",
        vec![
            endpoint(),
            post("first", &world.server.url("/first"), json!({})),
            component("out", "APIOutput", json!({"format": "minimal"}), &["v"], &["Output"]),
        ],
        &["go.x > first.v", "first.Response > out.v"],
    );
    world.put(&agent).await
}

async fn follow(world: &World, engine: usize, name: &str, after: Option<EventCursor>) -> Vec<RunEvent> {
    let request = WatchRunRequest { name: name.into(), after };
    let stream = world.runs("user/dev").watch_run(at(engine, request)).await.unwrap().into_inner();
    stream.map(|event| event.unwrap()).collect().await
}

fn journalled(events: &[RunEvent]) -> Vec<(i64, &'static str)> {
    let word = |event: &RunEvent| match event.event.as_ref().unwrap() {
        Event::RunOpened(_) => "opened",
        Event::ComponentFinished(_) => "finished",
        Event::ActivationRestarted(_) => "restarted",
        Event::RunEnded(_) => "ended",
        _ => "other",
    };
    let of_record = events.iter().filter(|event| event.cursor.unwrap().sub == 0);
    of_record.map(|event| (event.cursor.unwrap().sequence, word(event))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_name_what_was_asked_and_what_runs() {
    let world = World::new().await;
    world.server.hold("/first");
    let agent = agent(&world).await;
    let run = world.start(0, &agent, json!("v")).await;
    world.server.called("/first", 1).await;
    let (owner, other, ()) =
        tokio::join!(follow(&world, 0, &run.name, None), follow(&world, 1, &run.name, None), async {
            world.server.release("/first")
        });
    assert_eq!(journalled(&owner), journalled(&other));
    match owner[0].event.as_ref().unwrap() {
        Event::RunOpened(opened) => {
            assert_eq!((opened.path.as_str(), opened.skill.as_str()), ("/api/go", "go"));
            assert_eq!(&opened.input_json[..], br#"{"x":"v"}"#);
        }
        other => panic!("{other:?}"),
    }
    let first = owner.iter().find_map(|event| match event.event.as_ref().unwrap() {
        Event::ComponentFinished(finished) if finished.component == "first" => Some(finished),
        _ => None,
    });
    let first = first.unwrap();
    assert_eq!((first.title.as_str(), first.name.as_str()), ("first", "APICall"));
    assert!(first.start_time.is_some());
    assert_eq!(journalled(&owner).last().unwrap().1, "ended");
    // Again from each place: the rest, once.
    let all = journalled(&owner);
    for (place, (sequence, _)) in all.iter().enumerate().take(all.len() - 1) {
        let after = Some(EventCursor { sequence: *sequence, sub: 0 });
        assert_eq!(journalled(&follow(&world, place % 2, &run.name, after).await), all[place + 1..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_takeover_the_restart_is_told_before_anything_starts_again() {
    let world = World::new().await;
    world.server.hold("/first");
    let agent = agent(&world).await;
    let run = world.start(0, &agent, json!("v")).await;
    world.server.called("/first", 1).await;
    let killing = async {
        world.kill(0).await;
        world.server.called("/first", 2).await;
        world.server.release("/first");
    };
    let (one, two, ()) =
        tokio::join!(follow(&world, 0, &run.name, None), follow(&world, 1, &run.name, None), killing);
    for events in [&one, &two] {
        let restarted =
            events.iter().position(|event| matches!(event.event, Some(Event::ActivationRestarted(_))));
        let restarted = restarted.expect("the takeover is told");
        let again: Vec<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, event)| matches!(&event.event, Some(Event::ComponentStarted(it)) if it.component == "first"))
            .map(|(place, _)| place)
            .collect();
        assert!(again.iter().skip(1).all(|place| *place > restarted), "{again:?} {restarted}");
        let sequences: Vec<i64> = journalled(events).iter().map(|(sequence, _)| *sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] <= pair[1]), "{sequences:?}");
    }
    assert_eq!(journalled(&one), journalled(&two));
}
