//! Planner mode (`llm.md` §10.2): a model that plans before it acts. The plan belongs to one conversation: it is kept
//! with the conversation's messages, so that whoever goes on with a turn, or with the conversation, has it. Its tools
//! are answered by the turn itself: pure functions of the plan, each change of which is an event.

mod tasks;

use serde_json::{Value, json};
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{PlanTasksAdded, SubTasksAdded, TasksCleared, TasksCompleted, TasksUpdated};
use sre_proto::llm::v1::Tool;

pub use self::tasks::Plan;
use super::tools::Declared;

const ADD: &str = "_sre_Plan_Tasks";
const DIVIDE: &str = "_sre_AddSubTasks";
const UPDATE: &str = "_sre_UpdateTasks";
const COMPLETED: &str = "_sre_TasksCompleted";
const CLEAR: &str = "_sre_clearTasks";

/// What a model is told that plans.
const INSTRUCTIONS: &str = include_str!("planner/instructions.md");

/// What one of the tools answers, and what of it watchers see.
pub struct Answer {
    /// What the model reads.
    pub text: String,
    /// It was refused.
    pub failed: bool,
    /// The change of the plan; none where there is none.
    pub event: Option<Event>,
}

/// Whether a tool is one of the planner's.
pub fn is_tool(name: &str) -> bool {
    [ADD, DIVIDE, UPDATE, COMPLETED, CLEAR].contains(&name)
}

/// The system text of a model that plans, with the plan as it is.
pub fn instructed(system: &str, plan: Option<&Plan>) -> String {
    let mut text = system.to_owned();
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(INSTRUCTIONS.trim_end());
    if let Some(plan) = plan.filter(|plan| !plan.is_empty()) {
        text.push_str("\n\nThe plan of this conversation when this request came:\n");
        text.push_str(&plan.json().to_string());
    }
    text
}

/// The tools.
pub fn declared() -> Vec<Declared> {
    let tasks = json!({
        "type": "object",
        "description": "the tasks by an id of your choice",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "description": {"type": "string", "description": "what is to be done"},
                "summary": {"type": "string", "description": "the same in a few words"},
                "status": {"type": "string", "enum": tasks::STATUSES},
            },
        },
    });
    let task_id = |more: &str| json!({"type": "string", "description": format!("the task's id{more}")});
    let status = json!({"type": "string", "enum": tasks::STATUSES});
    let object = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required});
    let tool = |name: &str, description: &str, status: &str, parameters: Value| Declared {
        tool: Tool {
            name: name.to_owned(),
            description: description.to_owned(),
            parameters_json: parameters.to_string().into(),
        },
        status: status.to_owned(),
    };
    vec![
        tool(
            ADD,
            "Adds tasks to the plan, or changes those whose ids are there. Gives the whole plan.",
            "Planning",
            object(json!({"tasksList": tasks}), &["tasksList"]),
        ),
        tool(
            DIVIDE,
            "Divides a task of the plan into subtasks. Gives the whole plan.",
            "Planning",
            object(json!({"taskId": task_id(""), "subTasksList": tasks}), &["taskId", "subTasksList"]),
        ),
        tool(
            UPDATE,
            "Sets the status of a task or of a subtask. Gives the whole plan.",
            "Updating the plan",
            object(
                json!({"taskId": task_id("; of a subtask {taskId}.{subtaskId}"), "status": status}),
                &["taskId", "status"],
            ),
        ),
        tool(
            COMPLETED,
            "Tells whether all tasks are completed, and which are not. Call it before you give your last answer.",
            "Checking the plan",
            object(json!({}), &[]),
        ),
        tool(
            CLEAR,
            "Throws the plan away, for a request that has nothing to do with it.",
            "Clearing the plan",
            object(json!({}), &[]),
        ),
    ]
}

/// What the plan is after an event; none where the event does not change it.
pub fn changed(event: &Event) -> Option<Plan> {
    match event {
        Event::PlanTasksAdded(PlanTasksAdded { plan_json, .. })
        | Event::SubTasksAdded(SubTasksAdded { plan_json, .. })
        | Event::TasksUpdated(TasksUpdated { plan_json, .. }) => Plan::read(plan_json),
        Event::TasksCleared(_) => Some(Plan::default()),
        _ => None,
    }
}

/// Answers a call of one of the tools, and changes the plan as it says.
pub fn call(plan: &mut Plan, name: &str, arguments: &[u8], request_id: &str) -> Answer {
    let arguments: Value = serde_json::from_slice(arguments).unwrap_or_default();
    let done = match name {
        ADD => added(plan, &arguments, request_id),
        DIVIDE => divided(plan, &arguments, request_id),
        UPDATE => updated(plan, &arguments, request_id),
        COMPLETED => Ok(completed(plan, request_id)),
        _ => Ok(cleared(plan, request_id)),
    };
    match done {
        Ok((text, event)) => Answer { text, failed: false, event },
        Err(message) => Answer { text: json!({ "error": message }).to_string(), failed: true, event: None },
    }
}

type Done = Result<(String, Option<Event>), String>;

fn added(plan: &mut Plan, arguments: &Value, request_id: &str) -> Done {
    let tasks = plan.add(arguments.get("tasksList").unwrap_or(&Value::Null))?;
    let whole = plan.json().to_string();
    let event = PlanTasksAdded {
        request_id: request_id.to_owned(),
        tasks_json: Value::Object(tasks).to_string().into(),
        plan_json: whole.clone().into(),
    };
    Ok((whole, Some(Event::PlanTasksAdded(event))))
}

