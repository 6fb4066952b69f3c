//! A turn's calls of tools: several at once, each durable before it begins.

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::super::child::{self, Answer, Running};
use super::super::machine::Call;
use super::super::own_tools::OwnTools;
use super::{Drive, FIRST_WAIT, Waited};
use crate::engine::drive::Stopped;
use crate::engine::journal::queue::worth_repeating;
use crate::engine::journal::run::{Flushed, Parking};
use crate::engine::ready::{at, written};

type Tools = FuturesUnordered<BoxFuture<'static, (usize, Answer)>>;

/// A call that began.
enum Begun {
    /// As this run.
    Run(Running),
    /// Here: the tool is a component's.
    Here(Call),
}

impl Drive {
    /// Runs tools until all that are open have their results, or the turn has to look up. True where it left memory.
    pub(super) async fn run_tools(&mut self, open: Vec<usize>) -> Result<bool, Stopped> {
        let scope = self.scope.clone();
        let mut waiting: Vec<usize> = open.into_iter().rev().collect();
        let mut tools = Tools::new();
        let mut writing: Option<Flushed> = None;
        let lost = self.journal.lease().lost().clone();
        let patience = scope.engine.host.config().gateway.park_after();
        let mut parks_at = Instant::now() + patience;
        loop {
            while tools.len() < scope.led.parallel
                && let Some(index) = waiting.pop()
            {
                match Box::pin(self.start_tool(index)).await? {
                    Some(Begun::Run(running)) => {
                        let (scope, request) = (scope.clone(), self.turn.request.clone());
                        let answered = async move { (index, child::wait(&scope, &request, running).await) };
                        tools.push(Box::pin(answered));
                    }
                    Some(Begun::Here(call)) => {
                        let scope = scope.clone();
                        let request = self.turn.request.clone();
                        tools.push(Box::pin(async move {
                            let answer = match &scope.own_tools {
                                Some(own) => own.call(&scope.id, &request, &call).await,
                                None => Answer::failure("the tool is gone"),
                            };
                            (index, answer)
                        }));
                    }
                    None if self.scope.live.cancel.token().is_cancelled() => return Ok(false),
                    None => {}
                }
            }
            if tools.is_empty() {
                return Ok(false);
            }
            if writing.is_none() && self.journal.is_dirty() {
                writing = Some(self.journal.flush());
            }
            tokio::select! {
                biased;
                () = scope.live.cancel.token().cancelled() => return Ok(false),
                () = lost.cancelled() => return Err(Stopped::SessionOver),
                Some((index, answer)) = tools.next() => {
                    let entries = self.turn.finished(index, &answer.text, answer.failed);
                    self.commit(entries);
                    parks_at = Instant::now() + patience;
                }
                Some(done) = written(&mut writing) => {
                    done?;
                    writing = None;
                }
                () = scope.live.inbox.arrived() => self.heed(),
                () = at(Some(parks_at)), if writing.is_none() && scope.own_tools.is_none() => {
                    let runs = self.turn.calls().iter().filter(|call| !call.done && !call.run.is_empty());
                    let runs = runs.map(|call| call.run.rsplit('/').next().unwrap_or_default().to_owned());
                    let parking = Parking { wake_on_end: runs.collect(), ..Parking::default() };
                    if self.park(parking).await? {
                        return Ok(true);
                    }
                    self.heed();
                    parks_at = Instant::now() + patience;
                }
                () = tokio::time::sleep_until(scope.deadline) => return Ok(false),
            }
        }
    }

    /// The run of a call, opened unless it was; none where it has its result, or the turn has to look up.
    async fn start_tool(&mut self, index: usize) -> Result<Option<Begun>, Stopped> {
        let scope = self.scope.clone();
        let Some(call) = self.turn.calls().get(index).cloned() else { return Ok(None) };
        if let Some(own) = &scope.own_tools {
            return self.start_here(index, call, own).await;
        }
        if !call.run.is_empty() {
            return Ok(call.run.rsplit('/').next().map(|run| {
                let hearing = scope.engine.live.hear(run);
                Begun::Run(Running { run: run.to_owned(), hearing })
            }));
        }
        let request = self.turn.request.clone();
        loop {
            match self.wait(Box::pin(child::open(&scope, &request, &call))).await? {
                Waited::Ready(Ok(Ok(running))) => {
                    let entries = self.turn.started(index, &scope.run_name(&running.run));
                    self.commit(entries);
                    return Ok(Some(Begun::Run(running)));
                }
                Waited::Ready(Ok(Err(answer))) => {
                    let entries = self.turn.finished(index, &answer.text, answer.failed);
                    self.commit(entries);
                    return Ok(None);
                }
                Waited::Ready(Err(status)) if worth_repeating(&status) => {
                    self.wait(scope.slot.lend(tokio::time::sleep(FIRST_WAIT))).await?;
                }
                Waited::Ready(Err(status)) => {
                    let answer = Answer::failure(status.message());
                    let entries = self.turn.finished(index, &answer.text, answer.failed);
                    self.commit(entries);
                    return Ok(None);
                }
                Waited::Look => return Ok(None),
            }
        }
    }

    /// A call of a component's own tool. One that an engine began which died is made again only where that does no
    /// harm.
    async fn start_here(
        &mut self,
        index: usize,
        call: Call,
        own: &OwnTools,
    ) -> Result<Option<Begun>, Stopped> {
        if call.begun && !own.is_repeatable(&call.called.name) {
            let answer = Answer::failure(
                "the call was interrupted and nobody knows whether it happened: find out before calling it again",
            );
            let entries = self.turn.finished(index, &answer.text, answer.failed);
            self.commit(entries);
            return Ok(None);
        }
        if !call.begun {
            let entries = self.turn.started(index, "");
            self.commit(entries);
            self.journal.flush().await?;
        }
        Ok(Some(Begun::Here(call)))
    }
}
