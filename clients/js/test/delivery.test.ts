// What the app is handed: once, in order, whatever the wire does; on a real Socket.IO server that plays a node.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../src/index.js";
import { App, QUICK, count, node, once, open, until } from "./app.js";
import { Box, Shelf } from "./node.js";

test("durable pushes come in order and once, though the wire carries each three times", async () => {
  node.copies = 3;
  const app = await new App().connect().ready();
  for (const n of count(200)) node.append("k", n);
  await until(() => app.got.length >= 200, "200 messages");
  node.ephemeral("k", "end");
  await until(() => app.got.includes("end"), "the end");
  assert.deepEqual(app.got, [...count(200), "end"]);
  assert.deepEqual(app.errors, []);
});

test("after a cut the session resumes from its cursor: nothing is lost and nothing doubled", async () => {
  const app = await new App().connect().ready();
  for (const n of count(10)) node.append("k", n);
  await until(() => app.got.length === 10, "10 messages");
  node.cut();
  for (const n of count(20, 11)) node.append("k", n);
  await until(() => app.got.length >= 20, "20 messages");
  assert.deepEqual(app.got, count(20));
  assert.deepEqual(node.auths.at(-1)?.resume, { k: { epoch: "e1", offset: 10 }, all: { epoch: "", offset: 0 } });
  assert.ok(app.states.some((state) => state.startsWith("reconnecting: ")));
});

test("a reload in the middle of a burst loses and doubles nothing", async () => {
  const shelf = new Shelf();
  const got: unknown[] = [];
  const burst = count(300);
  let app: App;
  for (const n of burst) node.append("k", n);
  do {
    app = new App({ storage: shelf });
    const here = app;
    await new Promise<void>((resolve) => {
      here.client.on("push", (push) => {
        got.push(push.msg);
        if (got.length % 40 === 0) here.client.close();
        if (got.length % 40 === 0 || got.length === burst.length) resolve();
      });
      here.connect();
    });
  } while (got.length < burst.length);
  assert.deepEqual(got, burst);
  assert.equal(node.auths.length, 8);
});

test("a page that dies before its handler is done gets the message again", async () => {
  const shelf = new Shelf();
  const first = new Client({ url: node.url, key: "k", storage: shelf, backoff: QUICK });
  open.push(first);
  first.on("push", ({ msg }) => (msg === 2 ? new Promise(() => {}) : undefined));
  first.connect();
  const begun = new Promise<void>((resolve) => first.on("push", ({ msg }) => msg === 2 && resolve()));
  for (const n of count(3)) node.append("k", n);
  await begun;
  node.cut(); // and the page with it: `first` is never heard of again
  first.close();
  const app = new App({ storage: shelf }).connect();
  await until(() => app.got.length === 2, "the rest");
  assert.deepEqual(app.got, [2, 3]);
});

test("the next message waits for an async handler, and the cursor moves when it is done", async () => {
  const app = new App();
  const order: string[] = [];
  let release = (): void => {};
  app.client.on("push", async ({ msg }) => {
    order.push(`begin ${String(msg)}`);
    if (msg === 1) await new Promise<void>((resolve) => (release = resolve));
    order.push(`end ${String(msg)}`);
  });
  await app.connect().ready();
  node.append("k", 1);
  node.append("k", 2);
  node.ephemeral("k", "e");
  await until(() => order.length === 1, "the first handler");
  assert.deepEqual(node.acks, []);
  release();
  await until(() => order.length === 6, "all handlers");
  assert.deepEqual(order, ["begin 1", "end 1", "begin 2", "end 2", "begin e", "end e"]);
  await until(() => node.acks.length > 0, "acks");
  assert.deepEqual(Object.assign({}, ...node.acks), { k: 2 });
});

test("a handler that throws or rejects is an error event, and its message counts as handled", async () => {
  const app = new App();
  app.client.on("push", ({ msg }) => {
    if (msg === 1) throw new Error("one");
    return msg === 2 ? Promise.reject(new Error("two")) : undefined;
  });
  await app.connect().ready();
  for (const n of count(3)) node.append("k", n);
  await until(() => node.acks.some((ack) => ack["k"] === 3), "the ack of the last");
  assert.deepEqual(app.got, [1, 2, 3]);
  assert.deepEqual(
    app.errors.map(({ code, cause }) => [code, (cause as Error).message]),
    [
      ["handler", "one"],
      ["handler", "two"],
    ],
  );
});

test("acks are batched: 64 at once, the rest after a while, cumulative", async () => {
  const app = new App({ ackMs: 40 });
  for (const n of count(100)) node.append("k", n);
  app.connect();
  await until(() => node.acks.length === 2, "two acks");
  assert.deepEqual(node.acks, [{ k: 64 }, { k: 100 }]);
});

