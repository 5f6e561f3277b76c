// A certified OpenID provider: node provider.mjs PORT ACCOUNTS.json REDIRECT_URI
// Who signs in may type any password. What it says of them is read from ACCOUNTS.json each time:
// {"ada": {"email": "ada@example.org", "email_verified": true, "groups": ["ops"]}}
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { Provider } from "oidc-provider";

const [port, accounts, redirectUri] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(issuer, {
  clients: [
    { client_id: "reach", client_secret: "secret + %41", redirect_uris: [redirectUri] },
    {
      client_id: "public",
      token_endpoint_auth_method: "none",
      redirect_uris: [redirectUri],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  scopes: ["openid", "email", "groups"],
  cookies: { keys: ["of a test alone"] },
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256" }] },
  findAccount: (_, id) => {
    const said = JSON.parse(readFileSync(accounts, "utf-8"))[id];
    return said && { accountId: id, claims: () => ({ sub: id, ...said }) };
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
