//! `sre.gateway.v1.Runs`.

use sre_identity::Caller;
use sre_proto::gateway::v1::runs_server::Runs;
use sre_proto::gateway::v1::{
    CancelRunRequest, DeleteRunRequest, ExportRunRequest, ForkRunRequest, GetRunRequest, ListRunsRequest,
    ListRunsResponse, ListStepsRequest, ListStepsResponse, PauseRunRequest, ResumeRunRequest, Run,
    RunSkillRequest, RunSkillResponse, StartRunRequest, WatchRunRequest,
};
use tonic::{Request, Response, Status};

use super::answers::ValueView;
use super::core::Engine;
use super::requests::Wanted;
use super::start::{self, Asked, Reached};
use super::{debugger, fork, recording, runs, steps, triggers, watch};

/// The service.
pub struct RunsService {
    engine: Engine,
}

impl RunsService {
    /// Serves the runs of an engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl Runs for RunsService {
    async fn run_skill(
        &self,
        request: Request<RunSkillRequest>,
    ) -> Result<Response<RunSkillResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        if debugger::headers::wanted(&request) {
            let answer = debugger::headers::run(&self.engine, Caller::of(&extensions)?, request);
            return Ok(Response::new(Box::pin(answer).await?));
        }
        let view = ValueView::from(request.value_view);
        let asked = Asked {
            agent: request.agent,
            wanted: Wanted::of_run(request.call)?,
            session_id: request.session_id,
            version: request.version,
            request_id: request.request_id,
            timeout: request.timeout,
        };
        let answered = match start::run(&self.engine, Caller::of(&extensions)?, asked).await? {
            Reached::Run(answered) => answered,
            Reached::Reply(reply) => return Ok(Response::new(triggers::response(reply))),
        };
        Ok(Response::new(RunSkillResponse {
            run: answered.name,
            result: Some(answered.closed.result(view)),
            legacy_json: answered.closed.legacy.clone(),
            http_status: answered.closed.http_status,
        }))
    }

    async fn start_run(&self, request: Request<StartRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let asked = Asked {
            agent: request.agent,
            wanted: Wanted::of_start(request.call)?,
            session_id: request.session_id,
            version: request.version,
            request_id: request.request_id,
            timeout: request.timeout,
        };
        let run = start::start(&self.engine, Caller::of(&extensions)?, asked).await?;
        Ok(Response::new(runs::whole(&run)?))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (run, _) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(runs::whole(&run)?))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        Ok(Response::new(runs::list(&self.engine, Caller::of(&extensions)?, request).await?))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // The grant is recorded when it is dropped, after the work.
        let (run, _granted) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        let run = runs::cancel(&self.engine, run, &request.reason).await?;
        Ok(Response::new(runs::whole(&run)?))
    }

    async fn pause_run(&self, request: Request<PauseRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // The grant is recorded when it is dropped, after the work.
        let (run, _granted) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(runs::whole(&runs::pause(&self.engine, run).await?)?))
    }

    async fn resume_run(&self, request: Request<ResumeRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // The grant is recorded when it is dropped, after the work.
        let (run, _granted) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(runs::whole(&runs::resume(&self.engine, run).await?)?))
    }

    async fn delete_run(&self, request: Request<DeleteRunRequest>) -> Result<Response<()>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (run, _granted) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        self.engine.journal.delete(&run.run_id).await?;
        Ok(Response::new(()))
    }

    async fn list_steps(
        &self,
        request: Request<ListStepsRequest>,
    ) -> Result<Response<ListStepsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (run, _) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(steps::list(&self.engine, &run, &request).await?))
    }

    async fn fork_run(&self, request: Request<ForkRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let run = fork::fork(&self.engine, Caller::of(&extensions)?, request).await?;
        Ok(Response::new(runs::whole(&run)?))
    }

    type ExportRunStream = recording::export::Parts;

    async fn export_run(
        &self,
        request: Request<ExportRunRequest>,
    ) -> Result<Response<Self::ExportRunStream>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (run, _) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(recording::export::export(&self.engine, caller, &run).await?))
    }

    type WatchRunStream = watch::Events;

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<watch::Events>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (run, _) = runs::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(watch::follow(&self.engine, caller.clone(), run, request.after)))
    }
}
