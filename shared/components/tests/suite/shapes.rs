//! Condition, Merge, Template and Transform in a workflow.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use sre_engine::RequestData;

use crate::context::Suite;
use crate::driver::{Agent, lone, result_of};

async fn of(type_name: &str, settings: Json, body: Json) -> Json {
    of_suite(&Suite::new(&[]), type_name, settings, body).await
}

async fn of_suite(suite: &Arc<Suite>, type_name: &str, settings: Json, body: Json) -> Json {
    let inputs: Vec<Json> = body.as_object().unwrap().keys().map(|name| json!({"name": name})).collect();
    let document = lone(type_name, settings, json!(inputs), json!([{"name": "Output", "default": true}]));
    result_of(suite, &document, body).await
}

fn grades() -> Json {
    json!([
        {"output": "High", "value": "{{Input.score}}", "operator": "greater", "compare": 80},
        {"output": "Middle", "match": "any", "conditions": [
            {"value": "{{Input.score}}", "operator": "greater", "compare": "{{Input.limit}}"},
            {"value": "{{Input.name}}", "operator": "equals", "compare": "Ann"}]},
    ])
}

#[tokio::test]
async fn the_first_branch_that_holds_runs() {
    let grade =
        async |input: Json| of("Condition", json!({"branches": grades()}), json!({"Input": input})).await;
    let high = json!({"score": "90", "limit": 50});
    assert_eq!(grade(high.clone()).await, json!({"High": high}));
    let middle = json!({"score": 60, "limit": 50});
    assert_eq!(grade(middle.clone()).await, json!({"Middle": middle}));
    let ann = json!({"name": "Ann"});
    assert_eq!(grade(ann.clone()).await, json!({"Middle": ann}));
    let low = json!({"score": 1, "limit": 50});
    assert_eq!(grade(low.clone()).await, json!({"Else": low}));
    // The same type under its other name, with the branches as text, and every branch that holds.
    let all = json!({"branches": grades().to_string(), "mode": "all"});
    let result = of("Switch", all, json!({"Input": high})).await;
    assert_eq!(result, json!({"High": high, "Middle": high}));
}

#[tokio::test]
async fn only_the_taken_branch_goes_on() {
    let branches = json!([{"output": "Yes", "value": "{{x}}", "operator": "is_true"}]);
    let mut document = lone(
        "Condition",
        json!({"branches": branches}),
        json!([{"name": "x"}]),
        json!([{"name": "Yes", "default": true}, {"name": "Else", "default": true}]),
    );
    let output = |id: &str| {
        json!({"id": id, "name": "APIOutput", "displayName": id, "title": id,
        "data": {"format": "minimal"}, "inputs": [{"name": id}], "outputs": [{"name": "Output", "default": true}]})
    };
    let link = |from: &str, to: &str| json!({"sourceId": "C", "sourceIndex": from, "targetId": to, "targetIndex": to});
    document["components"].as_array_mut().unwrap().extend([output("yes"), output("no")]);
    document["connections"].as_array_mut().unwrap().extend([link("Yes", "yes"), link("Else", "no")]);
    let agent = Agent::new(&document, Suite::new(&[]));
    for (x, name) in [(json!(true), "yes"), (json!("no"), "no")] {
        let answer = agent.call(RequestData::post("/api/e", json!({"x": x}).into())).await;
        assert_eq!(answer["data"], json!({name: {"x": x}}));
    }
}

#[tokio::test]
async fn conditions_that_make_no_sense_are_refused() {
    let result =
        of("Condition", json!({"branches": [{"output": "A", "operator": "like"}]}), json!({"x": 1})).await;
    assert!(result["_error"].as_str().unwrap().contains("`operator` must be one of"), "{result}");
    let result = of("Condition", json!({}), json!({"x": 1})).await;
    assert!(result["_error"].as_str().unwrap().contains("\"Branches\" is required"), "{result}");
    let branch =
        json!([{"output": "A", "value": "{{x}}", "operator": "less", "compare": "y", "type": "number"}]);
    let result = of("Condition", json!({"branches": branch}), json!({"x": 1})).await;
    assert_eq!(result["_error"], "branch 'A': a value of type string is no number");
}

#[tokio::test]
async fn request_data_is_no_condition() {
    let branch = json!([{"output": "A", "value": "{{x}}", "operator": "equals", "compare": "{{y}}"}]);
    let body = json!({"x": "{{secret}}", "y": "{{KEY(my-key)}}"});
    let result = of("Condition", json!({"branches": branch}), body.clone()).await;
    assert_eq!(result, json!({"Else": body}));
}

