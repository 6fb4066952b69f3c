// Secrets that an agent obtains while it runs: set, renewed by one of several, and forgotten.

import assert from 'node:assert/strict';
import { call, connect, isRefused, ok, services } from './connection.mjs';

const { ManagedVault } = services('sre/security/v1/managed_vault.proto');

export async function checks() {
  const stub = connect(ManagedVault);
  const name = 'teams/-/agents/greeter/managedSecrets/node-token';
  const get = () => call(stub, 'GetManagedSecret', { name });
  assert.ok(!(await call(stub, 'CheckManagedSecret', { name })).exists);
  const value = Buffer.from([0, 255, 65]);
  const first = await call(stub, 'SetManagedSecret', { name, value, time_to_live: { seconds: 3600 } });
  assert.ok(first.expire_time.seconds > 0, first);
  assert.deepEqual((await get()).value, value);
  ok('a secret is set and used');
  const renew = (text) => call(stub, 'CompareAndSetManagedSecret', {
    name, expected_version: first.version, value: Buffer.from(text),
  });
  assert.ok((await renew('renewed')).version > first.version);
  await isRefused('of two who renew, one', 'ABORTED', renew('too late'));
  assert.equal((await get()).value.toString(), 'renewed');
  const reference = call(stub, 'SetManagedSecret', { name, value: Buffer.from('$env(HOME)') });
  await isRefused('a reference to the environment', 'INVALID_ARGUMENT', reference);
  await call(stub, 'DeleteManagedSecret', { name });
  await isRefused('a secret that was deleted', 'NOT_FOUND', get());
}
