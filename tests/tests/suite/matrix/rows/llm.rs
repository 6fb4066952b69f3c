//! `sre.llm.v1`: models are everybody's; only credentials can be wrong. What a team adds or limits is its admins'.

use anyhow::ensure;
use sre_proto::llm::v1::*;

use super::super::case::{Case, TeamRight};
use super::super::painter::PAINTER;
use super::super::world::World;

pub fn inference(method: &str) -> Option<Case> {
    let said = ChatMessage { role: ChatRole::User.into(), text: "hello".into(), ..ChatMessage::default() };
    let request =
        GenerateRequest { model: "Echo".into(), messages: vec![said], ..GenerateRequest::default() };
    match method {
        "Generate" => Some(Case::of(&request).open().answers(|answer: GenerateResponse| {
            ensure!(answer.text.contains("hello"), "{answer:?}");
            Ok(())
        })),
        "GenerateStream" => {
            let request = GenerateStreamRequest { request: Some(request) };
            Some(Case::of(&request).open().streams(|events: Vec<GenerateEvent>| {
                let last = events.last().and_then(|event| event.event.clone());
                let Some(generate_event::Event::Finished(answer)) = last else { anyhow::bail!("{events:?}") };
                ensure!(answer.text.contains("hello"), "{answer:?}");
                Ok(())
            }))
        }
        "CountTokens" => {
            let request = CountTokensRequest { model: "Echo".into(), texts: vec!["hello".into(), "".into()] };
            Some(Case::of(&request).open().answers(|answer: CountTokensResponse| {
                ensure!(answer.tokens.len() == 2 && answer.tokens[0] > answer.tokens[1], "{answer:?}");
                Ok(())
            }))
        }
        "GenerateImage" => {
            let request = GenerateImageRequest {
                model: PAINTER.into(),
                prompt: "a house".into(),
                ..GenerateImageRequest::default()
            };
            Some(Case::of(&request).open().streams(|pieces: Vec<GenerateImageResponse>| {
                let last = pieces.last().and_then(|piece| piece.part.clone());
                let Some(generate_image_response::Part::Finished(finished)) = last else {
                    anyhow::bail!("{pieces:?}")
                };
                ensure!(finished.count == 1 && pieces.len() > 1, "{finished:?}");
                Ok(())
            }))
        }
        "Embed" => Some(Case::of(&embed()).open().answers(embedded)),
        "EmbedUnkeyed" => {
            let request = EmbedUnkeyedRequest { request: Some(embed()) };
            Some(Case::of(&request).services("io", "io").answers(embedded))
        }
        _ => None,
    }
}

fn embed() -> EmbedRequest {
    EmbedRequest { model: "hash-embedding".into(), texts: vec!["hello".into()], ..EmbedRequest::default() }
}

fn embedded(answer: EmbedResponse) -> anyhow::Result<()> {
    ensure!(answer.embeddings.len() == 1 && answer.embeddings[0].values.len() == 384, "{answer:?}");
    Ok(())
}