#[tokio::test]
async fn branches_are_merged() {
    let merge = async |settings: Json, body: Json| of("Merge", settings, body).await["Output"].clone();
    assert_eq!(merge(json!({}), json!({"a": 1, "b": [2]})).await, json!({"a": 1, "b": [2]}));
    assert_eq!(merge(json!({"mode": "first"}), json!({"a": null, "b": 2})).await, json!(2));
    assert_eq!(merge(json!({"mode": "append"}), json!({"a": [1], "b": 2})).await, json!([1, 2]));
    let lists = json!({"a": [{"id": 1, "x": 1}], "b": [{"id": 1, "y": 2}]});
    assert_eq!(
        merge(json!({"mode": "combine", "key": "id"}), lists).await,
        json!([{"id": 1, "x": 1, "y": 2}])
    );
    let wrong = of("Merge", json!({"mode": "zip"}), json!({"a": 1})).await;
    assert!(wrong["_error"].as_str().unwrap().contains("\"Mode\" must be one of"), "{wrong}");
}

#[tokio::test]
async fn templates_write_values_for_their_place() {
    let body = json!({"x": "a \"b\" {{secret}}", "o": {"k": [1]}});
    let fill = async |settings: Json| of("Template", settings, body.clone()).await;
    let text = fill(json!({"template": "{{greet}} {{x}} {{o.k[0]}} {{no}}"})).await;
    assert_eq!(text, json!({"Output": "Hello a \"b\" {{secret}} 1 {{no}}"}));
    let json =
        fill(json!({"template": "{\"t\": \"{{x}}\", \"o\": {{o}}, \"n\": {{no}}}", "format": "json"})).await;
    assert_eq!(json, json!({"Output": {"t": "a \"b\" {{secret}}", "o": {"k": [1]}, "n": null}}));
    let html = fill(json!({"template": "<p>{{x}}</p>", "format": "html"})).await;
    assert_eq!(html, json!({"Output": "<p>a &quot;b&quot; {{secret}}</p>"}));
    let key = fill(json!({"template": "{{KEY(my-key)}}", "missing": "error"})).await;
    assert_eq!(key, json!({"Output": "Hello vault"}));
    for (settings, wrong) in [
        (json!({"template": "{{no}}", "missing": "error"}), "nothing stands for {{no}}"),
        (json!({"template": "{{KEY(no)}}"}), "Vault key 'no' not found"),
        (json!({"template": "prose", "format": "json"}), "is no JSON"),
        (json!({"template": "x", "format": "pdf"}), "\"Format\" must be one of"),
        (json!({}), "\"Template\" is required"),
    ] {
        let result = fill(settings.clone()).await;
        assert!(result["_error"].as_str().unwrap_or_default().contains(wrong), "{settings}: {result}");
    }
}

#[tokio::test]
async fn values_get_another_shape() {
    let input = json!({"user": {"name": "Ann", "mail": "a@b.c", "tags": ["x"]}, "n": 5});
    let body = json!({"Input": input, "who": {"id": 7}});
    let shape = async |settings: Json| of("Transform", settings, body.clone()).await;
    let settings = json!({
        "omit": "user.mail", "rename": {"user.name": "name", "n": "count"},
        "set": "{\"who\": \"{{who}}\", \"text\": \"id {{who.id}}\"}",
    });
    assert_eq!(
        shape(settings).await,
        json!({"Output": {"user": {"tags": ["x"]}, "count": 5, "name": "Ann",
        "who": {"id": 7}, "text": "id 7"}})
    );
    assert_eq!(shape(json!({"query": "user.tags[0]"})).await, json!({"Output": "x"}));
    let settings = json!({"query": "user", "pick": ["name"]});
    assert_eq!(shape(settings).await, json!({"Output": {"name": "Ann"}}));
    assert_eq!(shape(json!({})).await, json!({"Output": input}));
    for (settings, wrong) in [
        (json!({"query": "user["}), "\"Query\" is no JMESPath expression"),
        (json!({"query": "sum(user.name)"}), "the query failed"),
        (json!({"query": "n", "pick": ["x"]}), "type number has no members"),
        (json!({"pick": 5}), "\"Pick\" must be a list of paths"),
        (json!({"rename": "no json"}), "\"Rename\" must be an object"),
        (json!({"rename": {"a": ""}}), "must name a new path"),
        (json!({"set": {"n.x": 1}}), "'n' in 'n.x' is of type number"),
    ] {
        let result = shape(settings.clone()).await;
        assert!(result["_error"].as_str().unwrap_or_default().contains(wrong), "{settings}: {result}");
    }
}
