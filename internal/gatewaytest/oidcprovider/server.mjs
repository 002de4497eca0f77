// An OpenID provider for tests: the certified engine that Logto is built on, with Logto's paths and ways, on loopback.
//
//   node server.mjs [--port 0] [--client-id ID] [--client-secret SECRET] [--redirect-uri URI]…
//     [--post-logout-redirect-uri URI]… [--backchannel-logout-uri URI] [--rotate policy|always]
//     [--machine-id ID] [--machine-secret SECRET] [--resource INDICATOR]…
//     [--access-token-ttl S] [--id-token-ttl S] [--refresh-token-ttl S] [--sign-in ADDRESS]
//
// It says where it is in one line of JSON, and answers each line of JSON on its standard input with one on its
// standard output; when the input ends, so does the process. Nothing is kept.
//
//   {"do":"rotate-key"}                  a new signing key becomes the current one; the one before stays published
//   {"do":"clock","now":MILLISECONDS}    its clock stands there; without `now` it is the machine's again
//   {"do":"revoke","address":ADDRESS}    takes back all grants of a person; with "sessions":true they are signed out too
//   {"do":"backchannel","uri":URI}       logout tokens go there from now on
//   {"do":"lose-answers","count":N}      the next N answers of the token endpoint never arrive
//   {"do":"counts"}                      the calls so far, by endpoint, grant type and error

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Storage } from './adapter.mjs';
import * as pages from './pages.mjs';
import { accountId, build, newKey, resourceScopes } from './provider.mjs';

console.info = console.error; // the engine's notices do not belong between the answers

const text = (value) => ({ type: 'string', default: value });
const { values: args } = parseArgs({
  options: {
    port: text('0'),
    'client-id': text('oidcprovider-app'),
    'client-secret': text(randomBytes(24).toString('base64url')),
    'machine-id': text('machine-1'),
    'machine-secret': text(randomBytes(24).toString('base64url')),
    resource: { type: 'string', multiple: true, default: ['https://api.example.com', 'https://other.example.com'] },
    'redirect-uri': { type: 'string', multiple: true, default: [] },
    'post-logout-redirect-uri': { type: 'string', multiple: true, default: [] },
    'backchannel-logout-uri': { type: 'string' },
    rotate: text('policy'),
    'access-token-ttl': text('3600'),
    'id-token-ttl': text('3600'),
    'refresh-token-ttl': text(String(14 * 24 * 60 * 60)),
    'sign-in': { type: 'string' },
  },
});

const options = {
  clientId: args['client-id'],
  clientSecret: args['client-secret'],
  machineId: args['machine-id'],
  machineSecret: args['machine-secret'],
  resources: args.resource,
  redirectUris: args['redirect-uri'],
  postLogoutRedirectUris: args['post-logout-redirect-uri'],
  backchannelLogoutUri: args['backchannel-logout-uri'],
  rotate: args.rotate,
  ttl: { access: Number(args['access-token-ttl']), id: Number(args['id-token-ttl']), refresh: Number(args['refresh-token-ttl']) },
};
const storage = new Storage();
const people = new Map();
const keys = [newKey()];
const cookieKeys = [randomBytes(32).toString('base64url')];
const counts = {};
const machineNow = Date.now;
let provider;
let handle;
let losing = 0;

// start builds the engine over what is kept between engines.
function start(issuer) {
  provider = build({ issuer, options, keys: [...keys], cookieKeys, storage, people });
  provider.use(async (ctx, next) => {
    await next();
    const what = [ctx.path, ctx.oidc?.params?.grant_type, ctx.body?.error].filter(Boolean).join(' ');
    counts[what] = (counts[what] ?? 0) + 1;
  });
  provider.on('server_error', (_ctx, err) => console.error(err));
  provider.on('backchannel.error', (_ctx, err) => console.error(err));
  handle = provider.callback();
}

async function readForm(req) {
  let body = '';
  for await (const chunk of req) body += chunk;
  return new URLSearchParams(body);
}

function html(res, body) {
  res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(body);
}

// signIn is GET and POST /sign-in/UID: an address, then any code. Consent is given by itself, as to a first-party
// application of Logto.
async function signIn(req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res);
  if (prompt.name === 'consent') {
    const grant = (grantId && await provider.Grant.find(grantId))
      ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, resourceScopes);
    await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
    return;
  }
  const form = req.method === 'POST' ? await readForm(req) : new URLSearchParams();
  const address = (args['sign-in'] ?? form.get('identifier') ?? '').toLowerCase();
  if (!address) {
    html(res, pages.identifier(params.login_hint));
  } else if (!args['sign-in'] && !form.get('code')) {
    html(res, pages.code(address));
  } else {
    people.set(accountId(address), address);
    await provider.interactionFinished(req, res, { login: { accountId: accountId(address) } }, { mergeWithLastSubmission: false });
  }
}

// serve leads a request to the engine under /oidc, or to the pages.
async function serve(req, res) {
  const { pathname } = new URL(req.url, 'http://localhost');
  if (pathname.startsWith('/sign-in/')) {
    await signIn(req, res);
  } else if (pathname.startsWith('/oidc/')) {
    if (pathname === '/oidc/token' && losing > 0) {
      losing -= 1;
      res.write = res.end = () => req.socket.destroy();
    }
    req.originalUrl = req.url;
    req.url = req.url.slice('/oidc'.length);
    handle(req, res);
  } else {
    res.writeHead(404).end();
  }
}

const commands = {
  'rotate-key': () => {
    keys.unshift(newKey());
    start(provider.issuer);
    return { kid: keys[0].kid };
  },
  clock: ({ now }) => {
    Date.now = now === undefined ? machineNow : () => now;
    return { now: Date.now() };
  },
  revoke: ({ address, sessions = false }) => ({ grants: storage.revoke(accountId(address.toLowerCase()), sessions) }),
  backchannel: ({ uri }) => {
    options.backchannelLogoutUri = uri;
    start(provider.issuer);
    return { uri };
  },
  'lose-answers': ({ count }) => {
    losing = count;
    return { losing };
  },
  counts: () => ({ counts }),
};

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const server = createServer((req, res) => {
  serve(req, res).catch((err) => {
    if (!res.headersSent) res.writeHead(400, { 'content-type': 'application/json' });
    res.end(JSON.stringify({ code: 'session.not_found', message: err.error_description ?? err.message }));
  });
});

server.listen(Number(args.port), '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  start(`${url}/oidc`);
  say({ url, client_id: options.clientId, client_secret: options.clientSecret });
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      try {
        const command = JSON.parse(line);
        say({ done: command.do, ...commands[command.do](command) });
      } catch (err) {
        say({ error: err.message });
      }
    })
    .on('close', () => process.exit(0));
});
