// oidc-provider on loopback: one public client, PKCE required, people who are whatever name they give.
// Arguments: the client's redirect address. Prints the issuer's address once it listens.

import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const [redirect] = process.argv.slice(2);
const probe = createServer();
await new Promise((done) => probe.listen(0, "127.0.0.1", done));
const { port } = probe.address();
await new Promise((done) => probe.close(done));

const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: "tieline", redirect_uris: [redirect], token_endpoint_auth_method: "none", grant_types: ["authorization_code"], response_types: ["code"] }],
  pkce: { required: () => true },
  scopes: ["openid", "profile", "email", "groups"],
  claims: { openid: ["sub"], profile: ["name", "preferred_username"], email: ["email"], groups: ["groups"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["for a test alone"] },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, name: id.toUpperCase(), preferred_username: id, email: `${id}@example.org`, groups: id === "stranger" ? [] : ["power"] }),
  }),
});
provider.listen(port, "127.0.0.1", () => console.log(issuer));
