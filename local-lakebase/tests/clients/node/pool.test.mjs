// @databricks/lakebase: its pool, its tokens, its certificates.
//
// NODE_EXTRA_CA_CERTS names the authority of the server's certificates, because the package verifies them and has no
// option for an authority. Tests that need another environment run a program of their own.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { createLakebasePool, generateDatabaseCredential, getUsernameWithApiLookup } from "@databricks/lakebase";
import { WorkspaceClient } from "@databricks/sdk-experimental";

const run = promisify(execFile);
const workspace = new WorkspaceClient({});
const project = "projects/clients-node";
const endpoint = `${project}/branches/production/endpoints/primary`;
let user, where;

/** Calls a method that the package has no words for. */
const call = (path, method = "GET", payload = undefined, query = undefined) =>
  workspace.apiClient.request({
    path: `/api/2.0/postgres/${path}`,
    method,
    query,
    payload,
    raw: false,
    headers: new Headers({ Accept: "application/json", "Content-Type": "application/json" }),
  });

/** A workspace client that counts the credentials it mints. */
function counting() {
  const client = new WorkspaceClient({});
  const request = client.apiClient.request.bind(client.apiClient);
  const counted = { client, credentials: 0 };
  client.apiClient.request = (options, context) => {
    if (options.path.endsWith("/credentials")) counted.credentials += 1;
    return request(options, context);
  };
  return counted;
}

/** Makes a pool and ends it when the test is over. */
function poolFor(t, more = {}) {
  const pool = createLakebasePool({ ...where, user, endpoint, ...more });
  t.after(() => pool.end());
  return pool;
}

before(async () => {
  const operation = await call("projects", "POST", { spec: { display_name: "Node" } }, { project_id: "clients-node" });
  assert.equal(operation.done, true);
  const { hosts } = (await call(endpoint)).status;
  where = { host: hosts.host, port: hosts.port ?? 5432, database: "databricks_postgres" };
  user = await getUsernameWithApiLookup({ workspaceClient: workspace });
});

test("the user's name is looked up", () => assert.match(user, /@/));

test("a pool connects with verified TLS and queries", async (t) => {
  const pool = poolFor(t);
  const session = await pool.connect();
  const { encrypted, authorized } = session.connection.stream;
  session.release();
  assert.deepEqual({ encrypted, authorized }, { encrypted: true, authorized: true });
  assert.deepEqual((await pool.query("SELECT current_user AS name")).rows, [{ name: user }]);
  await pool.query("CREATE TABLE kept (n int, document jsonb)");
  await pool.query("INSERT INTO kept VALUES ($1, $2)", [7, { a: ["ü", null] }]);
  assert.deepEqual((await pool.query("SELECT * FROM kept")).rows, [{ n: 7, document: { a: ["ü", null] } }]);
  await assert.rejects(pool.query("SELECT 1 / 0"), { code: "22012" });
});

test("settings of the connection are applied", async (t) => {
  const pool = poolFor(t, { statement_timeout: 4321 });
  assert.deepEqual((await pool.query("SHOW statement_timeout")).rows, [{ statement_timeout: "4321ms" }]);
});

test("many connections at once share one token, and a stale one is replaced", async (t) => {
  const counted = counting();
  const pool = poolFor(t, { workspaceClient: counted.client, max: 8 });
  const sleep = () => pool.query("SELECT pg_backend_pid() AS pid FROM pg_sleep(0.2)");
  const pids = new Set((await Promise.all(Array.from({ length: 6 }, sleep))).map(({ rows }) => rows[0].pid));
  assert.equal(pids.size, 6);
  assert.equal(counted.credentials, 1);
  const now = Date.now;
  t.after(() => (Date.now = now));
  // The package keeps a token until two minutes before its hour is over.
  Date.now = () => now() + 59 * 60 * 1000;
  await Promise.all(Array.from({ length: 8 }, sleep));
  assert.equal(counted.credentials, 2);
});

test("a wrong password is refused in the service's words", async (t) => {
  const pool = poolFor(t, { password: "nonsense" });
  const message = `password authentication failed for user "${user}"`;
  await assert.rejects(pool.query("SELECT 1"), { code: "28P01", message });
});

test("a credential has the shape the package expects", async () => {
  const { token, expire_time } = await generateDatabaseCredential(workspace, { endpoint });
  assert.equal(token.split(".").length, 3);
  const left = Date.parse(expire_time) - Date.now();
  assert.ok(left > 3_590_000 && left <= 3_601_000, expire_time);
});

test("a service principal with a role gets in", async (t) => {
  const profiles = readFileSync(process.env.DATABRICKS_CONFIG_FILE, "utf8").split("[local-m2m]")[1];
  const value = (key) => profiles.match(new RegExp(`^${key} *= *(.*)$`, "m"))[1];
  const principal = new WorkspaceClient({
    host: value("host"), clientId: value("client_id"), clientSecret: value("client_secret"), authType: "oauth-m2m",
  });
  const name = (await principal.currentUser.me()).userName;
  await call(`${project}/branches/production/roles`, "POST",
    { spec: { postgres_role: name, identity_type: "SERVICE_PRINCIPAL" } });
  const pool = poolFor(t, { workspaceClient: principal, user: name });
  assert.deepEqual((await pool.query("SELECT current_user AS name")).rows, [{ name }]);
});

test("a compute that was suspended is woken", async (t) => {
  const pool = poolFor(t);
  pool.on("error", () => {}); // An idle connection was ended, which pg tells the pool.
  await pool.query("SELECT 1");
  // This client sends no body with a PATCH, so the endpoint is replaced.
  const disable = (disabled) =>
    call(`${project}/branches/production/endpoints`, "POST",
      { spec: { endpoint_type: "ENDPOINT_TYPE_READ_WRITE", disabled } },
      { endpoint_id: "primary", replace_existing: true });
  await disable(true);
  const deadline = Date.now() + 30_000;
  while ((await call(endpoint)).status.current_state !== "IDLE") {
    assert.ok(Date.now() < deadline, "the compute is not suspended");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await disable(false);
  assert.deepEqual((await pool.query("SELECT 1 AS one")).rows, [{ one: 1 }]);
});

test("everything can come from the environment, and without the authority nobody connects", async () => {
  const program = `
    import { createLakebasePool } from "@databricks/lakebase";
    const pool = createLakebasePool();
    console.log((await pool.query("SELECT current_database() AS name")).rows[0].name);
    await pool.end();`;
  const env = {
    ...process.env, LAKEBASE_ENDPOINT: endpoint, PGHOST: where.host, PGPORT: `${where.port}`, PGUSER: user,
    PGDATABASE: where.database,
  };
  const start = (more) => run(process.execPath, ["--input-type=module", "-e", program], { env: { ...env, ...more } });
  assert.equal((await start({})).stdout, "databricks_postgres\n");
  assert.equal((await start({ NODE_EXTRA_CA_CERTS: "", PGSSLMODE: "prefer" })).stdout, "databricks_postgres\n");
  await assert.rejects(start({ NODE_EXTRA_CA_CERTS: "" }), /certificate/);
});
