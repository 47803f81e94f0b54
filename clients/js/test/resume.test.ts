// Where a session goes on: gaps and epochs, who one is, rooms.
import assert from "node:assert/strict";
import { test } from "node:test";
import { App, count, node, until } from "./app.js";
import { Shelf } from "./node.js";

test("a new epoch while away: the app is told of the gap, and messages with old offsets are new", async () => {
  const app = await new App().connect().ready();
  for (const n of count(5)) node.append("k", n);
  await until(() => app.got.length === 5, "5 messages");
  node.boxes.get("k")!.lose(5, "e2");
  node.cut();
  node.append("k", "new 1");
  node.append("k", "new 2");
  await until(() => app.got.length === 7, "the new ones");
  assert.deepEqual(app.got.slice(5), ["new 1", "new 2"]);
  assert.deepEqual(app.gaps, [{ key: "k", reason: "epoch", epoch: "e2", offset: 0 }]);
});

test("messages of another epoch are new, and those handled before are not handed over twice", async () => {
  const app = await new App().connect().ready();
  const known = node.append("k", 1);
  node.append("k", 2);
  await until(() => app.got.length === 2, "2 messages");
  node.boxes.get("k")!.lose(1, "e2");
  node.emit("k", { ...known, epoch: "e2" });
  node.append("k", "2 again");
  await until(() => app.got.length === 3, "the new one");
  assert.deepEqual(app.got, [1, 2, "2 again"]);
});

test("trimmed while away: the app is told where it goes on, and once only", async () => {
  const app = await new App().connect().ready();
  node.append("k", 1);
  await until(() => app.got.length === 1, "a message");
  for (const n of count(4, 2)) node.box("k").append(n);
  node.box("k").trim(3);
  node.cut();
  await until(() => app.got.length === 2, "what is left");
  assert.deepEqual(app.got, [1, 4]);
  assert.deepEqual(app.gaps, [{ key: "k", reason: "trimmed", epoch: "e1", offset: 3 }]);
  node.cut();
  await until(() => app.readies === 3, "the third session");
  assert.equal(app.gaps.length, 1);
});

test("a gap in mid-session comes in its place between the messages, and moves the cursor", async () => {
  const app = new App();
  const order: unknown[] = [];
  app.client.on("push", async ({ msg }) => {
    await new Promise((resolve) => setImmediate(resolve));
    order.push(msg);
  });
  app.client.on("gap", ({ reason }) => order.push(reason));
  await app.connect().ready();
  node.append("k", 1);
  node.io.to("k").emit("gap", { key: "k", reason: "trimmed", epoch: "e1", offset: 8 });
  node.box("k").last = 8;
  node.append("k", 9);
  await until(() => order.length === 3, "all three");
  assert.deepEqual(order, [1, "trimmed", 9]);
  node.cut();
  await until(() => app.readies === 2, "the next session");
  assert.deepEqual(node.auths.at(-1)?.resume?.["k"], { epoch: "e1", offset: 9 });
});

test("a key that had nothing stored when the session began misses nothing while it is away", async () => {
  const app = await new App({ rooms: ["r"] }).connect().ready();
  node.cut();
  node.append("room:r", "first of all");
  await until(() => app.got.length === 1, "the message");
  assert.deepEqual(app.gaps, []);
});

test("a made-up key stays the same over reconnects and reloads", async () => {
  const shelf = new Shelf();
  const app = await new App({ key: undefined, storage: shelf }).connect().ready();
  const { key } = app.client.session!;
  node.cut();
  await until(() => app.readies === 2, "the next session");
  app.client.close();
  const next = await new App({ key: undefined, storage: shelf }).connect().ready();
  assert.equal(next.client.session!.key, key);
  assert.deepEqual(node.auths.map((auth) => auth.key), [undefined, key, key]);
});

test("the token is asked for at each connect, and a key is not made up beside it", async () => {
  let asked = 0;
  const token = async (): Promise<string> => `t${(asked += 1)}`;
  const app = await new App({ key: undefined, token }).connect().ready();
  node.cut();
  await until(() => app.readies === 2, "the next session");
  assert.deepEqual(node.auths.map((auth) => [auth["token"], auth.key]), [
    ["t1", undefined],
    ["t2", undefined],
  ]);
});

test("who is told to be another by the token begins anew", async () => {
  const shelf = new Shelf();
  const app = await new App({ key: undefined, token: "t", storage: shelf }).connect().ready();
  node.append("made-1", "to both", "p1");
  await until(() => app.got.length === 1, "the message");
  app.client.close();
  node.box("made-2").append("to both", "p1");
  const other = await new App({ key: undefined, token: "t", storage: shelf }).connect().ready();
  await until(() => other.got.length === 1, "the other's message");
});

test("a joined room is joined again with its cursor, one that was left is not", async () => {
  const app = await new App().connect().ready();
  for (const n of count(5)) node.box("room:r").append(n);
  assert.deepEqual(await app.client.join("r", { history: 2 }), { rooms: ["r"], cursor: { epoch: "e1", offset: 3 } });
  await app.client.join("s");
  node.append("room:s", "s");
  await until(() => app.got.includes("s"), "the message in s");
  assert.deepEqual(app.client.rooms, ["r", "s"]);
  assert.deepEqual(await app.client.leave("s"), ["r"]);
  node.cut();
  node.append("room:r", 6);
  await until(() => app.got.length === 4, "what came meanwhile");
  assert.deepEqual(app.got, [4, 5, "s", 6]);
  assert.deepEqual(node.auths.at(-1)?.rooms, ["r"]);
  assert.deepEqual(Object.keys(node.auths.at(-1)?.resume ?? {}).sort(), ["all", "k", "room:r"]);
  await app.client.join("s");
  assert.deepEqual(node.asked.at(-1), ["join", "s"], "where it was before it left does not count");
});

test("a room that is joined after a reload goes on where the page was", async () => {
  const shelf = new Shelf();
  const app = await new App({ storage: shelf }).connect().ready();
  await app.client.join("r");
  node.append("room:r", 1);
  await until(() => app.got.length === 1, "the message");
  app.client.close();
  node.append("room:r", 2);
  const next = await new App({ storage: shelf }).connect().ready();
  await next.client.join("r");
  await until(() => next.got.length === 1, "what came meanwhile");
  assert.deepEqual(next.got, [2]);
  assert.deepEqual(node.asked.at(-1), ["join", { room: "r", after: { epoch: "e1", offset: 1 } }]);
});

test("ops that were accepted are asked for again in the next session", async () => {
  const app = await new App().connect().ready();
  await app.client.accept([7]);
  node.cut();
  await until(() => app.readies === 2, "the next session");
  assert.deepEqual(node.auths.map((auth) => auth["accepts"]), [undefined, [7]]);
});
