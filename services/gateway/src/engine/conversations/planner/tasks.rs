//! A plan: tasks by id, which may have subtasks by id.

use serde_json::{Map, Value, json};
use sre_engine::data::permissive_json;

/// Where a task stands.
pub const STATUSES: [&str; 3] = ["planned", "ongoing", "completed"];

/// Tasks of a plan, subtasks among them.
const MOST_TASKS: usize = 200;
/// Bytes of a plan: it is kept with the messages of its conversation.
const MOST_BYTES: usize = 64 << 10;
const ID_CHARACTERS: usize = 100;

/// Tasks by id: `{description, summary, status}`, and `subtasks` of the same kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan(Map<String, Value>);

impl Plan {
    /// Reads what [`Plan::json`] gave; none where there is nothing.
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self)
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds tasks, or changes those that are there; gives them in full.
    pub fn add(&mut self, list: &Value) -> Result<Map<String, Value>, String> {
        let tasks = tasks(list, "tasksList")?;
        let mut changed = self.clone();
        for (id, task) in &tasks {
            merge(&mut changed.0, id, task);
        }
        self.become_if_it_fits(changed)?;
        Ok(tasks)
    }

    /// Adds subtasks to a task; gives them in full.
    pub fn divide(&mut self, task_id: &str, list: &Value) -> Result<Map<String, Value>, String> {
        let mut subtasks = tasks(list, "subTasksList")?;
        let mut changed = self.clone();
        let parent = changed.0.get_mut(task_id).and_then(Value::as_object_mut);
        let parent = parent.ok_or_else(|| self.unknown(task_id))?;
        for subtask in subtasks.values_mut() {
            subtask["parentTaskId"] = task_id.into();
        }
        let known = parent.entry("subtasks").or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            for (id, subtask) in &subtasks {
                merge(known, id, subtask);
            }
        }
        self.become_if_it_fits(changed)?;
        Ok(subtasks)
    }

    /// Sets the status of a task, or of the subtask `{task}.{subtask}`.
    pub fn update(&mut self, task_id: &str, status: &str) -> Result<(), String> {
        let status = self::status(status)?;
        let unknown = self.unknown(task_id);
        let task = self.find(task_id).ok_or(unknown)?;
        task["status"] = status.into();
        Ok(())
    }

    /// The ids of tasks and subtasks that are not completed.
    pub fn open(&self) -> Vec<String> {
        let is_open = |task: &Value| task["status"] != "completed";
        let mut open = Vec::new();
        for (id, task) in &self.0 {
            if is_open(task) {
                open.push(id.clone());
            }
            let subtasks = task["subtasks"].as_object().into_iter().flatten();
            open.extend(subtasks.filter(|(_, task)| is_open(task)).map(|(sub, _)| format!("{id}.{sub}")));
        }
        open
    }

    /// Ids of tasks may have points as well, so what is a task's is looked for first.
    fn find(&mut self, task_id: &str) -> Option<&mut Value> {
        if self.0.contains_key(task_id) {
            return self.0.get_mut(task_id);
        }
        let points = task_id.match_indices('.').map(|(at, _)| (&task_id[..at], &task_id[at + 1..]));
        let has = |(parent, sub): &(&str, &str)| {
            self.0.get(*parent).is_some_and(|task| task["subtasks"].get(*sub).is_some())
        };
        let (parent, sub) = points.into_iter().find(has)?;
        self.0.get_mut(parent)?.get_mut("subtasks")?.get_mut(sub)
    }

    fn unknown(&self, task_id: &str) -> String {
        let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
        format!("there is no task {task_id:?}; the tasks are: {}", known.join(", "))
    }

    fn become_if_it_fits(&mut self, changed: Self) -> Result<(), String> {
        let subtasks = changed.0.values().filter_map(|task| task["subtasks"].as_object()).map(Map::len);
        if changed.0.len() + subtasks.sum::<usize>() > MOST_TASKS {
            return Err(format!("a plan has {MOST_TASKS} tasks at most: clear it, or plan in larger steps"));
        }
        if changed.json().to_string().len() > MOST_BYTES {
            return Err(format!("a plan has {MOST_BYTES} bytes at most: describe tasks in fewer words"));
        }
        *self = changed;
        Ok(())
    }
}

