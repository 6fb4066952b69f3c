// An OpenID Connect provider for tests: oidc-provider, with a client per user id that gets access tokens for this
// deployment by its own credentials. `node oidc_server.mjs PORT PACKAGES`
//
// Beside them two applications that OAuth is tested with: `app`, to which people grant access (code with PKCE, refresh
// tokens that change with each use), and `service`, which has its own credentials. Everybody who is asked grants.
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
    clients: [
      ...users.map((user) => ({
        client_id: user,
        client_secret: 'a secret of the tests',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      })),
      {
        client_id: 'app',
        client_secret: 'a secret of the app',
        // Any port of loopback.
        application_type: 'native',
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: ['http://127.0.0.1/callback'],
        response_types: ['code'],
        token_endpoint_auth_method: 'client_secret_post',
      },
      {
        client_id: 'service',
        client_secret: 'a secret of the service',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_post',
      },
    ],
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => true,
    pkce: { required: () => true },
    interactions: { url: (_, interaction) => `/test/interaction/${interaction.uid}` },
    cookies: { keys: ['of the tests'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // What people grant is for their own account, which `GET /me` tells.
        defaultResource: (_, client) => (client.clientId === 'app' ? [] : 'urn:sre'),
        getResourceServerInfo: (_, resource) => ({
          scope: 'run',
          audience: resource === 'urn:sre' ? 'sre' : 'somebody-else',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });

let keys = [key()];
let current = provider(keys);
let serve = current.callback();
const change = (next) => {
  keys = next;
  current = provider(keys);
  serve = current.callback();
};

// The person: logs in as alice and grants what is asked for.
const consent = async (request, response) => {
  const { params } = await current.interactionDetails(request, response);
  const grant = new current.Grant({ accountId: 'alice', clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const grantId = await grant.save();
  await current.interactionFinished(request, response, { login: { accountId: 'alice' }, consent: { grantId } });
};

createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/test/rotate') change([key(), ...keys]);
  else if (request.method === 'POST' && request.url === '/test/retire') change(keys.slice(0, 1));
  else if (request.method === 'GET' && request.url.startsWith('/test/interaction/')) return consent(request, response);
  else return serve(request, response);
  response.end();
}).listen(Number(port), '127.0.0.1');
