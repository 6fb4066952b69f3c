//! An agent that takes the secret wherever an agent can.

use serde_json::{Value, json};

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::http_server::HttpServer;

/// Its name in full.
pub const NAME: &str = "teams/default/agents/leaky";
/// Its skill.
pub const SKILL: &str = "use";
/// How a document names the secret.
pub const REFERENCE: &str = "{{KEY(canary)}}";
/// The components that get the secret in what they answer.
pub const TOLD: [&str; 4] = ["echo", "fail", "say", "encode"];
/// The component that never reaches anybody.
pub const REFUSED: &str = "refused";

/// Sends the secret in headers, body and query to an address that answers, to one that fails, and to one that
/// is not allowed; says it to a model that repeats it, and encodes what that said; signs with it.
pub fn document_for(server: &HttpServer) -> Value {
    let headers = json!({ "x-canary": REFERENCE, "authorization": "Bearer {{SECRET}}" });
    let body = json!({ "text": "{{text}}", "secret": "{{SECRET}}" });
    let call = |id: &str, address: &str| {
        api_call(id, &format!("{address}?key={{{{SECRET}}}}"), headers.clone(), body.clone(), &["text"])
    };
    let sign = json!({
        "key": REFERENCE, "signMethod": "HMAC", "hashType": "sha256", "encoding": "hex", "dataTransform": "None",
    });
    let say = json!({ "model": "Echo", "prompt": "{{text}} {{SECRET}}" });
    let encode = json!({ "action": "Encode", "encoding": "base64" });
    document(
        "leaky",
        json!({ "SECRET": REFERENCE }),
        &[
            endpoint(SKILL, "POST", &[("text", "Text")]),
            call("echo", &server.url("/echo")),
            call("fail", &server.url("/fail")),
            // The discard port, which no test allows.
            call(REFUSED, "http://127.0.0.1:9/"),
            component("sign", "FSign", sign, &["Data"], &["Signature"]),
            component("say", "GenAILLM", say, &["text"], &["Reply"]),
            component("encode", "FEncDec", encode, &["Data"], &["Output"]),
            output("answer", &["echoed", "signature", "encoded"]),
        ],
        &[
            "use.text > echo.text",
            "use.text > fail.text",
            "use.text > refused.text",
            "use.text > sign.Data",
            "use.text > say.text",
            "say.Reply > encode.Data",
            "echo.Response > answer.echoed",
            "sign.Signature > answer.signature",
            "encode.Output > answer.encoded",
        ],
    )
}