pub async fn models(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    const TEAM: &str = "teams/default";
    const ABSENT: &str = "teams/nowhere";
    let model = |name: &str| TeamModel {
        name: name.into(),
        provider: "OpenAI".into(),
        model_id: world.fresh("model-id"),
        base_url: "https://models.example/v1".into(),
        ..TeamModel::default()
    };
    let create = |parent: &str, id: &str| CreateTeamModelRequest {
        parent: parent.into(),
        model_id: id.into(),
        model: Some(model("")),
    };
    let id = world.fresh("model");
    let name = format!("{TEAM}/models/{id}");
    let absent = format!("{ABSENT}/models/m");
    if matches!(method, "GetTeamModel" | "ListTeamModels" | "UpdateTeamModel" | "DeleteTeamModel") {
        world.dev(create(TEAM, &id)).await?;
    }
    Ok(match method {
        "ListModels" => {
            Some(Case::of(&ListModelsRequest::default()).open().answers(|list: ListModelsResponse| {
                ensure!(list.models.iter().any(|model| model.name == "models/Echo"), "{list:?}");
                Ok(())
            }))
        }
        "GetModel" => {
            Some(Case::of(&GetModelRequest { name: "models/Echo".into() }).open().answers(|model: Model| {
                ensure!(model.usable, "{model:?}");
                Ok(())
            }))
        }
        "CreateTeamModel" => {
            let request = create(TEAM, &world.fresh("new-model"));
            Some(Case::of(&request).absent(&create(ABSENT, "m")).by_team(TeamRight::Admin).stores())
        }
        "GetTeamModel" => {
            let request = |name: &str| GetTeamModelRequest { name: name.into() };
            let case = Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Member);
            Some(case.answers(move |model: TeamModel| {
                ensure!(model.name == name, "{model:?}");
                Ok(())
            }))
        }
        "ListTeamModels" => {
            let request = |parent: &str| ListTeamModelsRequest { parent: parent.into() };
            let case = Case::of(&request(TEAM)).absent(&request(ABSENT)).by_team(TeamRight::Member);
            Some(case.answers(move |list: ListTeamModelsResponse| {
                ensure!(list.models.iter().any(|model| model.name == name), "{list:?}");
                Ok(())
            }))
        }
        "UpdateTeamModel" => {
            let request = |name: &str| UpdateTeamModelRequest { model: Some(model(name)) };
            Some(Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Admin).stores())
        }
        "DeleteTeamModel" => {
            let request = |name: &str| DeleteTeamModelRequest { name: name.into(), etag: String::new() };
            Some(Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Admin).stores())
        }
        _ => None,
    })
}

pub async fn budgets(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    const TEAM: &str = "teams/default";
    const ABSENT: &str = "teams/nowhere";
    let budget = |name: &str, limit: i64| Budget {
        name: name.into(),
        subject: BudgetSubject::Agent.into(),
        subject_id: "nobody".into(),
        unit: BudgetUnit::Requests.into(),
        window: BudgetWindow::Minute.into(),
        limit,
        ..Budget::default()
    };
    let create = |parent: &str, id: &str| CreateBudgetRequest {
        parent: parent.into(),
        budget_id: id.into(),
        budget: Some(budget("", 1_000)),
    };
    let id = world.fresh("budget");
    let name = format!("{TEAM}/budgets/{id}");
    let absent = format!("{ABSENT}/budgets/b");
    if method != "CreateBudget" {
        world.dev(create(TEAM, &id)).await?;
    }
    Ok(match method {
        "CreateBudget" => {
            let request = create(TEAM, &world.fresh("new-budget"));
            Some(Case::of(&request).absent(&create(ABSENT, "b")).by_team(TeamRight::Admin).stores())
        }
        "GetBudget" => {
            let request = |name: &str| GetBudgetRequest { name: name.into() };
            let case = Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Member);
            Some(case.answers(move |budget: Budget| {
                ensure!(budget.name == name && budget.limit == 1_000, "{budget:?}");
                Ok(())
            }))
        }
        "ListBudgets" => {
            let request = |parent: &str| ListBudgetsRequest { parent: parent.into() };
            let case = Case::of(&request(TEAM)).absent(&request(ABSENT)).by_team(TeamRight::Member);
            Some(case.answers(move |list: ListBudgetsResponse| {
                ensure!(list.budgets.iter().any(|budget| budget.name == name), "{list:?}");
                Ok(())
            }))
        }
        "UpdateBudget" => {
            let request = |name: &str| UpdateBudgetRequest { budget: Some(budget(name, 2_000)) };
            Some(Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Admin).stores())
        }
        "DeleteBudget" => {
            let request = |name: &str| DeleteBudgetRequest { name: name.into(), etag: String::new() };
            Some(Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Admin).stores())
        }
        "GetBudgetState" => {
            let request = |name: &str| GetBudgetStateRequest { name: name.into(), ..Default::default() };
            let case = Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Member);
            Some(case.answers(|state: BudgetState| {
                ensure!(state.used == 0 && state.remaining == 1_000, "{state:?}");
                Ok(())
            }))
        }
        _ => None,
    })
}