/// Tasks as a model writes them: an object, or its text.
fn tasks(list: &Value, name: &str) -> Result<Map<String, Value>, String> {
    let parsed = list.as_str().and_then(permissive_json::parse).map(Value::from);
    let Some(Value::Object(list)) = parsed.or_else(|| Some(list.clone())) else {
        return Err(format!("{name} is an object of tasks by id"));
    };
    if list.is_empty() {
        return Err(format!("{name} is an object of tasks by id, with one task at least"));
    }
    let mut tasks = Map::new();
    for (id, value) in list {
        if id.is_empty() || id.chars().count() > ID_CHARACTERS {
            return Err(format!("an id of a task has {ID_CHARACTERS} characters at most, and one at least"));
        }
        let task = task(&id, &value)?;
        tasks.insert(id, task);
    }
    Ok(tasks)
}

fn task(id: &str, value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => Ok(json!({"description": text, "summary": "", "status": "planned"})),
        Value::Object(task) => {
            let text = |name: &str| task.get(name).and_then(Value::as_str).unwrap_or_default();
            let status = match text("status") {
                "" => "planned",
                status => self::status(status)?,
            };
            Ok(json!({"description": text("description"), "summary": text("summary"), "status": status}))
        }
        _ => Err(format!("task {id} is an object with description, summary and status, or a text")),
    }
}

fn status(text: &str) -> Result<&'static str, String> {
    let known = STATUSES.into_iter().find(|known| *known == text);
    known.ok_or_else(|| format!("the status {text:?} is none: it is one of {}", STATUSES.join(", ")))
}

/// Puts a task in place of one of the same id, whose subtasks stay.
fn merge(tasks: &mut Map<String, Value>, id: &str, task: &Value) {
    let mut task = task.clone();
    if let Some(subtasks) = tasks.get(id).and_then(|known| known.get("subtasks")) {
        task["subtasks"] = subtasks.clone();
    }
    tasks.insert(id.to_owned(), task);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_have_points() {
        let mut plan = Plan::default();
        plan.add(&json!({"1": "a", "1.1": "b"})).unwrap();
        plan.divide("1", &json!({"2": "c"})).unwrap();
        plan.update("1.1", "completed").unwrap();
        plan.update("1.2", "ongoing").unwrap();
        assert_eq!(plan.json()["1.1"]["status"], "completed");
        assert_eq!(plan.json()["1"]["subtasks"]["2"]["status"], "ongoing");
        assert_eq!(plan.open(), ["1", "1.2"]);
    }

    #[test]
    fn a_task_that_is_planned_again_keeps_its_subtasks() {
        let mut plan = Plan::default();
        plan.add(&json!({"a": "one"})).unwrap();
        plan.divide("a", &json!({"x": "part"})).unwrap();
        plan.add(&json!({"a": {"description": "two", "status": "ongoing"}})).unwrap();
        assert_eq!(plan.json()["a"]["description"], "two");
        assert!(plan.json()["a"]["subtasks"]["x"].is_object());
    }

    #[test]
    fn a_plan_has_an_end() {
        let mut plan = Plan::default();
        let many: Map<String, Value> = (0..=MOST_TASKS).map(|n| (n.to_string(), "t".into())).collect();
        assert!(plan.add(&many.into()).unwrap_err().contains("200 tasks"));
        let long = json!({"a": "x".repeat(MOST_BYTES)});
        assert!(plan.add(&long).unwrap_err().contains("fewer words"));
        assert!(plan.is_empty());
    }
}
