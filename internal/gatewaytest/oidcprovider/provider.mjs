// The engine as Logto configures it.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider, { errors, interactionPolicy } from 'oidc-provider';
import * as pages from './pages.mjs';

// newKey makes a signing key as Logto does by default: EC on P-384, for ES384.
export function newKey() {
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ format: 'jwk' });
  return { ...jwk, use: 'sig', alg: 'ES384', kid: randomBytes(32).toString('base64url') };
}

// accountId is a person's subject: twelve characters that follow from the address.
export const accountId = (address) => createHash('sha256').update(address).digest('hex').slice(0, 12);

// resourceScopes are those that every API resource has; a person and a machine are given them all.
export const resourceScopes = 'read write';

// isLoopback says whether a URI leads back to this machine over plain HTTP.
function isLoopback(uri) {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  return url?.protocol === 'http:' && (url.hostname === 'localhost' || url.hostname === '[::1]' || /^127(\.\d+){3}$/.test(url.hostname));
}

// build makes an engine. people :: account id → address; keys, the current one first, and storage stay between engines.
export function build({ issuer, options, keys, cookieKeys, storage, people }) {
  const {
    clientId, clientSecret, machineId, machineSecret, resources, redirectUris, postLogoutRedirectUris, backchannelLogoutUri, rotate, ttl,
  } = options;

  const provider = new Provider(issuer, {
    adapter: (model) => storage.adapter(model),
    jwks: { keys },
    cookies: { keys: cookieKeys },
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      token_endpoint_auth_method: 'client_secret_basic',
      application_type: 'web',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      id_token_signed_response_alg: 'ES384',
      redirect_uris: redirectUris.length ? redirectUris : ['http://localhost/callback'],
      post_logout_redirect_uris: postLogoutRedirectUris,
      // Without a URI the engine leaves `sid` out of the ID token; port 9 (discard) has nobody who would answer.
      backchannel_logout_uri: backchannelLogoutUri ?? 'http://127.0.0.1:9/',
      backchannel_logout_session_required: true,
    }, {
      client_id: machineId,
      id_token_signed_response_alg: 'ES384',
      client_secret: machineSecret,
      token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    }],
    routes: {
      authorization: '/auth',
      token: '/token',
      jwks: '/jwks',
      userinfo: '/me',
      end_session: '/session/end',
      revocation: '/token/revocation',
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // As in Logto: the code is exchanged for an opaque token whatever was asked for, and a refresh has to name its resource.
        useGrantedResource: async () => false,
        getResourceServerInfo: async (_ctx, resource) => {
          if (!resources.includes(resource)) throw new errors.InvalidTarget('resource indicator is missing, or unknown');
          return { scope: resourceScopes, audience: resource, accessTokenTTL: ttl.access, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES384' } } };
        },
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => { ctx.body = pages.endSession(form); },
        postLogoutSuccessSource: async (ctx) => { ctx.body = pages.signedOut(); },
      },
    },
    pkce: { required: () => true },
    enabledJWA: { idTokenSigningAlgValues: ['ES384'] },
    conformIdTokenClaims: false,
    scopes: ['openid', 'offline_access'],
    claims: {
      profile: ['name', 'picture', 'updated_at', 'username', 'created_at'],
      email: ['email', 'email_verified'],
      roles: ['roles'],
      'urn:logto:scope:organizations': ['organizations'],
    },
    findAccount: async (_ctx, id) => people.has(id) && {
      accountId: id,
      claims: () => ({
        sub: id,
        name: null,
        picture: null,
        username: null,
        updated_at: Date.now(),
        created_at: Date.now(),
        email: people.get(id),
        email_verified: true,
        roles: people.get(id).endsWith('@admin.example') ? ['admin'] : [],
        organizations: [],
      }),
    },
    interactions: { policy: interactionPolicy.base(), url: (_ctx, { uid }) => `/sign-in/${uid}` },
    // Not set to rotate each time: the engine's own policy, which for a client with a secret is after 70 % of the life.
    ...(rotate === 'always' ? { rotateRefreshToken: true } : {}),
    ttl: {
      AccessToken: ttl.access,
      IdToken: ttl.id,
      RefreshToken: ttl.refresh,
      AuthorizationCode: 60,
      Interaction: 60 * 60,
      Session: 14 * 24 * 60 * 60,
      Grant: 180 * 24 * 60 * 60,
    },
    // The engine's guard against requests to this machine is off, as OIDC_PROVIDER_SSRF_PROTECTION_DISABLED does in Logto.
    fetch: (url, { dispatcher, ...rest }) => globalThis.fetch(url, rest),
    renderError: async (ctx, out) => {
      ctx.type = 'json';
      ctx.body = { code: `oidc.${out.error}`, message: out.error_description, ...out };
    },
  });

  // The client's own lists are exact; without one, every URI of this machine will do.
  if (redirectUris.length === 0) provider.Client.prototype.redirectUriAllowed = isLoopback;
  if (postLogoutRedirectUris.length === 0) provider.Client.prototype.postLogoutRedirectUriAllowed = isLoopback;
  return provider;
}
