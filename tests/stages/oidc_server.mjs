// An OpenID Connect provider for tests: oidc-provider, with a client per user id that gets access tokens for this
// deployment by its own credentials. `node oidc_server.mjs PORT PACKAGES`
//
//   POST /test/rotate   a new signing key beside the old ones
//   POST /test/retire   the newest key alone
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const [port, packages] = process.argv.slice(2);
const found = createRequire(`${packages}/`).resolve('oidc-provider');
const { default: Provider } = await import(found);
const issuer = `http://127.0.0.1:${port}`;
const users = ['alice', 'bob', 'dev'];

let count = 0;
const key = () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  count += 1;
  return { ...privateKey.export({ format: 'jwk' }), kid: `key-${count}`, alg: 'RS256', use: 'sig' };
};

// The first key signs.
const provider = (keys) =>
  new Provider(issuer, {
    jwks: { keys },
    clients: users.map((user) => ({
      client_id: user,
      client_secret: 'a secret of the tests',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:sre',
        getResourceServerInfo: (_, resource) => ({
          scope: 'run',
          audience: resource === 'urn:sre' ? 'sre' : 'somebody-else',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  }).callback();

let keys = [key()];
let serve = provider(keys);
const change = (next) => {
  keys = next;
  serve = provider(keys);
};

createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/test/rotate') change([key(), ...keys]);
  else if (request.method === 'POST' && request.url === '/test/retire') change(keys.slice(0, 1));
  else return serve(request, response);
  response.end();
}).listen(Number(port), '127.0.0.1');