fn divided(plan: &mut Plan, arguments: &Value, request_id: &str) -> Done {
    let task_id = text(arguments, "taskId")?;
    let tasks = plan.divide(&task_id, arguments.get("subTasksList").unwrap_or(&Value::Null))?;
    let whole = plan.json().to_string();
    let event = SubTasksAdded {
        request_id: request_id.to_owned(),
        task_id,
        tasks_json: Value::Object(tasks).to_string().into(),
        plan_json: whole.clone().into(),
    };
    Ok((whole, Some(Event::SubTasksAdded(event))))
}

fn updated(plan: &mut Plan, arguments: &Value, request_id: &str) -> Done {
    let (task_id, status) = (text(arguments, "taskId")?, text(arguments, "status")?);
    plan.update(&task_id, &status)?;
    let whole = plan.json().to_string();
    let request_id = request_id.to_owned();
    let event = TasksUpdated { request_id, task_id, status, plan_json: whole.clone().into() };
    Ok((whole, Some(Event::TasksUpdated(event))))
}

fn completed(plan: &Plan, request_id: &str) -> (String, Option<Event>) {
    if plan.is_empty() {
        return ("There is no plan: nothing is to be completed.".to_owned(), None);
    }
    let open = plan.open();
    if !open.is_empty() {
        return (format!("These tasks are not completed: {}", open.join(", ")), None);
    }
    let event =
        TasksCompleted { request_id: request_id.to_owned(), plan_json: plan.json().to_string().into() };
    ("All tasks are completed.".to_owned(), Some(Event::TasksCompleted(event)))
}

fn cleared(plan: &mut Plan, request_id: &str) -> (String, Option<Event>) {
    let was = std::mem::take(plan);
    let event = TasksCleared { request_id: request_id.to_owned(), plan_json: was.json().to_string().into() };
    ("The plan is empty.".to_owned(), Some(Event::TasksCleared(event)))
}

fn text(arguments: &Value, name: &str) -> Result<String, String> {
    match arguments.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        // Models number tasks, and write the number as one.
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(format!("say {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(plan: &mut Plan, name: &str, arguments: Value) -> Answer {
        call(plan, name, arguments.to_string().as_bytes(), "r")
    }

    #[test]
    fn each_tool_tells_what_it_did() {
        let mut plan = Plan::default();
        let two = json!({"a": {"description": "one", "summary": "1", "status": "ongoing"}, "b": "two"});
        let answer = called(&mut plan, ADD, json!({"tasksList": two}));
        assert!(!answer.failed && matches!(&answer.event, Some(Event::PlanTasksAdded(_))));
        assert_eq!(changed(&answer.event.unwrap()), Some(plan.clone()));

        let answer = called(&mut plan, DIVIDE, json!({"taskId": "a", "subTasksList": "{\"x\": \"part\"}"}));
        assert!(matches!(&answer.event, Some(Event::SubTasksAdded(event)) if event.task_id == "a"));
        assert_eq!(changed(&answer.event.unwrap()), Some(plan.clone()));
        assert_eq!(
            plan.json()["a"]["subtasks"]["x"],
            json!({"description": "part", "summary": "", "status": "planned", "parentTaskId": "a"})
        );

        let answer = called(&mut plan, COMPLETED, json!({}));
        assert_eq!(answer.text, "These tasks are not completed: a, a.x, b");
        assert!(answer.event.is_none());
        for id in ["a.x", "a", "b"] {
            let answer = called(&mut plan, UPDATE, json!({"taskId": id, "status": "completed"}));
            assert!(matches!(&answer.event, Some(Event::TasksUpdated(event)) if event.task_id == id));
            assert_eq!(changed(&answer.event.unwrap()), Some(plan.clone()));
        }
        let answer = called(&mut plan, COMPLETED, json!({}));
        assert!(matches!(&answer.event, Some(Event::TasksCompleted(_))), "{}", answer.text);

        let answer = called(&mut plan, CLEAR, json!({}));
        assert!(plan.is_empty());
        assert_eq!(changed(&answer.event.unwrap()), Some(Plan::default()));
    }

    #[test]
    fn what_makes_no_sense_is_told_and_changes_nothing() {
        let mut plan = Plan::default();
        called(&mut plan, ADD, json!({"tasksList": {"a": "one"}}));
        let before = plan.clone();
        for (tool, arguments, words) in [
            (ADD, json!({}), "an object"),
            (ADD, json!({"tasksList": {"b": {"status": "someday"}}}), "planned, ongoing, completed"),
            (ADD, json!({"tasksList": {"b": 5}}), "task b"),
            (DIVIDE, json!({"taskId": "zz", "subTasksList": {"x": "y"}}), "there is no task"),
            (UPDATE, json!({"taskId": "a.b", "status": "completed"}), "there is no task"),
            (UPDATE, json!({"taskId": "a", "status": "done"}), "planned, ongoing, completed"),
            (UPDATE, json!({"status": "completed"}), "say taskId"),
        ] {
            let answer = called(&mut plan, tool, arguments.clone());
            assert!(answer.failed && answer.event.is_none(), "{arguments}");
            assert!(answer.text.contains(words), "{arguments}: {}", answer.text);
        }
        assert_eq!(plan, before);
    }

    #[test]
    fn d45_the_instructions_name_tools_that_there_are() {
        for word in INSTRUCTIONS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            assert!(!word.starts_with("_sre_") || is_tool(word), "{word}");
        }
        for tool in declared() {
            assert!(is_tool(&tool.tool.name) && INSTRUCTIONS.contains(&tool.tool.name), "{}", tool.tool.name);
        }
    }
}
