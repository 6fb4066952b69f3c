//! Generates the stubs, the method table and the descriptor sets from `proto/`, without `protoc`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, Value,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    // `compile_fds` tells Cargo nothing: without this line an edited contract would leave stale stubs.
    println!("cargo:rerun-if-changed={}", root.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let with_comments = compiler.file_descriptor_set();
    let pool = compiler.descriptor_pool();
    let out = PathBuf::from(env::var("OUT_DIR")?);

    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::LeanCodec")
        .compile_well_known_types(false)
        .compile_fds(with_comments)?;

    let methods = methods(&pool)?;
    fs::write(out.join("methods.rs"), table(&methods)?)?;

    let full = strip_comments(pool.encode_to_vec().as_slice())?;
    fs::write(out.join("descriptor.bin"), full.encode_to_vec())?;
    fs::write(out.join("public_descriptor.bin"), public_only(full, &methods).encode_to_vec())?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// Contracts that no role of the suite serves: others implement them and a service of the suite calls them, so
/// there is no caller here to authorize and no row for the table. Who may call such a server is its own matter;
/// the suite proves itself to it by its certificate. Options on their methods would promise a check that nobody
/// makes: they are refused.
const OTHERS_IMPLEMENT: [&str; 2] = ["sre.connector.", "sre.component."];

fn is_of_others(name: &str) -> bool {
    OTHERS_IMPLEMENT.iter().any(|package| name.starts_with(package))
}

/// One method with its policy as the options state it.
struct Method {
    descriptor: MethodDescriptor,
    public: bool,
    rule: Rule,
    audit: &'static str,
}

enum Rule {
    Access { level: &'static str, resource: String },
    System { services: Vec<String> },
}

fn methods(pool: &DescriptorPool) -> Result<Vec<Method>> {
    let extension = pool
        .get_extension_by_name("sre.options.v1.policy")
        .ok_or("proto/sre/options/v1/options.proto does not define the extension `policy`")?;
    let mut found = Vec::new();
    let served = |name: &str| name.starts_with("sre.") && !is_of_others(name);
    for service in pool.services().filter(|s| served(s.full_name())) {
        for descriptor in service.methods() {
            let name = descriptor.full_name().to_owned();
            let options = descriptor.options();
            if !options.has_extension(&extension) {
                return Err(
                    format!("method {name} has no (sre.options.v1.policy): state who may call it").into()
                );
            }
            let policy = options.get_extension(&extension);
            let policy = policy.as_message().ok_or("policy is not a message")?;
            let public = match number(policy, "visibility") {
                1 => true,
                2 => false,
                _ => return Err(format!("method {name}: the policy lacks `visibility`").into()),
            };
            let audit = match number(policy, "audit") {
                1 => "None",
                2 => "Deny",
                3 => "All",
                _ => return Err(format!("method {name}: the policy lacks `audit`").into()),
            };
            let rule = rule(policy, &descriptor).map_err(|e| format!("method {name}: {e}"))?;
            if public && matches!(rule, Rule::System { .. }) {
                return Err(format!("method {name}: a `system` method cannot be public").into());
            }
            found.push(Method { descriptor, public, rule, audit });
        }
    }
    for service in pool.services().filter(|s| is_of_others(s.full_name())) {
        if let Some(method) = service.methods().find(|method| method.options().has_extension(&extension)) {
            return Err(format!("method {}: others serve it, so it has no policy", method.full_name()).into());
        }
    }
    found.sort_by_key(|m| path_of(&m.descriptor));
    Ok(found)
}

fn rule(policy: &DynamicMessage, method: &MethodDescriptor) -> Result<Rule> {
    if policy.has_field_by_name("access") {
        let access = policy.get_field_by_name("access").ok_or("no access")?;
        let access = access.as_message().ok_or("access is not a message")?;
        let level = match number(access, "level") {
            1 => "Read",
            2 => "Write",
            3 => "Owner",
            _ => return Err("`access` lacks `level`".into()),
        };
        let resource = text(access, "resource");
        if resource.is_empty() {
            return Err("`access` lacks `resource`".into());
        }
        // Fails here, at build time, for a field that is not there.
        resource_expression(&method.input(), &resource)?;
        return Ok(Rule::Access { level, resource });
    }
    if policy.has_field_by_name("system") {
        let system = policy.get_field_by_name("system").ok_or("no system")?;
        let system = system.as_message().ok_or("system is not a message")?;
        let services = system.get_field_by_name("services").ok_or("no services")?;
        let services: Vec<String> = services
            .as_list()
            .unwrap_or_default()
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        if services.is_empty() {
            return Err("`system` lists no service".into());
        }
        return Ok(Rule::System { services });
    }
    Err("the policy has neither `access` nor `system`".into())
}

fn number(message: &DynamicMessage, field: &str) -> i32 {
    message.get_field_by_name(field).as_deref().and_then(Value::as_enum_number).unwrap_or_default()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Writes the method table, and for every request of an `access` method how it names its resource.
fn table(methods: &[Method]) -> Result<String> {
    let mut code = String::new();
    writeln!(code, "/// Every method of every service, by path.\npub static METHODS: &[MethodPolicy] = &[")?;
    for method in methods {
        let service = method.descriptor.parent_service();
        let role = service.full_name().split('.').nth(1).unwrap_or_default();
        let rule = match &method.rule {
            Rule::Access { level, resource } => {
                format!("Rule::Access {{ level: AccessLevel::{level}, resource: {resource:?} }}")
            }
            Rule::System { services } => format!("Rule::System {{ services: &{services:?} }}"),
        };
        writeln!(
            code,
            "    MethodPolicy {{ path: {:?}, service: {:?}, method: {:?}, package: {role:?}, visibility: Visibility::{}, rule: {rule}, audit: AuditMode::{}, client_streaming: {}, server_streaming: {}, input: {:?}, output: {:?} }},",
            path_of(&method.descriptor),
            service.full_name(),
            method.descriptor.name(),
            if method.public { "Public" } else { "Internal" },
            method.audit,
            method.descriptor.is_client_streaming(),
            method.descriptor.is_server_streaming(),
            method.descriptor.input().full_name(),
            method.descriptor.output().full_name(),
        )?;
    }
    writeln!(code, "];\n")?;
    for (index, method) in methods.iter().enumerate() {
        let input = method.descriptor.input();
        let body = match &method.rule {
            Rule::Access { resource, .. } => resource_expression(&input, resource)?,
            Rule::System { .. } => "String::new()".to_owned(),
        };
        writeln!(
            code,
            "impl Guarded for {} {{\n    const INDEX: usize = {index};\n    fn resource(&self) -> String {{\n        {body}\n    }}\n}}\n",
            rust_type(&input),
        )?;
    }
    Ok(code)
}

fn rust_type(message: &MessageDescriptor) -> String {
    // sre.gateway.v1.RunSkillRequest -> crate::gateway::v1::RunSkillRequest
    let package = message.package_name().trim_start_matches("sre.").replace('.', "::");
    format!("crate::{package}::{}", message.name())
}

/// Turns `{agent}/skills` into an expression over `self`.
fn resource_expression(input: &MessageDescriptor, template: &str) -> Result<String> {
    let mut format = String::new();
    let mut arguments = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        format.push_str(&rest[..start]);
        let end = rest.find('}').ok_or("`resource` has an open brace")?;
        format.push_str("{}");
        arguments.push(field_expression(input, &rest[start + 1..end])?);
        rest = &rest[end + 1..];
    }
    format.push_str(rest);
    if arguments.is_empty() {
        return Ok(format!("{format:?}.to_owned()"));
    }
    Ok(format!("format!({format:?}, {})", arguments.join(", ")))
}

fn field_expression(input: &MessageDescriptor, path: &str) -> Result<String> {
    let find = |message: &MessageDescriptor, name: &str| -> Result<FieldDescriptor> {
        message
            .get_field_by_name(name)
            .ok_or_else(|| format!("`resource` names {name}, which {} lacks", message.full_name()).into())
    };
    let Some((first, second)) = path.split_once('.') else {
        find(input, path)?;
        return Ok(format!("self.{path}"));
    };
    let outer = find(input, first)?;
    let inner =
        outer.kind().as_message().cloned().ok_or("`resource` goes into a field that is no message")?;
    find(&inner, second)?;
    match outer.containing_oneof() {
        Some(oneof) => {
            let module = snake(input.name());
            let kind = format!(
                "{}::{module}::{}",
                rust_type(input).rsplit_once("::").map_or("", |p| p.0),
                camel(oneof.name())
            );
            Ok(format!(
                "match &self.{} {{ Some({kind}::{}(v)) => v.{second}.as_str(), _ => \"\" }}",
                oneof.name(),
                camel(first)
            ))
        }
        None => Ok(format!("self.{first}.as_ref().map(|v| v.{second}.as_str()).unwrap_or_default()")),
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.char_indices() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|part| {
            let mut chars = part.chars();
            chars.next().map(|c| c.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
        })
        .collect()
}

fn strip_comments(bytes: &[u8]) -> Result<prost_types::FileDescriptorSet> {
    let mut set = prost_types::FileDescriptorSet::decode(bytes)?;
    for file in &mut set.file {
        file.source_code_info = None;
    }
    Ok(set)
}

/// What reflection shows: public methods alone.
fn public_only(
    mut set: prost_types::FileDescriptorSet,
    methods: &[Method],
) -> prost_types::FileDescriptorSet {
    for file in &mut set.file {
        let package = file.package().to_owned();
        if !package.starts_with("sre.") {
            continue;
        }
        for service in &mut file.service {
            let name = format!("/{package}.{}", service.name());
            service.method.retain(|m| {
                let path = format!("{name}/{}", m.name());
                methods.iter().any(|known| known.public && path_of(&known.descriptor) == path)
            });
        }
        file.service.retain(|s| !s.method.is_empty());
    }
    set
}
