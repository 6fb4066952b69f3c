//! Making the calls.

use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{
    AclAspect, GetAgentAclRequest, GetAgentRequest, GetOpenApiRequest, ListAgentsRequest,
    ListVersionsRequest, SetAgentAclRequest,
};
use sre_proto::compute::v1 as compute;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{
    GetRunRequest, ListStepsRequest, RunSkillRequest, SkillCall, run_skill_request,
};
use sre_proto::io::v1::nkv_client::NkvClient;
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::vector_db_client::VectorDbClient;
use sre_proto::io::v1::{self as io, write_file_request};
use sre_proto::memory::v1 as memory;
use sre_proto::memory::v1::cache_client::CacheClient;
use sre_proto::security::v1 as security;
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::api_keys_client::ApiKeysClient;
use sre_proto::security::v1::audit_client::AuditClient;
use sre_service::Link;
use tonic::Status;

use super::calls::{Call, Fixed, Op};
use super::rights::List;
use super::things::{Kind, Place, mark, message};
use super::{code, questions, secrets, spaces};

impl Call {
    /// Makes the call; gives everything that it answered as text.
    pub(super) async fn make(&self, link: Link) -> Result<String, Status> {
        let own = |name: String| match self.own {
            true => name.replacen(&format!("teams/{}", self.team), "teams/-", 1),
            false => name,
        };
        let Some(place) = &self.place else {
            return self.make_fixed(link, own(format!("teams/{}", self.team))).await;
        };
        let name = own(place.name.clone());
        match place.kind {
            Kind::File => self.on_file(link, place, name, own(self.folder())).await,
            Kind::Namespace => self.on_namespace(link, place, name).await,
            Kind::Entry => self.on_entry(link, place, name).await,
            Kind::Space if self.op == Op::SetList => {
                set_list_of(&link, place, name, &self.list).await.map(|()| String::new())
            }
            Kind::Code if self.op == Op::SetList => {
                set_list_of(&link, place, name, &self.list).await.map(|()| String::new())
            }
            Kind::Code => code::make(self.op, link, place, name).await,
            Kind::Space => spaces::make(self.op, link, place, name).await,
            Kind::Approval => questions::make(self.op, link, name).await,
            Kind::Agent | Kind::Skills => self.on_agent(link, place, name).await,
            Kind::Run => self.on_run(link, name).await,
        }
    }

    async fn on_file(
        &self,
        link: Link,
        place: &Place,
        name: String,
        folder: String,
    ) -> Result<String, Status> {
        let mut files = StorageClient::new(link.clone());
        let text = match self.op {
            Op::Read => {
                let request = io::ReadFileRequest { name, ..io::ReadFileRequest::default() };
                let mut parts = files.read_file(request).await?.into_inner();
                let mut content = Vec::new();
                while let Some(part) = parts.message().await? {
                    if let Some(io::read_file_response::Part::Data(data)) = part.part {
                        content.extend_from_slice(&data);
                    }
                }
                String::from_utf8_lossy(&content).into_owned()
            }
            Op::Look => shown(files.get_file(io::GetFileRequest { name }).await?),
            Op::List => {
                let request = io::ListFilesRequest { parent: folder, ..io::ListFilesRequest::default() };
                // A listing shows names: whoever sees one must be able to read the file.
                let listed = files.list_files(request).await?.into_inner().files;
                let mark = |file: io::File| format!("<<{:?} {}>>", Kind::File, file.name);
                listed.into_iter().map(mark).collect()
            }
            Op::Write => {
                write_file(files, name, mark(place)).await?;
                String::new()
            }
            Op::Delete => {
                let request = io::DeleteFileRequest { name, ..io::DeleteFileRequest::default() };
                shown(files.delete_file(request).await?)
            }
            Op::GetList => shown(files.get_file_acl(io::GetFileAclRequest { name }).await?),
            _ => {
                set_list_of(&link, place, name, &self.list).await?;
                String::new()
            }
        };
        Ok(text)
    }

    async fn on_namespace(&self, link: Link, place: &Place, name: String) -> Result<String, Status> {
        let mut nkv = NkvClient::new(link.clone());
        let key = format!("{name}/keys/k");
        Ok(match self.op {
            Op::Read => {
                let value = nkv
                    .get_value(io::GetValueRequest { name: key, ..Default::default() })
                    .await?
                    .into_inner()
                    .value;
                String::from_utf8_lossy(&value).into_owned()
            }
            Op::List => {
                let request = io::ListValuesRequest { parent: name, ..io::ListValuesRequest::default() };
                let values = nkv.list_values(request).await?.into_inner().values;
                values.iter().map(|value| String::from_utf8_lossy(&value.value).into_owned()).collect()
            }
            Op::Write => {
                // Answers what was just written, which its writer knows without the right to read.
                nkv.set_value(set_value(key, place)).await?;
                String::new()
            }
            Op::Clear => {
                let request = io::DeleteValueRequest { name: key, ..io::DeleteValueRequest::default() };
                shown(nkv.delete_value(request).await?)
            }
            Op::Delete => {
                shown(nkv.delete_namespace(io::DeleteNamespaceRequest { name, ..Default::default() }).await?)
            }
            Op::GetList => {
                shown(nkv.get_namespace_acl(io::GetNamespaceAclRequest { name, ..Default::default() }).await?)
            }
            _ => {
                set_list_of(&link, place, name, &self.list).await?;
                String::new()
            }
        })
    }

