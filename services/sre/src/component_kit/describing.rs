//! Whether it is there, and what it says it is.

use sre_components::external::{declare, digest, problems};
use sre_proto::component::v1::{DescribeRequest, Description};
use sre_service::connectors::grpc::with_causes;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::report::{Checked, Report};
use super::{Kit, PATIENCE, Subject};

/// None where what it says cannot be used.
pub(super) async fn run(kit: &Kit, report: &mut Report) -> Option<Subject> {
    report.check("health answers SERVING", health(kit)).await;
    let mut described = None;
    let answers = async {
        described = Some(describe(kit).await?);
        Ok(())
    };
    report.check("Describe answers", answers).await;
    let description = described?;
    let mut declared = None;
    let usable = async {
        let found = problems(&description);
        if !found.is_empty() {
            return Err(found.join("; "));
        }
        declared = Some(declare(&description)?);
        Ok(())
    };
    report.check("the description can be used", usable).await;
    report.check("Describe answers the same again", same(kit, &description)).await;
    let declared = declared?;
    let subject = Subject { description, declared };
    let shown = async {
        match subject.example() {
            Some(_) => Ok(()),
            None => {
                Err("there is no example that succeeds: add one to Description.examples, it is what is sent"
                    .to_owned())
            }
        }
    };
    report.check("an example shows how to call it", shown).await.then_some(subject)
}

/// Whether everything that was sent to it left it as it was.
pub(super) async fn still_there(kit: &Kit, subject: &Subject, report: &mut Report) {
    report.check("it is well after all this", health(kit)).await;
    report.check("Describe still answers the same", same(kit, &subject.description)).await;
}

async fn health(kit: &Kit) -> Checked {
    let mut client = HealthClient::new(kit.channel.clone());
    let answer = timeout(PATIENCE, client.check(HealthCheckRequest { service: String::new() })).await;
    match answer {
        Err(_) => Err(format!("grpc.health.v1.Health/Check does not answer within {PATIENCE:?}")),
        Ok(Err(status)) => Err(format!(
            "grpc.health.v1.Health/Check failed with {:?}: {}: serve it beside the component",
            status.code(),
            with_causes(&status)
        )),
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(Ok(answer)) => Err(format!("it says {}", answer.get_ref().status().as_str_name())),
    }
}

async fn describe(kit: &Kit) -> Result<Description, String> {
    match timeout(PATIENCE, kit.client().describe(DescribeRequest {})).await {
        Err(_) => Err(format!("it does not answer within {PATIENCE:?}")),
        Ok(Err(status)) => Err(format!("it failed with {:?}: {}", status.code(), with_causes(&status))),
        Ok(Ok(answer)) => Ok(answer.into_inner()),
    }
}

async fn same(kit: &Kit, first: &Description) -> Checked {
    for _ in 0..3 {
        if digest(&describe(kit).await?) != digest(first) {
            return Err(format!(
                "version {} says something else the second time: what changes is another version",
                first.version
            ));
        }
    }
    Ok(())
}
