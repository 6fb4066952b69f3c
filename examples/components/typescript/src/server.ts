/** Serves the sample to SRE, on a Unix socket or with mTLS. */
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { Failed, type ProcessRequest, type ProcessResponse, json, service } from "./contract.js";
import { DESCRIPTION, type Work, process as execute } from "./outline.js";

const { values: options } = parseArgs({
  options: {
    socket: { type: "string" },
    listen: { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    ca: { type: "string" },
    allow: { type: "string", multiple: true, default: [] as string[] },
  },
});

class Stopped extends Error {}

type Stream = grpc.ServerDuplexStream<ProcessRequest, ProcessResponse>;

/** Any certificate of the trust domain passes the handshake: this keeps all but the allowed ones out. */
function isAllowed(call: { getAuthContext(): { sslPeerCertificate?: { subjectaltname?: string } } }): boolean {
  if (options.socket) return true;
  const names = call.getAuthContext().sslPeerCertificate?.subjectaltname ?? "";
  return names.split(", ").some((name) => options.allow!.includes(name.replace(/^URI:/, "")));
}

const denied = { code: grpc.status.PERMISSION_DENIED, details: "this caller is not allowed here" };

function parsed(what: string, text: Buffer, kind: "FAILURE_KIND_INVALID_INPUT" | "FAILURE_KIND_INVALID_SETTING") {
  let value: unknown;
  try {
    value = text.length ? JSON.parse(text.toString()) : {};
  } catch (error) {
    throw new Failed(kind, `${what} is no JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Failed(kind, `${what} is no object`);
  }
  return value as Record<string, unknown>;
}

function serve(stream: Stream): void {
  let begun = false;
  let over = false;
  let stopped = false;
  const end = (last: ProcessResponse) => {
    if (over) return;
    over = true;
    stream.write(last);
    stream.end();
  };
  const stop = () => {
    stopped = true;
    end({ failure: { kind: "FAILURE_KIND_CANCELLED", message: "it was told to stop" } });
  };
  stream.on("cancelled", () => {
    stopped = true;
    over = true;
  });
  stream.on("error", () => {
    stopped = true;
    over = true;
  });
  stream.on("end", () => {
    if (!begun) end({ failure: { kind: "FAILURE_KIND_INVALID_INPUT", message: "there is no activation" } });
  });
  stream.on("data", (request: ProcessRequest) => {
    if (request.cancel && begun) return stop();
    if (begun) return;
    begun = true;
    const activation = request.activation;
    if (!activation) {
      return end({
        failure: { kind: "FAILURE_KIND_INVALID_INPUT", message: "the first message is no activation" },
      });
    }
    const work: Work = {
      check: () => {
        if (stopped || (activation.deadline_time_ms && Date.now() >= activation.deadline_time_ms)) throw new Stopped();
      },
      content: (text) => void (over || stream.write({ content: { text } })),
      progress: (fraction, message) => void (over || stream.write({ progress: { fraction, message } })),
    };
    const run = async () => {
      const inputs = parsed("inputs_json", activation.inputs_json, "FAILURE_KIND_INVALID_INPUT");
      const settings = parsed("settings_json", activation.settings_json, "FAILURE_KIND_INVALID_SETTING");
      return execute(inputs, settings, work);
    };
    run().then(
      (outputs) => end({ answer: { outputs_json: json(outputs) } }),
      (error) => {
        if (error instanceof Stopped) return stop();
        const kind = error instanceof Failed ? error.kind : "FAILURE_KIND_INTERNAL";
        end({ failure: { kind, message: String(error.message ?? error) } });
      },
    );
  });
}

const server = new grpc.Server({ "grpc.max_receive_message_length": 16 << 20 });
server.addService(service, {
  Describe: (call: grpc.ServerUnaryCall<unknown, unknown>, answer: grpc.sendUnaryData<unknown>) =>
    isAllowed(call) ? answer(null, DESCRIPTION) : answer(denied),
  Process: (stream: Stream) => (isAllowed(stream) ? serve(stream) : void stream.emit("error", denied)),
  LookUp: (_: unknown, answer: grpc.sendUnaryData<unknown>) =>
    answer({ code: grpc.status.UNIMPLEMENTED, details: "nothing here has to be looked up" }),
});
new HealthImplementation({ "": "SERVING" }).addToServer(server);

const read = (file: string | undefined) => readFileSync(file!);
const [address, credentials] = options.socket
  ? [`unix:${resolve(options.socket)}`, grpc.ServerCredentials.createInsecure()]
  : [
      options.listen!,
      grpc.ServerCredentials.createSsl(
        read(options.ca),
        [{ cert_chain: read(options.cert), private_key: read(options.key) }],
        true,
      ),
    ];
// A socket that an earlier run left behind; and only this user may open the new one.
if (options.socket) rmSync(options.socket, { force: true });
process.umask(0o177);
server.bindAsync(address, credentials, (error, port) => {
  if (error) throw error;
  if (options.socket) chmodSync(options.socket, 0o600);
  console.log(`serving on ${options.socket ?? port}`);
});
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => server.tryShutdown(() => process.exit(0)));
}
