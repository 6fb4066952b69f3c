//! Planner mode.

use sre_proto::gateway::v1::{ConversationMode, WatchTurnRequest};
use sre_proto::llm::v1::ChatRole;

use super::super::llm::{calls, says};
use super::super::world::World;
use super::*;

fn planning() -> ConversationSettings {
    ConversationSettings { mode: ConversationMode::Planner.into(), ..ConversationSettings::default() }
}

const PLAN: &str =
    r#"{"tasksList":{"read":{"description":"read it","status":"ongoing"},"write":"write it"}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_plans_is_told_how_and_watchers_see_the_plan() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened_with(&world, &agent, planning()).await;
    world.llm.answer([
        calls(&[("c1", "_sre_Plan_Tasks", PLAN)]),
        calls(&[
            ("c2", "_sre_AddSubTasks", r#"{"taskId":"read","subTasksList":{"open":"open it"}}"#),
            ("c3", "go", r#"{"x":"a"}"#),
            ("c4", "_sre_TasksCompleted", "{}"),
        ]),
        calls(&[
            ("c5", "_sre_UpdateTasks", r#"{"taskId":"read.open","status":"completed"}"#),
            ("c6", "_sre_UpdateTasks", r#"{"taskId":"read","status":"completed"}"#),
            ("c7", "_sre_UpdateTasks", r#"{"taskId":"write","status":"completed"}"#),
            ("c8", "_sre_UpdateTasks", r#"{"taskId":"nowhere","status":"completed"}"#),
            ("c9", "_sre_TasksCompleted", "{}"),
        ]),
        calls(&[("c10", "_sre_clearTasks", "{}")]),
        says("done"),
    ]);
    let events = told(&world, &agent, &conversation, "read and write").await;
    assert_eq!(end(&events).text, "done");
    let of_plan: Vec<&str> = words(&events).into_iter().filter(|word| word.contains("asks")).collect();
    assert_eq!(
        of_plan,
        [
            "planTasksAdded",
            "subTasksAdded",
            "tasksUpdated",
            "tasksUpdated",
            "tasksUpdated",
            "tasksCompleted",
            "tasksCleared"
        ]
    );
    assert_eq!(world.server.count("/tool/a"), 1, "skills are tools as ever");
    let asked = world.llm.asked();
    let system = &asked[0].messages[0];
    assert_eq!(system.role(), ChatRole::System);
    assert!(system.text.contains("_sre_Plan_Tasks") && system.text.contains("<planning>"));
    let names: Vec<&str> = asked[0].tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    // What each call answered, in order.
    let results: Vec<(&str, bool)> = asked[3].messages[asked[3].messages.len() - 5..]
        .iter()
        .map(|message| (message.text.as_str(), message.tool_failed))
        .collect();
    assert!(results[3].1 && results[3].0.contains("no task"), "{results:?}");
    assert_eq!(results[4], ("All tasks are completed.", false));
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d45_each_conversation_has_a_plan_of_its_own_which_stays_with_it() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let (one, other) =
        (opened_with(&world, &agent, planning()).await, opened_with(&world, &agent, planning()).await);
    world.llm.answer([calls(&[("c1", "_sre_Plan_Tasks", PLAN)]), says("planned"), says("hi")]);
    told(&world, &agent, &one, "plan").await;
    told(&world, &agent, &other, "hi").await;
    let asked = world.llm.asked();
    assert!(!asked[2].messages[0].text.contains("read it"), "the other conversation has no plan");
    // The next prompt goes on with it, on another engine.
    world.llm.answer([calls(&[("c2", "_sre_TasksCompleted", "{}")]), says("not yet")]);
    let events = all(ask(&world, 1, &agent, prompt(&one, "are you done?")).await.unwrap()).await;
    assert_eq!(end(&events).text, "not yet");
    let asked = world.llm.asked();
    assert!(asked[3].messages[0].text.contains("read it"), "the model sees the plan as it is");
    assert_eq!(asked[4].messages.last().unwrap().text, "These tasks are not completed: read, write");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_outlives_the_engine_that_made_it() {
    let world = World::new().await;
    world.server.hold("/tool/b");
    let agent = agent(&world).await;
    let conversation = opened_with(&world, &agent, planning()).await;
    world.llm.answer([
        calls(&[("c1", "_sre_Plan_Tasks", PLAN), ("c2", "go", r#"{"x":"b"}"#)]),
        calls(&[("c3", "_sre_TasksCompleted", "{}")]),
        says("so far"),
    ]);
    let mut stream = ask(&world, 0, &agent, prompt(&conversation, "plan and go")).await.unwrap();
    let mut seen = Vec::new();
    while !seen.iter().any(|event| word(event) == "planTasksAdded") {
        seen.push(stream.message().await.unwrap().unwrap());
    }
    world.server.called("/tool/b", 1).await;
    world.kill(0).await;
    let turn = seen[0].turn.clone();
    world.server.release("/tool/b");
    let request = WatchTurnRequest { name: conversation.name.clone(), turn, after: None };
    let rest = world.conversations("user/dev").watch_turn(at(1, request)).await.unwrap().into_inner();
    let rest = all(rest).await;
    assert_eq!(end(&rest).text, "so far");
    assert_eq!(words(&rest).iter().filter(|word| **word == "planTasksAdded").count(), 1, "once and for all");
    let last = world.llm.asked().pop().unwrap();
    assert_eq!(last.messages.last().unwrap().text, "These tasks are not completed: read, write");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_mode_there_are_no_such_tools() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([calls(&[("c1", "_sre_Plan_Tasks", PLAN)]), says("no plan")]);
    let events = told(&world, &agent, &conversation, "plan").await;
    assert!(!words(&events).contains(&"planTasksAdded"));
    let asked = world.llm.asked();
    assert_eq!(asked[0].tools.len(), 1);
    assert!(asked[1].messages.last().unwrap().text.contains("there is no tool"));
}
