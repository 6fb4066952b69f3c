//! An activation of a component out of process: rendered once, sent to an endpoint that is well, and again to another
//! where that is right.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng as _;
use sre_components::external::request::{Rendered, render_call};
use sre_components::external::{Declaration, answer};
use sre_components::{Call, Context, LookedUp};
use sre_engine::spec::OnUncertain;
use sre_engine::{Effect, Outcome};
use sre_proto::component::v1::look_up_response::Found;
use sre_proto::component::v1::{Activation as Sent, Answer, Failure, FailureKind, LookUpRequest};
use sre_proto::error::{Reason, name};
use sre_service::Role;
use sre_service::connectors::grpc::with_causes;
use sre_service::telemetry::spans::TraceParent;
use tokio::time::Instant;
use tonic::{Request, Status};

use super::call::{self, Ended};
use super::catalogue::Resolved;
use super::endpoint::Endpoint;
use crate::engine::context::ActivationContext;
use crate::engine::scope::RunScope;

/// Between attempts: the first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A component that died is asked again for so long, in these steps.
const COMES_BACK: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long it may take to find out what became of one.
const LOOK_UP_TIME: Duration = Duration::from_secs(30);

/// What came of it.
pub enum Executed {
    /// An outcome.
    Finished(Outcome),
    /// It broke off, and whether its effect happened is for its policy.
    Uncertain(String),
}

/// Executes an activation.
pub async fn execute(
    scope: &Arc<RunScope>,
    compiled: &Resolved,
    call: Call<'_>,
    context: &ActivationContext,
    policy: OnUncertain,
) -> Executed {
    let work = Work::prepare(scope, compiled, call, context).await;
    match work {
        Ok(work) => match work.run(policy).await {
            Ok(executed) => executed,
            Err(message) => Executed::Finished(Outcome::error(message)),
        },
        Err(message) => Executed::Finished(Outcome::error(message)),
    }
}

