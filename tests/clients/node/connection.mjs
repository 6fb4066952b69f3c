// How a client connects. Environment: SRE_ADDRESS, SRE_CERT, SRE_KEY, SRE_CA (paths of PEM files).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../../../proto', import.meta.url));
const read = (name) => readFileSync(process.env[name]);

export const deadline = () => ({ deadline: Date.now() + 30_000 });

/** The services of a file below proto/, with stubs made at run time. */
export function services(file) {
  const options = { includeDirs: [protos], keepCase: true, longs: Number, enums: String, oneofs: true };
  const loaded = grpc.loadPackageDefinition(loader.loadSync(file, options));
  return file.split('/').slice(0, -1).reduce((inner, name) => inner[name], loaded);
}

export function connect(Service, withCertificate = true) {
  const credentials = withCertificate
    ? grpc.credentials.createSsl(read('SRE_CA'), read('SRE_KEY'), read('SRE_CERT'))
    : grpc.credentials.createSsl(read('SRE_CA'));
  return new Service(process.env.SRE_ADDRESS, credentials);
}

export const call = (stub, method, request) =>
  new Promise((resolve, reject) =>
    stub[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))));

/** Sends messages one after the other and gives the one answer. */
export const send = (stub, method, messages) =>
  new Promise((resolve, reject) => {
    const stream = stub[method](deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
    // Why it failed is told by the callback.
    stream.on('error', () => {});
    for (const message of messages) stream.write(message);
    stream.end();
  });

export const ok = (what) => console.log(`node: ok: ${what}`);

export async function isRefused(what, code, promise) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, grpc.status[code], error);
    return true;
  });
  ok(what);
}
