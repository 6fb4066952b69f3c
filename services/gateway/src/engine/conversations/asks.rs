//! A turn's call of its model: the window, the request that is durable before it is sent, the answer.

use sre_proto::llm::v1::GenerateResponse;
use tonic::Status;

use super::drive::{Drive, Waited};
use super::{model, summary};
use crate::engine::drive::Stopped;

impl Drive {
    /// Calls the model, or sums up first.
    pub(super) async fn ask(&mut self, with_tools: bool) -> Result<(), Stopped> {
        let scope = self.scope.clone();
        if self.log.is_none() {
            match self.read_log().await? {
                Some(log) => self.log = Some(log),
                None => return Ok(()),
            }
        }
        if self.asking.is_none() {
            match self.wait(model::asking(&scope, self.turn.plan.as_ref())).await? {
                Waited::Ready(Ok(asking)) => {
                    if let Some(turn) = &scope.span {
                        turn.asks(&asking);
                    }
                    self.asking = Some(asking);
                }
                Waited::Ready(Err(status)) => {
                    self.fail_by(&status);
                    return Ok(());
                }
                Waited::Look => return Ok(()),
            }
        }
        let (Some(log), Some(asking)) = (&self.log, &self.asking) else { return Ok(()) };
        let weights = &scope.engine.conversations.weights;
        let weighed = match self.wait(weights.weigh(&asking.link, &asking.name, log)).await? {
            Waited::Ready(weighed) => weighed,
            Waited::Look => return Ok(()),
        };
        if !self.compacted {
            self.compacted = true;
            if let Some((up_to, request)) = summary::wanted(&scope, asking, &weighed, self.turn.from) {
                return Box::pin(self.compact(up_to, request)).await;
            }
        }
        let prepared =
            match asking.prepare(&scope, &weighed, self.turn.from, with_tools, &mut self.attachments).await {
                Ok(prepared) => prepared,
                Err(status) => {
                    self.fail_by(&status);
                    return Ok(());
                }
            };
        let (name, link) = (asking.name.clone(), asking.link.clone());
        let counted = prepared.requested.context_tokens;
        self.turn.window_from = prepared.from;
        let entries = self.turn.ask(prepared.requested);
        self.commit(entries);
        self.journal.flush().await?;
        match self.wait(Box::pin(model::call(&scope, link, prepared.request))).await? {
            Waited::Ready(Ok(response)) => {
                if let Some(used) = &response.usage {
                    weights.learn(&name, counted, used.input_tokens);
                }
                self.use_up(&response);
                let entries = self.turn.answered(response, &name);
                self.commit(entries);
            }
            Waited::Ready(Err(status)) => self.fail_by(&status),
            Waited::Look => {}
        }
        Ok(())
    }

    fn use_up(&mut self, response: &GenerateResponse) {
        /// A longer event of the ledger is none.
        const MOST_USED_BYTES: usize = 4096;
        let used = &response.usage_event;
        if !used.is_empty() && used.len() <= MOST_USED_BYTES {
            self.journal.use_up([used.clone()]);
        }
    }

    /// Sums up older messages. Where the model fails, they are left out in the end.
    async fn compact(
        &mut self,
        up_to: i64,
        request: sre_proto::llm::v1::GenerateRequest,
    ) -> Result<(), Stopped> {
        let scope = self.scope.clone();
        let call = async {
            let link = scope.link(sre_service::Role::Llm).await?;
            let mut call = tonic::Request::new(request);
            call.set_timeout(scope.left());
            let client = sre_proto::llm::v1::inference_client::InferenceClient::new(link);
            Ok::<_, Status>(client.max_decoding_message_size(8 << 20).generate(call).await?.into_inner())
        };
        self.journal.flush().await?;
        match self.wait(Box::pin(call)).await? {
            Waited::Ready(Ok(response)) => {
                self.use_up(&response);
                let entry = summary::entry(&scope, up_to, &response);
                self.commit(entry.into_iter().collect());
            }
            Waited::Ready(Err(status)) => {
                tracing::info!(run = scope.id, %status, "a conversation could not be summed up");
            }
            Waited::Look => {}
        }
        Ok(())
    }
}