/// Finds out whether an activation's effect happened.
pub async fn look_up(
    scope: &Arc<RunScope>,
    compiled: &Resolved,
    call: Call<'_>,
    context: &ActivationContext,
) -> LookedUp {
    if !compiled.declared.can_look_up {
        return LookedUp::Unknown(format!(
            "{} cannot find out whether it happened",
            compiled.declared.name()
        ));
    }
    let found = async {
        let work = Work::prepare(scope, compiled, call, context).await?;
        let activation = work.activation(1).await?;
        let mut last = String::new();
        let until = Instant::now() + COMES_BACK;
        // Asking changes nothing, so it is asked again: whoever died in the call may be back soon.
        loop {
            for endpoint in work.by_preference(None) {
                let asked = async {
                    let mut client = endpoint.client().await?;
                    let mut request = Request::new(LookUpRequest { activation: Some(activation.clone()) });
                    request.set_timeout(LOOK_UP_TIME.min(scope.left()));
                    client.look_up(request).await.map_err(|status| with_causes(&status))
                };
                match asked.await {
                    Ok(answer) => return work.looked_up(answer.into_inner().found).await,
                    Err(problem) => last = format!("{}: {problem}", endpoint.address()),
                }
            }
            if Instant::now() + AGAIN_AFTER >= until {
                return Err(last);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    let limit = LOOK_UP_TIME.min(scope.left());
    match tokio::time::timeout(limit, found).await {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => LookedUp::Unknown(why),
        Err(_) => LookedUp::Unknown("the component does not say in time".to_owned()),
    }
}

/// One activation, rendered.
struct Work<'a> {
    scope: &'a Arc<RunScope>,
    /// As it is registered now.
    resolved: Arc<Resolved>,
    call: Call<'a>,
    context: &'a ActivationContext,
    rendered: Rendered,
    until: Instant,
}

impl<'a> Work<'a> {
    async fn prepare(
        scope: &'a Arc<RunScope>,
        compiled: &Resolved,
        call: Call<'a>,
        context: &'a ActivationContext,
    ) -> Result<Self, String> {
        let resolved = current(scope, compiled).await?;
        let max_bytes = scope.engine.host.config().components.max_input_bytes;
        let rendered =
            render_call(call, resolved.declared, max_bytes).await.map_err(|error| error.message)?;
        let own = resolved.declared.bounds.time.map(|time| Instant::now() + time);
        let until = own.map_or(scope.deadline, |own| own.min(scope.deadline));
        Ok(Self { scope, resolved, call, context, rendered, until })
    }

    fn declared(&self) -> &'static Declaration {
        self.resolved.declared
    }

    /// Tries until it is done. The error is the message of a failure.
    async fn run(&self, policy: OnUncertain) -> Result<Executed, String> {
        let kind = self.declared().name();
        let unsafe_to_repeat =
            self.declared().entry.spec.effect == Effect::Effect && policy != OnUncertain::Retry;
        let most = self.scope.engine.host.config().components.max_attempts;
        let mut last = String::new();
        let mut avoid: Option<Arc<Endpoint>> = None;
        for attempt in 1..=most {
            if attempt > 1 && !self.pause(attempt).await {
                break;
            }
            let Some(endpoint) = self.by_preference(avoid.as_ref()).into_iter().next() else {
                return Err(format!("Component {kind} has no endpoints: its registration names none"));
            };
            if let Some(why) = endpoint.resting() {
                last = unavailable(&format!("Component {kind} cannot be reached"), &why);
                avoid = Some(endpoint);
                continue;
            }
            let ended = self.attempt(&endpoint, attempt).await?;
            metrics::counter!("sre_component_attempts_total", "result" => ended.word()).increment(1);
            match ended {
                Ended::Answered(answer) => {
                    endpoint.succeeded();
                    return self.outcome(&answer).await.map(Executed::Finished);
                }
                Ended::Failed(failure) if failure.kind() == FailureKind::Unavailable => {
                    endpoint.succeeded();
                    last = message_of(kind, &failure);
                }
                Ended::Failed(failure) => {
                    endpoint.succeeded();
                    return Err(message_of(kind, &failure));
                }
                Ended::Unreached(why) => {
                    endpoint.failed();
                    last = unavailable(&format!("Component {kind} cannot be reached"), &why);
                }
                Ended::Broken(why) => {
                    endpoint.failed();
                    last = unavailable(&format!("Component {kind} went away during the call"), &why);
                    if unsafe_to_repeat {
                        return Ok(Executed::Uncertain(last));
                    }
                }
                Ended::Wrong(why) => return Err(format!("Component {kind} refused the call: {why}")),
                Ended::Late => {
                    let time = self.declared().bounds.time.filter(|_| self.until < self.scope.deadline);
                    let time = time.unwrap_or(self.scope.time);
                    return Err(format!("Component {kind} did not answer within {time:?}"));
                }
                Ended::Cancelled => return Err("Agent killed".to_owned()),
            }
            avoid = Some(endpoint);
        }
        Err(last)
    }

    async fn attempt(&self, endpoint: &Arc<Endpoint>, attempt: u32) -> Result<Ended, String> {
        let cancelled = self.context.cancelled();
        let begin = async {
            let place = endpoint.enter().await?;
            Ok::<_, String>((place, endpoint.client().await?))
        };
        let (_place, client) = tokio::select! {
            begun = begin => match begun {
                Ok(begun) => begun,
                Err(why) => return Ok(Ended::Unreached(format!("{}: {why}", endpoint.address()))),
            },
            () = cancelled.cancelled() => return Ok(Ended::Cancelled),
            () = tokio::time::sleep_until(self.until) => return Ok(Ended::Late),
        };
        let activation = self.activation(attempt).await?;
        let max_output = self.scope.engine.host.config().components.max_output_bytes;
        Ok(call::run(client, activation, self.until, max_output, self.context).await)
    }

    /// Endpoints, the one to take first: those that are well before others, those with less to do before others, and
    /// the one that just failed last of all.
    fn by_preference(&self, avoid: Option<&Arc<Endpoint>>) -> Vec<Arc<Endpoint>> {
        let mut all: Vec<(bool, bool, usize, u32, Arc<Endpoint>)> = self
            .resolved
            .endpoints
            .iter()
            .map(|endpoint| {
                let just_failed = avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
                let by_chance = rand::rng().random();
                (just_failed, endpoint.problem().is_some(), endpoint.in_flight(), by_chance, endpoint.clone())
            })
            .collect();
        all.sort_by_key(|(just_failed, is_ill, in_flight, by_chance, _)| {
            (*just_failed, *is_ill, *in_flight, *by_chance)
        });
        all.into_iter().map(|(.., endpoint)| endpoint).collect()
    }

    /// Waits before an attempt; false where there is no time for it.
    async fn pause(&self, attempt: u32) -> bool {
        let pause = FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(attempt - 2)).min(LONGEST_PAUSE);
        let pause = pause.mul_f64(rand::rng().random_range(0.8..1.2));
        if Instant::now() + pause >= self.until {
            return false;
        }
        let cancelled = self.context.cancelled();
        tokio::select! {
            () = cancelled.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    async fn activation(&self, attempt: u32) -> Result<Sent, String> {
        let left = self.until.saturating_duration_since(Instant::now());
        let deadline = (SystemTime::now() + left).duration_since(UNIX_EPOCH).unwrap_or_default();
        let (token, endpoints) = self.authority().await.map_err(|status| status.message().to_owned())?;
        let agent = self.context.agent();
        Ok(Sent {
            r#type: self.call.node.type_name.to_string(),
            inputs_json: self.rendered.inputs.clone(),
            settings_json: self.rendered.settings.clone(),
            deadline_time_ms: i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX),
            idempotency_key: self.context.idempotency_key(),
            attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
            run_id: self.scope.id.clone(),
            agent: agent.name.clone(),
            team: agent.team.clone(),
            session_id: self.scope.session_id.clone(),
            root_caller: self.scope.subject.root.to_string(),
            component_id: self.call.node.id.to_string(),
            activation_id: self.context.key().to_string(),
            token,
            endpoints,
            traceparent: TraceParent::current().as_str().to_owned(),
        })
    }

    /// A token for what the type declares, bound to who serves it, and where it goes.
    async fn authority(&self) -> Result<(String, HashMap<String, String>), Status> {
        let (scopes, identity) = (&self.declared().scopes, &self.resolved.identity);
        if scopes.is_empty() || identity.is_empty() {
            return Ok(Default::default());
        }
        let (token, roles) = self.scope.authority.for_component(scopes, identity).await?;
        let host = &self.scope.engine.host;
        let addresses =
            roles.into_iter().filter_map(|role: Role| Some((role.name().to_owned(), host.address_of(role)?)));
        Ok((token, addresses.collect()))
    }

    async fn outcome(&self, answered: &Answer) -> Result<Outcome, String> {
        let kind = self.declared().name();
        if self.declared().is_idempotent && answered.idempotency_key != self.context.idempotency_key() {
            return Err(format!("{kind} answered under another idempotency key than it was asked with"));
        }
        let max_bytes = self.scope.engine.host.config().components.max_output_bytes;
        let outputs = answer::read(self.declared(), &answered.outputs_json, max_bytes)?;
        outputs.into_outcome(self.declared(), self.context).await.map_err(|error| error.message)
    }

    async fn looked_up(&self, found: Option<Found>) -> Result<LookedUp, String> {
        Ok(match found {
            Some(Found::Happened(answer)) => LookedUp::Happened(self.outcome(&answer).await?),
            Some(Found::NotHappened(_)) => LookedUp::NotHappened,
            Some(Found::Unknown(why)) => LookedUp::Unknown(why),
            None => LookedUp::Unknown("the component does not say".to_owned()),
        })
    }
}

/// The component as it is registered now, in the version that the plan was compiled with: whoever lost the right to it
/// loses it in runs that go on, too.
async fn current(scope: &Arc<RunScope>, compiled: &Resolved) -> Result<Arc<Resolved>, String> {
    let wanted = [compiled.pinned()];
    let link = async || scope.authority.agent_link(scope.engine.host.link(Role::Agent)).await;
    let found = scope.engine.external.resolve(&scope.subject.version.agent, &wanted, link).await;
    let found = found.map_err(|status| status.message().to_owned())?;
    let same = found.iter().find(|it| it.declared.digest == compiled.declared.digest);
    same.cloned().ok_or_else(|| {
        format!(
            "Component {} {} is no longer registered, or this agent may no longer use it",
            compiled.declared.name(),
            compiled.declared.version
        )
    })
}

fn message_of(kind: &str, failure: &Failure) -> String {
    match failure.message.as_str() {
        "" => format!("Component {kind} failed and does not say why: {}", failure.kind().as_str_name()),
        message => message.to_owned(),
    }
}

fn unavailable(what: &str, why: &str) -> String {
    format!("{}: {what}: {why}", name(Reason::ComponentUnavailable))
}
