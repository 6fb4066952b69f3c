/** The messages of `sre.component.v1` that this sample uses, as the loader gives them. */
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../../../../proto/sre/component/v1/component.proto", import.meta.url));

const loaded = grpc.loadPackageDefinition(
  loader.loadSync(PROTO, { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }),
) as any;

/** The service, for `Server.addService`. */
export const service: grpc.ServiceDefinition = loaded.sre.component.v1.Component.service;

export interface Activation {
  inputs_json: Buffer;
  settings_json: Buffer;
  deadline_time_ms: number;
  idempotency_key: string;
}

export interface ProcessRequest {
  message?: "activation" | "cancel";
  activation?: Activation;
  cancel?: { reason: string };
}

export type FailureKind =
  | "FAILURE_KIND_INVALID_INPUT"
  | "FAILURE_KIND_INVALID_SETTING"
  | "FAILURE_KIND_CANCELLED"
  | "FAILURE_KIND_INTERNAL";

export type ProcessResponse =
  | { progress: { fraction: number; message: string } }
  | { log: { level: string; message: string } }
  | { content: { text: string } }
  | { answer: { outputs_json: Buffer } }
  | { failure: { kind: FailureKind; message: string } };

/** A failure that is an answer. */
export class Failed extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
  ) {
    super(message);
  }
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