    async fn on_entry(&self, link: Link, place: &Place, name: String) -> Result<String, Status> {
        let mut cache = CacheClient::new(link.clone());
        Ok(match self.op {
            Op::Read => {
                let value = cache
                    .get_entry(memory::GetEntryRequest { name, ..Default::default() })
                    .await?
                    .into_inner()
                    .value;
                String::from_utf8_lossy(&value).into_owned()
            }
            Op::Write => shown(cache.set_entry(set_entry(name, place)).await?),
            Op::Count => {
                let ttl_ms = Some(600_000);
                let request = memory::TouchEntryRequest { name, ttl_ms, ..Default::default() };
                shown(cache.touch_entry(request).await?)
            }
            Op::Delete => {
                shown(cache.delete_entry(memory::DeleteEntryRequest { name, ..Default::default() }).await?)
            }
            Op::GetList => {
                shown(cache.get_entry_acl(memory::GetEntryAclRequest { name, ..Default::default() }).await?)
            }
            _ => {
                set_list_of(&link, place, name, &self.list).await?;
                String::new()
            }
        })
    }

    async fn on_agent(&self, link: Link, place: &Place, name: String) -> Result<String, Status> {
        let mut agents = AgentDataClient::new(link.clone());
        let skills = place.kind == Kind::Skills;
        let aspect = if skills { AclAspect::Skills } else { AclAspect::Definition }.into();
        let name = name.trim_end_matches("/skills").to_owned();
        Ok(match self.op {
            Op::Read => {
                shown(agents.get_agent(GetAgentRequest { name, ..GetAgentRequest::default() }).await?)
            }
            Op::List => {
                let request = ListVersionsRequest { parent: name, ..ListVersionsRequest::default() };
                shown(agents.list_versions(request).await?)
            }
            Op::Look => {
                shown(agents.get_open_api(GetOpenApiRequest { name, ..GetOpenApiRequest::default() }).await?)
            }
            Op::Run => {
                let call = SkillCall { skill: "echo".to_owned(), input_json: r#"{"text":"x"}"#.into() };
                let request = RunSkillRequest {
                    agent: name,
                    call: Some(run_skill_request::Call::Skill(call)),
                    ..RunSkillRequest::default()
                };
                shown(RunsClient::new(link).run_skill(request).await?)
            }
            Op::GetList => shown(agents.get_agent_acl(GetAgentAclRequest { name, aspect }).await?),
            _ => {
                set_list_of(&link, place, name, &self.list).await?;
                String::new()
            }
        })
    }

    async fn on_run(&self, link: Link, name: String) -> Result<String, Status> {
        let mut runs = RunsClient::new(link);
        Ok(match self.op {
            Op::List => {
                shown(runs.list_steps(ListStepsRequest { name, ..ListStepsRequest::default() }).await?)
            }
            _ => shown(runs.get_run(GetRunRequest { name }).await?),
        })
    }

    #[allow(clippy::needless_update, reason = "fields that are added are not asked for")]
    async fn make_fixed(&self, link: Link, team: String) -> Result<String, Status> {
        let Op::Fixed(fixed) = self.op else { return Ok(String::new()) };
        let mut account = AccountClient::new(link.clone());
        let setting = |key: &str, value: &str| security::SetSettingRequest {
            setting: Some(security::Setting {
                name: format!("{team}/settings/{key}"),
                value: value.to_owned(),
                ..security::Setting::default()
            }),
        };
        let parent = team.clone();
        Ok(match fixed {
            Fixed::GetTeam => shown(account.get_team(security::GetTeamRequest { name: parent }).await?),
            Fixed::ListMembers => shown(
                account.list_members(security::ListMembersRequest { parent, ..Default::default() }).await?,
            ),
            Fixed::ListSettings => {
                shown(account.list_settings(security::ListSettingsRequest { parent }).await?)
            }
            Fixed::GetSetting => {
                let name = format!("{team}/settings/color");
                shown(account.get_setting(security::GetSettingRequest { name }).await?)
            }
            Fixed::SetSetting => shown(account.set_setting(setting("color", "blue")).await?),
            Fixed::SetLimits => shown(account.set_setting(setting("sre-limits", r#"{"files":1000}"#)).await?),
            Fixed::ListSecrets
            | Fixed::PutSecret
            | Fixed::UseSecret
            | Fixed::DeleteSecret
            | Fixed::GrantSecret
            | Fixed::RevokeGrant
            | Fixed::ListGrants => secrets::make(fixed, link, team, &self.team, &self.other).await?,
            Fixed::ListSpaces => spaces::listed(link, team).await?,
            Fixed::ListApprovals => questions::listed(link, team).await?,
            Fixed::ListApiKeys => {
                let request = security::ListApiKeysRequest { parent, ..Default::default() };
                shown(ApiKeysClient::new(link).list_api_keys(request).await?)
            }
            Fixed::ListAudit => {
                let request = security::ListRecordsRequest { parent, page_size: 1, ..Default::default() };
                shown(AuditClient::new(link).list_records(request).await?)
            }
            Fixed::ListAgents => {
                let request = ListAgentsRequest { parent, ..ListAgentsRequest::default() };
                let agents = AgentDataClient::new(link).list_agents(request).await?.into_inner().agents;
                agents.iter().map(|agent| format!("<<{:?} {}>>", Kind::Agent, agent.name)).collect()
            }
            Fixed::ListFileQuotas => {
                let mut quotas = io::quotas_client::QuotasClient::new(link);
                shown(quotas.list_quotas(io::ListQuotasRequest { parent }).await?)
            }
            Fixed::ListCacheQuotas => {
                let mut quotas = memory::quotas_client::QuotasClient::new(link);
                shown(quotas.list_quotas(memory::ListQuotasRequest { parent }).await?)
            }
        })
    }
}

pub(super) fn shown<T: std::fmt::Debug>(answer: tonic::Response<T>) -> String {
    format!("{:?}", answer.into_inner())
}

fn set_value(key: String, place: &Place) -> io::SetValueRequest {
    let value = io::KeyValue {
        name: key,
        value: mark(place).into_bytes().into(),
        content_type: "text/plain".to_owned(),
        ..io::KeyValue::default()
    };
    io::SetValueRequest { value: Some(value), ..io::SetValueRequest::default() }
}

fn set_entry(name: String, place: &Place) -> memory::SetEntryRequest {
    memory::SetEntryRequest {
        name,
        value: mark(place).into_bytes().into(),
        ..memory::SetEntryRequest::default()
    }
}

async fn write_file(mut files: StorageClient<Link>, name: String, content: String) -> Result<(), Status> {
    let header = io::WriteFileHeader { name, ..io::WriteFileHeader::default() };
    let parts = [
        write_file_request::Part::Header(header),
        write_file_request::Part::Data(content.into_bytes().into()),
    ];
    let parts = parts.map(|part| io::WriteFileRequest { part: Some(part) });
    files.write_file(tokio_stream::iter(parts)).await?;
    Ok(())
}

/// Makes a thing.
pub(super) async fn create(link: &Link, place: &Place) -> Result<(), Status> {
    let name = place.name.clone();
    match place.kind {
        Kind::File => write_file(StorageClient::new(link.clone()), name, mark(place)).await?,
        Kind::Namespace => {
            NkvClient::new(link.clone()).set_value(set_value(format!("{name}/keys/k"), place)).await?;
        }
        Kind::Entry => {
            CacheClient::new(link.clone()).set_entry(set_entry(name, place)).await?;
        }
        Kind::Code => code::write(&mut CodeClient::new(link.clone()), place, name).await?,
        Kind::Space => spaces::write(&mut VectorDbClient::new(link.clone()), place, name).await?,
        Kind::Agent | Kind::Skills | Kind::Run | Kind::Approval => {}
    }
    Ok(())
}

/// Replaces the list of a thing.
pub(super) async fn set_list(link: &Link, place: &Place, list: &List) -> Result<(), Status> {
    set_list_of(link, place, place.name.clone(), list).await
}

async fn set_list_of(link: &Link, place: &Place, name: String, list: &List) -> Result<(), Status> {
    let (link, acl) = (link.clone(), Some(message(list)));
    match place.kind {
        Kind::File => {
            StorageClient::new(link).set_file_acl(io::SetFileAclRequest { name, acl }).await?;
        }
        Kind::Namespace => {
            NkvClient::new(link)
                .set_namespace_acl(io::SetNamespaceAclRequest { name, acl, ..Default::default() })
                .await?;
        }
        Kind::Entry => {
            CacheClient::new(link)
                .set_entry_acl(memory::SetEntryAclRequest { name, acl, ..Default::default() })
                .await?;
        }
        Kind::Agent => {
            let aspect = AclAspect::Definition.into();
            AgentDataClient::new(link).set_agent_acl(SetAgentAclRequest { name, aspect, acl }).await?;
        }
        Kind::Code => {
            CodeClient::new(link).set_code_acl(compute::SetCodeAclRequest { name, acl }).await?;
        }
        Kind::Space => {
            VectorDbClient::new(link)
                .set_vector_namespace_acl(io::SetVectorNamespaceAclRequest { name, acl })
                .await?;
        }
        Kind::Skills | Kind::Run | Kind::Approval => {}
    }
    Ok(())
}
