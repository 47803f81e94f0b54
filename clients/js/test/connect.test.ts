// How a session begins and ends: refusals, other nodes, deadlines.
import assert from "node:assert/strict";
import { test } from "node:test";
import { App, QUICK, count, node, startNode, until } from "./app.js";

test("a refused join rejects with the node's code, and the room is not kept", async () => {
  const app = await new App().connect().ready();
  await assert.rejects(app.client.join("no"), { code: "forbidden_room", message: "not you" });
  assert.deepEqual(app.client.rooms, []);
});

test("a join waits for the session, and rejects when none comes in time", async () => {
  const app = new App({ deadlineMs: 100 });
  await assert.rejects(app.client.join("r"), { code: "closed" });
  node.mute = true;
  app.connect();
  await assert.rejects(app.client.join("r"), { code: "timeout" });
  node.mute = false;
  const patient = new App().connect();
  assert.deepEqual((await patient.client.join("r")).rooms, ["r"]);
});

test("a refusal closes with the reason; a full node is left for another", async () => {
  node.refuse = "forbidden_key";
  const app = new App().connect();
  await until(() => app.states.at(-1) === "closed: not now (forbidden_key)", "closed");
  assert.equal(node.auths.length, 1);

  node.refuse = "full";
  const other = await startNode(node.boxes, "n2");
  const urls = [node.url, other.url];
  const moved = await new App({ url: () => urls.shift()! }).connect().ready();
  assert.equal(moved.client.session?.node, "n2");
});

test("a session that the node ends stays ended", async () => {
  const app = await new App().connect().ready();
  node.kick();
  await until(() => app.client.status.state === "closed", "closed");
  assert.equal(app.client.status.reason, "the node ended the session");
  assert.equal(node.auths.length, 1);
});

test("a node that is gone is given up for the one named next, and cursors go along", async () => {
  const other = await startNode(node.boxes, "n2");
  const urls = [node.url, other.url];
  const app = await new App({ url: () => ({ url: urls.shift() ?? other.url, backoff: QUICK }) }).connect().ready();
  for (const n of count(5)) node.append("k", n);
  await until(() => app.got.length === 5, "5 messages");
  await node.stop();
  for (const n of count(9, 6)) other.append("k", n);
  await until(() => app.got.length === 9, "9 messages");
  assert.deepEqual(app.got, count(9));
});

test("a node that never says ready is tried again, and given up after the attempts one allows", async () => {
  node.mute = true;
  const app = new App({ deadlineMs: 50, attempts: 3 }).connect();
  await until(() => app.client.status.state === "closed", "given up");
  assert.deepEqual(app.states, [
    "connecting",
    "connecting: not ready within 0.05 s",
    "connecting: not ready within 0.05 s",
    "closed: gave up after 3 attempts: not ready within 0.05 s",
  ]);
});