test("an ack that got lost is sent again in the next session", async () => {
  node.answersAcks = false;
  const app = await new App().connect().ready();
  node.append("k", 1);
  await until(() => node.acks.length === 1, "the ack");
  node.answersAcks = true;
  node.cut();
  await until(() => node.acks.length === 2, "the ack again");
  assert.deepEqual(node.acks, [{ k: 1 }, { k: 1 }]);
  assert.deepEqual(app.errors, []);
});

test("close sends the acks that wait", async () => {
  const app = await new App({ ackMs: 60_000 }).connect().ready();
  node.append("k", 1);
  await until(() => app.got.length === 1, "the message");
  app.client.close();
  await until(() => node.acks.length === 1, "the ack");
  assert.equal(app.states.at(-1), "closed");
});

test("one push to two keys of a session is handed over once, and both cursors move", async () => {
  const app = await new App({ mid: 7 }).connect().ready();
  node.append("k", "both", "p1");
  node.append("mid:7", "both", "p1");
  node.append("mid:7", "next");
  await until(() => app.got.length === 2, "two messages");
  await until(() => Object.keys(Object.assign({}, ...node.acks)).length === 2, "acks");
  assert.deepEqual(app.got, ["both", "next"]);
  assert.deepEqual(Object.assign({}, ...node.acks), { k: 1, "mid:7": 2 });
});

test("a handler that is too slow: the client disconnects, and goes on from its cursor when it has caught up", async () => {
  const app = new App({ waiting: 10 });
  let release = (): void => {};
  app.client.on("push", ({ msg }) => (msg === 1 ? new Promise<void>((resolve) => (release = resolve)) : undefined));
  for (const n of count(50)) node.append("k", n);
  app.connect();
  await until(() => app.states.some((state) => state.startsWith("reconnecting: 10 messages wait")), "the pause");
  await until(() => node.io.sockets.sockets.size === 0, "the end of the connection");
  const all = once(app.client, "ready");
  release();
  await all;
  await until(() => app.got.length >= 50, "50 messages");
  assert.deepEqual(app.got, count(50));
});

test("a cut while messages wait for their handler: they come over the wire again, and are handled once", async () => {
  const app = new App();
  let release = (): void => {};
  app.client.on("push", ({ msg }) => (msg === 2 ? new Promise<void>((resolve) => (release = resolve)) : undefined));
  for (const n of count(400)) node.append("k", n);
  await app.connect().ready();
  await until(() => app.got.length === 2, "the slow one");
  node.cut();
  await until(() => node.auths.length === 2 && app.client.status.state === "connected", "the next session");
  node.append("k", 401);
  release();
  await until(() => app.got.length >= 401, "all of them");
  node.ephemeral("k", "end");
  await until(() => app.got.includes("end"), "the end");
  assert.deepEqual(app.got, [...count(401), "end"]);
  assert.deepEqual(node.auths[1]?.resume?.["k"], { epoch: "e1", offset: 1 });
});

test("a client that is closed handles nothing more, and when it is connected again goes on where it was", async () => {
  const app = new App();
  let release = (): void => {};
  app.client.on("push", ({ msg }) => (msg === 2 ? new Promise<void>((resolve) => (release = resolve)) : undefined));
  for (const n of count(5)) node.append("k", n);
  app.connect();
  await until(() => app.got.length === 2, "the slow one");
  app.client.close();
  release();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(app.got, [1, 2]);
  app.connect();
  await until(() => app.got.length === 5, "the rest");
  assert.deepEqual(app.got, count(5));
});

test("pushes wait until somebody listens", async () => {
  const client = new Client({ url: node.url, key: "k", storage: null }).connect();
  open.push(client);
  node.append("k", 1);
  await once(client, "ready");
  await until(() => node.io.sockets.sockets.size === 1, "the session");
  const push = await once(client, "push");
  assert.equal(push.msg, 1);
});

test("a storage that fails is an error event, and the session goes on from memory", async () => {
  const broken = new Shelf();
  broken.setItem = () => {
    throw new Error("quota");
  };
  const app = await new App({ storage: broken }).connect().ready();
  node.append("k", 1);
  await until(() => app.got.length === 1, "the message");
  node.cut();
  node.append("k", 2);
  await until(() => app.got.length === 2, "the next");
  assert.deepEqual(app.got, [1, 2]);
  assert.ok(app.errors.length && app.errors.every(({ code, message }) => code === "storage" && message === "quota"));
});

test("an inbox that is there before the first connect is handed over from its start", async () => {
  node.boxes.set("k", new Box());
  for (const n of count(3)) node.box("k").append(n);
  const app = new App().connect();
  await until(() => app.got.length === 3, "3 messages");
  assert.deepEqual(
    app.pushes.map(({ key, epoch, offset }) => [key, epoch, offset]),
    [
      ["k", "e1", 1],
      ["k", "e1", 2],
      ["k", "e1", 3],
    ],
  );
});
