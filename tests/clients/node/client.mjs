// Runs a skill, follows a run, and is refused without a certificate: with stubs made from proto/ at run time.
// Environment: SRE_ADDRESS, SRE_CERT, SRE_KEY, SRE_CA (paths of PEM files).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../../../proto', import.meta.url));
const definition = loader.loadSync('sre/gateway/v1/runs.proto', {
  includeDirs: [protos], keepCase: true, longs: Number, enums: String, oneofs: true,
});
const { Runs } = grpc.loadPackageDefinition(definition).sre.gateway.v1;
const read = (name) => readFileSync(process.env[name]);
const deadline = () => ({ deadline: Date.now() + 30_000 });

function client(withCertificate) {
  const credentials = withCertificate
    ? grpc.credentials.createSsl(read('SRE_CA'), read('SRE_KEY'), read('SRE_CERT'))
    : grpc.credentials.createSsl(read('SRE_CA'));
  return new Runs(process.env.SRE_ADDRESS, credentials);
}

const call = (stub, method, request) =>
  new Promise((resolve, reject) =>
    stub[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))));

async function runsASkill(stub) {
  const answer = await call(stub, 'RunSkill', {
    agent: 'teams/-/agents/greeter',
    skill: { skill: 'greet', input_json: Buffer.from(JSON.stringify({ name: 'Ada' })) },
  });
  assert.deepEqual(JSON.parse(answer.legacy_json), { greeting: 'Hello, Ada!' });
  console.log("node: ok: a skill's answer");
}

async function watchesARun(stub) {
  const run = await call(stub, 'StartRun', {
    agent: 'teams/-/agents/fingerprint',
    skill: { skill: 'digest', input_json: Buffer.from('{"text":"hello"}') },
  });
  const events = [];
  for await (const event of stub.WatchRun({ name: run.name }, deadline())) events.push(event);
  assert.equal(events[0].event, 'run_opened');
  assert.equal(events.at(-1).event, 'run_ended');
  assert.equal(events.at(-1).run_ended.state, 'RUN_STATE_DONE');
  assert.equal(JSON.parse(events.at(-1).run_ended.legacy_json).md5, '5d41402abc4b2a76b9719d911017c592');
  console.log("node: ok: a run's events");
}

async function isRefusedWithoutACertificate() {
  await assert.rejects(call(client(false), 'RunSkill', { agent: 'teams/-/agents/greeter' }), (error) => {
    assert.equal(error.code, grpc.status.UNAVAILABLE);
    return true;
  });
  console.log('node: ok: no certificate is refused in the handshake');
}

const stub = client(true);
await runsASkill(stub);
await watchesARun(stub);
await isRefusedWithoutACertificate();
process.exit(0);
