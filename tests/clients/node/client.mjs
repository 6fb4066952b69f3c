// Runs a skill, follows a run, keeps files, vectors and secrets, and is refused without a certificate: with stubs made
// from proto/ at run time.

import assert from 'node:assert/strict';
import { call, connect, deadline, isRefused, ok, services } from './connection.mjs';
import * as files from './files.mjs';
import * as managedSecrets from './managed_secrets.mjs';
import * as vectors from './vectors.mjs';

const { Runs } = services('sre/gateway/v1/runs.proto');

async function runsASkill(stub) {
  const answer = await call(stub, 'RunSkill', {
    agent: 'teams/-/agents/greeter',
    skill: { skill: 'greet', input_json: Buffer.from(JSON.stringify({ name: 'Ada' })) },
  });
  assert.deepEqual(JSON.parse(answer.legacy_json), { greeting: 'Hello, Ada!' });
  ok("a skill's answer");
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
  ok("a run's events");
}

const stub = connect(Runs);
await runsASkill(stub);
await watchesARun(stub);
for (const part of [files, vectors, managedSecrets]) await part.checks();
const stranger = call(connect(Runs, false), 'RunSkill', { agent: 'teams/-/agents/greeter' });
await isRefused('no certificate is refused in the handshake', 'UNAVAILABLE', stranger);
process.exit(0);
